// One camera, live: an endless stream of pictures that begins again when it breaks off.
export default {
  template: `<div class="view"><img :src="address" :alt="alt" @load="loaded = true" @error="again">
    <div v-if="cover" class="cover" role="status">{{ cover }}</div></div>`,
  props: { camera: String, ground: String, alt: String, cover: String },
  data: () => ({ attempt: 0, loaded: false }),
  computed: {
    address() { return `/v1/cameras/${this.camera}/live.mjpg?background=${this.ground}&fps=12&attempt=${this.attempt}`; },
  },
  methods: {
    again() { setTimeout(() => this.attempt++, 2_000); },
  },
  // A stream goes on until its element has another address.
  beforeUnmount() { this.$el.querySelector("img").src = "data:,"; },
};
