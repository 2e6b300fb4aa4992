// The live picture of one camera: an endless stream, which is requested again when it breaks off. It is requested once
// there is a picture: until the first one comes, the page would count as loading.
export default {
  template: `<div class="view"><img v-if="seen" :src="address" :alt="alt" @load="loaded = true" @error="again">
    <div v-if="cover" class="cover" role="status">{{ cover }}</div></div>`,
  props: { camera: String, ground: String, alt: String, cover: String, seen: Boolean },
  data: () => ({ attempt: 0, loaded: false }),
  computed: {
    address() { return `/v1/cameras/${this.camera}/live.mjpg?background=${this.ground}&fps=12&attempt=${this.attempt}`; },
  },
  methods: {
    again() { setTimeout(() => this.attempt++, 2_000); },
  },
  // The browser keeps the stream open until the element has another address.
  beforeUnmount() { const image = this.$el.querySelector("img"); if (image) image.src = "data:,"; },
};
