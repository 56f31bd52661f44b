// The viewer: three panes, the grid, the quiz, and what they share.

const HELP = {
  "Wheel, arrows, Home/End, bar": "scroll through the slices",
  "Click or drag, Shift-arrows": "set the crosshair; the other panes follow",
  "Right-drag, 1–5, i": "window and level, presets (in a quiz 1–3 grade), invert; also , . < >",
  "Ctrl-wheel, pinch, + −": "zoom",
  "Shift-drag, middle-drag": "move the picture",
  "Double click, 0": "reset the pane",
  "Page Up/Down": "another series in this pane",
  "c, [ ]": "cine, slower, faster",
  "m, then drag": "measure; by keys: Enter, Shift-arrows, Enter; Escape clears",
  "l, p, b": "labels, planes, all slices of the other series",
  "n, Shift-n": "next and previous of the cells chosen above the grid",
};
const TOGGLES = {
  labels: ["Labels", "Show or hide labels", "l"],
  planes: ["Planes", "Show or hide planes and crosshair", "p"],
  blocks: ["Blocks", "Draw all slices of the other panes' series, not only those on show", "b"],
  measure: ["Measure", "Drag measures a distance in mm", "m"],
};

class Viewer {
  // before: the viewer of the study that was here; what it showed, this one shows too.
  constructor(root, study, images, quiz, save, before) {
    const show = before?.show ?? { labels: true, planes: true, blocks: false, measure: false };
    Object.assign(this, { root, study, images, show, crosshair: null, panes: [], marks: new Map() });
    const { levels, conditions, grades } = study;
    const question = (i) => [conditions[Math.floor(i / levels.length)], levels[i % levels.length], grades];
    this.cells = study.cells.map((cell, i) => new Cell(cell, ...question(i)));
    this.selected = [levels.indexOf("L4/L5"), ...this.cells.keys()].find((i) => this.cells[i].place) ?? 0; // most is found there
    this.quiz = new Quiz(this, quiz, save);
    this.panes = study.kinds.map((kind, i) => new Pane(this, kind, PLANE_COLOURS[i]));
    this.grid = new Grid(this, before?.grid.filter);
    this.detail = make("div.detail", { "aria-live": "polite" });
    const below = make("div.below", this.grid.element, make("div", this.quiz.element, this.detail, this.help()));
    const parts = [this.toolbar(), make("div.panes", ...this.panes.map((p) => p.element)), below];
    this.element = make("div.viewer", { tabindex: -1, onkeydown: (e) => this.key(e) }, ...parts); // Safari focuses no button
    this.activate(this.panes[0]);
    this.update();
    this.select(this.selected);
    if (this.quiz.asking) this.quiz.next(0);
    this.loadAll();
  }

  // -- Images

  load(slice) {
    slice.loading ??= decode(this.images.subarray(...slice.bytes), slice.size).then((grey) => {
      slice.grey = grey;
      this.refresh();
    }, console.error); // one slice that cannot be decoded does not keep the others
    return slice.loading;
  }

  // The slices on show first, then outwards from them, one at a time so that the hand is never kept waiting.
  async loadAll() {
    const shown = new Map(this.panes.map((pane) => [pane.series, pane.index]));
    const away = (series, i) => (shown.has(series) ? Math.abs(shown.get(series) - i) : 1e6);
    const queue = this.study.series.flatMap((series) => series.slices.map((slice, i) => [away(series, i), slice]));
    for (const [, slice] of queue.sort((a, b) => a[0] - b[0])) if (!this.closed) await this.load(slice);
  }

  // The next frame draws everything anew; if only one pane has changed, that one first, and the lines in the others one
  // frame later: so the picture under the hand never waits for them.
  refresh(pane) {
    if (this.frame === undefined) this.alone = pane;
    else if (this.alone !== pane) this.alone = undefined;
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    const [alone, panes] = [this.alone, this.alone ? [this.alone] : this.panes];
    this.frame = undefined;
    for (const pane of panes) pane.draw();
    for (const pane of panes) writeCorners(pane);
    if (alone) return this.refresh();
    for (const { hand } of panes) if (hand.resting) hand.hover(hand.resting); // what lies under it has changed
  }

  close() {
    this.closed = true;
    for (const pane of this.panes) pane.observer.disconnect(), pane.play(false);
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

  select(i) {
    const inGrid = this.grid.buttons.includes(this.root.activeElement);
    this.selected = i;
    this.grid.mark(i);
    if (inGrid) this.grid.buttons[i].focus();
    this.quiz.update();
    this.tell(i);
    this.refresh();
    const { place } = this.cells[i];
    if (!place) return;
    this.crosshair = place.mm;
    for (const pane of this.panes) pane.goTo(place.mm, place);
  }

  tell(i) {
    this.detail.replaceChildren(...describe(this.cells[i], this.quiz.asking));
  }

  // After the quiz has begun, gone on or ended.
  update() {
    this.grid.update();
    this.quiz.update();
    this.tell(this.selected);
    this.quizzing.setAttribute("aria-pressed", this.quiz.on);
    this.refresh();
  }

  // Annotated points lie on their own series; predicted ones are places in the patient, so every series near shows them.
  // In a quiz only the point in question is there, without its grade.
  marksOf(series) {
    if (!this.marks.has(series)) this.marks.set(series, this.cells.flatMap((cell) => this.marksOfCell(cell, series)));
    const marks = this.marks.get(series);
    if (!this.quiz.asking) return marks;
    const asked = marks.filter(({ cell, predicted }) => cell === this.cells[this.selected] && !predicted);
    return asked.map((mark) => ({ ...mark, colour: "#ffffff" }));
  }

  marksOfCell(cell, series) {
    const colour = this.study.grades[cell.grade]?.colour ?? "#cccccc";
    const marks = cell.points.filter((p) => p.mm && p.series === series.id).map((p) => ({ cell, colour, ...p }));
    const { mm } = cell.prediction ?? {};
    if (!mm) return marks;
    const slice = nearestSlice(series.slices, mm);
    if (distanceToImage(series.slices[slice], mm) > (series.gap_mm ?? 5)) return marks;
    return [...marks, { cell, mm, slice, predicted: true, colour: this.study.grades[cell.called].colour }];
  }

  // -- Keys: those that no pane and no grid has taken. No plain key goes on to the notebook, where x cuts a cell.

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    event.stopPropagation();
    const grade = "123".indexOf(event.key);
    const [name] = Object.entries(TOGGLES).find(([, [, , key]]) => key === event.key) ?? [];
    if (name) this.toggle(name);
    else if (event.key === "n") this.grid.step(1);
    else if (event.key === "N") this.grid.step(-1);
    else if (this.quiz.asking && grade >= 0) this.gradeBy(event, grade);
    else return;
    event.preventDefault();
  }

  gradeBy(event, grade) {
    const focused = this.grid.at(event);
    if (event.repeat || (focused < 0 && !this.quiz.open.length)) return; // a key held down, or one key too many
    this.quiz.answer(focused < 0 ? this.selected : focused, grade);
  }

  // -- Controls

  toolbar() {
    const preset = ([name, window], i) => button(name, `Window of the marked pane (${i + 1})`, () => this.active.setWindow(window));
    const invert = () => this.active.setWindow(this.active.window, !this.active.inverted);
    const toggle = ([name, [text, about, key]]) => {
      const one = button(text, `${about} (${key})`, () => this.toggle(name));
      one.setAttribute("aria-pressed", this.show[name]);
      return [name, one];
    };
    this.toggles = Object.fromEntries(Object.entries(TOGGLES).map(toggle));
    const asks = "Hides labels and predictions and asks you for the grades";
    this.quizzing = button("Quiz", asks, () => this.quiz.toggle());
    this.quizzing.disabled = !this.quiz.possible;
    if (!this.quiz.possible) this.quizzing.title = "This study has no labels to be quizzed on";
    return make(
      "div.toolbar",
      { role: "toolbar", "aria-label": "View" },
      make("strong", `Study ${this.study.id}`),
      make("span.group", ...Object.entries(WINDOWS).map(preset), button("Invert", "Invert the marked pane (i)", invert)),
      make("span.group", ...Object.values(this.toggles)),
      make("span.group", this.quizzing),
      make("span.group", button("Reset", "Window, zoom, place and measures of all panes", () => this.panes.forEach((p) => p.reset()))),
    );
  }

  help() {
    const list = Object.entries(HELP).flatMap(([keys, what]) => [make("dt", keys), make("dd", what)]);
    return make("details", make("summary", "Mouse and keys"), make("dl", ...list));
  }
}
