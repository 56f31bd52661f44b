// One pane: a series, a slice of it, a window, a place on the screen. What the hand does to it is in hand.js.

// Fractions of the series' range; Dark spreads the dark tissues, Fluid those that are bright.
const WINDOWS = { Full: [0, 1], Brighter: [0, 0.6], Contrast: [0.12, 0.7], Dark: [0, 0.35], Fluid: [0.4, 1] };

class Pane {
  constructor(viewer, kind, colour) {
    Object.assign(this, { viewer, kind, colour, index: 0, marks: [], measures: [], buffer: surface(1, 1), rate: 8 });
    const names = ["tl", "tr", "bl", "br", "left", "right", "top", "bottom", "message", "measured", "tip", "spoken"];
    this.texts = Object.fromEntries(names.map((name) => [name, make(`div.text.${name}`)]));
    this.texts.tip.hidden = true;
    for (const name of ["measured", "spoken"]) this.texts[name].setAttribute("role", "status");
    [this.canvas, this.over] = [make("canvas"), make("canvas")]; // picture and overlay: lines move without drawing the picture anew
    this.size = [1, 1];
    const spoken = { tabindex: 0, role: "application", "aria-label": `${kind}: arrow keys change the slice, 1 to 5 the window` };
    this.box = make("div.view", spoken, this.canvas, this.over, ...Object.values(this.texts));
    const scroll = { "aria-label": `Slice of ${kind}`, oninput: () => this.scrollTo(+this.bar.value) };
    this.bar = make("input", { type: "range", min: 0, ...scroll });
    this.player = make("button.player", { type: "button", onclick: () => this.play(!this.playing) });
    const frame = { "data-kind": kind, "aria-label": kind, style: `--plane: ${colour}` };
    this.element = make("section.pane", frame, this.choice(), this.box, make("div.scroll", this.player, this.bar));
    this.hand = new Hand(this);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
    this.open((this.own.find((s) => s.slices.length) ?? this.own[0])?.id);
  }

  // All series of the study can be put into any pane; its own kind comes first.
  choice() {
    const { series } = this.viewer.study;
    this.own = series.filter((s) => s.description === this.kind);
    this.offered = [...this.own, ...series.filter((s) => s.description !== this.kind)];
    const options = this.offered.map((s) => make("option", { value: s.id }, `${s.description} · ${s.id}`));
    const act = { "aria-label": `Series in the ${this.kind} pane`, onchange: () => this.open(+this.picker.value) };
    this.picker = make("select", act, ...options);
    this.picker.hidden = this.offered.length < 2;
    return this.picker;
  }

  get slice() {
    return this.series?.slices[this.index];
  }

  open(id) {
    this.series = this.viewer.study.series.find((s) => s.id === id);
    const { slices = [], left_out = [], problem = `This study has no ${this.kind} series.` } = this.series ?? {};
    const faulty = left_out.length ? `Files left out: ${left_out.length}, the first is ${left_out[0]}` : "";
    this.texts.message.textContent = slices.length ? faulty : problem;
    this.box.classList.toggle("empty", !slices.length);
    this.picker.value = id ?? "";
    [this.bar.max, this.bar.disabled, this.player.disabled] = [Math.max(slices.length - 1, 0), slices.length < 2, slices.length < 2];
    this.extent = [0, 1].map((i) => Math.max(1, ...slices.map((s) => s.size[i] * s.spacing[i])));
    this.play(false);
    this.reset();
    this.scrollTo(this.viewer.crosshair && slices.length ? nearestSlice(slices, this.viewer.crosshair) : slices.length >> 1);
  }

  openNext(step) {
    const at = this.offered.indexOf(this.series) + step;
    if (this.offered.length) this.open(this.offered.at(at % this.offered.length).id);
  }

  reset() {
    this.view = { zoom: 1, pan: [0, 0] };
    [this.measures, this.hand.open] = [[], null];
    this.setWindow(WINDOWS.Full, false);
  }

  setWindow(window, inverted = this.inverted) {
    Object.assign(this, { window, inverted, painted: null });
    this.viewer.refresh(this);
  }

  scrollTo(index) {
    const last = +this.bar.max;
    this.bar.value = this.index = clamp(index, 0, last);
    const words = `slice ${this.index + 1} of ${last + 1}`;
    this.bar.setAttribute("aria-valuetext", words);
    if (!this.playing && this.viewer.active === this) this.texts.spoken.textContent = words; // for who cannot see it
    this.viewer.refresh(this);
  }

  // Brings a place into sight: its slice, its series if that is another one here, and the picture if it is zoomed away.
  goTo(mm, point) {
    const other = this.own.find((s) => s.id === point?.series);
    if (other && other !== this.series) this.open(other.id);
    if (!this.slice) return;
    this.scrollTo(point?.series === this.series.id ? point.slice : nearestSlice(this.series.slices, mm));
    if (this.view.zoom === 1 && !this.view.pan.some(Boolean)) return; // all of it is in sight
    const at = this.toScreen(toPixel(this.slice, mm).map((v, i) => clamp(v, 0, this.slice.size[i] - 1)));
    if (at.some((v, i) => Math.abs(v / this.size[i] - 0.5) > 0.47)) this.move(at.map((v, i) => this.size[i] / 2 - v));
  }

  // Cine runs to the end and back again, so that no frame jumps.
  play(on) {
    clearInterval(this.playing);
    this.playing = on && this.slice ? setInterval(() => this.advance(), 1000 / this.rate) : null;
    this.player.textContent = this.playing ? "❚❚" : "▶";
    const words = this.playing ? `Stop cine of ${this.kind}` : `Cine of ${this.kind}, ${this.rate} slices a second`;
    this.player.setAttribute("aria-label", words);
    this.player.title = `${words} (c; [ slower, ] faster)`;
  }

  advance() {
    if (!this.element.isConnected) return this.play(false); // the notebook has removed the output
    if (this.index === 0) this.direction = 1;
    if (this.index === +this.bar.max) this.direction = -1;
    this.scrollTo(this.index + (this.direction ?? 1));
  }

  setRate(factor) {
    this.rate = Math.round(clamp(this.rate * factor, 2, 30));
    this.play(Boolean(this.playing));
  }

  // -- Screen = middle of the pane + (mm from the middle of the slice + pan) × scale: one scale, so true both ways

  get scale() {
    return this.view.zoom * Math.min(...this.extent.map((mm, i) => this.size[i] / mm));
  }

  toScreen(xy) {
    const { size, spacing } = this.slice;
    return xy.map((v, i) => this.size[i] / 2 + ((v - (size[i] - 1) / 2) * spacing[i] + this.view.pan[i]) * this.scale);
  }

  fromScreen(at) {
    const { size, spacing } = this.slice;
    return at.map((v, i) => ((v - this.size[i] / 2) / this.scale - this.view.pan[i]) / spacing[i] + (size[i] - 1) / 2);
  }

  zoom(factor, at = this.size.map((v) => v / 2)) {
    const held = this.fromScreen(at);
    this.view.zoom = clamp(this.view.zoom * factor, 0.5, 20);
    this.move(minus(at, this.toScreen(held)));
  }

  move(by) {
    this.view.pan = this.view.pan.map((v, i) => v + by[i] / this.scale);
    this.viewer.refresh(this);
  }

  // -- The picture

  resize() {
    this.ratio = globalThis.devicePixelRatio || 1;
    this.size = [this.box.clientWidth || 1, this.box.clientHeight || 1]; // kept: asking the page in every frame is slow
    for (const canvas of [this.canvas, this.over]) [canvas.width, canvas.height] = this.size.map((v) => Math.round(v * this.ratio));
    this.shown = null;
    this.draw(); // at once: a canvas that changes its size goes blank, and would flicker
    writeCorners(this);
  }

  // The slice through the window into the buffer, done again only when one of the two has changed.
  paint() {
    const { slice, buffer } = this;
    if (!slice.grey) return void this.viewer.load(slice);
    if (this.painted === slice) return buffer;
    const [table, data] = [lookup(this.window, this.inverted), new ImageData(...slice.size)];
    const words = new Uint32Array(data.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = table[slice.grey[i]];
    [buffer.width, buffer.height] = slice.size;
    buffer.getContext("2d").putImageData(data, 0, 0);
    this.painted = slice;
    return buffer;
  }

  // A cleared canvas in CSS pixels.
  clean(canvas) {
    const [ctx, ratio] = [canvas.getContext("2d"), this.ratio ?? 1];
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, ...this.size);
    return ctx;
  }

  drawPicture() {
    const picture = this.slice && this.paint();
    const [from, to] = this.slice ? [[-0.5, -0.5], this.slice.size.map((n) => n - 0.5)].map((xy) => this.toScreen(xy)) : [[], []];
    const state = [this.slice, Boolean(picture), this.window, this.inverted, ...from, ...to];
    if (this.shown?.every((v, i) => v === state[i])) return;
    this.shown = state;
    const ctx = this.clean(this.canvas);
    ctx.imageSmoothingQuality = "high";
    if (picture) ctx.drawImage(picture, ...from, ...minus(to, from));
  }

  draw() {
    const { show, panes, crosshair } = this.viewer;
    this.drawPicture();
    const ctx = this.clean(this.over);
    this.marks = [];
    if (!this.slice) return;
    if (show.planes) drawPlanes(ctx, this, panes, show.blocks), drawCrosshair(ctx, this, crosshair);
    if (show.labels) this.marks = drawMarks(ctx, this, this.viewer.marksOf(this.series));
    drawMeasures(ctx, this);
    drawRuler(ctx, this);
  }
}
