// The 5 × 5 grid: levels down, conditions across. A cell shows its grade, the prediction's bars and
// whether the prediction is right.

const MARKS = { right: "✓", wrong: "✗" };
const LOWEST_BAR = 6; // % of a cell's height, so that a probability of zero is still visible

class Grid {
  constructor(viewer, filter = ALL) {
    Object.assign(this, { viewer, cells: viewer.cells, study: viewer.study, filter });
    this.rows = this.study.levels.length;
    this.readingOrder = this.inReadingOrder();
    this.buttons = this.cells.map((_, i) => this.cellButton(i));
    const filterButton = (filter) => button("", `Show ${filter.about}`, () => this.choose(filter));
    this.filterButtons = new Map(FILTERS.map((filter) => [filter, filterButton(filter)]));
    this.toolbar = this.makeToolbar();
    this.element = make("div", this.toolbar, this.table(), this.legend());
  }

  // Cells are stored column by column and read row by row.
  inReadingOrder() {
    const row = (i) => i % this.rows;
    return [...this.cells.keys()].sort((a, b) => row(a) - row(b) || a - b);
  }

  // -- Elements

  makeToolbar() {
    const attributes = { role: "toolbar", "aria-label": "Which cells to look at" };
    const filters = make("span.group", ...this.filterButtons.values());
    const previous = this.stepButton("‹", -1, "Previous of these (Shift-n)");
    const next = this.stepButton("›", 1, "Next of these (n)");
    return make("div.filters", attributes, filters, make("span.group", previous, next));
  }

  stepButton(text, by, label) {
    return Object.assign(button(text, label, () => this.step(by)), { ariaLabel: label });
  }

  table() {
    const attributes = {
      "aria-label": "Grades by level and condition",
      onkeydown: (event) => this.moveFocus(event),
    };
    const head = make("tr", make("td"), ...this.study.conditions.map(columnHead));
    const body = this.study.levels.map((level, row) => this.tableRow(level, row));
    return make("table", attributes, make("thead", head), make("tbody", ...body));
  }

  tableRow(level, row) {
    const buttons = this.buttons.filter((_, i) => i % this.rows === row);
    const cells = buttons.map((cellButton) => make("td", cellButton));
    return make("tr", make("th", { scope: "row" }, level), ...cells);
  }

  cellButton(i) {
    const describe = () => this.viewer.describe(i);
    const describeSelected = () => this.viewer.describe(this.viewer.selected);
    return make("button.cell", {
      type: "button",
      onclick: () => this.viewer.select(i),
      onmouseenter: describe,
      onfocus: describe,
      onmouseleave: describeSelected,
      onblur: describeSelected,
    });
  }

  legend() {
    const grades = this.study.grades.map(({ name }, i) => make("span", this.chip(i), ` ${name}`));
    const texts = ["– not graded", "filled: patient's left"];
    if (this.hasPredictions) texts.push("✓ ✗ prediction right, wrong", "× predicted point");
    return make("div.legend", ...grades, ...texts.map((text) => make("span", text)));
  }

  get hasPredictions() {
    return this.cells.some((cell) => cell.prediction);
  }

  // -- What depends on the quiz or the filter; the study itself never changes

  update() {
    if (!this.offers(this.filter)) this.filter = ALL;
    this.buttons.forEach((cellButton, i) => this.updateCell(cellButton, this.cells[i]));
    this.toolbar.hidden = this.viewer.quiz.asking;
    for (const [filter, filterButton] of this.filterButtons) {
      filterButton.textContent = `${filter.name} ${this.matches(filter).length}`;
      filterButton.hidden = !this.offers(filter);
      filterButton.setAttribute("aria-pressed", filter === this.filter);
    }
  }

  updateCell(cellButton, cell) {
    const { quiz } = this.viewer;
    const [text, ...children] = quiz.on ? quiz.cellContent(cell) : this.cellContent(cell);
    cellButton.replaceChildren(...children);
    cellButton.setAttribute("aria-label", `${cell.condition.name}, ${cell.level}: ${text}`);
    cellButton.classList.toggle("dimmed", !this.filter.keep(cell));
  }

  // [text for screen readers, ...elements]
  cellContent(cell) {
    if (!cell.prediction) return [cell.label, this.chip(cell.grade)];
    const texts = [cell.label, `predicted ${cell.predictionText}`, cell.verdict];
    const verdict = make("span.verdict", MARKS[cell.verdict] ?? "");
    return [texts.filter(Boolean).join("; "), this.chip(cell.grade), this.bars(cell), verdict];
  }

  bars({ prediction }) {
    const bar = (p, i) => {
      const height = Math.max(LOWEST_BAR, 100 * p);
      return make("i", { style: `height: ${height}%; background: ${this.study.grades[i].colour}` });
    };
    return make("span.bars", ...prediction.p.map(bar));
  }

  chip(grade) {
    const { name = "–", colour } = this.study.grades[grade] ?? {};
    const style = colour ? `background: ${colour}; color: #111` : "";
    return make("span.chip", { style }, name[0]);
  }

  // -- Filters

  offers({ predicted, quizzed }) {
    const { quiz } = this.viewer;
    if (quizzed) return quiz.on && quiz.revealed;
    return !quiz.asking && (!predicted || this.hasPredictions);
  }

  // Indices of the cells that a filter keeps, in the order of stepping.
  matches({ keep, order }) {
    const kept = this.readingOrder.filter((i) => keep(this.cells[i]));
    return order ? kept.sort((a, b) => order(this.cells[a]) - order(this.cells[b])) : kept;
  }

  choose(filter) {
    this.filter = filter;
    this.update();
    const [first] = this.matches(filter);
    if (first !== undefined && filter !== ALL) this.viewer.select(first);
  }

  step(by) {
    const { quiz, selected } = this.viewer;
    const choice = quiz.asking ? quiz.unanswered : this.matches(this.filter);
    const from = choice.indexOf(selected);
    const first = choice.at(by > 0 ? 0 : -1);
    const next = from < 0 ? first : choice[(from + by + choice.length) % choice.length];
    if (next !== undefined) this.viewer.select(next);
  }

  // -- Focus

  // Tab reaches the grid once; the arrow keys move inside it.
  mark(selected) {
    this.buttons.forEach((cellButton, i) => {
      cellButton.setAttribute("aria-pressed", i === selected);
      cellButton.tabIndex = i === selected ? 0 : -1;
    });
  }

  // Index of the cell that an event comes from; -1 if it comes from elsewhere.
  indexOf(event) {
    return this.buttons.indexOf(event.target.closest?.("button.cell"));
  }

  moveFocus(event) {
    const column = this.rows; // so far is it to the same cell of the next column
    const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -column, ArrowRight: column };
    const by = steps[event.key];
    const from = this.indexOf(event);
    if (!by || from < 0) return;
    consume(event);
    const staysInColumn = Math.floor((from + by) / column) === Math.floor(from / column);
    if (staysInColumn || Math.abs(by) === column) this.buttons[from + by]?.focus();
  }
}

function columnHead(condition) {
  const { name, side, family } = condition;
  const text = side ? ` ${side}\n${family}` : " Spinal\ncanal";
  const shape = make("span", { "aria-hidden": true }, sign(condition));
  return make("th", { scope: "col", title: name }, shape, text);
}
