// The two canvases of a pane: the image, and over it an overlay whose lines move without the image
// being drawn again.

const MOST_RATIO = 4; // pixels of a canvas per CSS px: more would only cost memory

class Layers {
  constructor(pane) {
    Object.assign(this, { pane, ratio: 1, magnified: 1 });
    this.canvases = [make("canvas"), make("canvas")];
    this.buffer = makeCanvas(1, 1); // holds one slice, pixel by pixel
    this.painted = null; // the slice in the buffer; null if the window has changed since
    this.drawn = null; // what the image on the screen depends on
  }

  // Pixels of the screen per CSS px, as they are now.
  get screenRatio() {
    return clamp((globalThis.devicePixelRatio || 1) * this.magnified, 1, MOST_RATIO);
  }

  // To a size in CSS px; a canvas has the screen's own resolution.
  resize(size) {
    this.ratio = this.screenRatio;
    const [width, height] = size.map((v) => Math.round(v * this.ratio));
    for (const canvas of this.canvases) Object.assign(canvas, { width, height });
    this.drawn = null;
  }

  // The page, or a part of it, is shown magnified by this factor, which no event tells.
  follow(magnified) {
    if (Math.abs(magnified / this.magnified - 1) < 0.01) return;
    this.magnified = magnified;
    this.pane.resize();
  }

  // The context of a cleared canvas, in CSS px.
  clear(canvas) {
    const ctx = canvas.getContext("2d");
    ctx.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    ctx.clearRect(0, 0, ...this.pane.size);
    return ctx;
  }

  clearOverlay() {
    return this.clear(this.canvases[1]);
  }

  // Nothing is drawn if nothing has changed.
  drawImage() {
    const { pane } = this;
    const { slice, window, inverted } = pane;
    const image = slice ? this.paint() : null;
    const from = slice ? pane.toScreen([-0.5, -0.5]) : []; // the outer corner of the first pixel
    const to = slice ? pane.toScreen(slice.size.map((n) => n - 0.5)) : []; // and of the last
    const state = [slice, Boolean(image), window, inverted, ...from, ...to];
    if (this.drawn?.every((v, i) => v === state[i])) return;
    this.drawn = state;
    const ctx = this.clear(this.canvases[0]);
    ctx.imageSmoothingQuality = "high";
    if (image) ctx.drawImage(image, ...from, ...minus(to, from));
  }

  // The slice through the window, painted again only when one of the two has changed; null while
  // the slice is still being decoded.
  paint() {
    const { slice, window, inverted, viewer } = this.pane;
    if (!slice.grey) {
      viewer.load(slice);
      return null;
    }
    if (this.painted !== slice) paintSlice(this.buffer, slice, window, inverted);
    this.painted = slice;
    return this.buffer;
  }
}
