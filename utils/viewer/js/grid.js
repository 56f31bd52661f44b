// The 5 × 5 grid: levels down, conditions across; a cell shows its grade, the prediction's bars, right or wrong.

class Grid {
  constructor(viewer, filter = FILTERS[0]) {
    Object.assign(this, { viewer, cells: viewer.cells, study: viewer.study, filter });
    const rows = this.study.levels.length; // cells are stored column by column, and read row by row
    this.reading = [...this.cells.keys()].sort((a, b) => (a % rows) - (b % rows) || a - b);
    this.buttons = this.cells.map((_, i) => this.cellButton(i));
    this.chooser = new Map(FILTERS.map((filter) => [filter, button("", `Show ${filter.about}`, () => this.choose(filter))]));
    this.filters = make("div.filters", { role: "toolbar", "aria-label": "Which cells to look at" });
    this.filters.append(make("span.group", ...this.chooser.values()), make("span.group", ...this.steppers()));
    this.element = make("div", this.filters, this.table(), this.legend());
  }

  table() {
    const { levels, conditions } = this.study;
    const words = (c) => ` ${side(c) || "Spinal"}\n${side(c) ? c.family : "canal"}`;
    const shape = (c) => make("span", { "aria-hidden": true }, sign(c));
    const head = conditions.map((c) => make("th", { scope: "col", title: c.name }, shape(c), words(c)));
    const cell = (i, j) => make("td", this.buttons[i * levels.length + j]);
    const rows = levels.map((level, j) => make("tr", make("th", { scope: "row" }, level), ...conditions.map((_, i) => cell(i, j))));
    const told = { "aria-label": "Grades by level and condition", onkeydown: (e) => this.walk(e) };
    return make("table", told, make("thead", make("tr", make("td"), ...head)), make("tbody", ...rows));
  }

  cellButton(i) {
    const [show, back] = [() => this.viewer.tell(i), () => this.viewer.tell(this.viewer.selected)];
    const acts = { onclick: () => this.viewer.select(i), onmouseenter: show, onfocus: show, onmouseleave: back, onblur: back };
    return make("button.cell", { type: "button", ...acts });
  }

  // Everything that depends on the quiz or the filter; the study itself never changes.
  update() {
    const { quiz } = this.viewer;
    if (!this.offers(this.filter)) this.filter = FILTERS[0];
    this.buttons.forEach((one, i) => {
      const cell = this.cells[i];
      const [told, ...children] = quiz.on ? quiz.face(cell) : this.face(cell);
      one.replaceChildren(...children);
      one.setAttribute("aria-label", `${cell.condition.name}, ${cell.level}: ${told}`);
      one.classList.toggle("aside", !this.filter.keep(cell));
    });
    this.filters.hidden = quiz.asking;
    for (const [filter, one] of this.chooser) {
      [one.textContent, one.hidden] = [`${filter.name} ${this.kept(filter).length}`, !this.offers(filter)];
      one.setAttribute("aria-pressed", filter === this.filter);
    }
  }

  face(cell) {
    if (!cell.prediction) return [cell.label, this.chip(cell.grade)];
    const told = [cell.label, `predicted ${cell.guess}`, cell.verdict].filter(Boolean).join("; ");
    return [told, this.chip(cell.grade), this.bars(cell), make("span.verdict", { right: "✓", wrong: "✗" }[cell.verdict] ?? "")];
  }

  bars({ prediction }) {
    const style = (v, { colour }) => ({ style: `height: ${Math.max(6, 100 * v)}%; background: ${colour}` });
    return make("span.bars", ...prediction.p.map((v, g) => make("i", style(v, this.study.grades[g]))));
  }

  chip(grade) {
    const { name = "–", colour } = this.study.grades[grade] ?? {};
    return make("span.chip", { style: colour ? `background: ${colour}; color: #111` : "" }, name[0]);
  }

  // -- Filters

  offers({ predicted, quizzed }) {
    const { quiz } = this.viewer;
    if (quizzed) return quiz.on && quiz.revealed;
    return !quiz.asking && (!predicted || this.cells.some((cell) => cell.prediction));
  }

  // Places of the cells a filter keeps, in the order of stepping.
  kept(filter) {
    const kept = this.reading.filter((i) => filter.keep(this.cells[i]));
    return filter.order ? kept.sort((a, b) => filter.order(this.cells[a]) - filter.order(this.cells[b])) : kept;
  }

  choose(filter) {
    this.filter = filter;
    this.update();
    const [first] = this.kept(filter);
    if (first !== undefined && filter !== FILTERS[0]) this.viewer.select(first);
  }

  steppers() {
    const stepper = (text, by, told) => Object.assign(button(text, told, () => this.step(by)), { ariaLabel: told });
    return [stepper("‹", -1, "Previous of these (Shift-n)"), stepper("›", 1, "Next of these (n)")];
  }

  step(by) {
    const kept = this.viewer.quiz.asking ? this.viewer.quiz.open : this.kept(this.filter);
    const at = kept.indexOf(this.viewer.selected);
    const next = at < 0 ? kept.at(by > 0 ? 0 : -1) : kept[(at + by + kept.length) % kept.length];
    if (next !== undefined) this.viewer.select(next);
  }

  // -- Focus

  mark(selected) {
    this.buttons.forEach((one, i) => {
      one.setAttribute("aria-pressed", i === selected);
      one.tabIndex = i === selected ? 0 : -1; // Tab comes to the grid once; the arrow keys walk in it
    });
  }

  at(event) {
    return this.buttons.indexOf(event.target.closest?.("button.cell"));
  }

  // Arrow keys walk over the grid; its cells are stored column by column.
  walk(event) {
    const n = this.study.levels.length;
    const by = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -n, ArrowRight: n }[event.key];
    const from = this.at(event);
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
}
