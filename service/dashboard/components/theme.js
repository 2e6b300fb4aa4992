// Button for the colour scheme: that of the system, dark, or light.
const ORDER = ["auto", "dark", "light"];
const ICONS = { auto: "brightness_auto", dark: "dark_mode", light: "light_mode" };
const NAMES = { auto: "system", dark: "dark", light: "light" };

export default {
  template: `<button type="button" class="round" :aria-label="label" :title="label" @click="next">
    <q-icon :name="icon" size="1.3rem" aria-hidden="true"></q-icon></button>`,
  data: () => ({ theme: localStorage.getItem("theme") || "auto" }),
  computed: {
    icon() { return ICONS[this.theme]; },
    label() { return `Colour scheme: ${NAMES[this.theme]}. Change`; },
  },
  mounted() { this.apply(); },
  methods: {
    next() {
      this.theme = ORDER[(ORDER.indexOf(this.theme) + 1) % ORDER.length];
      localStorage.setItem("theme", this.theme);
      this.apply();
    },
    apply() {
      document.documentElement.dataset.theme = this.theme;
      Quasar.Dark.set(this.theme === "auto" ? "auto" : this.theme === "dark");
      dispatchEvent(new Event("theme"));
    },
  },
};
