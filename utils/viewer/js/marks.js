// Which points are marked on which series: {cell, mm, slice, colour, predicted?}.

const UNGRADED_COLOUR = "#cccccc";
const QUIZ_COLOUR = "#ffffff"; // gives no grade away
const DEFAULT_GAP_MM = 5; // of a series of single slices

class Marks {
  constructor(viewer) {
    this.viewer = viewer;
    this.bySeries = new Map();
  }

  // In a quiz only the point in question, without its grade.
  on(series) {
    const { quiz, cells, selected } = this.viewer;
    const marks = this.all(series);
    if (!quiz.asking) return marks;
    const asked = marks.filter(({ cell, predicted }) => cell === cells[selected] && !predicted);
    return asked.map((mark) => ({ ...mark, colour: QUIZ_COLOUR }));
  }

  all(series) {
    if (!this.bySeries.has(series)) {
      const marks = this.viewer.cells.map((cell) => [
        ...this.annotated(cell, series),
        ...this.predicted(cell, series),
      ]);
      this.bySeries.set(series, marks.flat());
    }
    return this.bySeries.get(series);
  }

  // An annotated point is on one image of one series.
  annotated(cell, series) {
    const colour = this.viewer.study.grades[cell.grade]?.colour ?? UNGRADED_COLOUR;
    const here = cell.points.filter((point) => point.mm && point.series === series.id);
    return here.map((point) => ({ cell, colour, ...point }));
  }

  // A predicted point is a position in the patient, so every series that comes near it shows it.
  predicted(cell, series) {
    const mm = cell.prediction?.mm;
    if (!mm) return [];
    const slice = nearestSlice(series.slices, mm);
    const away = distanceToImage(series.slices[slice], mm);
    if (away > (series.gap_mm ?? DEFAULT_GAP_MM)) return [];
    const { colour } = this.viewer.study.grades[cell.predictedGrade];
    return [{ cell, mm, slice, colour, predicted: true }];
  }
}
