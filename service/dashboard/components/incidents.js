// The list of incidents, newest first, which several people work on: selection, and the keys of the page.
const FULL = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const said = (at) => {
  const moment = new Date(at);
  return moment.toDateString() === new Date().toDateString() ? `today, ${TIME.format(moment)}` : FULL.format(moment);
};
const STEPS = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
const ACTS = { a: "acknowledge", r: "real", f: "false_alarm", d: "drill", n: "note", m: "mine", u: "undo", "?": "help" };
const TYPING = "textarea, select, video, input:not([type=checkbox]), [role=slider], [role=combobox], [role=dialog], [role=listbox]";

export default {
  template: `
<div>
<label class="tick all" v-if="rows.length"><input type="checkbox" :checked="picked.length === rows.length" :indeterminate.prop="picked.length > 0 && picked.length < rows.length" @change="pickAll($event.target.checked)">
  <span>Select all {{ rows.length }} shown</span></label>
<div class="scroll">
<ul class="entries" ref="list">
  <li v-for="row in rows" :key="row.id" :class="{ fresh: row.unread }">
    <label class="tick"><input type="checkbox" :checked="picked.includes(row.id)" @click="pick(row.id, $event.shiftKey)"><span class="unseen">Select {{ row.title }}, {{ row.camera }}, {{ when(row.at) }}</span></label>
    <a class="entry" :href="row.href" :aria-current="String(row.id === selected)" :data-incident="row.id" @click="follow(row.id, $event)">
      <img v-if="row.snapshot" :src="row.snapshot" alt="" loading="lazy" width="104" height="58"><span v-else class="noimg"></span>
      <span class="name">{{ row.title }}</span>
      <span class="meta"><span v-if="row.unread" class="pill unread">Unread</span><span class="pill" :class="row.severity">{{ row.urgency }}</span>
        <span>{{ row.camera }}</span><span>{{ when(row.at) }}</span><span>{{ row.words }}</span><span v-if="row.assigned" class="assigned">{{ row.assigned }}</span></span>
    </a>
  </li>
</ul></div>
<button v-if="more" type="button" class="act more" @click="$emit('more')">Show more</button>
</div>`,
  props: { initial: Array, selected: String, rest: Boolean },
  data() { return { rows: this.initial, more: this.rest, picked: [], from: null }; },
  mounted() { addEventListener("keydown", this.key); },
  unmounted() { removeEventListener("keydown", this.key); },
  methods: {
    when: said,
    put(row, wanted) {
      const at = this.rows.findIndex((known) => known.id === row.id);
      if (at >= 0) { this.rows.splice(at, 1, row); return; }
      if (!wanted) return;
      const place = this.rows.findIndex((known) => new Date(known.began) <= new Date(row.began));
      if (place >= 0) this.rows.splice(place, 0, row); else if (!this.more) this.rows.push(row);
    },
    add(rows, more) {
      const known = new Set(this.rows.map((row) => row.id));
      this.rows.push(...rows.filter((row) => !known.has(row.id)));
      this.more = more;
    },
    read(id) { const row = this.rows.find((one) => one.id === id); if (row) row.unread = false; },
    choose(id) { this.$emit("choose", id); },
    follow(id, event) {
      // A link opens in another tab if that is what was asked for.
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.choose(id);
    },
    settle(ids) {
      this.picked = this.rows.map((row) => row.id).filter((id) => ids.has(id));
      this.$emit("picked", this.picked);
    },
    pick(id, range) {
      const ids = new Set(this.picked), on = !ids.has(id), order = this.rows.map((row) => row.id);
      const [first, last] = [order.indexOf(range ? this.from ?? id : id), order.indexOf(id)].sort((a, b) => a - b);
      for (const one of order.slice(Math.max(first, 0), last + 1)) if (on) ids.add(one); else ids.delete(one);
      this.from = id;
      this.settle(ids);
    },
    pickAll(on) { this.settle(new Set(on ? this.rows.map((row) => row.id) : [])); },
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPING) || document.querySelector("[role=dialog]")) return;
      if (STEPS[event.key]) { this.step(STEPS[event.key], event); return; }
      if (event.repeat) return;
      const key = event.key.toLowerCase();
      if (key === "x" && this.selected) this.pick(this.selected, event.shiftKey);
      else if (key === "escape" && this.picked.length) this.pickAll(false);
      else if (ACTS[key]) { event.preventDefault(); this.$emit("act", ACTS[key]); }
    },
    step(step, event) {
      if (!this.rows.length) return;
      event.preventDefault();
      const now = this.rows.findIndex((row) => row.id === this.selected);
      const next = this.rows[Math.min(Math.max(now + step, 0), this.rows.length - 1)];
      this.choose(next.id);
      this.$nextTick(() => this.$refs.list.querySelector(`[data-incident="${next.id}"]`)?.focus());
    },
  },
};
