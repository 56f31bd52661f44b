"""Levels on strangers: the released run's canal points on Sagittal T2 of patients whose canal and
discs were drawn by hand, against the middle of the drawn canal at each of the five lowest discs.

python -m benchmarks.spider FOLDER RUN, with FOLDER as the public SPIDER data set was halved here:
FOLDER/PATIENT/SLICE.webp, slices.csv and points.csv. Distances are in the sagittal plane: left and
right are not known. Intervals are over patients.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.variants import write_table
from utils import cli
from utils.dicom import Series, Slice
from utils.inference import load_run, predict_study
from utils.inference.levels import DOUBT
from utils.inference.run import Run
from utils.prepare import PreparedSeries, PreparedStudy
from utils.prepare.normalisation import prepare_series
from utils.rsna import CANAL_ROWS, LEVELS, SAGITTAL_T2

RIGHT_MM = 12.0  # half of the distance between two discs is more
WRONG_MM = 10.0
SURE = 0.8
DRAWS = 2000
AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])  # columns to the back, rows to the feet


def study_of(folder: Path, patient: int, slices: pd.DataFrame, spacing_mm: float) -> PreparedStudy:
    """One patient's slices as a prepared study of one series."""
    found = []
    for row in slices.sort_values("x_mm").itertuples():
        pixels = np.asarray(Image.open(folder / str(patient) / f"{row.slice}.webp").convert("L"))
        spacing = np.array([row.column_mm, row.row_mm])
        found.append(Slice(int(row.slice), pixels, np.array([row.x_mm, 0, 0]), AXES, spacing))
    (series,) = prepare_series([Series(tuple(found))], spacing_mm)
    points = pd.DataFrame(columns=["condition", "level"])
    return PreparedStudy(patient, (PreparedSeries(0, SAGITTAL_T2, series),), points, ())


def true_points(points: pd.DataFrame, slices: pd.DataFrame) -> np.ndarray:
    """(5, 2) mm to the back and to the feet, nan where no disc was drawn."""
    spacing = slices.set_index("slice")[["column_mm", "row_mm"]]
    true = np.full((len(LEVELS), 2), np.nan)
    for row in points.itertuples():
        true[LEVELS.index(row.level)] = np.array([row.x, row.y]) * spacing.loc[row.slice]
    return true


def measured(folder: Path, run: Run) -> pd.DataFrame:
    """patient, level, mm off (in the plane), mm along the spine, confidence, whether it was said to
    be doubtful; a row per drawn point."""
    slices, points = (pd.read_csv(folder / f"{name}.csv") for name in ("slices", "points"))
    rows = []
    for patient, of in slices.groupby("patient"):
        study = study_of(folder, int(patient), of, run.preset.spacing_mm)
        found = predict_study(run, study).iloc[CANAL_ROWS]
        located = found[["y_mm", "z_mm"]].to_numpy(float) * (1, -1)
        off = located - true_points(points[points.patient == patient], of)
        for level, (back, down), row in zip(LEVELS, off, found.itertuples()):
            doubt = row.note.startswith(DOUBT)
            rows.append((patient, level, np.hypot(back, down), down, row.confidence, doubt))
    names = ["patient", "level", "mm", "down_mm", "confidence", "doubt"]
    table = pd.DataFrame(rows, columns=names)
    drawn = points.set_index(["patient", "level"]).index
    return table[table.set_index(["patient", "level"]).index.isin(drawn)]


def figures(table: pd.DataFrame) -> dict[str, float]:
    """A point that was not found is infinitely far off."""
    mm = table.mm.fillna(np.inf)
    right = (mm <= RIGHT_MM).groupby(table.patient).all()
    doubted = table.doubt.groupby(table.patient).any()
    sure = table.confidence > SURE
    return {
        "median mm": mm.median(),
        "% within 10 mm": 100 * (mm <= WRONG_MM).mean(),
        "% all levels right": 100 * right.mean(),
        "% right or doubtful": 100 * (right | doubted).mean(),
        "sure points": sure.sum(),
        "% of sure points wrong": 100 * (mm[sure] > WRONG_MM).mean(),
    }


def with_intervals(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Each figure with the middle 95 % of what other patients would have given."""
    patients = table.patient.unique()
    by_patient = dict(iter(table.groupby("patient")))
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.choice(patients, len(patients))
        parts = [by_patient[patient].assign(patient=k) for k, patient in enumerate(chosen)]
        drawn.append(figures(pd.concat(parts)))
    low, high = pd.DataFrame(drawn).quantile([0.025, 0.975]).to_numpy()
    return {
        name: {"measured": value, "low": a, "high": b}
        for (name, value), a, b in zip(figures(table).items(), low, high)
    }


def half_of(patients: Iterable[int], half: str | None) -> list[int]:
    """Every second patient, in ascending order, from the first ("even") or the second ("odd"); all
    of them for None."""
    ordered = sorted(set(patients))
    return ordered[half == "odd" :: 2] if half else ordered


def main() -> None:
    parser = cli.parser("benchmarks.spider", sys.modules[__name__].__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--half", choices=("even", "odd"), help="of the patients, by their order")
    parser.add_argument("--out", type=Path, default=Path("spider.csv"))
    a = parser.parse_args()
    table = measured(a.folder, load_run(a.run))
    table = table[table.patient.isin(half_of(table.patient, a.half))]
    print(f"{table.patient.nunique()} patients, {len(table)} points")
    write_table(with_intervals(table), "figure", a.out)
    wrong = table[table.mm > RIGHT_MM].groupby("patient").down_mm.median().round(0)
    print("patients with a wrong level, and how far down they were read (median mm):")
    print(wrong.to_string())


if __name__ == "__main__":
    cli.run(main)
