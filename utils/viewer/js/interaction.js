// What mouse, touch and keys do in a pane. Keys with the same effect in every pane are handled by
// the viewer.

const STEPS = {
  ArrowUp: -1,
  ArrowLeft: -1,
  ArrowDown: 1,
  ArrowRight: 1,
  Home: -Infinity,
  End: Infinity,
};
const NUDGES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const NEITHER = [NaN, NaN]; // where no press was: of two fingers neither taps nor drags
const PRESET_KEYS = "12345";

// Chosen by hand, with a mouse and with a touchpad.
const WINDOW_DRAG_PX = 300; // a drag of this length changes the window by the whole range
const NOTCH = 50; // a wheel event of at least this is one notch of a mouse wheel
const TAP_PX = 10; // a finger that moves by less taps
const SCROLL = 30; // so much of a touchpad's scrolling is one slice
const WHEEL_ZOOM = 1.2; // by one notch
const TOUCHPAD_ZOOM = 60; // so much of a touchpad's scrolling zooms by a factor of e

class Interaction {
  constructor(pane) {
    Object.assign(this, { pane, viewer: pane.viewer, pointers: new Map(), scrolled: 0 });
    this.hover = new Hover(pane);
    this.listen();
    pane.box.addEventListener("keydown", (e) => this.key(e));
    pane.box.addEventListener("focus", () => this.viewer.activate(pane));
  }

  // Pointer events; none has an effect in a pane without slices.
  listen() {
    const handlers = {
      pointerdown: (e) => this.press(e),
      pointermove: (e) => this.move(e),
      pointerup: (e) => this.release(e),
      pointercancel: (e) => this.release(e),
      pointerleave: () => this.hover.update(),
      wheel: (e) => this.wheel(e),
      dblclick: () => this.pane.reset(),
      contextmenu: (e) => consume(e), // the right button changes the window
    };
    for (const [name, handle] of Object.entries(handlers)) {
      const listener = (event) => this.pane.slice && handle(event);
      this.pane.box.addEventListener(name, listener, { passive: false });
    }
  }

  // In CSS px of the pane, also where the page or a part of it is scaled.
  at(event) {
    const { layers, size } = this.pane;
    const box = layers.canvases[0].getBoundingClientRect();
    const across = box.width / size[0] || 1;
    const down = box.height / size[1] || 1;
    layers.follow(across);
    return [(event.clientX - box.left) / across, (event.clientY - box.top) / down];
  }

  // -- Mouse and touch

  press(event) {
    const { box, measurements } = this.pane;
    const at = this.at(event);
    event.preventDefault(); // no text selection and no autoscroll; the focus then has to be set
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, at);
    const isAlone = this.pointers.size === 1;
    this.pressed = event.pointerType === "touch" ? (isAlone ? at : NEITHER) : null; // null: a mouse
    this.action = this.actionOf(event);
    if (this.action === "measure") measurements.start(this.pane.fromScreen(at));
    if (!this.pressed) this.drag(event);
  }

  actionOf(event) {
    if (event.button === 2 || event.ctrlKey) return "window";
    if (event.button === 1 || event.shiftKey) return "pan";
    return this.viewer.show.measure ? "measure" : "point";
  }

  move(event) {
    if (this.pointers.has(event.pointerId)) this.drag(event);
    else this.hover.update(this.at(event));
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    const now = this.at(event);
    this.pointers.set(event.pointerId, now);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) return this.pinch(before, now, other);
    if (this.mayScrollPage(now)) return;
    this.dragBy(minus(now, before), now);
    this.hover.update(now);
  }

  // A finger that goes up or down scrolls the page, unless it measures; which of both it does is
  // known when it has moved across, or when it is lifted.
  mayScrollPage(now) {
    if (!this.pressed) return false;
    const [across, down] = minus(now, this.pressed).map(Math.abs);
    const isOurs = this.action === "measure" || across > Math.max(TAP_PX, down);
    if (isOurs) this.pressed = null;
    return !isOurs;
  }

  // Zooms about the finger that rests.
  pinch(before, now, resting) {
    this.pressed = NEITHER; // until all fingers are lifted
    const apart = Math.max(norm(minus(before, resting)), 1);
    this.pane.zoom(norm(minus(now, resting)) / apart, resting);
  }

  dragBy([dx, dy], now) {
    const { pane } = this;
    if (this.action === "pan") pane.move([dx, dy]);
    else if (this.action === "window") this.changeWindow(dx / WINDOW_DRAG_PX, dy / WINDOW_DRAG_PX);
    else if (this.action === "measure") pane.measurements.stretch(pane.fromScreen(now));
    else this.viewer.point(pane, pane.fromScreen(now));
  }

  release(event) {
    const { measurements } = this.pane;
    const at = this.at(event);
    const isTap = this.pressed && norm(minus(at, this.pressed)) <= TAP_PX; // never of NEITHER
    if (isTap && event.type === "pointerup") this.dragBy([0, 0], at);
    this.pointers.delete(event.pointerId);
    if (this.action === "measure" && measurements.open) measurements.finish();
  }

  // Both in fractions of the series' range.
  changeWindow(wider, higher) {
    const [low, high] = this.pane.window;
    const half = clamp(high - low + wider, 0.02, 3) / 2;
    const level = clamp((low + high) / 2 + higher, -0.5, 1.5);
    this.pane.setWindow([level - half, level + half]);
  }

  wheel(event) {
    const end = event.deltaY > 0 ? this.pane.last : 0;
    const isUpright = Math.abs(event.deltaY) > Math.abs(event.deltaX);
    const { wheel } = this.viewer;
    const isOurs = wheel.isFor(this.pane, isUpright && this.pane.index !== end) || event.ctrlKey;
    if (isOurs || wheel.isAPanes) event.preventDefault(); // else the page scrolls
    if (!isOurs) return;
    const isNotch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= NOTCH;
    const direction = Math.sign(event.deltaY);
    if (event.ctrlKey) {
      const factor = isNotch ? WHEEL_ZOOM ** -direction : Math.exp(-event.deltaY / TOUCHPAD_ZOOM);
      return this.pane.zoom(factor, this.at(event));
    }
    this.scrolled = isNotch ? direction * SCROLL : this.scrolled + event.deltaY;
    const steps = Math.trunc(this.scrolled / SCROLL);
    this.scrolled -= steps * SCROLL;
    if (steps) this.pane.scrollTo(this.pane.index + steps);
  }

  // -- Keys

  key(event) {
    const usable = this.pane.slice || event.key.startsWith("Page");
    if (isForOthers(event) || !usable) return;
    const act = this.actionOfKey(event);
    if (!act) return;
    act();
    consume(event);
  }

  actionOfKey({ key, shiftKey }) {
    const { pane, viewer } = this;
    if (shiftKey && key in NUDGES) return () => this.nudge(NUDGES[key]);
    if (key in STEPS) return () => pane.scrollTo(pane.index + STEPS[key]);
    const preset = Object.values(WINDOWS)[PRESET_KEYS.indexOf(key)];
    if (preset && !viewer.quiz.asking) return () => pane.setWindow(preset);
    return this.keyActions[key];
  }

  get keyActions() {
    const { pane } = this;
    return {
      "+": () => pane.zoom(1.25),
      "=": () => pane.zoom(1.25),
      "-": () => pane.zoom(0.8),
      0: () => pane.reset(),
      i: () => pane.setWindow(pane.window, !pane.inverted),
      ",": () => this.changeWindow(0, -0.05),
      ".": () => this.changeWindow(0, 0.05),
      "<": () => this.changeWindow(-0.1, 0),
      ">": () => this.changeWindow(0.1, 0),
      c: () => pane.cine.toggle(),
      "[": () => pane.cine.setRate(0.8),
      "]": () => pane.cine.setRate(1.25),
      PageUp: () => pane.openNext(-1),
      PageDown: () => pane.openNext(1),
      Enter: () => this.measureByKeys(),
      Escape: () => this.escape(),
    };
  }

  // The crosshair's position on this slice, in pixels; keys move it by a millimetre.
  get crosshair() {
    const { slice } = this.pane;
    return toPixel(slice, this.viewer.crosshair ?? toPatient(slice, middlePixel(slice)));
  }

  nudge(by) {
    const { pane, viewer } = this;
    const xy = this.crosshair.map((v, i) => v + by[i] / pane.slice.spacing[i]);
    viewer.point(pane, xy);
    pane.goTo(viewer.crosshair); // it may have left the image
    if (pane.measurements.open) pane.measurements.stretch(xy);
  }

  measureByKeys() {
    const { measurements } = this.pane;
    if (!this.viewer.show.measure) return;
    if (measurements.open) measurements.finish();
    else measurements.start(this.crosshair);
  }

  escape() {
    this.pane.measurements.clear();
    this.pane.cine.play(false);
    this.viewer.refresh();
  }
}

// A key with Ctrl, Meta or Alt is a shortcut of the page or the system; unless these only helped to
// type a character: [ is AltGr-8 or Option-5 on many keyboards.
function isForOthers(event) {
  const isTyped = /^[^\p{L}\p{N}\s]$/u.test(event.key);
  const helps = event.getModifierState("AltGraph") || event.altKey;
  return event.metaKey || ((event.ctrlKey || event.altKey) && !(helps && isTyped));
}

function consume(event) {
  event.preventDefault();
  event.stopPropagation();
}
