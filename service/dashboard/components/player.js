// A video above its timeline. A click on the timeline seeks; a line on it marks the current position.
import { echarts } from "nicegui-echart";

const HIGHEST = 6;
const SHIFT = 1e-3;
const label = (decade) => (decade <= 0 ? "0" : (1 - 10 ** -decade).toFixed(Math.round(decade)));
const two = (number) => String(number).padStart(2, "0");
const clock = (seconds) => `${Math.floor(seconds / 60)}:${two(Math.floor(seconds % 60))}.${Math.floor((10 * seconds) % 10)}`;

export default {
  template: `
<div class="player">
  <video ref="video" controls playsinline muted preload="metadata" :src="source" :poster="poster" :aria-label="title"
    :style="shape" @loadedmetadata="loaded" @timeupdate="moved" @seeked="moved" @error="broken"></video>
  <p v-if="trouble" class="trouble" role="status">{{ trouble }}</p>
  <div ref="chart" class="chart" role="slider" tabindex="0" :aria-label="'Timeline of ' + title + '; arrow keys seek'"
    aria-valuemin="0" :aria-valuemax="length" :aria-valuenow="at" :aria-valuetext="said"
    @keydown="key" @click="click"></div>
  <p class="said" aria-hidden="true">{{ said }}</p>
</div>`,
  props: {
    source: String, poster: String, title: String, seconds: Number, points: Array, limit: Number,
    spans: Array, marks: Array, ratio: String,
  },
  data: () => ({ at: 0, length: 1, trouble: "" }),
  computed: {
    shape() { return this.ratio ? { aspectRatio: this.ratio } : {}; },
    said() {
      const point = this.points?.findLast(([second]) => second <= this.at + SHIFT);
      const level = point && point[1] != null ? `level ${(1 - 10 ** -point[1]).toFixed(point[1] > 2 ? 4 : 2)}` : "";
      const mark = this.marks?.find((one) => Math.abs(one.at - this.at) < 0.5)?.name;
      return [`${clock(this.at)} of ${clock(this.length)}`, level, mark].filter(Boolean).join(", ");
    },
  },
  watch: { points() { this.draw(); }, marks() { this.draw(); }, source() { this.trouble = ""; } },
  mounted() {
    this.length = this.seconds || 1;
    this.chart = echarts.init(this.$refs.chart, null, { renderer: "canvas" });
    this.sizes = new ResizeObserver(() => { this.chart.resize(); this.showAt(); });
    this.sizes.observe(this.$refs.chart);
    this.again = () => this.draw();
    addEventListener("theme", this.again);
    this.draw();
    const follow = () => {
      if (!this.chart || this.chart.isDisposed()) return;
      if (!this.$refs.video.paused) this.moved();
      requestAnimationFrame(follow);
    };
    follow();
  },
  unmounted() {
    removeEventListener("theme", this.again);
    this.sizes.disconnect();
    this.chart.dispose();
  },
  methods: {
    loaded() {
      const { duration } = this.$refs.video;
      if (Number.isFinite(duration) && !this.seconds) { this.length = duration; this.draw(); }
    },
    async broken() {
      const answer = await fetch(this.source, { headers: { Range: "bytes=0-0" } }).catch(() => null);
      if (!answer) this.trouble = "The service cannot be reached.";
      else if (answer.ok) this.trouble = "This browser cannot play the video.";
      else this.trouble = (await answer.json().catch(() => ({}))).detail ?? `No video: status ${answer.status}.`;
    },
    moved() { this.at = this.$refs.video.currentTime; this.showAt(); },
    seek(second) {
      this.at = Math.min(Math.max(second, 0), this.length);
      this.$refs.video.currentTime = Math.min(this.at + SHIFT, this.length);
      this.showAt();
    },
    click({ offsetX, currentTarget }) {
      const x = this.chart.convertFromPixel({ xAxisIndex: 0 }, offsetX);
      if (Number.isFinite(x)) this.seek(x);
      currentTarget.focus({ preventScroll: true });
    },
    key(event) {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -this.length, End: this.length };
      if (event.key === " ") { const { video } = this.$refs; video.paused ? video.play() : video.pause(); }
      else if (event.key in steps) this.seek(this.at + steps[event.key]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    showAt() {
      if (!this.chart || this.chart.isDisposed()) return;
      const x = this.chart.convertToPixel({ xAxisIndex: 0 }, this.at);
      if (!Number.isFinite(x)) return;
      this.chart.setOption({ graphic: [{ id: "at", type: "rect", silent: true, z: 100,
        shape: { x: Math.round(x) - 1, y: 18, width: 2, height: this.$refs.chart.clientHeight - 44 }, style: { fill: this.ink } }] });
    },
    draw() {
      const style = getComputedStyle(document.documentElement), ink = (name) => style.getPropertyValue(`--${name}`).trim();
      this.ink = ink("ink");
      const points = this.points ?? [], limit = this.limit ?? null, plain = !points.some(([, level]) => level != null);
      const top = Math.min(HIGHEST, Math.ceil(Math.max(2, 1.1 * (limit ?? 0), ...points.map(([, level]) => level ?? 0))));
      const axis = { axisLabel: { color: ink("soft"), fontSize: 11 }, axisLine: { lineStyle: { color: ink("edge") } } };
      const flags = (this.marks ?? []).map(({ at, name }) => ({ xAxis: at, name,
        lineStyle: { color: ink("ink"), type: "solid", width: 1.5 },
        label: { formatter: name, color: ink("ink"), position: "end", fontSize: 11 } }));
      const line = limit === null || plain ? [] : [{ yAxis: limit, lineStyle: { color: ink("warm"), type: "dashed", width: 1.5 },
        label: { formatter: "threshold", color: ink("warm"), position: "insideEndTop" } }];
      this.chart.setOption({
        animation: false,
        grid: { left: plain ? 14 : 58, right: 16, top: 22, bottom: 26 },
        xAxis: { type: "value", min: 0, max: this.length, ...axis, splitLine: { show: false },
          axisLabel: { ...axis.axisLabel, formatter: (second) => clock(second).replace(/\.\d$/, "") } },
        yAxis: { type: "value", show: !plain, min: 0, max: plain ? 1 : top, interval: 1, ...axis,
          axisLabel: { ...axis.axisLabel, formatter: label }, splitLine: { lineStyle: { color: ink("line") } } },
        series: [
          { type: "line", showSymbol: false, data: plain ? [] : points, silent: true, color: ink("calm"),
            lineStyle: { width: 1.8 }, areaStyle: { opacity: 0.12 },
            markLine: { silent: true, symbol: "none", animation: false, data: [...line, ...flags] },
            markArea: { silent: true, itemStyle: { color: ink("hot-soft") },
              data: (this.spans ?? []).map(([from, to]) => [{ xAxis: from }, { xAxis: to }]) } },
          { type: "line", symbol: "circle", symbolSize: 4, silent: true, color: ink("hot"), lineStyle: { width: 2.2 },
            data: limit === null ? [] : points.map(([at, level]) => [at, level >= limit ? level : null]) },
        ],
      }, { replaceMerge: ["series"] });
      this.showAt();
    },
  },
};
