// A video, boxes over it, and a strip of segments under it. Everything that moves moves in the browser: the server
// only says what is shown, and may call play(start, end).
const HELD_S = 0.3; // how long a box stays before its first and after its last time
const LANE_PX = 16;
const LEAST_SIDE = 0.01; // of a drawn box, as a share of the picture's

export default {
  template: `
    <div>
      <div class="ev-stage">
        <video ref="video" :src="address" :controls="!drawing" muted playsinline preload="auto"
          @loadedmetadata="loaded" @seeking="sought" @seeked="isOwnSeek = false" @error="$emit('unplayable')"></video>
        <div class="ev-frame" :class="{drawing}" :style="frame" ref="frame" title="drag: a box; click: play or stop"
          @pointerdown.prevent="begin" @pointermove="grow" @pointerup="finish">
          <div v-for="box in boxes" class="ev-box" :style="box.style"><span>{{ box.label }}</span></div>
        </div>
      </div>
      <div class="ev-strip" ref="strip" @click="seek" :style="{height: 6 + 16 * lanes + 'px'}">
        <button v-for="s in segments" type="button" class="ev-segment" :title="s.label" :aria-label="s.label"
          :style="place(s)" @click.stop="play(s.start, s.end)"></button>
        <div class="ev-head" :style="{left: share(now)}"></div>
      </div>
      <div class="ev-clock">{{ now.toFixed(1) }} / {{ duration.toFixed(1) }} s</div>
    </div>`,
  props: {
    src: String,
    segments: { type: Array, default: () => [] }, // {start, end, label, color, lane}
    tracks: { type: Array, default: () => [] }, // {label, color, points: [[time, x0, y0, x1, y1], …] by time}
    drawing: Boolean, // whether a box can be drawn over the picture
  },
  emits: ["unplayable", "drawn"],
  data: () => ({ now: 0, duration: 0, end: null, isOwnSeek: false, frame: { display: "none" }, drawn: null }),
  computed: {
    address() {
      return this.src ? (window.path_prefix || "") + this.src : undefined;
    },
    lanes() {
      return 1 + Math.max(0, ...this.segments.map((segment) => segment.lane));
    },
    boxes() {
      const shown = this.tracks.map((track) => ({ ...track, box: this.boxAt(track.points) }));
      if (this.drawn) shown.push({ label: "", color: "#ffffff", box: this.drawn.box });
      return shown.filter(({ box }) => box).map(({ label, color, box: [x0, y0, x1, y1] }) => ({
        label,
        style: {
          left: 100 * x0 + "%", top: 100 * y0 + "%", width: 100 * (x1 - x0) + "%", height: 100 * (y1 - y0) + "%",
          borderColor: color,
        },
      }));
    },
  },
  watch: {
    src() { this.drawn = null; },
    drawing(on) { if (on) this.$refs.video.pause(); else this.drawn = null; },
  },
  mounted() {
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.$refs.video);
    const loop = () => {
      this.tick();
      this.request = requestAnimationFrame(loop);
    };
    loop();
  },
  unmounted() {
    cancelAnimationFrame(this.request);
    this.observer.disconnect();
  },
  methods: {
    loaded() {
      this.duration = this.$refs.video.duration || 0;
      this.end = null;
      this.layOut();
    },
    layOut() { // where the picture is inside the element: object-fit leaves bars
      const video = this.$refs.video;
      if (!video || !video.videoWidth) return;
      const scale = Math.min(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight);
      const width = video.videoWidth * scale, height = video.videoHeight * scale;
      this.frame = {
        left: video.offsetLeft + (video.clientWidth - width) / 2 + "px", width: width + "px",
        top: video.offsetTop + (video.clientHeight - height) / 2 + "px", height: height + "px",
      };
    },
    tick() {
      const video = this.$refs.video;
      if (!video) return;
      if (this.end !== null && !video.paused && video.currentTime >= this.end) {
        video.pause();
        this.isOwnSeek = true;
        video.currentTime = this.end;
        this.end = null;
      }
      if (this.now !== video.currentTime) this.now = video.currentTime;
    },
    sought() { // by hand: the segment is no longer what plays
      if (!this.isOwnSeek) this.end = null;
    },
    play(start, end) {
      const video = this.$refs.video;
      this.isOwnSeek = true;
      video.currentTime = start;
      this.end = Math.min(end, this.duration || end);
      video.play().catch(() => {});
    },
    seek(event) {
      const strip = this.$refs.strip.getBoundingClientRect();
      this.end = null;
      this.$refs.video.currentTime = ((event.clientX - strip.left) / strip.width) * this.duration;
    },
    boxAt(points) { // between two times a box moves evenly
      const now = this.now, last = points.length - 1;
      if (last < 0 || now < points[0][0] - HELD_S || now > points[last][0] + HELD_S) return null;
      const next = points.findIndex((point) => point[0] >= now);
      if (next === 0) return points[0].slice(1);
      if (next < 0) return points[last].slice(1);
      const before = points[next - 1], after = points[next];
      const share = (now - before[0]) / (after[0] - before[0]);
      return [1, 2, 3, 4].map((n) => before[n] + share * (after[n] - before[n]));
    },
    point(event) {
      const frame = this.$refs.frame.getBoundingClientRect();
      const clip = (share) => Math.min(1, Math.max(0, share));
      return [clip((event.clientX - frame.left) / frame.width), clip((event.clientY - frame.top) / frame.height)];
    },
    begin(event) {
      if (!this.drawing) return;
      const [x, y] = this.point(event);
      this.$refs.frame.setPointerCapture(event.pointerId);
      this.drawn = { from: [x, y], box: [x, y, x, y], open: true };
    },
    grow(event) {
      if (!this.drawn?.open) return;
      const [x, y] = this.point(event), [x0, y0] = this.drawn.from;
      this.drawn.box = [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)];
    },
    finish() { // what is hardly larger than a point was a click: it plays or stops the video
      if (!this.drawn?.open) return;
      const [x0, y0, x1, y1] = this.drawn.box, video = this.$refs.video;
      const isBox = x1 - x0 >= LEAST_SIDE && y1 - y0 >= LEAST_SIDE;
      if (isBox) this.drawn.open = false;
      else this.drawn = null;
      this.$emit("drawn", isBox ? { box: this.drawn.box, time: video.currentTime } : null);
      if (isBox || !video.paused) video.pause();
      else video.play().catch(() => {});
    },
    dropBox() {
      this.drawn = null;
    },
    share(time) {
      return this.duration ? 100 * Math.min(Math.max(time / this.duration, 0), 1) + "%" : "0%";
    },
    place(segment) {
      return {
        left: this.share(segment.start), background: segment.color, top: 3 + LANE_PX * segment.lane + "px",
        width: `max(4px, calc(${this.share(segment.end)} - ${this.share(segment.start)}))`,
      };
    },
  },
};
