"""How accurate is a run on studies that it was not trained for, in the competition's layout?

python -m benchmarks.zero_shot ROOT RUN [--out zero_shot]

For every training study whose images are there: how far located points are from the annotated ones,
whether they are at their own level, and the weighted log loss beside that of the weighted prior of
the tables' labels and of uniform predictions. Then the same points under ten perturbations
(magnified by 0.9 to 1.12, the field of view moved by up to 30 mm, another gamma): the patient does
not change, so neither should the prediction. Then with the sagittal field of view truncated between
two levels, at the top or at the bottom: are the levels outside it reported as absent? Saves a
figure of each study with points and grades.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.perturbations import TRUNCATIONS, margin_mm, perturbed, truncated
from utils import cli, inference, metrics, phantom, prepare, rsna, training
from utils.course import plots
from utils.crops import POINT_MM, TARGET_LEVEL, point_table
from utils.prepare import PreparedStudy
from utils.rsna import CANAL_ROWS

SEEDS = range(10)  # one perturbation each
WRONG_MM = 10.0  # a point further off is wrong
CONFIDENT = 0.8  # a point with more confidence is a confident one
EDGE_MM = 8.0  # a point nearer to the edge of the image counts neither as inside nor as outside
AS_ACQUIRED = "as acquired"
PERTURBED = "perturbed"
TRUNCATED = "truncated"


@dataclass
class PointErrors:
    """How far located points of many studies are off.

    rows      one per true point inside the field of view, as in training.POINT_ERRORS
    reported  one per level outside it: was the level reported as absent?
    """

    rows: list[tuple] = field(default_factory=list)
    reported: list[bool] = field(default_factory=list)

    def add(self, study: PreparedStudy, located: inference.Located, true: np.ndarray) -> None:
        """Count one study, with the true points (25, 3) mm."""
        margin = np.array([margin_mm(study, canal) for canal in true[CANAL_ROWS]])
        absent = np.isnan(located.points[CANAL_ROWS, 0])
        self.reported += absent[margin < 0].tolist()
        inside = (margin >= EDGE_MM)[TARGET_LEVEL]
        counted = np.where(inside[:, None], true, np.nan)
        self.rows += training.point_errors(study, located, counted)

    def table(self) -> pd.DataFrame:
        """A row per family, and one for all."""
        points = pd.DataFrame(self.rows, columns=training.POINT_ERRORS)
        points["family"] = points.condition.map(rsna.FAMILY)
        points["wrong"] = points.error_mm > WRONG_MM
        points["confident"] = points.confidence > CONFIDENT
        everything = pd.concat([points, points.assign(family="all")])
        rows = everything.groupby("family", sort=False)
        return pd.DataFrame(
            {
                "points": rows.size(),
                "median mm": rows.error_mm.median(),
                "largest mm": rows.error_mm.max(),
                "% within 10 mm": 100 - 100 * rows.wrong.mean(),
                "% right level": 100 * rows.right_level.mean(),
                "% confident": 100 * rows.confident.mean(),
                "% of confident wrong": rows.apply(_percent_of_confident_wrong),
            }
        )

    def __str__(self) -> str:
        text = self.table().round(1).to_string()
        if not self.reported:
            return text
        outside = f"levels outside the images: {len(self.reported)}"
        return f"{text}\n{outside}, reported absent {np.mean(self.reported):.1%}"


def _percent_of_confident_wrong(points: pd.DataFrame) -> float:
    return 100 * points.wrong[points.confident].mean()


def true_points(tables: rsna.Tables, study: PreparedStudy) -> np.ndarray:
    """(25, 3) mm as annotated; of a phantom the canal points are the true ones, so that those
    outside the images are known too."""
    true = point_table(study.points)
    if (tables.root / "truth").is_dir():
        known = phantom.true_labels(tables.root, "train")
        mine = known[known.study_id == study.study_id]
        true[CANAL_ROWS] = point_table(mine)[CANAL_ROWS]
    return true


def measure(
    tables: rsna.Tables,
    run: inference.Run,
    each: Callable[[PreparedStudy, pd.DataFrame], object] | None = None,
    seeds: Iterable[int] = SEEDS,
) -> tuple[dict[str, PointErrors], pd.DataFrame]:
    """Point errors of the studies as acquired, perturbed (once per seed) and truncated; also the
    predictions for the studies as acquired.

    each  called with every study and its predictions
    """
    errors = {name: PointErrors() for name in (AS_ACQUIRED, PERTURBED, TRUNCATED)}
    predictions = []
    for study_id in tqdm(tables.studies("train"), desc="studies", unit="study"):
        study = prepare.prepare_study(tables, study_id, run.preset.spacing_mm)
        true = true_points(tables, study)
        predicted = inference.predict_study(run, study)
        predictions.append(predicted)
        points = predicted[POINT_MM].to_numpy(float)
        located = inference.Located(points, predicted.confidence.to_numpy(float))
        errors[AS_ACQUIRED].add(study, located, true)
        if each:
            each(study, predicted)
        _add_perturbed(errors[PERTURBED], run, study, true, seeds)
        _add_truncated(errors[TRUNCATED], run, study, true)
    return errors, pd.concat(predictions)


def _add_perturbed(
    errors: PointErrors,
    run: inference.Run,
    study: PreparedStudy,
    true: np.ndarray,
    seeds: Iterable[int],
) -> None:
    for seed in seeds:
        other, zoom = perturbed(study, seed)
        errors.add(other, inference.locate_study(run, other), true * zoom)


def _add_truncated(
    errors: PointErrors, run: inference.Run, study: PreparedStudy, true: np.ndarray
) -> None:
    """Nothing where a canal point is not known: the study cannot be cut between levels then."""
    if not np.isfinite(true[CANAL_ROWS]).all():
        return
    for cut in TRUNCATIONS:
        other = truncated(study, cut, true[CANAL_ROWS])
        errors.add(other, inference.locate_study(run, other), true)


def losses(tables: rsna.Tables, predictions: pd.DataFrame) -> pd.DataFrame:
    """The competition's score, term by term, of the run and of two predictions without images."""
    studies = sorted(predictions.study_id.unique())
    truth = tables.labels[tables.labels.study_id.isin(studies)]
    prior = metrics.prior(tables.labels)
    submissions = {
        "uniform": metrics.constant_submission(0 * prior + 1 / 3, studies),
        "weighted prior of all labels in the tables": metrics.constant_submission(prior, studies),
        "the run": metrics.as_submission(predictions),
    }
    return metrics.score_table(
        {name: metrics.rsna_score(truth, submission) for name, submission in submissions.items()}
    )


def figure(study: PreparedStudy, predictions: pd.DataFrame) -> plt.Figure:
    """One slice of each series with the located points, coloured by grade, and the annotated."""
    series = {part.description: part.series for part in study.series}
    best = predictions[list(rsna.GRADE_COLUMNS)].to_numpy().argmax(1)
    graded = predictions.assign(grade=np.take(rsna.GRADES, best))
    title = f"{study.study_id}: shapes located, + annotated"
    return plots.study_planes(series, graded, title, study.points)


def main() -> None:
    parser = cli.parser("benchmarks.zero_shot", __doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=Path("zero_shot"))
    a = parser.parse_args()
    tables = rsna.load_tables(a.root)
    run = inference.load_run(a.run)
    a.out.mkdir(parents=True, exist_ok=True)

    def save_figure(study: PreparedStudy, predictions: pd.DataFrame) -> None:
        figure(study, predictions).savefig(a.out / f"{study.study_id}.png", dpi=110)
        plt.close("all")

    errors, predictions = measure(tables, run, save_figure)
    for name, found in errors.items():
        print(f"\n{name}\n{found}")
    print("\nweighted log loss\n", losses(tables, predictions).round(3).to_string(), sep="")
    print(f"\nfigures: {a.out}")


if __name__ == "__main__":
    cli.run(main)
