"""How well does a run find its way on studies it was not trained for, in any folder in the competition's layout?

python -m benchmarks.zero_shot ROOT RUN [--out zero_shot]

For every training study whose images are there: how far found points lie from the annotated ones, whether they lie on their
own level, and the weighted log loss beside that of the weighted prior of the real data set's labels and of uniform answers.
Then the same points under ten perturbations (magnified by 0.9 to 1.12, the field of view moved by up to 30 mm, another
gamma): the patient does not change, so neither should the answer. Saves a picture of each study with points and labels.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

from utils import inference, metrics, plots, prepare, rsna, training
from utils.geometry import Series, Slice
from utils.prepare import PreparedStudy
from utils.views import POINT, point_table

SEEDS = range(10)
MM = {"axial": 15.0, "sagittal": 30.0}  # the field of view is moved by up to so much


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


def point_errors(study: PreparedStudy, answers: pd.DataFrame, true: np.ndarray) -> list[tuple]:
    return training.point_errors(study, answers[POINT].to_numpy(float), answers.confidence.to_numpy(), true)


def summary(rows: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=training.POINT_ERRORS)
    by = table.groupby(table.condition.map(rsna.FAMILY).rename("family"))
    return pd.DataFrame(
        {
            "points": by.size(), "median mm": by.error_mm.median(), "largest mm": by.error_mm.max(),
            "% within 10 mm": 100 * by.error_mm.agg(lambda mm: (mm <= 10).mean()), "% right level": 100 * by.right_level.mean(),
        }
    ).round(1)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zero_shot", description=__doc__.splitlines()[0])
    parser.add_argument("root"), parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=Path("zero_shot"))
    a = parser.parse_args()
    tables, run = rsna.load_tables(a.root), inference.load_run(a.run)
    plain, moved, answered = [], [], []
    a.out.mkdir(parents=True, exist_ok=True)
    for study_id in tqdm(tables.studies("train"), desc="studies", unit="study"):
        study = prepare.prepare_study(tables, study_id)
        true = point_table(study.points)
        answered.append(inference.answer_study(run, study))
        plain += point_errors(study, answered[-1], true)
        for seed in SEEDS:
            other, zoom = perturbed(study, seed)
            moved += point_errors(other, inference.answer_study(run, other), true * zoom)
        picture(study, answered[-1]).savefig(a.out / f"{study_id}.png", dpi=110)
        plt.close("all")
    print("points\n", summary(plain).to_string(), sep="")
    print("\nthe same under ten perturbations\n", summary(moved).to_string(), sep="")
    print("\nweighted log loss\n", losses(tables, pd.concat(answered)).round(3).to_string(), sep="")
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
