// One pane: a series, the slice of it on show, a window, and the slice's position on the screen.
// How the user changes them is in interaction.js.

// Fractions of the series' range; Dark stretches the contrast of dark tissues, Fluid of bright.
const WINDOWS = {
  Full: [0, 1],
  Brighter: [0, 0.6],
  Contrast: [0.12, 0.7],
  Dark: [0, 0.35],
  Fluid: [0.4, 1],
};
const EDGES = ["left", "right", "top", "bottom"];
const TEXTS = ["tl", "tr", "bl", "br", ...EDGES, "message", "measured", "tip", "spoken"];
const ZOOMS = [0.5, 20]; // smallest and largest
const MARGIN = 0.47; // of the pane's size from its middle: a point further out is out of sight

// Screen pixels, where the browser tells of them: they change when the window goes to another
// screen or the page is zoomed, and CSS pixels do not.
function observeResolution(observer, element) {
  try {
    observer.observe(element, { box: "device-pixel-content-box" });
  } catch {
    observer.observe(element);
  }
}

class Pane {
  constructor(viewer, kind, colour) {
    Object.assign(this, { viewer, kind, colour, index: 0, marks: [], size: [1, 1] });
    this.layers = new Layers(this);
    this.measurements = new Measurements(this);
    this.cine = new Cine(this);
    this.sortSeries();
    this.build();
    this.interaction = new Interaction(this);
    this.observer = new ResizeObserver(() => this.resize());
    observeResolution(this.observer, this.box);
    this.open((this.own.find((s) => s.slices.length) ?? this.own[0])?.id);
  }

  // -- Elements

  build() {
    const frame = {
      "data-kind": this.kind,
      "aria-label": this.kind,
      style: `--plane: ${this.colour}`,
    };
    this.box = this.makeBox();
    this.picker = this.makePicker();
    this.slider = make("input", {
      type: "range",
      min: 0,
      "aria-label": `Slice of ${this.kind}`,
      oninput: () => this.scrollTo(+this.slider.value),
    });
    const scroll = make("div.scroll", this.cine.button, this.slider);
    this.element = make("section.pane", frame, this.picker, this.box, scroll);
  }

  makeBox() {
    this.texts = Object.fromEntries(TEXTS.map((name) => [name, make(`div.text.${name}`)]));
    this.texts.tip.hidden = true;
    for (const name of ["measured", "spoken"]) this.texts[name].setAttribute("role", "status");
    const attributes = {
      tabindex: 0,
      role: "application",
      "aria-label": `${this.kind}: arrow keys change the slice, 1 to 5 the window`,
    };
    return make("div.view", attributes, ...this.layers.canvases, ...Object.values(this.texts));
  }

  // -- Series

  // Every series of the study can be shown in any pane; those of the pane's own kind come first.
  sortSeries() {
    const { series } = this.viewer.study;
    this.own = series.filter((s) => s.description === this.kind);
    this.offered = [...this.own, ...series.filter((s) => s.description !== this.kind)];
  }

  makePicker() {
    const option = ({ id, description }) => make("option", { value: id }, `${description} · ${id}`);
    const attributes = {
      "aria-label": `Series in the ${this.kind} pane`,
      onchange: () => this.open(+this.picker.value),
    };
    const picker = make("select", attributes, ...this.offered.map(option));
    picker.hidden = this.offered.length < 2;
    return picker;
  }

  open(id) {
    const { crosshair, study } = this.viewer;
    this.series = study.series.find((s) => s.id === id);
    const slices = this.series?.slices ?? [];
    this.texts.message.textContent = this.messageText(slices);
    this.box.classList.toggle("empty", !slices.length);
    this.picker.value = id ?? "";
    this.last = Math.max(slices.length - 1, 0);
    this.slider.max = this.last;
    for (const control of [this.slider, this.cine.button]) control.disabled = slices.length < 2;
    this.extent = [0, 1].map((i) => Math.max(1, ...slices.map((s) => s.size[i] * s.spacing[i])));
    this.cine.play(false);
    this.reset();
    const nearest = crosshair && slices.length ? nearestSlice(slices, crosshair) : null;
    this.scrollTo(nearest ?? slices.length >> 1);
  }

  openNext(step) {
    if (!this.offered.length) return;
    const position = this.offered.indexOf(this.series) + step;
    this.open(this.offered.at(position % this.offered.length).id);
  }

  messageText(slices) {
    if (!this.series) return `This study has no ${this.kind} series.`;
    const { problem, left_out: leftOut = [] } = this.series;
    if (!slices.length) return problem;
    return leftOut.length ? `Files left out: ${leftOut.length}, the first is ${leftOut[0]}` : "";
  }

  // -- Slice and window

  get slice() {
    return this.series?.slices[this.index];
  }

  reset() {
    this.view = { zoom: 1, pan: [0, 0] };
    this.measurements.clear();
    this.setWindow(WINDOWS.Full, false);
  }

  setWindow(window, inverted = this.inverted) {
    Object.assign(this, { window, inverted });
    this.layers.painted = null;
    this.viewer.refresh(this);
  }

  scrollTo(index) {
    this.index = clamp(index, 0, this.last);
    this.slider.value = this.index;
    const text = `slice ${this.index + 1} of ${this.last + 1}`;
    this.slider.setAttribute("aria-valuetext", text);
    const isSpoken = !this.cine.playing && this.viewer.active === this;
    if (isSpoken) this.texts.spoken.textContent = text; // for screen readers
    this.viewer.refresh(this);
  }

  // Brings a position into sight: its slice, its series if another one of this kind has the
  // annotated point, and the image if it is zoomed.
  goTo(mm, point) {
    const other = this.own.find((s) => s.id === point?.series);
    if (other && other !== this.series) this.open(other.id);
    if (!this.slice) return;
    const isAnnotated = point?.series === this.series.id;
    this.scrollTo(isAnnotated ? point.slice : nearestSlice(this.series.slices, mm));
    this.bringIntoSight(mm);
  }

  bringIntoSight(mm) {
    if (this.view.zoom === 1 && !this.view.pan.some(Boolean)) return; // all of it is in sight
    const at = this.toScreen(clampToImage(this.slice, toPixel(this.slice, mm)));
    const isOutside = at.some((v, i) => Math.abs(v / this.size[i] - 0.5) > MARGIN);
    if (isOutside) this.move(at.map((v, i) => this.size[i] / 2 - v));
  }

  // -- Screen = middle of the pane + (mm from the middle of the slice + pan) × scale. Both axes
  // have the same scale, so that a millimetre is as long across as down.

  get scale() {
    return this.view.zoom * Math.min(...this.extent.map((mm, i) => this.size[i] / mm));
  }

  toScreen(xy) {
    const { size, spacing } = this.slice;
    const toScreen = (v, i) => {
      const mm = (v - (size[i] - 1) / 2) * spacing[i];
      return this.size[i] / 2 + (mm + this.view.pan[i]) * this.scale;
    };
    return xy.map(toScreen);
  }

  fromScreen(at) {
    const { size, spacing } = this.slice;
    const fromScreen = (v, i) => {
      const mm = (v - this.size[i] / 2) / this.scale - this.view.pan[i];
      return mm / spacing[i] + (size[i] - 1) / 2;
    };
    return at.map(fromScreen);
  }

  // The point of the image at `at` stays there.
  zoom(factor, at = this.size.map((v) => v / 2)) {
    const held = this.fromScreen(at);
    this.view.zoom = clamp(this.view.zoom * factor, ...ZOOMS);
    this.move(minus(at, this.toScreen(held)));
  }

  move(by) {
    this.view.pan = this.view.pan.map((v, i) => v + by[i] / this.scale);
    this.viewer.refresh(this);
  }

  // -- Drawing

  resize() {
    // Kept, because it is slow to query the layout in every frame.
    this.size = [this.box.clientWidth || 1, this.box.clientHeight || 1];
    this.layers.resize(this.size);
    this.draw(); // at once: a canvas whose size changes goes blank, and would flicker
    writeCorners(this);
  }

  draw() {
    const { show, panes, crosshair } = this.viewer;
    if (this.layers.ratio !== this.layers.screenRatio) this.layers.resize(this.size);
    this.layers.drawImage();
    const ctx = this.layers.clearOverlay();
    this.marks = [];
    if (!this.slice) return;
    if (show.structures) drawOutlines(ctx, this);
    if (show.planes) {
      drawPlanes(ctx, this, panes, show.blocks);
      drawCrosshair(ctx, this, crosshair);
    }
    if (show.labels) this.marks = drawMarks(ctx, this, this.viewer.marks.on(this.series));
    drawMeasurements(ctx, this);
    drawRuler(ctx, this);
  }
}
