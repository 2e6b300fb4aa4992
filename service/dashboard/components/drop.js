// Uploads a video to the service and shows the progress.
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

export default {
  template: `
<div>
  <label class="drop" :class="{ over }" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="dropped">
    <q-icon name="upload_file" size="2rem" aria-hidden="true"></q-icon>
    <span><b>Choose a video</b> or drop it here</span><span class="soft small">{{ hint }}</span>
    <input ref="file" type="file" accept="video/*,.mkv,.avi" @change="chosen">
  </label>
  <div v-if="name" style="margin-top:.75rem">
    <p role="status">{{ said }}</p>
    <progress :value="share ?? undefined" max="1" :aria-label="said"></progress>
    <button type="button" class="act" style="margin-top:.6rem" @click="request.abort()">Cancel upload</button>
  </div>
  <p v-if="trouble" class="trouble" role="alert" style="margin-top:.75rem">{{ trouble }}</p>
</div>`,
  props: { hint: String },
  data: () => ({ over: false, name: "", share: 0, trouble: "" }),
  computed: {
    said() { return this.share === null ? `Checking ${this.name}…` : `Uploading ${this.name}: ${Math.floor(100 * this.share)} %`; },
  },
  methods: {
    chosen() { if (this.$refs.file.files.length) this.send(this.$refs.file.files[0]); },
    dropped(event) { this.over = false; if (event.dataTransfer.files.length) this.send(event.dataTransfer.files[0]); },
    send(file) {
      if (this.name) { this.trouble = "An upload is already running. Wait for it or cancel it."; return; }
      const request = this.request = new XMLHttpRequest();
      const end = (trouble) => { this.name = ""; this.$refs.file.value = ""; this.trouble = trouble; };
      Object.assign(this, { name: file.name, share: 0, trouble: "" });
      request.upload.onprogress = ({ loaded, total }) => { this.share = loaded / total; };
      request.upload.onload = () => { this.share = null; };
      request.onabort = () => end("");
      request.onerror = () => end("The connection was lost during the upload.");
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { /* not JSON: a proxy answered */ }
        if (request.status !== 200 && request.status !== 202) return end(sentence(answer.detail ?? `the service answered with status ${request.status}`));
        end("");
        this.$emit("accepted", answer.id);
      };
      request.open("POST", "/v1/clips");
      const form = new FormData();
      form.append("file", file);
      request.send(form);
    },
  },
};
