// The list of incidents, newest first. J and K, or the arrow keys, select the next and the previous one.
const FULL = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const said = (at) => {
  const moment = new Date(at);
  return moment.toDateString() === new Date().toDateString() ? `today, ${TIME.format(moment)}` : FULL.format(moment);
};

export default {
  template: `
<div class="scroll">
<ul class="entries" ref="list">
  <li v-for="row in rows" :key="row.id">
    <a class="entry" :href="row.href" :aria-current="String(row.id === selected)" :data-incident="row.id" @click.prevent="choose(row.id)">
      <img v-if="row.snapshot" :src="row.snapshot" alt="" loading="lazy" width="104" height="58"><span v-else class="noimg"></span>
      <span class="name">{{ row.title }}</span>
      <span class="meta"><span class="pill" :class="row.severity">{{ row.urgency }}</span>
        <span>{{ row.camera }}</span><span>{{ when(row.at) }}</span><span>{{ row.words }}</span></span>
    </a>
  </li>
</ul></div>`,
  props: { initial: Array, selected: String },
  data() { return { rows: this.initial }; },
  mounted() { addEventListener("keydown", this.key); },
  unmounted() { removeEventListener("keydown", this.key); },
  methods: {
    when: said,
    put(row) {
      const at = this.rows.findIndex((known) => known.id === row.id);
      if (at >= 0) this.rows.splice(at, 1, row); else this.rows.unshift(row);
    },
    choose(id) { this.$emit("choose", id); },
    key(event) {
      if (event.target.closest("input, textarea, select, [role=slider], [role=combobox], video") || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
      if (!step || !this.rows.length) return;
      event.preventDefault();
      const now = this.rows.findIndex((row) => row.id === this.selected);
      const next = this.rows[Math.min(Math.max(now + step, 0), this.rows.length - 1)];
      this.choose(next.id);
      this.$nextTick(() => this.$refs.list.querySelector(`[data-incident="${next.id}"]`)?.focus());
    },
  },
};
