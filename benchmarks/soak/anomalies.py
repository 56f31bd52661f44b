"""A data set in which every study has an anomaly, from the audit to predictions."""

from __future__ import annotations

import random
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.soak.works import SIZE, LostError, finish, module
from utils import phantom
from utils.course.anomalies import found_anomalies
from utils.inference.prediction import FAILED
from utils.phantom.anomalies import ANOMALIES
from utils.rsna import GRADE_COLUMNS, TARGETS

STUDIES = 200
LONGEST_S = 1200


def every_anomaly(bench: Path, folder: Path, rng: random.Random, studies: int = STUDIES) -> str:
    """200 phantoms, each with one of the 15 anomalies in turn, are audited, prepared and graded.
    Survived: all three come to the end, the audit finds each anomaly in each study that has it, and
    each study has 25 finite predictions."""
    names = tuple(islice(cycle(ANOMALIES), studies))
    options = {"anomalies": names, "test_studies": 0, "size": SIZE, "seed": rng.randrange(10_000)}
    root = phantom.make_dataset(folder / "data", studies, **options)
    graded = "--split", "train", "--out", folder / "submission.csv"
    for command in (
        module("utils.audit", root, "--out", folder / "audit.csv"),
        module("utils.prepare", root, folder / "prepared", "--folds", 2),
        module("utils.inference", root, bench / "run", *graded),
    ):
        finish(command, LONGEST_S)
    injected = pd.read_csv(root / "truth" / "anomalies.csv")
    missed = not_found(injected, pd.read_csv(folder / "audit.csv"))
    if missed:
        raise LostError(f"not found by the audit: {', '.join(missed[:9])}")
    expect_predictions(pd.read_csv(folder / "predictions.csv"), list(injected.study_id))
    return "all found and graded"


def not_found(injected: pd.DataFrame, findings: pd.DataFrame) -> list[str]:
    """Anomalies that the audit has not found in a study that has them."""
    missed = []
    for study, rows in injected.groupby("study_id"):
        found = found_anomalies(rows, findings)
        missed += [f"{name} in {study}" for name in found.index[found["found"] != "✓"]]
    return missed


def expect_predictions(predictions: pd.DataFrame, studies: list[int]) -> None:
    """Raise LostError unless each study has its 25, none of them because of an error."""
    counts = predictions.groupby("study_id").size()
    if counts.to_dict() != dict.fromkeys(studies, len(TARGETS)):
        raise LostError("not 25 predictions for each study")
    if not np.isfinite(predictions[list(GRADE_COLUMNS)]).all(axis=None):
        raise LostError("probabilities that are not finite")
    failed = predictions[predictions.note.fillna("").str.startswith(FAILED)]
    if len(failed):
        raise LostError(f"{failed.study_id.iloc[0]}: {failed.note.iloc[0]}")
