// Zones on a picture. Draw a zone with the pointer, or add one and move its corners with the arrow keys.
const STEP = 0.01;
const SMALLEST = 0.02;
const inside = (value) => Math.round(10_000 * Math.min(1, Math.max(0, value))) / 10_000;

export default {
  template: `
<div>
  <div class="zones" ref="board" @pointerdown="begin" @pointermove="drag" @pointerup="end" @pointercancel="end">
    <img :src="picture" :alt="alt" @error="missing = true" v-if="!missing">
    <p v-else style="padding:3rem 1rem;color:#dbe4ea;text-align:center">No picture yet. You can draw zones without it.</p>
    <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
      <polygon v-for="(zone, number) in zones" :key="number" :points="zone.map((corner) => corner.join(',')).join(' ')"></polygon>
    </svg>
    <template v-for="(zone, number) in zones" :key="number">
      <button v-for="(corner, index) in zone" :key="index" type="button" class="corner" :data-zone="number" :data-corner="index"
        :style="{ left: 100 * corner[0] + '%', top: 100 * corner[1] + '%' }"
        :aria-label="'Zone ' + (number + 1) + ', corner ' + (index + 1) + '; arrow keys move it'" @keydown="nudge($event, number, index)"></button>
    </template>
  </div>
  <div class="zonelist">
    <button type="button" class="act" @click="add">Add a zone</button>
    <button v-for="(zone, number) in zones" :key="number" type="button" class="act" @click="remove(number)">Remove zone {{ number + 1 }}</button>
  </div>
</div>`,
  props: { picture: String, alt: String, value: Array },
  data() { return { zones: this.value.map((zone) => zone.map((corner) => [...corner])), missing: !this.picture }; },
  methods: {
    place({ clientX, clientY }) {
      const { left, top, width, height } = this.$refs.board.getBoundingClientRect();
      return [inside((clientX - left) / width), inside((clientY - top) / height)];
    },
    begin(event) {
      const { zone, corner } = event.target.dataset;
      this.$refs.board.setPointerCapture(event.pointerId);
      const at = this.place(event);
      if (zone !== undefined) { event.target.focus(); this.held = { zone: this.zones[zone], corner: Number(corner) }; return; }
      this.held = { from: at, zone: null };
    },
    drag(event) {
      if (!this.held) return;
      const at = this.place(event), { from, zone, corner } = this.held;
      if (from) {
        const [x, y] = from;
        const drawn = [[x, y], [at[0], y], at, [x, at[1]]];
        if (zone === null) { this.zones.push(drawn); this.held.zone = this.zones.at(-1); }
        else zone.splice(0, 4, ...drawn);
      } else zone[corner] = at;
    },
    end() {
      if (!this.held) return;
      const { from, zone } = this.held;
      this.held = null;
      if (from && zone && (Math.abs(zone[0][0] - zone[2][0]) < SMALLEST || Math.abs(zone[0][1] - zone[2][1]) < SMALLEST))
        this.zones.splice(this.zones.indexOf(zone), 1);
      this.tell();
    },
    nudge(event, number, index) {
      const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const corner = this.zones[number][index];
      this.zones[number][index] = [inside(corner[0] + move[0]), inside(corner[1] + move[1])];
      this.tell();
    },
    add() { this.zones.push([[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]]); this.tell(); },
    remove(number) { this.zones.splice(number, 1); this.tell(); },
    tell() { this.$emit("zones", this.zones.map((zone) => zone.map((corner) => [...corner]))); },
  },
};
