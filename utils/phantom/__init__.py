"""Synthetic studies in the competition's own layout, whose grades can be seen and whose truth is known.

    python -m utils.phantom --out DIR --studies 60 --test-studies 8 --seed 0

anatomy   one spine as geometry, its narrowings drawn from the grades
image     tissues to MR signal
scan      planes, noise, DICOM files
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from utils.dicom import Series
from utils.phantom.anatomy import Spine, make_spine, sample_grades, truth_rows
from utils.phantom.scan import protocols, scan
from utils.rsna import (
    AXIAL_T2,
    GRADE_COLUMNS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    SERIES_OF,
    TARGETS,
    row_ids,
    wide_labels,
)

MISSING_LABELS = {"canal": 0.0005, "foraminal": 0.003, "subarticular": 0.026}  # shares of empty cells in the real table
REVERSED = {SAGITTAL_T1: 0.36, SAGITTAL_T2: 0.36, AXIAL_T2: 0.12}  # shares of series numbered against anatomy
VERSION = 2  # raise when the same seed gives other bytes


def make_dataset(
    root: str | Path,
    studies: int,
    seed: int = 0,
    test_studies: int = 8,
    prevalence: str = "balanced",
    size: tuple[int, int] = (256, 192),
    jobs: int = 2,
) -> Path:
    """Write `studies` training and `test_studies` test studies under root; returns root.

    prevalence  "real": grades as frequent as in the 1,975 real studies; "balanced": enough severe ones for a small set
    size        matrix of the sagittal and of the axial images, px
    The truth (grade, size in mm, point in mm, of the test studies too) goes to root/truth. A second call with the same
    arguments does nothing, and one after a kill goes on; another call into the same folder raises ValueError.
    """
    root = Path(root)
    settings = {"version": VERSION, "studies": studies, "test_studies": test_studies, "seed": seed}
    settings |= {"prevalence": prevalence, "size": list(size)}
    _claim(root, settings)
    if (root / "sample_submission.csv").is_file():  # the last file written
        return root
    grades = sample_grades(np.random.default_rng([seed, 0]), studies + test_studies, prevalence)
    work = [delayed(_make_study)(root, k, "train" if k < studies else "test", seed, g, size) for k, g in enumerate(grades)]
    results = Parallel(jobs, return_as="generator")(work)
    done = list(tqdm(results, total=len(work), desc="phantom studies", unit="study"))
    _write_tables(root, done, np.random.default_rng([seed, 1]))
    return root


def study_id_of(seed: int, k: int) -> int:
    """Ids above every real one (the largest is 4,290,709,089), so that the two are never confused."""
    return 9_000_000_000 + (seed % 10_000) * 100_000 + k


def _claim(root: Path, settings: dict) -> None:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "phantom.json"
    if path.is_file() and (found := json.loads(path.read_text())) != settings:
        raise ValueError(f"{root} holds another phantom ({found}); choose another folder or delete it")
    if not path.is_file() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and holds no phantom; choose another folder")
    path.write_text(json.dumps(settings))


def _make_study(root: Path, k: int, split: str, seed: int, grades: np.ndarray, size: tuple[int, int]) -> dict:
    """One study: its files (unless they are there) and the rows it gives to the tables."""
    study_id = study_id_of(seed, k)
    final, temporary = root / f"{split}_images" / str(study_id), root / f".making-{study_id}" / str(study_id)
    record = root / "truth" / f"{study_id}.json"
    if record.is_file() and final.is_dir():
        return json.loads(record.read_text())
    shutil.rmtree(temporary.parent, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    rng = np.random.default_rng([seed, 2, k])
    spine = make_spine(rng, grades)
    rows = {"split": split, "truth": truth_rows(study_id, spine, grades), "series": [], "points": []}
    for number, protocol in enumerate(protocols(rng, *size), start=1):
        series_id = study_id * 10 + number
        series = scan(rng, spine, protocol, bool(rng.random() < REVERSED[protocol.name]), temporary / str(series_id))
        rows["series"].append({"study_id": study_id, "series_id": series_id, "series_description": protocol.name})
        rows["points"] += _points(study_id, series_id, protocol.name, series, spine)
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps(rows))
    final.parent.mkdir(exist_ok=True)
    temporary.rename(final)
    temporary.parent.rmdir()
    return rows


def _points(study_id: int, series_id: int, name: str, series: Series, spine: Spine) -> list[dict]:
    """The annotations that belong on one series: each on the slice nearest to its true place."""
    rows = []
    for condition, level in TARGETS:
        if SERIES_OF[condition] == name:
            mm = spine.point(condition, level)
            i = series.nearest_slice(mm)
            x, y = series.to_pixel(i, mm)
            row = {"study_id": study_id, "series_id": series_id, "instance_number": series.instances[i]}
            rows.append(row | {"condition": condition, "level": level, "x": round(float(x), 4), "y": round(float(y), 4)})
    return rows


def _write_tables(root: Path, studies: list[dict], rng: np.random.Generator) -> None:
    """The five CSVs as the competition has them, and the truth beside them."""
    truth = pd.DataFrame([row for study in studies for row in study["truth"]])
    truth.to_csv(root / "truth" / "truth.csv", index=False)
    split = {study["truth"][0]["study_id"]: study["split"] for study in studies}
    is_train = truth.study_id.map(split) == "train"
    wide_labels(truth[~is_train]).to_csv(root / "truth" / "test.csv", index=False)
    labels = truth[is_train].copy()
    share = labels.condition.map(lambda c: next(p for f, p in MISSING_LABELS.items() if f in c.lower()))
    labels.loc[rng.random(len(labels)) < share, "grade"] = None
    wide_labels(labels).to_csv(root / "train.csv", index=False)
    for name in ("train", "test"):
        rows = [row for study in studies if study["split"] == name for row in study["series"]]
        columns = ["study_id", "series_id", "series_description"]
        pd.DataFrame(rows, columns=columns).to_csv(root / f"{name}_series_descriptions.csv", index=False)
    points = pd.DataFrame([row for study in studies if study["split"] == "train" for row in study["points"]])
    points.to_csv(root / "train_label_coordinates.csv", index=False)
    ids = [row for study, name in split.items() if name == "test" for row in row_ids(study)]
    sample = pd.DataFrame({"row_id": ids} | dict.fromkeys(GRADE_COLUMNS, 1 / 3))
    sample.to_csv(root / "sample_submission.csv.tmp", index=False)
    (root / "sample_submission.csv.tmp").rename(root / "sample_submission.csv")


def true_labels(root: str | Path, split: str = "test") -> pd.DataFrame:
    """The truth of a phantom in the form of Tables.labels, for every study of a split; also with points in mm."""
    root = Path(root)
    truth = pd.read_csv(root / "truth" / "truth.csv")
    folder = root / f"{split}_images"
    here = {int(p.name) for p in folder.iterdir()} if folder.is_dir() else set()
    return truth[truth.study_id.isin(here)].reset_index(drop=True)
