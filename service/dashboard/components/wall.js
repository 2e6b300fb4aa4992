// The camera wall: picture, state and last minute of every camera.
//
// Pictures are fetched in turn, two at once, and only for visible tiles: a browser keeps six connections to a host, and
// one endless stream per camera would use them up. A slow browser gets fewer pictures; none are queued.
const AT_ONCE = 2;
const PACE_MS = 100;
const POINTS = 120;
const WAIT_MS = 10_000;
const HIGHEST = 6;

export default {
  template: `
<ul class="wall" :class="{ one: rows.length === 1, two: rows.length > 1 && rows.length < 5 }">
  <li v-for="row in rows" :key="row.id" class="tile" :class="row.open ? ['open', row.open] : []" :data-camera="row.id" :ref="(tile) => see(row.id, tile)">
    <div class="screen">
      <img :data-picture="row.id" :alt="alt(row)">
      <div v-if="row.cover" class="cover"><strong>{{ row.state }}</strong><span>{{ row.cover }}</span></div>
    </div>
    <div class="flag" v-if="row.open"><span class="pill">{{ row.flag }}</span></div>
    <footer>
      <h2><a :href="row.href">{{ row.name }}</a></h2>
      <span class="pill" :class="row.tone">{{ row.state }}</span>
      <svg class="spark" viewBox="0 0 119 40" preserveAspectRatio="none" aria-hidden="true">
        <path class="area" :d="line(row).area"></path><path class="line" :d="line(row).path"></path>
        <line class="limit" x1="0" x2="119" :y1="line(row).limit" :y2="line(row).limit"></line>
        <path class="hot" :d="line(row).hot"></path>
      </svg>
      <p class="say"><span>{{ row.said }}</span><span>{{ row.fps }}</span></p>
    </footer>
  </li>
</ul>`,
  props: { initial: Array, ground: String },
  data() { return { rows: this.initial.map((row) => ({ ...row })) }; },
  created() {
    this.tiles = new Map();
    this.visible = new Set();
    this.due = [];
    this.working = 0;
    this.gone = false;
  },
  mounted() {
    this.observer = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen)
        this.visible[isIntersecting ? "add" : "delete"](target.dataset.camera);
    }, { rootMargin: "100px" });
    for (const tile of this.tiles.values()) this.observer.observe(tile);
    for (let worker = 0; worker < AT_ONCE; worker++) this.work();
  },
  unmounted() {
    this.gone = true;
    this.observer.disconnect();
  },
  methods: {
    see(camera, tile) {
      const before = this.tiles.get(camera);
      if (tile === before) return;
      if (before) this.observer?.unobserve(before);
      if (!tile) { this.tiles.delete(camera); this.visible.delete(camera); return; }
      this.tiles.set(camera, tile);
      this.observer?.observe(tile);
    },
    alt(row) { return `${row.name}: ${row.state}${row.flag ? `, incident: ${row.flag}` : ""}`; },
    // The answer acknowledges the update: the service sends the next one only after it.
    update(news) {
      const known = new Map(this.rows.map((row) => [row.id, row]));
      this.rows = news.map((row) => ({ ...row, points: [...(known.get(row.id)?.points ?? []), ...row.points].slice(-POINTS) }));
      return true;
    },
    line({ points, limit }) {
      const start = POINTS - points.length;
      const top = Math.min(HIGHEST, Math.max(1.5, 1.25 * (limit ?? 0), ...points.map((level) => level ?? 0)));
      const y = (level) => (39 - 37 * Math.min(level, top) / top).toFixed(1);
      let path = "", area = "", hot = "", from = null, warm = false;
      points.forEach((level, index) => {
        const x = start + index;
        if (level === null) {
          if (from !== null) area += `L${x - 1} 40L${from} 40Z`;
          from = null;
          warm = false;
          return;
        }
        const step = `${from === null ? "M" : "L"}${x} ${y(level)}`;
        path += step;
        area += from === null ? `M${x} 40L${x} ${y(level)}` : step;
        if (from === null) from = x;
        const over = limit !== null && level >= limit;
        if (over) hot += `${warm ? "L" : "M"}${x} ${y(level)}h.01`;
        warm = over;
      });
      if (from !== null) area += `L${POINTS - 1} 40L${from} 40Z`;
      return { path, area, hot, limit: limit === null ? 50 : y(limit) };
    },
    async work() {
      while (!this.gone) {
        const began = performance.now();
        const camera = document.hidden ? null : this.next();
        if (camera) await this.fetch(camera);
        // Without a pause, a single camera would be fetched as fast as the network allows.
        const pause = camera ? Math.max(PACE_MS / Math.max(1, this.visible.size / AT_ONCE), 10) : 250;
        await new Promise((resolve) => setTimeout(resolve, Math.max(10, pause - (performance.now() - began))));
      }
    },
    next() {
      const wanted = this.rows.filter((row) => row.shown && this.visible.has(row.id)).map((row) => row.id);
      this.due = this.due.filter((camera) => wanted.includes(camera));
      if (!this.due.length) this.due = wanted.filter((camera) => camera !== this.fetching);
      return this.due.shift();
    },
    async fetch(camera) {
      const image = this.tiles.get(camera)?.querySelector("img");
      if (!image) return;
      this.fetching = camera;
      const next = new Image();
      const done = new Promise((resolve) => {
        next.onload = () => resolve(true);
        next.onerror = () => resolve(false);
        setTimeout(resolve, WAIT_MS, false);
      });
      next.src = `/v1/cameras/${camera}/snapshot.jpg?background=${this.ground}&at=${Date.now()}`;
      if (await done) { image.src = next.src; image.dataset.pictures = Number(image.dataset.pictures ?? 0) + 1; }
      else await new Promise((resolve) => setTimeout(resolve, 500));
    },
  },
};
