"""Both models on studies they were not trained on: the locator's error, the grader's logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from utils import metrics
from utils.crops import POINT_MM, nearest, point_table
from utils.dicom import Series
from utils.inference import Located, grade, locate
from utils.models import Ensemble, Locator
from utils.prepare import PreparedStudy, load_study, load_table
from utils.presets import Preset
from utils.rsna import FAMILIES, FAMILY, GRADE_COLUMNS, TARGETS, row_id, studies_of
from utils.training.grader_samples import Jitter

POINT_ERRORS = [
    *("study_id", "condition", "level", "dx_mm", "dy_mm", "dz_mm"),
    *("error_mm", "slices_off", "right_level", "confidence"),
    *POINT_MM,
]
MAD_TO_STD = 1.48  # a normal distribution's standard deviation over its median absolute deviation
# Limits of the jitter, for a set of points may be small: least, usual, greatest.
STD_MM = (0.5, 2.0, 6.0)
OFF_SLICE = (0.05, 0.1, 0.3)


def measure_locator(
    locator: Locator,
    prepared: Path,
    studies: list[int],
    preset: Preset,
    points: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Located against annotated points: one row per point, error in mm and in slices, and where it
    was found (POINT_ERRORS).

    points  study_id, condition, level, x_mm, y_mm, z_mm: to be compared with instead of the
            annotated ones (a phantom's truth, say)
    """
    rows = []
    for study_id in tqdm(studies, desc="measuring the locator", unit="study"):
        study = load_study(prepared, study_id)
        true = study.points if points is None else points[points.study_id == study_id]
        rows += point_errors(study, locate(locator, study, preset), point_table(true))
    return pd.DataFrame(rows, columns=POINT_ERRORS)


def point_errors(study: PreparedStudy, located: Located, true: np.ndarray) -> list[tuple]:
    """Located against true points (25, 3) mm: a row of POINT_ERRORS for each true one.

    A point that was not found is infinitely far off; the level is right if the true point of no
    other level of the condition is nearer.
    """
    found, confidence, _ = located
    conditions = np.array([target.condition for target in TARGETS])
    rows = []
    for k in np.flatnonzero(np.isfinite(true).all(1)):
        away = np.nan_to_num(np.linalg.norm(true - found[k], axis=1), nan=np.inf)
        same_condition = away[conditions == conditions[k]]
        right = bool(np.isfinite(away[k]) and away[k] <= same_condition.min())
        off = slices_off(study.of(TARGETS[k].series), found[k], true[k])
        error = (*(found[k] - true[k]), away[k], off, right, confidence[k])
        rows.append((study.study_id, *TARGETS[k], *error, *found[k]))
    return rows


def slices_off(parts: list[Series], found: np.ndarray, true: np.ndarray) -> float:
    """How many slices are between those nearest to two points; inf if only one of the points is
    within reach of a slice."""
    here, there = nearest(parts, found), nearest(parts, true)
    if here is None or there is None or here[0] is not there[0]:
        return np.inf if here or there else 0.0
    return abs(here[1] - there[1])


def measured_jitter(points: pd.DataFrame) -> Jitter:
    """The locator's typical error per family, to train the grader with: a robust standard
    deviation, and how often it is a slice off; within limits."""
    points = points[np.isfinite(points.error_mm)]
    by_family = points.groupby(points.condition.map(FAMILY))
    median = by_family[["dx_mm", "dy_mm", "dz_mm"]].agg(lambda d: d.abs().median())
    std = median.mean(axis=1) * MAD_TO_STD
    off = by_family.slices_off.agg(lambda d: (d > 0).mean())
    return Jitter(_limited(std, STD_MM), _limited(off, OFF_SLICE))


def out_of_fold(
    locator: Locator, graders: Ensemble, prepared: Path, studies: list[int], preset: Preset
) -> pd.DataFrame:
    """Logits for studies neither model was trained on, by the same path as inference: study_id,
    row_id and three logits; those of the prior where nothing of the level is visible."""
    labels = load_table(prepared, "labels.csv")
    prior = np.log(metrics.prior(labels, smoothing=metrics.SMOOTHING).loc[list(TARGETS)].to_numpy())
    rows = []
    for study_id in tqdm(studies, desc="grading held-out studies", unit="study"):
        study = load_study(prepared, study_id)
        points = locate(locator, study, preset).points
        logits, visible = grade(graders, study, points, preset)
        logits = np.where(visible[:, None], logits, prior)
        ids = [row_id(study_id, *target) for target in TARGETS]
        rows += [(study_id, name, *values) for name, values in zip(ids, logits.tolist())]
    return pd.DataFrame(rows, columns=["study_id", "row_id", *GRADE_COLUMNS])


def oof_score(prepared: str | Path, run: str | Path) -> metrics.Score:
    """The competition's score of the run's out-of-fold predictions."""
    oof = pd.read_csv(Path(run) / "oof.csv")
    labels = load_table(prepared, "labels.csv")
    studies = studies_of(oof.row_id).unique()
    return metrics.rsna_score(labels[labels.study_id.isin(studies)], oof)


def _limited(values: pd.Series, limits: tuple[float, float, float]) -> tuple[float, float, float]:
    """A value per family, the usual one where there is none, clipped and rounded."""
    least, usual, greatest = limits
    clipped = [float(np.clip(values.get(name, usual), least, greatest)) for name in FAMILIES]
    spinal, foraminal, subarticular = (round(value, 3) for value in clipped)
    return spinal, foraminal, subarticular
