// What mouse, fingers and keys do in a pane. Keys that mean the same in every pane are the viewer's.

const STEPS = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, Home: -1e9, End: 1e9 };
const NUDGES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

class Hand {
  constructor(pane) {
    Object.assign(this, { pane, viewer: pane.viewer, pointers: new Map() });
    const on = (name, act) => pane.box.addEventListener(name, (event) => pane.slice && act(event), { passive: false });
    on("pointerdown", (e) => this.press(e));
    on("pointermove", (e) => (this.pointers.has(e.pointerId) ? this.drag(e) : this.hover(this.at(e))));
    for (const name of ["pointerup", "pointercancel"]) on(name, (e) => this.release(e));
    on("pointerleave", () => this.hover());
    on("wheel", (e) => this.wheel(e));
    on("dblclick", () => pane.reset());
    on("contextmenu", (e) => (e.preventDefault(), e.stopPropagation())); // the right button is for the window
    pane.box.addEventListener("keydown", (e) => this.key(e));
    pane.box.addEventListener("focus", () => this.viewer.activate(pane));
  }

  at(event) {
    const box = this.pane.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // -- Mouse and fingers

  press(event) {
    const { box } = this.pane;
    event.preventDefault(); // no text selection, no autoscroll by the middle button; so the focus moves by hand
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.action = this.actionOf(event);
    if (this.action === "measure") this.begin(this.pane.fromScreen(this.at(event)));
    this.drag(event);
  }

  actionOf(event) {
    if (event.button === 2 || event.ctrlKey) return "window";
    if (event.button === 1 || event.shiftKey) return "pan";
    return this.viewer.show.measure ? "measure" : "point";
  }

  drag(event) {
    const [before, now] = [this.pointers.get(event.pointerId), this.at(event)];
    const by = minus(now, before);
    this.pointers.set(event.pointerId, now);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) this.pane.zoom(Math.hypot(...minus(now, other)) / Math.max(Math.hypot(...minus(before, other)), 1), other);
    else if (this.action === "pan") this.pane.move(by);
    else if (this.action === "window") this.changeWindow(by[0] / 300, by[1] / 300);
    else if (this.action === "measure") this.stretch(this.pane.fromScreen(now));
    else this.viewer.point(this.pane, this.pane.fromScreen(now));
    this.hover(now);
  }

  release(event) {
    this.pointers.delete(event.pointerId);
    if (this.action === "measure" && this.open) this.end();
  }

  changeWindow(wider, higher) {
    const [low, high] = this.pane.window;
    const half = clamp(high - low + wider, 0.02, 3) / 2;
    const level = clamp((low + high) / 2 + higher, -0.5, 1.5);
    this.pane.setWindow([level - half, level + half]);
  }

  wheel(event) {
    event.preventDefault();
    const notch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= 50; // a wheel clicks, a touchpad trickles
    const closer = notch ? 1.2 ** -Math.sign(event.deltaY) : Math.exp(-event.deltaY / 60);
    if (event.ctrlKey) return this.pane.zoom(closer, this.at(event));
    this.rolled = notch ? Math.sign(event.deltaY) * 30 : (this.rolled ?? 0) + event.deltaY;
    const steps = Math.trunc(this.rolled / 30);
    this.rolled -= steps * 30;
    if (steps) this.pane.scrollTo(this.pane.index + steps);
  }

  // -- A distance: from begin to end; with the mouse by a drag, with keys from crosshair to crosshair

  begin(xy) {
    const { series, index, measures } = this.pane;
    if (this.open) measures.splice(measures.indexOf(this.open), 1); // begun and never ended
    this.open = { series, index, ends: [xy, xy] };
    measures.push(this.open);
  }

  stretch(xy) {
    if (this.open) this.open.ends = [this.open.ends[0], xy]; // Escape may have ended it
    this.viewer.refresh();
  }

  // A click that went nowhere measures nothing.
  end() {
    const [from, to] = this.open.ends.map((xy) => this.pane.toScreen(xy));
    if (Math.hypot(...minus(to, from)) < 3) this.pane.measures = this.pane.measures.filter((m) => m !== this.open);
    this.open = null;
    this.viewer.refresh();
  }

  // -- Keys

  key(event) {
    const { pane } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || !(pane.slice || event.key.startsWith("Page"))) return;
    const acts = {
      "+": () => pane.zoom(1.25),
      "=": () => pane.zoom(1.25),
      "-": () => pane.zoom(0.8),
      0: () => pane.reset(),
      i: () => pane.setWindow(pane.window, !pane.inverted),
      ",": () => this.changeWindow(0, -0.05),
      ".": () => this.changeWindow(0, 0.05),
      "<": () => this.changeWindow(-0.1, 0),
      ">": () => this.changeWindow(0.1, 0),
      c: () => pane.play(!pane.playing),
      "[": () => pane.setRate(0.8),
      "]": () => pane.setRate(1.25),
      PageUp: () => pane.openNext(-1),
      PageDown: () => pane.openNext(1),
      Enter: () => this.measureByKeys(),
      Escape: () => this.forget(),
    };
    const preset = this.viewer.quiz.asking ? null : Object.values(WINDOWS)["12345".indexOf(event.key)];
    if (event.shiftKey && event.key in NUDGES) this.nudge(NUDGES[event.key]);
    else if (event.key in STEPS) pane.scrollTo(pane.index + STEPS[event.key]);
    else if (preset) pane.setWindow(preset);
    else if (event.key in acts) acts[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // The crosshair's place on this slice, from which keys move it a millimetre at a time.
  get here() {
    const { slice } = this.pane;
    return toPixel(slice, this.viewer.crosshair ?? toPatient(slice, slice.size.map((n) => (n - 1) / 2)));
  }

  nudge(by) {
    const xy = this.here.map((v, i) => v + by[i] / this.pane.slice.spacing[i]);
    this.viewer.point(this.pane, xy);
    this.pane.goTo(this.viewer.crosshair); // it may have left the picture
    if (this.open) this.stretch(xy);
  }

  measureByKeys() {
    if (!this.viewer.show.measure) return;
    if (this.open) this.end();
    else this.begin(this.here);
  }

  forget() {
    [this.pane.measures, this.open] = [[], null];
    this.pane.play(false);
    this.viewer.refresh();
  }

  // What lies under the pointer: its place and value in the corner, and the name of a marker close by.
  hover(at) {
    const { texts, slice, series, marks } = this.pane;
    this.resting = at;
    [texts.tr.textContent, texts.tip.hidden] = ["", true];
    if (!at || !slice) return;
    const [x, y] = this.pane.fromScreen(at).map(Math.round);
    if (x < 0 || y < 0 || x >= slice.size[0] || y >= slice.size[1]) return;
    const [low, high] = series.range;
    const value = slice.grey ? Math.round(low + (slice.grey[y * slice.size[0] + x] / 255) * (high - low)) : "";
    texts.tr.textContent = `${placeText(toPatient(slice, this.pane.fromScreen(at)))}\n${value}`;
    const away = (mark) => Math.hypot(...minus(mark.at, at));
    const [near] = marks.filter((mark) => away(mark) < 12).sort((a, b) => away(a) - away(b));
    if (near) this.tip(near);
  }

  tip({ cell, predicted, at }) {
    const { tip } = this.pane.texts;
    const found = cell.apart && `\n${cell.apart}`;
    const told = predicted ? [`predicted ${cell.guess}${found}`, ...shares(cell)] : [cell.label];
    tip.replaceChildren(cell.name, "\n", ...(this.viewer.quiz.asking ? ["your grade?"] : told));
    tip.hidden = false;
    const room = [tip.offsetWidth, tip.offsetHeight];
    const [left, top] = at.map((v, i) => clamp(v + 12, 0, this.pane.size[i] - room[i] - 4));
    [tip.style.left, tip.style.top] = [`${left}px`, `${top}px`];
  }
}
