// The 25 questions: each with its label, its annotated points and its prediction, and what is said of them.

const highest = (p) => p.indexOf(Math.max(...p));
const percent = (p) => `${Math.round(100 * p)} %`;
const UNSURE = 0.6; // below this the most probable grade is called unsure

class Cell {
  constructor(raw, condition, level, grades) {
    Object.assign(this, raw, { condition, level, grades, answer: null }); // answer: the learner's, in the quiz
  }

  get name() {
    return `${this.condition.name} · ${this.level}`;
  }

  get label() {
    return this.grades[this.grade]?.name ?? "not graded";
  }

  // The annotated point, if its image is here.
  get point() {
    return this.points.find((p) => p.mm);
  }

  get place() {
    return this.point ?? (this.prediction?.mm ? { mm: this.prediction.mm } : null);
  }

  get called() {
    return this.prediction ? highest(this.prediction.p) : null;
  }

  get guess() {
    return `${this.grades[this.called].name}, ${percent(Math.max(...this.prediction.p))}`;
  }

  get verdict() {
    if (!this.prediction || this.grade === null) return "";
    return this.called === this.grade ? "right" : "wrong";
  }

  get unsure() {
    return Boolean(this.prediction) && Math.max(...this.prediction.p) < UNSURE;
  }

  get missed() {
    return this.answer !== null && this.answer !== this.grade;
  }

  // From the label's point to the predicted one, in words; empty where one of them is missing.
  get apart() {
    const [label, mm] = [this.point, this.prediction?.mm];
    return label && mm ? `${Math.hypot(...minus(label.mm, mm)).toFixed(1)} mm from the label` : "";
  }
}

// Which cells to look at, and in what order to step through them.
const FILTERS = [
  { name: "All", about: "every cell", keep: () => true },
  { name: "Narrowed", about: "Moderate or Severe by label, or by prediction where there is none", keep: (c) => (c.grade ?? c.called) > 0 },
  { name: "Right", about: "the most probable grade is the label", predicted: true, keep: (c) => c.verdict === "right" },
  {
    name: "Wrong", about: "the most probable grade is not the label; the surest mistake first", predicted: true,
    keep: (c) => c.verdict === "wrong", order: (c) => c.prediction.p[c.grade],
  },
  {
    name: "Unsure", about: `no grade reaches ${percent(UNSURE)}; the least sure first`, predicted: true,
    keep: (c) => c.unsure, order: (c) => Math.max(...c.prediction.p),
  },
  { name: "Missed", about: "your grade in the quiz is not the label", quizzed: true, keep: (c) => c.missed },
];

// A bar for each grade's probability.
function shares({ grades, prediction }) {
  const bar = (v, colour) => make("b", make("i", { style: `width: ${100 * v}%; background: ${colour}` }));
  const share = (v, { name, colour }) => make("div.share", make("span", name), bar(v, colour), percent(v));
  return prediction.p.map((v, i) => share(v, grades[i]));
}

// All that is known of a cell, for the panel beside the grid; a cell in a quiz keeps its grade to itself.
function describe(cell, secret) {
  const absent = ({ instance, series }) => `Point on instance ${instance} of series ${series}, which is not here`;
  const place = (p) => (p.mm ? `Point at ${placeText(p.mm)}, instance ${p.instance}` : absent(p));
  const points = cell.points.length ? cell.points.map(place) : ["No point was annotated."];
  const told = [make("h4", `${sign(cell.condition)} ${cell.name}`)];
  if (!secret) told.push(make("p", `Label: ${cell.label}`));
  told.push(...points.map((text) => make("p.quiet", text)));
  if (cell.prediction && !secret) told.push(...describePrediction(cell));
  return told;
}

function describePrediction(cell) {
  const { mm, note } = cell.prediction;
  const found = mm && [`Found at ${placeText(mm)}`, cell.apart].filter(Boolean).join(", ");
  return [
    make("p", `Predicted${cell.verdict && `, ${cell.verdict}`}:`),
    ...shares(cell),
    ...(found ? [make("p.quiet", found)] : []),
    ...(note ? [make("p.note", note)] : []),
  ];
}
