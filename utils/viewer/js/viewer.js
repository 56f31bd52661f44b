// The viewer: three panes, the grid, the quiz, and the state that they share.

const MOST_FINDINGS = "L4/L5"; // the level with which a study opens
const NOISY =
  "This browser protects against fingerprinting by changing images that a page reads: the greys " +
  "shown here have noise that the MRI has not. Allow this page to read canvases to see them as " +
  "they are.";
const UNSEEN = 1e6; // slices of a series that no pane shows are loaded last

class Viewer {
  // previous: the viewer of the study shown before, whose toggles and filter are kept.
  constructor(root, study, images, quiz, save, previous) {
    Object.assign(this, { root, study, images, crosshair: null, panes: [] });
    this.show = previous?.show ?? defaultToggles();
    const outlines = study.series.flatMap(({ slices }) => slices.flatMap((s) => s.outlines ?? []));
    this.outlined = new Set(outlines.map(({ structure }) => structure));
    this.wheel = new Wheel();
    this.cells = this.makeCells();
    this.marks = new Marks(this);
    this.selected = this.firstSelected();
    this.quiz = new Quiz(this, quiz, save);
    this.panes = study.kinds.map((kind, i) => new Pane(this, kind, PLANE_COLOURS[i]));
    this.grid = new Grid(this, previous?.grid.filter);
    this.toolbar = new Toolbar(this);
    this.element = this.build();
    this.element.classList.toggle("measuring", this.show.measure);
    this.activate(this.panes[0]);
    this.update();
    this.select(this.selected);
    if (this.quiz.asking) this.quiz.goToNext(0);
    this.loadAll();
  }

  // Of the study: one for each condition at each level, column by column.
  makeCells() {
    const { levels, conditions, grades } = this.study;
    return this.study.cells.map((data, i) => {
      const condition = conditions[Math.floor(i / levels.length)];
      return new Cell(data, condition, levels[i % levels.length], grades);
    });
  }

  // The canal where most is found, or else the first cell that has a position.
  firstSelected() {
    const order = [this.study.levels.indexOf(MOST_FINDINGS), ...this.cells.keys()];
    return order.find((i) => this.cells[i].position) ?? 0;
  }

  build() {
    this.detail = make("div.detail", { "aria-live": "polite" });
    const panes = make("div.panes", ...this.panes.map((pane) => pane.element));
    const beside = make("div", this.quiz.element, this.detail, helpList());
    const below = make("div.below", this.grid.element, beside);
    this.notice = make("p.notice", { role: "status", hidden: true }, NOISY);
    // Focusable, because Safari gives the focus to no button.
    const attributes = { tabindex: -1, onkeydown: (event) => this.key(event) };
    return make("div.viewer", attributes, this.toolbar.element, this.notice, panes, below);
  }

  // -- Images

  // One slice that cannot be decoded does not hold up the others.
  load(slice) {
    const keep = ({ grey, isNoisy }) => {
      slice.grey = grey;
      this.notice.hidden &&= !isNoisy;
      this.refresh();
    };
    const jpeg = this.images.subarray(...slice.bytes);
    slice.loading ??= decode(jpeg, slice.size).then(keep, console.error);
    return slice.loading;
  }

  // The slices on show first, then outwards from them; one at a time, so that the page stays
  // responsive.
  async loadAll() {
    const shown = new Map(this.panes.map((pane) => [pane.series, pane.index]));
    const away = (series, i) => (shown.has(series) ? Math.abs(shown.get(series) - i) : UNSEEN);
    const entries = (series) => series.slices.map((slice, i) => ({ slice, away: away(series, i) }));
    const queue = this.study.series.flatMap(entries).sort((a, b) => a.away - b.away);
    for (const { slice } of queue) if (!this.closed) await this.load(slice);
  }

  // -- Drawing

  // Draws everything in the next frame. If only one pane has changed, that one is drawn first and
  // the lines in the others one frame later, so that the image under the pointer never waits.
  refresh(pane) {
    if (this.frame === undefined) this.alone = pane;
    else if (this.alone !== pane) this.alone = undefined;
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { alone } = this;
    const panes = alone ? [alone] : this.panes;
    this.frame = undefined;
    for (const pane of panes) pane.draw();
    for (const pane of panes) writeCorners(pane);
    if (alone) this.refresh();
    else this.updateHover();
  }

  // What is under a resting pointer has changed.
  updateHover() {
    for (const { hover } of this.panes.map((pane) => pane.interaction))
      if (hover.at) hover.update(hover.at);
  }

  close() {
    this.closed = true;
    this.wheel.close();
    for (const pane of this.panes) {
      pane.observer.disconnect();
      pane.cine.play(false);
    }
  }

  // -- State that the panes share

  activate(active) {
    this.active = active;
    for (const pane of this.panes) pane.element.classList.toggle("active", pane === active);
  }

  toggle(name) {
    this.show[name] = !this.show[name];
    this.element.classList.toggle("measuring", this.show.measure);
    this.toolbar.update();
    this.refresh();
  }

  // Sets the crosshair to a pixel of one pane; the others follow.
  point(from, xy) {
    this.crosshair = toPatient(from.slice, clampToImage(from.slice, xy));
    for (const pane of this.panes) if (pane !== from) pane.goTo(this.crosshair);
    this.refresh();
  }

  // Selects a cell and takes every pane to its position.
  select(i) {
    const inGrid = this.grid.buttons.includes(this.root.activeElement);
    this.selected = i;
    this.grid.mark(i);
    if (inGrid) this.grid.buttons[i].focus();
    this.quiz.update();
    this.describe(i);
    this.refresh();
    const { position } = this.cells[i];
    if (!position) return;
    this.crosshair = position.mm;
    for (const pane of this.panes) pane.goTo(position.mm, position);
  }

  describe(i) {
    this.detail.replaceChildren(...describe(this.cells[i], this.quiz.asking));
  }

  // After the quiz has started, moved on or ended.
  update() {
    this.grid.update();
    this.quiz.update();
    this.toolbar.update();
    this.describe(this.selected);
    this.refresh();
  }

  // -- Keys: those that neither a pane nor the grid has handled. No plain key reaches the notebook,
  // where x cuts a cell.

  key(event) {
    if (isForOthers(event) || event.key === "Tab") return;
    event.stopPropagation();
    const act = this.actionOfKey(event);
    if (!act) return;
    act();
    event.preventDefault();
  }

  actionOfKey(event) {
    const toggle = Object.keys(TOGGLES).find((name) => TOGGLES[name].key === event.key);
    if (toggle) return () => this.toggle(toggle);
    if (event.key === "n") return () => this.grid.step(1);
    if (event.key === "N") return () => this.grid.step(-1);
    const grade = "123".indexOf(event.key);
    return this.quiz.asking && grade >= 0 ? () => this.gradeByKey(event, grade) : null;
  }

  gradeByKey(event, grade) {
    const focused = this.grid.indexOf(event);
    const isDone = focused < 0 && !this.quiz.unanswered.length; // one key too many
    if (event.repeat || isDone) return;
    this.quiz.answer(focused < 0 ? this.selected : focused, grade);
  }
}

function defaultToggles() {
  return Object.fromEntries(Object.entries(TOGGLES).map(([name, { on }]) => [name, on]));
}
