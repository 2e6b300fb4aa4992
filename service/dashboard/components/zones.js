// Zones on a picture. Draw a zone with the pointer, or add one and move its corners with the arrow keys.
const STEP = 0.01;
const SMALLEST = 0.02;
const inside = (value) => Math.round(10_000 * Math.min(1, Math.max(0, value))) / 10_000;
const copy = ({ kind, corners }) => ({ kind, corners: corners.map((corner) => [...corner]) });

export default {
  template: `
<div>
  <div class="zones" ref="board" @pointerdown="begin" @pointermove="drag" @pointerup="end" @pointercancel="end">
    <img :src="picture" :alt="alt" @error="missing = true" v-if="!missing">
    <p v-else style="padding:3rem 1rem;color:#dbe4ea;text-align:center">No picture yet. You can draw zones without it.</p>
    <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
      <polygon v-for="(zone, number) in zones" :key="number" :class="zone.kind" :points="zone.corners.map((corner) => corner.join(',')).join(' ')"></polygon>
    </svg>
    <template v-for="(zone, number) in zones" :key="number">
      <span class="number" :style="middle(zone)" aria-hidden="true">{{ number + 1 }}</span>
      <button v-for="(corner, index) in zone.corners" :key="index" type="button" class="corner" :class="zone.kind" :data-zone="number" :data-corner="index"
        :style="{ left: 100 * corner[0] + '%', top: 100 * corner[1] + '%' }"
        :aria-label="'Zone ' + (number + 1) + ', corner ' + (index + 1) + '; arrow keys move it'" @keydown="nudge($event, number, index)"></button>
    </template>
  </div>
  <ul class="zonelist">
    <li v-for="(zone, number) in zones" :key="number">
      <span class="strong">Zone {{ number + 1 }}</span>
      <select v-model="zone.kind" :aria-label="'Kind of zone ' + (number + 1)" @change="tell">
        <option v-for="(words, kind) in kinds" :key="kind" :value="kind">{{ words }}</option>
      </select>
      <button type="button" class="act" @click="remove(number)">Remove zone {{ number + 1 }}</button>
    </li>
    <li><button type="button" class="act" @click="add">Add a zone</button></li>
  </ul>
</div>`,
  props: { picture: String, alt: String, value: Array, kinds: Object },
  data() { return { zones: this.value.map(copy), missing: !this.picture }; },
  methods: {
    middle({ corners }) {
      const mean = (axis) => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length;
      return { left: 100 * mean(0) + "%", top: 100 * mean(1) + "%" };
    },
    make(corners) { this.zones.push({ kind: Object.keys(this.kinds)[0], corners }); },
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
        if (zone === null) { this.make(drawn); this.held.zone = this.zones.at(-1); }
        else zone.corners.splice(0, 4, ...drawn);
      } else zone.corners[corner] = at;
    },
    end() {
      if (!this.held) return;
      const { from, zone } = this.held;
      this.held = null;
      if (from && zone) {
        const [[left, top], , [right, bottom]] = zone.corners;
        if (Math.abs(left - right) < SMALLEST || Math.abs(top - bottom) < SMALLEST) this.zones.splice(this.zones.indexOf(zone), 1);
      }
      this.tell();
    },
    nudge(event, number, index) {
      const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const { corners } = this.zones[number];
      corners[index] = [inside(corners[index][0] + move[0]), inside(corners[index][1] + move[1])];
      this.tell();
    },
    add() { this.make([[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]]); this.tell(); },
    remove(number) { this.zones.splice(number, 1); this.tell(); },
    tell() { this.$emit("zones", this.zones.map(copy)); },
  },
};
