// The 25 cells, one for each condition at each level: label, annotated points, prediction, and how
// they are described in words.

const highest = (p) => p.indexOf(Math.max(...p));
const percent = (p) => `${Math.round(100 * p)} %`;
const UNSURE = 0.6; // a prediction whose highest probability is below this is called unsure
// Not "right", which a reader of images takes for a side.
const HOW = { right: "correctly", wrong: "wrongly" };
const SOURCES = { prior: "weighted prior" }; // where a prediction comes from, if not from a model

class Cell {
  constructor(data, condition, level, grades) {
    Object.assign(this, data, { condition, level, grades });
    this.answer = null; // the learner's grade, in the quiz
  }

  get name() {
    return `${this.condition.name} · ${this.level}`;
  }

  get label() {
    return this.grades[this.grade]?.name ?? "not graded";
  }

  // The annotated point, if its image is here.
  get point() {
    return this.points.find((point) => point.mm);
  }

  // Where the panes go: {mm, series?, slice?}; null if neither label nor prediction has a point.
  get position() {
    return this.point ?? (this.prediction?.mm ? { mm: this.prediction.mm } : null);
  }

  get predictedGrade() {
    return this.prediction ? highest(this.prediction.p) : null;
  }

  get confidence() {
    return this.prediction ? Math.max(...this.prediction.p) : null;
  }

  get predictionText() {
    return `${this.grades[this.predictedGrade].name}, ${percent(this.confidence)}`;
  }

  get verdict() {
    if (!this.prediction || this.grade === null) return "";
    return this.predictedGrade === this.grade ? "right" : "wrong";
  }

  get unsure() {
    return Boolean(this.prediction) && this.confidence < UNSURE;
  }

  get missed() {
    return this.answer !== null && this.answer !== this.grade;
  }

  // From the label's point to the predicted one; empty where one of them is missing.
  get distanceText() {
    const label = this.point;
    const predicted = this.prediction?.mm;
    if (!label || !predicted) return "";
    return `${norm(minus(label.mm, predicted)).toFixed(1)} mm from the label`;
  }
}

// A bar for each grade's probability.
function probabilityBars({ grades, prediction }) {
  return prediction.p.map((p, i) => {
    const { name, colour } = grades[i];
    const fill = make("i", { style: `width: ${100 * p}%; background: ${colour}` });
    return make("div.probability", make("span", name), make("b", fill), percent(p));
  });
}

// All that is known of a cell, for the panel beside the grid; during a quiz without its grades.
function describe(cell, gradesHidden) {
  const heading = make("h4", `${sign(cell.condition)} ${cell.name}`);
  const points = pointTexts(cell).map((text) => make("p.quiet", text));
  if (gradesHidden) return [heading, ...points];
  const prediction = cell.prediction ? describePrediction(cell) : [];
  return [heading, make("p", `Label: ${cell.label}`), ...points, ...prediction];
}

function pointTexts({ points }) {
  if (!points.length) return ["No point was annotated."];
  return points.map(({ mm, instance, series }) =>
    mm
      ? `Point at ${positionText(mm)}, instance ${instance}`
      : `Point on instance ${instance} of series ${series}, which is not here`,
  );
}

function describePrediction(cell) {
  const { mm, measure, note, source } = cell.prediction;
  const verdict = cell.verdict && ` ${HOW[cell.verdict]}`;
  const parts = [make("p", `Predicted${verdict}:`), ...probabilityBars(cell)];
  if (mm) {
    const texts = [`Found at ${positionText(mm)}`, cell.distanceText];
    parts.push(make("p.quiet", texts.filter(Boolean).join(", ")));
  }
  if (measure) parts.push(make("p", `Measured: ${measure}`));
  const remark = note ?? SOURCES[source];
  if (remark) parts.push(make("p.note", remark));
  return parts;
}
