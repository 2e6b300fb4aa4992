// Level and threshold of a camera in the last minutes, as a moving chart.
import { echarts } from "nicegui-echart";

const SPAN_MS = 300_000;
const HIGHEST = 6;
const label = (decade) => (decade <= 0 ? "0" : (1 - 10 ** -decade).toFixed(Math.round(decade)));

export default {
  template: `<div class="trend" role="img" :aria-label="said"></div>`,
  props: { points: Array, limit: Number, said: String },
  mounted() {
    this.known = [...this.points];
    this.top = this.limit;
    this.chart = echarts.init(this.$el, null, { renderer: "canvas" });
    this.sizes = new ResizeObserver(() => this.chart.resize());
    this.sizes.observe(this.$el);
    this.again = () => this.draw();
    addEventListener("theme", this.again);
    this.draw();
  },
  unmounted() {
    removeEventListener("theme", this.again);
    this.sizes.disconnect();
    this.chart.dispose();
  },
  methods: {
    update(points, limit) {
      this.top = limit;
      this.known.push(...points);
      const since = Date.now() - SPAN_MS - 5_000;
      while (this.known.length && this.known[0][0] < since) this.known.shift();
      this.draw();
      return true;
    },
    draw() {
      const style = getComputedStyle(document.documentElement), ink = (name) => style.getPropertyValue(`--${name}`).trim();
      const now = Date.now(), limit = this.top ?? null;
      const top = Math.min(HIGHEST, Math.ceil(Math.max(2, 1.1 * (limit ?? 0), ...this.known.map(([, level]) => level ?? 0))));
      const axis = { axisLabel: { color: ink("soft"), fontSize: 11 }, axisLine: { lineStyle: { color: ink("edge") } } };
      this.chart.setOption({
        animation: false,
        grid: { left: 58, right: 14, top: 14, bottom: 26 },
        xAxis: { type: "time", min: now - SPAN_MS, max: now, ...axis, splitNumber: 5, splitLine: { show: false } },
        yAxis: { type: "value", min: 0, max: top, interval: 1, ...axis,
          axisLabel: { ...axis.axisLabel, formatter: label }, splitLine: { lineStyle: { color: ink("line") } } },
        tooltip: { trigger: "axis", backgroundColor: ink("card"), borderColor: ink("line"), textStyle: { color: ink("ink") },
          valueFormatter: (level) => (level == null ? "nobody scored" : `level ${(1 - 10 ** -level).toFixed(4)}`) },
        series: [
          { name: "Level", type: "line", showSymbol: false, data: this.known, color: ink("calm"),
            lineStyle: { width: 2 }, areaStyle: { opacity: 0.12 },
            markLine: limit === null ? undefined : { silent: true, symbol: "none", animation: false,
              lineStyle: { color: ink("warm"), type: "dashed", width: 1.5 }, data: [{ yAxis: limit }],
              label: { position: "insideEndTop", formatter: "threshold", color: ink("warm") } } },
          { name: "Above the threshold", type: "line", symbol: "circle", symbolSize: 5, color: ink("hot"),
            lineStyle: { width: 2.5 }, tooltip: { show: false },
            data: this.known.map(([at, level]) => [at, limit !== null && level >= limit ? level : null]) },
        ],
      });
    },
  },
};
