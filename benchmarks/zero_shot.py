"""How well does a run find its way on studies it was not trained for, in any folder in the competition's layout?

python -m benchmarks.zero_shot ROOT RUN [--out zero_shot]

For every training study whose images are there: how far found points lie from the annotated ones, whether they lie on their
own level, and the weighted log loss beside that of the weighted prior of the real data set's labels and of uniform answers.
Then the same points under ten perturbations (magnified by 0.9 to 1.12, the field of view moved by up to 30 mm, another
gamma): the patient does not change, so neither should the answer. Then with sagittal pictures that end between two levels,
above or below: are the levels outside told? Saves a picture of each study with points and labels.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

from utils import inference, metrics, phantom, plots, prepare, rsna, training
from utils.geometry import Series, Slice
from utils.prepare import PreparedStudy
from utils.views import POINT, TARGET_LEVEL, point_table

SEEDS = range(10)
MM = {"axial": 15.0, "sagittal": 30.0}  # the field of view is moved by up to so much
CUTS = [("top", 1), ("top", 2), ("bottom", 1), ("bottom", 2)]  # where the sagittal pictures end, and how many levels that costs
WRONG_MM, SURE = 10.0, 0.8  # a point further off is wrong; one with more confidence is sure
EDGE_MM = 8.0  # a point nearer to the picture's edge is neither in it nor outside


def perturbed(study: PreparedStudy, seed: int) -> tuple[PreparedStudy, float]:
    """The same patient otherwise imaged, and by how much he is magnified (about the scanner's middle)."""
    rng = np.random.default_rng(seed)
    zoom, gamma, parts = rng.uniform(0.9, 1.12), np.exp(rng.uniform(-0.4, 0.4)), []
    for part in study.series:
        mm = rng.uniform(-1, 1, 2) * MM["axial" if part.description == rsna.AXIAL_T2 else "sagittal"]
        slices = tuple(_perturbed(s, mm, zoom, gamma) for s in part.series.slices)
        parts.append(replace(part, series=Series(slices)))
    return replace(study, series=tuple(parts)), zoom


def _perturbed(one: Slice, mm: np.ndarray, zoom: float, gamma: float) -> Slice:
    right, down = np.round(mm / one.spacing).astype(int)
    height, width = one.pixels.shape
    pixels = np.zeros_like(one.pixels)
    pixels[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = one.pixels[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    origin = one.to_patient((-right, -down))
    pixels = (255 * (pixels / 255) ** gamma).round().astype(np.uint8)
    return replace(one, pixels=pixels, origin=origin * zoom, spacing=one.spacing * zoom)


def cut_off(study: PreparedStudy, end: str, levels: int, canal: np.ndarray) -> PreparedStudy:
    """The study with sagittal pictures that end halfway between two levels. canal: (5, 3) mm, head to foot."""
    k = levels if end == "top" else 5 - levels
    between = (canal[k - 1] + canal[k]) / 2
    parts = []
    for part in study.series:
        slices = part.series.slices
        if part.description != rsna.AXIAL_T2:
            slices = tuple(_ending(s, end, round(float(s.to_pixel(between)[1]))) for s in slices)
        parts.append(replace(part, series=Series(slices)))
    return replace(study, series=tuple(parts))


def _ending(one: Slice, end: str, row: int) -> Slice:
    if end == "bottom":
        return replace(one, pixels=one.pixels[:row])
    return replace(one, pixels=one.pixels[row:], origin=one.to_patient((0, row)))


def margin_mm(study: PreparedStudy, mm: np.ndarray) -> float:
    """How far inside the sagittal pictures that levels are sought on a point lies, in their plane; negative outside."""
    one = (study.of(rsna.SAGITTAL_T2) or study.of(rsna.SAGITTAL_T1))[0].slices[0]
    x, y = one.to_pixel(mm)
    height, width = one.pixels.shape
    return float(min(x * one.spacing[0], y * one.spacing[1], (width - 1 - x) * one.spacing[0], (height - 1 - y) * one.spacing[1]))


@dataclass
class Found:
    """What was found: points of many studies as rows of training.POINT_ERRORS; and were the levels outside told?"""

    points: list[tuple] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)

    def add(self, study: PreparedStudy, points: np.ndarray, sure: np.ndarray, true: np.ndarray) -> None:
        """Found points (25, 3) mm with their confidences (25,), and the true ones."""
        margin = np.array([margin_mm(study, canal) for canal in true[:5]])
        self.told += np.isnan(points[:5, 0])[margin < 0].tolist()
        inside = (margin >= EDGE_MM)[TARGET_LEVEL]
        true = np.where(inside[:, None], true, np.nan)
        self.points += training.point_errors(study, points, sure, true)

    def table(self) -> pd.DataFrame:
        """A row per family, and one for all."""
        points = pd.DataFrame(self.points, columns=training.POINT_ERRORS)
        wrong, sure = points.error_mm > WRONG_MM, points.confidence > SURE
        points = points.assign(family=points.condition.map(rsna.FAMILY), wrong=wrong, sure=sure)
        rows = pd.concat([points, points.assign(family="all")]).groupby("family", sort=False)
        return pd.DataFrame(
            {
                "points": rows.size(), "median mm": rows.error_mm.median(), "largest mm": rows.error_mm.max(),
                "% within 10 mm": 100 - 100 * rows.wrong.mean(), "% right level": 100 * rows.right_level.mean(),
                "% sure": 100 * rows.sure.mean(), "% of sure wrong": rows.apply(lambda of: 100 * of.wrong[of.sure].mean()),
            }
        )  # fmt: skip

    def __str__(self) -> str:
        told = f"\nlevels outside the pictures: {len(self.told)}, told {np.mean(self.told):.1%}" if self.told else ""
        return self.table().round(1).to_string() + told


def true_points(tables: rsna.Tables, study: PreparedStudy) -> np.ndarray:
    """(25, 3) mm: as annotated; of a phantom also the levels that lie outside its pictures."""
    true = point_table(study.points)
    if (tables.root / "truth").is_dir():
        known = phantom.true_labels(tables.root, "train")
        true[:5] = point_table(known[known.study_id == study.study_id])[:5]
    return true


def measure(
    tables: rsna.Tables, run: inference.Run, each: Callable = lambda study, answers: None, seeds: Iterable[int] = SEEDS
) -> tuple[dict[str, Found], pd.DataFrame]:
    """What was found in the studies as they are, perturbed (once per seed) and cut off; and the answers to the first, with which
    `each` is called."""
    found, answered = {name: Found() for name in ("as they are", "perturbed", "cut off")}, []
    for study_id in tqdm(tables.studies("train"), desc="studies", unit="study"):
        study = prepare.prepare_study(tables, study_id)
        true = true_points(tables, study)
        answered.append(inference.answer_study(run, study))
        found["as they are"].add(study, answered[-1][POINT].to_numpy(float), answered[-1].confidence.to_numpy(), true)
        each(study, answered[-1])
        for seed in seeds:
            other, zoom = perturbed(study, seed)
            found["perturbed"].add(other, *inference.locate_study(run, other), true * zoom)
        for cut in CUTS if np.isfinite(true[:5]).all() else []:
            other = cut_off(study, *cut, true[:5])
            found["cut off"].add(other, *inference.locate_study(run, other), true)
    return found, pd.concat(answered)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zero_shot", description=__doc__.splitlines()[0])
    parser.add_argument("root"), parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=Path("zero_shot"))
    a = parser.parse_args()
    tables, run = rsna.load_tables(a.root), inference.load_run(a.run)
    a.out.mkdir(parents=True, exist_ok=True)

    def draw(study: PreparedStudy, answers: pd.DataFrame) -> None:
        picture(study, answers).savefig(a.out / f"{study.study_id}.png", dpi=110)
        plt.close("all")

    found, answered = measure(tables, run, draw)
    for name, one in found.items():
        print(f"\n{name}\n{one}")
    print("\nweighted log loss\n", losses(tables, answered).round(3).to_string(), sep="")
    print(f"\npictures: {a.out}")


def losses(tables: rsna.Tables, answered: pd.DataFrame) -> pd.DataFrame:
    studies = sorted(answered.study_id.unique())
    truth = tables.labels[tables.labels.study_id.isin(studies)]
    prior = metrics.prior(tables.labels)
    answers = {"uniform": metrics.constant_submission(0 * prior + 1 / 3, studies)}
    answers["weighted prior of all labels in the tables"] = metrics.constant_submission(prior, studies)
    answers["the run"] = inference.as_submission(answered)
    return metrics.score_table({name: metrics.rsna_score(truth, answer) for name, answer in answers.items()})


def picture(study: PreparedStudy, answers: pd.DataFrame) -> plt.Figure:
    series = {part.description: part.series for part in study.series}
    best = answers[list(rsna.GRADE_COLUMNS)].to_numpy().argmax(1)
    title = f"{study.study_id}: shapes found, + annotated"
    return plots.study_planes(series, answers.assign(grade=np.take(rsna.GRADES, best)), title, study.points)


if __name__ == "__main__":
    main()
