// A time in the viewer's time zone and language.
const FULL = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat([], { dateStyle: "medium" });

export function said(at, format) {
  if (!at) return "–";
  const moment = new Date(at);
  if (format === "time") return TIME.format(moment);
  if (format === "full") return FULL.format(moment);
  return DAY.format(moment) === DAY.format(new Date()) ? `today, ${TIME.format(moment)}` : FULL.format(moment);
}

export default {
  template: `<time :datetime="at" :title="title">{{ words }}</time>`,
  props: { at: String, format: String },
  computed: {
    words() { return said(this.at, this.format); },
    title() { return said(this.at, "full"); },
  },
};
