// The quiz: labels and predictions are hidden, the learner grades the cells, then compares.

const HINTS = {
  spinal: "Sagittal and axial T2: how much bright fluid is left round the nerve roots?",
  foraminal: "Sagittal T1: how much bright fat is left round the root in its opening?",
  subarticular:
    "Axial T2: is the corner in front of the facet joint open, is the root flattened, " +
    "or is no room left round it?",
};
const SCORE_HINT =
  "Weighted: a cell counts 1, 2 or 4 by its label, as in the competition. " +
  "In the grid: your grade, then the label.";

class Quiz {
  // state: {study, on, answers: 25 of null, 0, 1 or 2, revealed}; save(state) is called after every
  // change, so that no answer is lost.
  constructor(viewer, state = {}, save = () => {}) {
    Object.assign(this, { viewer, cells: viewer.cells, grades: viewer.study.grades, save });
    this.asked = this.cells.filter((cell) => cell.grade !== null);
    this.set(state);
    this.element = this.build();
  }

  get possible() {
    return this.asked.length > 0;
  }

  get asking() {
    return this.on && !this.revealed;
  }

  // Indices of the cells still to be graded, in reading order.
  get unanswered() {
    const isOpen = (cell) => this.asked.includes(cell) && cell.answer === null;
    return this.viewer.grid.readingOrder.filter((i) => isOpen(this.cells[i]));
  }

  // -- State

  get state() {
    const answers = this.cells.map((cell) => cell.answer);
    return { study: this.viewer.study.id, on: this.on, revealed: this.revealed, answers };
  }

  set({ on = false, revealed = false, answers = [] }) {
    Object.assign(this, { on: on && this.possible, revealed });
    this.cells.forEach((cell, i) => (cell.answer = answers[i] ?? null));
  }

  // By the learner.
  change(state) {
    Object.assign(this, state);
    this.save(this.state);
    this.viewer.update();
  }

  // By Python, or by another view of the same widget.
  receive({ study, on, revealed, answers }) {
    const now = this.state;
    if (study !== undefined && study !== now.study) return; // it belongs to the study before
    const sameAnswers = answers?.every((answer, i) => answer === now.answers[i]);
    if (on === now.on && revealed === now.revealed && sameAnswers) return;
    this.set({ on, revealed, answers });
    this.viewer.update();
  }

  toggle() {
    this.change({ on: !this.on });
    if (this.asking) this.goToNext(0);
    else this.viewer.toolbar.quiz.focus(); // the box that had the focus is gone
  }

  restart() {
    for (const cell of this.cells) cell.answer = null;
    this.change({ revealed: false });
    this.goToNext(0);
    this.viewer.grid.buttons[this.viewer.selected].focus();
  }

  answer(i, grade) {
    if (!this.asking || !this.asked.includes(this.cells[i])) return;
    this.cells[i].answer = grade;
    this.change({});
    this.goToNext(this.viewer.grid.readingOrder.indexOf(i));
  }

  // To the first cell still to be graded from this position in reading order, then from the start.
  goToNext(from) {
    const { readingOrder } = this.viewer.grid;
    const { unanswered } = this;
    const ahead = [...readingOrder.slice(from), ...readingOrder];
    const next = ahead.find((i) => unanswered.includes(i));
    if (next !== undefined) this.viewer.select(next);
    else this.revealButton.focus();
  }

  reveal() {
    this.change({ revealed: true });
    this.title.focus(); // not a button: one Enter too many must not start the quiz again
  }

  // -- What a cell of the grid shows: [text for screen readers, ...elements]

  cellContent(cell) {
    const { grid } = this.viewer;
    if (cell.grade === null) return ["not graded", grid.chip(null)];
    const isAnswered = cell.answer !== null;
    const answerText = isAnswered ? `your grade ${this.grades[cell.answer].name}` : "not answered";
    const answerChip = isAnswered ? grid.chip(cell.answer) : make("span.chip", "?");
    if (!this.revealed) return [answerText, answerChip];
    const verdict = answerVerdict(cell);
    const prediction = cell.prediction && `predicted ${cell.predictionText}`;
    const texts = [answerText, verdict, `label ${cell.label}`, prediction];
    const mark = make("span.verdict", MARKS[verdict] ?? "");
    return [texts.filter(Boolean).join("; "), answerChip, mark, grid.chip(cell.grade)];
  }

  // -- The score: the fraction of right answers, plain and with cells weighted by their label as in
  // the competition's metric

  score(gradeOf) {
    const answered = this.cells.filter((cell) => cell.answer !== null && gradeOf(cell) !== null);
    const right = answered.filter((cell) => gradeOf(cell) === cell.grade);
    const weight = (cells) => cells.reduce((sum, cell) => sum + this.grades[cell.grade].weight, 0);
    const weighted = answered.length ? weight(right) / weight(answered) : 0;
    return { count: answered.length, right: right.length, weighted };
  }

  get scores() {
    const rows = { You: this.score((cell) => cell.answer) };
    if (this.viewer.grid.hasPredictions) rows.Model = this.score((cell) => cell.predictedGrade);
    return { ...rows, [`Always ${this.grades[0].name}`]: this.score(() => 0) };
  }

  // -- The box beside the grid; its elements are kept, so that none loses the focus

  build() {
    this.title = make("h4", { "aria-live": "polite", tabindex: -1 });
    this.table = make("table.scores");
    this.hint = make("p.quiet");
    this.choices = make("div.group", ...this.grades.map(({ name }, i) => this.choice(name, i)));
    const attributes = { role: "group", "aria-label": "Quiz" };
    const parts = [this.title, this.table, this.hint, this.choices, this.buttonRow()];
    return make("div.quiz", attributes, ...parts);
  }

  choice(name, grade) {
    const onclick = () => this.answer(this.viewer.selected, grade);
    return make("button", { type: "button", onclick }, make("kbd", `${grade + 1}`), ` ${name}`);
  }

  buttonRow() {
    const about = "Show the labels and score what was graded";
    this.revealButton = button("Reveal", about, () => this.reveal());
    const forget = "Forget the answers and start over";
    this.restartButton = button("Again", forget, () => this.restart());
    const kept = "Show everything again; the answers are kept";
    const leave = button("Leave quiz", kept, () => this.toggle());
    return make("div.row", this.revealButton, this.restartButton, leave);
  }

  update() {
    this.element.hidden = !this.on;
    for (const element of [this.choices, this.revealButton]) element.hidden = this.revealed;
    for (const element of [this.table, this.restartButton]) element.hidden = !this.revealed;
    if (this.revealed) this.showResult();
    else this.showQuestion();
  }

  showQuestion() {
    const { grade, condition } = this.cells[this.viewer.selected];
    const given = this.asked.length - this.unanswered.length;
    this.title.textContent = `Your grade? ${given} of ${this.asked.length} given`;
    const isAsked = grade !== null;
    const unasked = "This cell has no label, so it is not asked.";
    this.hint.textContent = isAsked ? HINTS[condition.family] : unasked;
  }

  showResult() {
    const heads = ["", "right", "weighted"].map((text) => make("th", { scope: "col" }, text));
    const body = make("tbody", ...Object.entries(this.scores).map(scoreRow));
    this.title.textContent = "Your grades against the labels";
    this.table.replaceChildren(make("thead", make("tr", ...heads)), body);
    this.hint.textContent = SCORE_HINT;
  }
}

function answerVerdict(cell) {
  if (cell.answer === null) return "";
  return cell.missed ? "wrong" : "right";
}

function scoreRow([name, { count, right, weighted }]) {
  const head = make("th", { scope: "row" }, name);
  return make("tr", head, make("td", `${right} of ${count}`), make("td", percent(weighted)));
}
