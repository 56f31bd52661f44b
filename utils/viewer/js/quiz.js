// The quiz: labels and predictions are hidden, the learner grades the cells, then sees how that compares.

const LOOK_FOR = {
  spinal: "Sagittal and axial T2: how much bright fluid is left round the nerve roots?",
  foraminal: "Sagittal T1: how much bright fat is left round the root in its opening?",
  subarticular: "Axial T2: is the corner in front of the facet joint open, is the root flattened, or is no room left round it?",
};

class Quiz {
  // state: {on, answers: 25 of null, 0, 1 or 2, revealed}; save(state) after every change, so that no answer is lost.
  constructor(viewer, state = {}, save = () => {}) {
    Object.assign(this, { viewer, cells: viewer.cells, grades: viewer.study.grades, save });
    this.asked = this.cells.filter((cell) => cell.grade !== null); // a cell without a label is not asked
    this.set(state);
    this.element = this.build();
  }

  get possible() {
    return this.asked.length > 0;
  }

  get asking() {
    return this.on && !this.revealed;
  }

  // Places in the grid of the cells still to be graded, in reading order.
  get open() {
    return this.viewer.grid.reading.filter((i) => this.asked.includes(this.cells[i]) && this.cells[i].answer === null);
  }

  get state() {
    const answers = this.cells.map((cell) => cell.answer);
    return { study: this.viewer.study.id, on: this.on, revealed: this.revealed, answers };
  }

  set({ on = false, revealed = false, answers = [] }) {
    Object.assign(this, { on: on && this.possible, revealed });
    this.cells.forEach((cell, i) => (cell.answer = answers[i] ?? null));
  }

  change(state) {
    Object.assign(this, state);
    this.save(this.state);
    this.viewer.update();
  }

  take({ study, on, revealed, answers }) {
    const now = this.state;
    if (study !== undefined && study !== now.study) return; // of the study that was here before
    if (on === now.on && revealed === now.revealed && answers?.every((answer, i) => answer === now.answers[i])) return;
    this.set({ on, revealed, answers });
    this.viewer.update();
  }

  toggle() {
    this.change({ on: !this.on });
    if (this.asking) this.next(0);
    else this.viewer.quizzing.focus(); // the box that had the focus is gone
  }

  again() {
    for (const cell of this.cells) cell.answer = null;
    this.change({ revealed: false });
    this.next(0);
    this.viewer.grid.buttons[this.viewer.selected].focus();
  }

  answer(i, grade) {
    if (!this.asking || !this.asked.includes(this.cells[i])) return;
    this.cells[i].answer = grade;
    this.change({});
    this.next(this.viewer.grid.reading.indexOf(i));
  }

  next(from) {
    const { reading } = this.viewer.grid;
    const [next] = [...reading.slice(from), ...reading].filter((i) => this.open.includes(i));
    if (next !== undefined) this.viewer.select(next);
    else this.reveal.focus();
  }

  // -- What a cell of the grid shows and says: [text, ...elements]

  face(cell) {
    const { grid } = this.viewer;
    if (cell.grade === null) return ["not graded", grid.chip(null)];
    const yours = cell.answer === null ? "not answered" : `your grade ${this.grades[cell.answer].name}`;
    const mine = cell.answer === null ? make("span.chip", "?") : grid.chip(cell.answer);
    if (!this.revealed) return [yours, mine];
    const right = cell.answer === null ? "" : cell.missed ? "wrong" : "right";
    const told = [yours, right, `label ${cell.label}`, cell.prediction && `predicted ${cell.guess}`].filter(Boolean).join("; ");
    return [told, mine, make("span.verdict", { right: "✓", wrong: "✗" }[right] ?? ""), grid.chip(cell.grade)];
  }

  // -- The score: the share of right answers, and the same with a cell weighing 1, 2 or 4 by its label, as in the metric

  score(gradeOf) {
    const asked = this.cells.filter((cell) => cell.answer !== null && gradeOf(cell) !== null);
    const right = asked.filter((cell) => gradeOf(cell) === cell.grade);
    const weight = (cells) => cells.reduce((sum, cell) => sum + this.grades[cell.grade].weight, 0);
    return { asked: asked.length, right: right.length, share: asked.length ? weight(right) / weight(asked) : 0 };
  }

  get scores() {
    const rows = { You: this.score((cell) => cell.answer) };
    if (this.cells.some((cell) => cell.prediction)) rows.Model = this.score((cell) => cell.called);
    return { ...rows, [`Always ${this.grades[0].name}`]: this.score(() => 0) };
  }

  // -- The box beside the grid; its elements stay the same ones, so that none loses the focus

  build() {
    this.title = make("h4", { "aria-live": "polite", tabindex: -1 });
    this.told = make("p.quiet");
    const give = (i) => () => this.answer(this.viewer.selected, i);
    const choice = ({ name }, i) => make("button", { type: "button", onclick: give(i) }, make("kbd", `${i + 1}`), ` ${name}`);
    this.choices = make("div.group", ...this.grades.map(choice));
    this.table = make("table.scores");
    this.reveal = button("Reveal", "Show the labels and score what was graded", () => this.end());
    this.restart = button("Again", "Forget the answers and start over", () => this.again());
    const leave = button("Leave quiz", "Show everything again; the answers are kept", () => this.toggle());
    const row = make("div.row", this.reveal, this.restart, leave);
    return make("div.quiz", { role: "group", "aria-label": "Quiz" }, this.title, this.table, this.told, this.choices, row);
  }

  update() {
    this.element.hidden = !this.on;
    [this.choices.hidden, this.reveal.hidden] = [this.revealed, this.revealed];
    [this.table.hidden, this.restart.hidden] = [!this.revealed, !this.revealed];
    if (this.revealed) this.result();
    else this.question();
  }

  question() {
    const cell = this.cells[this.viewer.selected];
    const given = this.asked.length - this.open.length;
    this.title.textContent = `Your grade? ${given} of ${this.asked.length} given`;
    this.told.textContent = cell.grade === null ? "This cell has no label, so it is not asked." : LOOK_FOR[cell.condition.family];
  }

  end() {
    this.change({ revealed: true });
    this.title.focus(); // not a button: one Enter too many must not begin anew
  }

  result() {
    const row = ([who, { asked, right, share }]) =>
      make("tr", make("th", { scope: "row" }, who), make("td", `${right} of ${asked}`), make("td", percent(share)));
    const head = ["", "right", "weighted"].map((text) => make("th", { scope: "col" }, text));
    this.title.textContent = "Your grades against the labels";
    this.table.replaceChildren(make("thead", make("tr", ...head)), make("tbody", ...Object.entries(this.scores).map(row)));
    this.told.textContent = "Weighted: a cell counts 1, 2 or 4 by its label, as in the competition. In the grid: your grade, then the label.";
  }
}
