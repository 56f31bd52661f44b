// One study in three linked panes. The same module is the widget's (render) and the HTML file's (mountAll).
// Images arrive once, as JPEGs; scrolling, windowing, zoom and the crosshair never ask the kernel anything.

// ---- Geometry: a slice is {size: [w, h], origin, axes: [column, row], spacing: [x, y]}, all in LPS mm -------------

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a, b) => a.map((v, i) => v - b[i]);
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

export function normal({ axes: [[a, b, c], [d, e, f]] }) {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

export function toPatient(slice, [x, y]) {
  const [dx, dy] = [x * slice.spacing[0], y * slice.spacing[1]];
  return slice.origin.map((o, i) => o + dx * slice.axes[0][i] + dy * slice.axes[1][i]);
}

export function toPixel(slice, mm) {
  const from = minus(mm, slice.origin);
  return slice.axes.map((axis, i) => dot(from, axis) / slice.spacing[i]);
}

export function distance(slice, mm) {
  return dot(minus(mm, slice.origin), normal(slice));
}

// To the image, not to its endless plane: a far oblique block must not win because its plane happens to pass by.
export function distanceToImage(slice, mm) {
  const inside = toPixel(slice, mm).map((v, i) => clamp(v, 0, slice.size[i] - 1));
  return Math.hypot(...minus(toPatient(slice, inside), mm));
}

export function nearestSlice(slices, mm) {
  const distances = slices.map((slice) => distanceToImage(slice, mm));
  return distances.indexOf(Math.min(...distances));
}

// Where two images cut each other: two ends in pixels of `shown`, inside both rectangles; null where they do not meet.
export function planeLine(shown, other) {
  const slope = shown.axes.map((axis, i) => dot(axis, normal(other)) * shown.spacing[i]); // mm off `other` per pixel
  const steepness = slope[0] ** 2 + slope[1] ** 2;
  if (steepness < 1e-12) return null;
  const start = slope.map((v) => (-v * distance(other, shown.origin)) / steepness);
  const step = [-slope[1], slope[0]];
  const at = (t) => start.map((v, i) => v + t * step[i]);
  const there = (t) => toPixel(other, toPatient(shown, at(t)));
  let [from, to] = [-Infinity, Infinity];
  for (const [p, d, size] of [[start, step, shown.size], [there(0), minus(there(1), there(0)), other.size]])
    for (const i of [0, 1]) {
      if (Math.abs(d[i]) < 1e-12) {
        if (p[i] < 0 || p[i] > size[i] - 1) return null;
        continue;
      }
      const ends = [-p[i] / d[i], (size[i] - 1 - p[i]) / d[i]];
      [from, to] = [Math.max(from, Math.min(...ends)), Math.min(to, Math.max(...ends))];
    }
  return from < to ? [at(from), at(to)] : null;
}

const LETTERS = ["LR", "PA", "SI"]; // towards + and − of each patient axis
const mainAxis = (d) => [1, 2].reduce((main, i) => (Math.abs(d[i]) > Math.abs(d[main]) + 1e-9 ? i : main), 0);
const alongAxis = (mm, i) => `${LETTERS[i][mm[i] < 0 ? 1 : 0]} ${Math.abs(mm[i]).toFixed(1)}`;
const placeText = (mm) => `${[0, 1, 2].map((i) => alongAxis(mm, i)).join(" · ")} mm`;

export function edgeLetters({ axes }) {
  const [column, row] = axes.map((d) => [LETTERS[mainAxis(d)], d[mainAxis(d)] > 0 ? 0 : 1]);
  return { left: column[0][1 - column[1]], right: column[0][column[1]], top: row[0][1 - row[1]], bottom: row[0][row[1]] };
}

// ---- Pixels: each JPEG is decoded once, to one byte a pixel --------------------------------------------------------

const surface = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

async function decode(jpeg, [width, height]) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const context = surface(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return grey;
}

// Grey 0..255 through the window [low, high] (fractions of the stored range) to the screen's RGBA words.
function lookup([low, high], inverted) {
  return Uint32Array.from({ length: 256 }, (_, v) => {
    const grey = Math.round(255 * clamp((v / 255 - low) / (high - low), 0, 1));
    return 0xff000000 | ((inverted ? 255 - grey : grey) * 0x010101);
  });
}

// ---- Drawing and elements ------------------------------------------------------------------------------------------

// The only way elements are made, make("p.quiet", {title}, ...children): text from data goes in as text, never as markup.
function make(spec, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  const attributes = children[0]?.constructor === Object ? children.shift() : {};
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Every line has a dark halo, to be seen on fat as well as on air.
function stroke(ctx, path, colour, width) {
  for (const [style, extra] of [["rgba(0, 0, 0, .75)", 2], [colour, 0]]) {
    [ctx.strokeStyle, ctx.lineWidth] = [style, width + extra];
    ctx.stroke(path);
  }
}

function lines(...segments) {
  const path = new Path2D();
  for (const [[x1, y1], [x2, y2]] of segments) path.moveTo(x1, y1), path.lineTo(x2, y2);
  return path;
}

const side = ({ name, family }) => (family === "spinal" ? "" : name.split(" ")[0]);
const SIGNS = {
  spinal: "○", "Left foraminal": "◀", "Right foraminal": "▷", "Left subarticular": "■", "Right subarticular": "□",
};
const sign = (condition) => SIGNS[`${side(condition)} ${condition.family}`.trim()];

// As in SIGNS: circle, triangle pointing to its side, square; the patient's left is filled, the right is hollow.
function drawMarker(ctx, condition, [x, y], colour) {
  const [path, r, to] = [new Path2D(), 5, side(condition) === "Left" ? -1 : 1];
  if (condition.family === "spinal") path.arc(x, y, r, 0, 7);
  else if (condition.family === "subarticular") path.rect(x - r + 0.5, y - r + 0.5, 2 * r - 1, 2 * r - 1);
  else path.moveTo(x + to * 6, y), path.lineTo(x - to * 4, y - r), path.lineTo(x - to * 4, y + r), path.closePath();
  stroke(ctx, path, colour, 2);
  if (side(condition) === "Left") (ctx.fillStyle = colour), ctx.fill(path);
}

const PLANE_COLOURS = ["#8ee35c", "#e58cff", "#ffe14d"]; // one a pane; none is a grade's colour
const PRESETS = { Full: [0, 1], Brighter: [0, 0.6], Contrast: [0.12, 0.7], "Dark tissue": [0, 0.35], "Bright tissue": [0.4, 1] };
const STEPS = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -5, PageDown: 5, Home: -1e9, End: 1e9 };
const HELP = {
  "Wheel, arrows, Page Up/Down, Home/End": "scroll through the slices",
  "Click or drag": "set the crosshair; the other panes follow",
  "Right-drag, 1–5, i": "window and level, presets, invert",
  "Ctrl-wheel, pinch, + −": "zoom",
  "Shift-drag, middle-drag": "move the picture",
  "Double click, 0": "reset the pane",
  "l, p": "show or hide labels, planes",
};
const highest = (p) => p.indexOf(Math.max(...p));
const percent = (p) => `${Math.round(100 * p)} %`;

// ---- One pane ------------------------------------------------------------------------------------------------------

class Pane {
  constructor(viewer, kind, colour) {
    Object.assign(this, { viewer, kind, colour, index: 0, marks: [], pointers: new Map(), buffer: surface(1, 1) });
    const names = ["tl", "tr", "bl", "br", "left", "right", "top", "bottom", "message", "tip"];
    this.texts = Object.fromEntries(names.map((name) => [name, make(`div.text.${name}`)]));
    this.texts.tip.hidden = true;
    this.canvas = make("canvas");
    const spoken = { tabindex: 0, role: "application", "aria-label": `${kind}: arrow keys change the slice, 1 to 5 the window` };
    this.box = make("div.view", spoken, this.canvas, ...Object.values(this.texts));
    const scroll = { "aria-label": `Slice of ${kind}`, oninput: () => this.scrollTo(+this.bar.value) };
    this.bar = make("input", { type: "range", min: 0, ...scroll });
    const frame = { "data-kind": kind, "aria-label": kind, style: `--plane: ${colour}` };
    this.element = make("section.pane", frame, this.choice(), this.box, this.bar);
    this.listen();
    this.open((this.own.find((s) => s.slices.length) ?? this.own[0])?.id);
  }

  // A select of series, in sight only where a study has more than one of each kind, or one that no table describes.
  choice() {
    const { series, kinds } = this.viewer.study;
    const ofKind = (kind) => series.filter((s) => s.description === kind);
    this.own = ofKind(this.kind);
    const all = [...this.own, ...series.filter((s) => s.description !== this.kind)];
    const options = all.map((s) => make("option", { value: s.id }, `${s.description} · ${s.id}`));
    const act = { "aria-label": `Series in the ${this.kind} pane`, onchange: () => this.open(+this.picker.value) };
    this.picker = make("select", act, ...options);
    this.picker.hidden = kinds.every((kind) => ofKind(kind).length < 2) && series.every((s) => kinds.includes(s.description));
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
    this.picker.value = id;
    [this.bar.max, this.bar.disabled] = [Math.max(slices.length - 1, 0), slices.length < 2];
    this.extent = [0, 1].map((i) => Math.max(1, ...slices.map((s) => s.size[i] * s.spacing[i])));
    this.reset();
    this.scrollTo(this.viewer.crosshair && slices.length ? nearestSlice(slices, this.viewer.crosshair) : slices.length >> 1);
  }

  reset() {
    this.view = { zoom: 1, pan: [0, 0] };
    this.setWindow(PRESETS.Full, false);
  }

  setWindow(window, inverted = this.inverted) {
    Object.assign(this, { window, inverted, painted: null });
    this.viewer.refresh();
  }

  scrollTo(index) {
    const last = +this.bar.max;
    this.bar.value = this.index = clamp(index, 0, last);
    this.bar.setAttribute("aria-valuetext", `slice ${this.index + 1} of ${last + 1}`);
    this.viewer.refresh();
  }

  // Brings a place into sight: its slice, its series if that is another one here, and the picture if it is zoomed away.
  goTo(mm, point) {
    const other = this.own.find((s) => s.id === point?.series);
    if (other && other !== this.series) this.open(other.id);
    if (!this.slice) return;
    this.scrollTo(point?.series === this.series.id ? point.slice : nearestSlice(this.series.slices, mm));
    const at = this.toScreen(toPixel(this.slice, mm));
    if (at.some((v, i) => Math.abs(v / this.size[i] - 0.5) > 0.47)) this.move(at.map((v, i) => this.size[i] / 2 - v));
  }

  // -- Screen = middle of the pane + (mm from the middle of the slice + pan) × scale: one scale, so true both ways

  get size() {
    return [this.box.clientWidth || 1, this.box.clientHeight || 1];
  }

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
    this.viewer.refresh();
  }

  // -- The hand

  listen() {
    const on = (name, act) => this.box.addEventListener(name, (event) => this.slice && act(event), { passive: false });
    on("pointerdown", (e) => this.press(e));
    on("pointermove", (e) => (this.pointers.has(e.pointerId) ? this.drag(e) : this.hover(e)));
    for (const name of ["pointerup", "pointercancel"]) on(name, (e) => this.pointers.delete(e.pointerId));
    on("pointerleave", () => this.hover());
    on("wheel", (e) => this.wheel(e));
    on("dblclick", () => this.reset());
    on("keydown", (e) => this.key(e));
    on("contextmenu", (e) => (e.preventDefault(), e.stopPropagation())); // the right button is for the window
    this.box.addEventListener("focus", () => this.viewer.activate(this));
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    event.preventDefault(); // no text selection, no autoscroll by the middle button; so the focus moves by hand
    this.box.focus({ preventScroll: true });
    this.box.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.action = event.button === 2 || event.ctrlKey ? "window" : event.button === 1 || event.shiftKey ? "pan" : "point";
    this.drag(event);
  }

  drag(event) {
    const [before, now] = [this.pointers.get(event.pointerId), this.at(event)];
    const by = minus(now, before);
    this.pointers.set(event.pointerId, now);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) this.zoom(Math.hypot(...minus(now, other)) / Math.max(Math.hypot(...minus(before, other)), 1), other);
    else if (this.action === "pan") this.move(by);
    else if (this.action === "window") this.dragWindow(by[0] / 300, by[1] / 300);
    else this.viewer.point(this, this.fromScreen(now));
    this.hover(event);
  }

  dragWindow(wider, higher) {
    const [low, high] = this.window;
    const half = clamp(high - low + wider, 0.02, 3) / 2;
    const level = clamp((low + high) / 2 + higher, -0.5, 1.5);
    this.setWindow([level - half, level + half]);
  }

  wheel(event) {
    event.preventDefault();
    const notch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= 50; // a wheel clicks, a touchpad trickles
    if (event.ctrlKey) return this.zoom(notch ? 1.2 ** -Math.sign(event.deltaY) : Math.exp(-event.deltaY / 60), this.at(event));
    this.rolled = notch ? Math.sign(event.deltaY) * 30 : (this.rolled ?? 0) + event.deltaY;
    const steps = Math.trunc(this.rolled / 30);
    this.rolled -= steps * 30;
    if (steps) this.scrollTo(this.index + steps);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(0.8),
      0: () => this.reset(),
      i: () => this.setWindow(this.window, !this.inverted),
      l: () => this.viewer.toggle("labels"),
      p: () => this.viewer.toggle("planes"),
    };
    const preset = Object.values(PRESETS)["12345".indexOf(event.key)];
    if (event.key in STEPS) this.scrollTo(this.index + STEPS[event.key]);
    else if (preset) this.setWindow(preset);
    else if (event.key in acts) acts[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has keys of its own
  }

  // What lies under the pointer: its place and value in the corner, and the name of a marker close by.
  hover(event) {
    const { texts, slice, series } = this;
    [texts.tr.textContent, texts.tip.hidden] = ["", true];
    if (!event) return;
    const at = this.at(event);
    const [x, y] = this.fromScreen(at).map(Math.round);
    if (x < 0 || y < 0 || x >= slice.size[0] || y >= slice.size[1]) return;
    const [low, high] = series.range;
    const value = slice.grey ? Math.round(low + (slice.grey[y * slice.size[0] + x] / 255) * (high - low)) : "";
    texts.tr.textContent = `${placeText(toPatient(slice, this.fromScreen(at)))}\n${value}`;
    const away = (mark) => Math.hypot(...minus(mark.at, at));
    const [near] = this.marks.filter((mark) => away(mark) < 12).sort((a, b) => away(a) - away(b));
    if (!near) return;
    [texts.tip.textContent, texts.tip.hidden] = [this.viewer.name(near), false];
    texts.tip.style.left = `${clamp(near.at[0] + 12, 0, this.size[0] - texts.tip.offsetWidth - 4)}px`;
    texts.tip.style.top = `${clamp(near.at[1] + 12, 0, this.size[1] - texts.tip.offsetHeight - 4)}px`;
  }

  // -- The picture

  resize() {
    this.ratio = globalThis.devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = this.size.map((v) => Math.round(v * this.ratio));
    this.draw(); // at once: a canvas that changes its size goes blank, and would flicker
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

  draw() {
    const [ctx, { show }, ratio] = [this.canvas.getContext("2d"), this.viewer, this.ratio ?? 1];
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, ...this.size);
    this.marks = [];
    if (!this.slice) return;
    const [from, to] = [this.toScreen([-0.5, -0.5]), this.toScreen(this.slice.size.map((n) => n - 0.5))];
    const picture = this.paint();
    ctx.imageSmoothingQuality = "high";
    if (picture) ctx.drawImage(picture, ...from, ...minus(to, from));
    if (show.planes) this.drawPlanes(ctx);
    if (show.labels) this.drawMarks(ctx);
    this.drawRuler(ctx);
    this.write();
  }

  drawPlanes(ctx) {
    for (const { slice, colour } of this.viewer.panes) {
      const parallel = !slice || Math.abs(dot(normal(this.slice), normal(slice))) > 0.98; // a pane to itself as well
      const line = parallel ? null : planeLine(this.slice, slice);
      if (line) stroke(ctx, lines(line.map((xy) => this.toScreen(xy))), colour, 1);
    }
    const { crosshair } = this.viewer;
    if (!crosshair || nearestSlice(this.series.slices, crosshair) !== this.index) return;
    const [x, y] = this.toScreen(toPixel(this.slice, crosshair));
    const arms = [[1, 0], [-1, 0], [0, 1], [0, -1]].map(([i, j]) => [9, 22].map((r) => [x + i * r, y + j * r]));
    stroke(ctx, lines(...arms), "#ffffff", 1.25);
  }

  // Solid on its own slice, faint on the next one either way (of the same block: the next block may be far off).
  drawMarks(ctx) {
    for (const mark of this.viewer.marksOf(this.series)) {
      const away = Math.abs(mark.slice - this.index);
      if (away > 1 || (away && Math.abs(distance(this.slice, mark.mm)) > 1.6 * this.series.gap_mm)) continue;
      const [x, y] = this.toScreen(toPixel(this.slice, mark.mm));
      const cross = lines([[x - 4, y - 4], [x + 4, y + 4]], [[x - 4, y + 4], [x + 4, y - 4]]);
      ctx.globalAlpha = away ? 0.35 : 1;
      if (mark.predicted) stroke(ctx, cross, mark.colour, 1.75);
      else drawMarker(ctx, mark.cell.condition, [x, y], mark.colour);
      this.marks.push({ ...mark, at: [x, y] });
    }
    ctx.globalAlpha = 1;
  }

  // A bar of whole centimetres, about a quarter of the pane, with a tick each.
  drawRuler(ctx) {
    const [width, height] = this.size;
    const px = 10 * this.scale;
    const cm = [20, 10, 5, 2].find((v) => v * px < width * 0.28) ?? 1;
    const [left, y] = [(width - cm * px) / 2, Math.round(height) - 28.5]; // half a pixel: a sharp line
    const ticks = Array.from({ length: cm + 1 }, (_, i) => [[left + i * px, y - (i % 5 ? 3 : 5)], [left + i * px, y]]);
    stroke(ctx, lines([[left, y], [left + cm * px, y]], ...ticks), "#e8e8e8", 1);
    [ctx.font, ctx.fillStyle, ctx.strokeStyle, ctx.lineWidth] = ["11px system-ui, sans-serif", "#e8e8e8", "#000", 3];
    for (const write of ["strokeText", "fillText"]) ctx[write](`${cm} cm`, left + cm * px + 6, y + 1.5);
  }

  write() {
    const { slice, series, texts } = this;
    const [low, high] = this.window.map((v) => series.range[0] + v * (series.range[1] - series.range[0]));
    const middle = toPatient(slice, slice.size.map((n) => (n - 1) / 2));
    const place = `${alongAxis(middle, mainAxis(normal(slice)))} mm`;
    texts.tl.textContent = series.description;
    texts.bl.textContent = `Slice ${this.index + 1} of ${series.slices.length}\nInstance ${slice.instance}\n${place}`;
    texts.br.textContent = `W ${Math.round(high - low)}\nL ${Math.round((low + high) / 2)}${this.inverted ? "\ninverted" : ""}`;
    for (const [edge, letter] of Object.entries(edgeLetters(slice))) texts[edge].textContent = letter;
  }
}

// ---- The three panes, the grid, and what they share ----------------------------------------------------------------

class Viewer {
  constructor(study, images) {
    Object.assign(this, { study, images, crosshair: null, show: { labels: true, planes: true }, panes: [], marks: new Map() });
    const { levels, conditions } = study;
    const question = (i) => ({ condition: conditions[Math.floor(i / levels.length)], level: levels[i % levels.length] });
    this.cells = study.cells.map((cell, i) => ({ ...cell, ...question(i), place: this.place(cell) }));
    this.panes = study.kinds.map((kind, i) => new Pane(this, kind, PLANE_COLOURS[i]));
    this.detail = make("div.detail", { "aria-live": "polite" });
    const below = make("div.below", make("div", this.grid(), this.legend()), make("div", this.detail, this.help()));
    this.element = make("div.viewer", this.toolbar(), make("div.panes", ...this.panes.map((p) => p.element)), below);
    this.activate(this.panes[0]);
    const start = [levels.indexOf("L4/L5"), ...this.cells.keys()].find((i) => this.cells[i].place);
    this.select(start ?? 0); // L4/L5 is where most is found
    this.loadAll();
  }

  // -- Images

  load(slice) {
    slice.loading ??= decode(this.images.subarray(...slice.bytes), slice.size).then((grey) => {
      slice.grey = grey;
      this.refresh();
    });
    return slice.loading;
  }

  // The slices on show first, then outwards from them, one at a time so that the hand is never kept waiting.
  async loadAll() {
    const shown = new Map(this.panes.map((pane) => [pane.series, pane.index]));
    const away = (series, i) => (shown.has(series) ? Math.abs(shown.get(series) - i) : 1e6);
    const queue = this.study.series.flatMap((series) => series.slices.map((slice, i) => [away(series, i), slice]));
    for (const [, slice] of queue.sort((a, b) => a[0] - b[0])) if (!this.closed) await this.load(slice);
  }

  refresh() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      for (const pane of this.panes) pane.draw();
    });
  }

  close() {
    this.closed = true;
    for (const pane of this.panes) pane.observer.disconnect();
  }

  // -- What the panes share

  activate(pane) {
    this.active = pane;
    for (const p of this.panes) p.element.classList.toggle("active", p === pane);
  }

  toggle(name) {
    this.show[name] = !this.show[name];
    this.toggles[name].setAttribute("aria-pressed", this.show[name]);
    this.refresh();
  }

  point(from, xy) {
    this.crosshair = toPatient(from.slice, xy.map((v, i) => clamp(v, 0, from.slice.size[i] - 1)));
    for (const pane of this.panes) if (pane !== from) pane.goTo(this.crosshair);
    this.refresh();
  }

  // Where a cell is: its annotated point if that image is here, else the predicted one.
  place(cell) {
    return cell.points.find((p) => p.mm) ?? (cell.prediction?.mm ? { mm: cell.prediction.mm } : null);
  }

  select(i) {
    this.selected = i;
    this.buttons.forEach((button, j) => {
      button.setAttribute("aria-pressed", i === j);
      button.tabIndex = i === j ? 0 : -1; // Tab comes to the grid once; the arrow keys walk in it
    });
    this.tell(i);
    const { place } = this.cells[i];
    if (!place) return;
    this.crosshair = place.mm;
    for (const pane of this.panes) pane.goTo(place.mm, place);
  }

  // Annotated points lie on their own series; predicted ones are places in the patient, so every series near shows them.
  marksOf(series) {
    if (!this.marks.has(series)) this.marks.set(series, this.cells.flatMap((cell) => this.marksOfCell(cell, series)));
    return this.marks.get(series);
  }

  marksOfCell(cell, series) {
    const colour = this.study.grades[cell.grade]?.colour ?? "#cccccc";
    const marks = cell.points.filter((p) => p.mm && p.series === series.id).map((p) => ({ cell, colour, ...p }));
    const { mm, p } = cell.prediction ?? {};
    if (!mm) return marks;
    const slice = nearestSlice(series.slices, mm);
    if (distanceToImage(series.slices[slice], mm) > (series.gap_mm ?? 5)) return marks;
    return [...marks, { cell, mm, slice, predicted: true, colour: this.study.grades[highest(p)].colour }];
  }

  // -- Words

  labelOf = (cell) => this.study.grades[cell.grade]?.name ?? "not graded";
  guessOf = ({ prediction: { p } }) => `${this.study.grades[highest(p)].name}, ${percent(Math.max(...p))}`;
  verdict = ({ grade, prediction }) => (grade === null ? "" : highest(prediction.p) === grade ? "right" : "wrong");

  name({ cell, predicted }) {
    return `${cell.condition.name} · ${cell.level}\n${predicted ? `predicted ${this.guessOf(cell)}` : this.labelOf(cell)}`;
  }

  tell(i) {
    const cell = this.cells[i];
    const label = cell.points.find((p) => p.mm);
    const absent = ({ instance, series }) => `Point on instance ${instance} of series ${series}, which is not here`;
    const place = (p) => (p.mm ? `Point at ${placeText(p.mm)}, instance ${p.instance}` : absent(p));
    const texts = [["p", `Label: ${this.labelOf(cell)}`], ...cell.points.map((p) => ["p.quiet", place(p)])];
    if (!cell.points.length) texts.push(["p.quiet", "No point was annotated."]);
    const children = texts.map(([spec, text]) => make(spec, text));
    if (cell.prediction) children.push(...this.tellPrediction(cell, label));
    this.detail.replaceChildren(make("h4", `${sign(cell.condition)} ${cell.condition.name} · ${cell.level}`), ...children);
  }

  tellPrediction({ grade, prediction: { p, mm, note } }, label) {
    const bar = (v, colour) => make("b", make("i", { style: `width: ${100 * v}%; background: ${colour}` }));
    const share = (v, { name, colour }) => make("div.share", make("span", name), bar(v, colour), percent(v));
    const off = label && mm ? `, ${Math.hypot(...minus(label.mm, mm)).toFixed(1)} mm from the label` : "";
    const verdict = this.verdict({ grade, prediction: { p } });
    return [
      make("p", `Predicted${verdict && `, ${verdict}`}:`),
      ...p.map((v, i) => share(v, this.study.grades[i])),
      ...(mm ? [make("p.quiet", `Found at ${placeText(mm)}${off}`)] : []),
      ...(note ? [make("p.note", note)] : []),
    ];
  }

  // -- Controls

  toolbar() {
    const button = (text, title, act) => make("button", { type: "button", title, onclick: act }, text);
    const preset = ([name, window], i) => button(name, `Window of the marked pane (${i + 1})`, () => this.active.setWindow(window));
    const invert = () => this.active.setWindow(this.active.window, !this.active.inverted);
    this.toggles = {
      labels: button("Labels", "Show or hide labels (l)", () => this.toggle("labels")),
      planes: button("Planes", "Show or hide planes and crosshair (p)", () => this.toggle("planes")),
    };
    for (const toggle of Object.values(this.toggles)) toggle.setAttribute("aria-pressed", true);
    return make(
      "div.toolbar",
      { role: "toolbar", "aria-label": "View" },
      make("strong", `Study ${this.study.id}`),
      make("span.group", ...Object.entries(PRESETS).map(preset), button("Invert", "Invert the marked pane (i)", invert)),
      make("span.group", ...Object.values(this.toggles)),
      make("span.group", button("Reset", "Window, zoom and place of all panes", () => this.panes.forEach((p) => p.reset()))),
    );
  }

  grid() {
    const { levels, conditions } = this.study;
    this.buttons = this.cells.map((cell, i) => this.cellButton(cell, i));
    const words = (c) => ` ${side(c) || "Spinal"}\n${side(c) ? c.family : "canal"}`;
    const shape = (c) => make("span", { "aria-hidden": true }, sign(c));
    const head = conditions.map((c) => make("th", { scope: "col", title: c.name }, shape(c), words(c)));
    const cell = (i, j) => make("td", this.buttons[i * levels.length + j]);
    const rows = levels.map((level, j) => make("tr", make("th", { scope: "row" }, level), ...conditions.map((_, i) => cell(i, j))));
    const told = { "aria-label": "Grades by level and condition", onkeydown: (e) => this.walk(e) };
    return make("table", told, make("thead", make("tr", make("td"), ...head)), make("tbody", ...rows));
  }

  chip(grade) {
    const { name = "–", colour } = this.study.grades[grade] ?? {};
    return make("span.chip", { style: colour ? `background: ${colour}; color: #111` : "" }, name[0]);
  }

  cellButton(cell, i) {
    const { condition, level, grade, prediction } = cell;
    const told = [`${condition.name}, ${level}: ${this.labelOf(cell)}`];
    const children = [this.chip(grade)];
    if (prediction) {
      const verdict = this.verdict(cell);
      const style = (v, { colour }) => ({ style: `height: ${Math.max(6, 100 * v)}%; background: ${colour}` });
      children.push(make("span.bars", ...prediction.p.map((v, g) => make("i", style(v, this.study.grades[g])))));
      children.push(make("span.verdict", { right: "✓", wrong: "✗" }[verdict] ?? ""));
      told.push(`predicted ${this.guessOf(cell)}`, verdict);
    }
    const [show, back] = [() => this.tell(i), () => this.tell(this.selected)];
    const acts = { onclick: () => this.select(i), onmouseenter: show, onfocus: show, onmouseleave: back, onblur: back };
    const label = told.filter(Boolean).join("; ");
    return make("button.cell", { type: "button", "aria-label": label, ...acts }, ...children);
  }

  // Arrow keys walk over the grid; its cells are stored column by column.
  walk(event) {
    const n = this.study.levels.length;
    const by = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -n, ArrowRight: n }[event.key];
    const from = this.buttons.indexOf(event.target.closest("button"));
    if (!by || from < 0) return;
    event.preventDefault();
    event.stopPropagation();
    const sameColumn = Math.floor((from + by) / n) === Math.floor(from / n);
    if (sameColumn || Math.abs(by) === n) this.buttons[from + by]?.focus();
  }

  legend() {
    const grades = this.study.grades.map(({ name }, i) => make("span", this.chip(i), ` ${name}`));
    const predicted = this.cells.some((cell) => cell.prediction) ? ["✓ ✗ prediction right, wrong", "× predicted point"] : [];
    const words = ["– not graded", "filled: patient's left", ...predicted].map((text) => make("span", text));
    return make("div.legend", ...grades, ...words);
  }

  help() {
    const list = Object.entries(HELP).flatMap(([keys, what]) => [make("dt", keys), make("dd", what)]);
    return make("details", make("summary", "Mouse and keys"), make("dl", ...list));
  }
}

// ---- Style: dark where images are, the page's own colours round them -----------------------------------------------

const STYLE = `
:host { display: block; container-type: inline-size; color: var(--jp-ui-font-color1, inherit);
  font: 13px/1.45 system-ui, sans-serif; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.viewer { --line: color-mix(in srgb, currentColor 25%, transparent); --wash: color-mix(in srgb, currentColor 14%, transparent);
  --quiet: color-mix(in srgb, currentColor 72%, transparent); display: grid; gap: 8px; }
.toolbar, .legend, .group { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 14px; }
.group { gap: 0; }
button, select { font: inherit; color: inherit; background: none; cursor: pointer; }
button, select { border: 1px solid var(--line); border-radius: 4px; }
.group button { padding: 2px 9px; margin-left: -1px; border-radius: 0; }
.group button:first-child { border-radius: 4px 0 0 4px; }
.group button:last-child { border-radius: 0 4px 4px 0; }
.group button:only-child { border-radius: 4px; }
button:hover, button[aria-pressed=true] { background: var(--wash); }
:focus-visible { outline: 2px solid #3b8eea; outline-offset: 1px; }
.panes { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px; align-items: end; }
.pane { display: grid; gap: 4px; }
select { min-width: 0; padding: 2px 4px; }
option { color: #111; background: #fff; }
.view { position: relative; height: clamp(300px, 38cqw, 440px); overflow: hidden; background: #000; color: #e8e8e8;
  border-top: 3px solid var(--plane); cursor: crosshair; touch-action: none; user-select: none; -webkit-user-select: none; }
.active .view { box-shadow: 0 0 0 1px var(--plane); }
.empty { cursor: default; } .empty .text:not(.message) { display: none; }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.text { position: absolute; pointer-events: none; white-space: pre-line; font-size: 11px; line-height: 1.35;
  text-shadow: 0 0 2px #000, 0 0 3px #000, 0 1px 2px #000; font-variant-numeric: tabular-nums; }
.tl, .tr { top: 6px; } .bl, .br { bottom: 6px; } .tl, .bl, .left { left: 8px; } .tr, .br, .right { right: 8px; text-align: right; }
.tl { font-weight: 600; color: var(--plane); }
.left, .right, .top, .bottom { font-size: 14px; font-weight: 600; color: #fff; }
.left, .right { top: calc(50% - 10px); } .top, .bottom { left: calc(50% - 5px); } .top { top: 22px; } .bottom { bottom: 4px; }
.message { top: 24px; left: 8px; max-width: 40%; color: #ffc66d; overflow-wrap: anywhere; }
.empty .message { inset: 0; max-width: none; padding: 24px; font-size: 13px; }
.empty .message { display: grid; place-content: center; text-align: center; }
.tip { z-index: 1; width: max-content; max-width: 80%; padding: 3px 7px; font-size: 12px; background: #141414eb;
  border: 1px solid #555; border-radius: 4px; }
input { appearance: none; color: inherit; width: 100%; height: 5px; margin: 6px 0; border-radius: 3px; background: var(--line); }
input::-webkit-slider-thumb { appearance: none; width: 15px; height: 15px; border-radius: 50%; background: currentColor; }
input::-moz-range-thumb { width: 15px; height: 15px; border: 0; border-radius: 50%; background: currentColor; }
.below { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 8px 28px; align-items: start; }
table { border-spacing: 4px; }
th { font-weight: 500; font-size: 12px; line-height: 1.25; white-space: pre-line; padding: 0 4px; }
td { padding: 0; }
.cell { display: flex; gap: 6px; align-items: center; width: 96px; height: 30px; padding: 3px; }
.cell[aria-pressed=true] { outline: 2px solid currentColor; outline-offset: -1px; }
.chip { display: inline-grid; place-content: center; min-width: 26px; height: 22px; border-radius: 3px; font-weight: 600; }
.chip:only-child { flex: 1; }
.bars { display: flex; gap: 2px; align-items: flex-end; flex: 1; height: 100%; }
.bars i { flex: 1; border-radius: 1px; }
.verdict { width: 12px; font-weight: 700; }
.legend { max-width: 560px; padding: 4px; font-size: 12px; color: var(--quiet); }
.legend .chip { min-width: 18px; height: 18px; font-size: 11px; }
.detail { min-height: 136px; overflow-wrap: anywhere; }
h4 { margin: 2px 0 4px; font-size: 14px; font-weight: 600; }
p { margin: 0 0 3px; }
.quiet, summary, dd { color: var(--quiet); }
.note { padding-left: 8px; border-left: 3px solid var(--line); white-space: pre-line; }
.share { display: grid; grid-template-columns: 84px minmax(40px, 180px) 44px; gap: 8px; align-items: center; }
.share b { height: 9px; border-radius: 2px; overflow: hidden; background: var(--wash); }
.share i { display: block; height: 100%; }
summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 1px 12px; margin: 4px 0; font-size: 12px; }
dd { margin: 0; }
@container (max-width: 860px) { .below { grid-template-columns: 1fr; } .cell { width: 84px; } }
@container (max-width: 600px) { .panes { grid-template-columns: 1fr; } .cell { width: 52px; } .verdict, dl { display: none; } }
`;

// ---- Ways in -------------------------------------------------------------------------------------------------------

// Into a shadow root, so that the notebook's style does not reach the viewer, nor the viewer's the notebook.
export function mount(host, study, images) {
  const viewer = new Viewer(study, images);
  const sheet = new CSSStyleSheet(); // a content security policy that forbids <style> allows this
  sheet.replaceSync(STYLE);
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  root.append(viewer.element);
  host.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab sees every key first and has its own use for 1–5
  return () => viewer.close();
}

// The HTML file: each host holds its study as JSON and its images as base64.
export function mountAll(page) {
  for (const host of page.querySelectorAll(".spine-viewer")) {
    if (host.shadowRoot) continue;
    const [study, images] = host.children;
    mount(host, JSON.parse(study.textContent), Uint8Array.from(atob(images.textContent), (c) => c.charCodeAt(0)));
    images.remove();
  }
}

function render({ model, el }) {
  const { buffer, byteOffset, byteLength } = model.get("images"); // a DataView
  const host = make("div.spine-viewer");
  el.append(host);
  return mount(host, structuredClone(model.get("study")), new Uint8Array(buffer, byteOffset, byteLength));
}

export default { render };
