// Which cells the buttons above the grid keep, and in what order the user steps through them.

// predicted: offered only with predictions; quizzed: offered only after a quiz.
const FILTERS = [
  { name: "All", about: "every cell", keep: () => true },
  {
    name: "Narrowed",
    about: "Moderate or Severe by label, or by prediction where there is none",
    keep: (cell) => (cell.grade ?? cell.predictedGrade) > 0,
  },
  {
    name: "Right",
    about: "the most probable grade is the label",
    predicted: true,
    keep: (cell) => cell.verdict === "right",
  },
  {
    name: "Wrong",
    about: "the most probable grade is not the label; the most confident mistake first",
    predicted: true,
    keep: (cell) => cell.verdict === "wrong",
    order: (cell) => cell.prediction.p[cell.grade],
  },
  {
    name: "Unsure",
    about: `no grade reaches ${percent(UNSURE)}; the least confident first`,
    predicted: true,
    keep: (cell) => cell.unsure,
    order: (cell) => cell.confidence,
  },
  {
    name: "Missed",
    about: "your grade in the quiz is not the label",
    quizzed: true,
    keep: (cell) => cell.missed,
  },
];
const [ALL] = FILTERS;
