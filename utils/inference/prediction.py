"""One study to 25 predictions: locate, crop, grade; average the folds; say what could not be
seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from utils import metrics
from utils.crops import POINT_MM, TARGET_LEVEL, nearest
from utils.inference.grading import grade
from utils.inference.localisation import locate
from utils.inference.run import Run
from utils.prepare import PreparedStudy
from utils.rsna import (
    CANAL_ROWS,
    GRADE_COLUMNS,
    LEVELS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    TARGETS,
    Target,
    row_id,
)
from utils.views import Views, views_of

MODEL, PRIOR = "model", "prior"  # the source of a prediction: the images, or no image at all
FAILED = "the study could not be graded:"  # how the note of a study starts that raised an error
DOUBT = "doubtful: "  # how a note starts that doubts the levels of a study
UNORDERED = f"{DOUBT}the levels were not found in order"
# Discs of one patient are about as far apart: a step from level to level that is longer or shorter
# than their median by these factors means that a disc was skipped or counted twice. Of the levels
# that readers marked in 1,899 real studies, 97 % have no such step; of 400 of the phantom, all.
LONG_STEP, SHORT_STEP = 1.4, 0.6
DOUBTFUL = 0.2  # all points of a study whose levels are doubtful have at most this confidence


def predict_study(run: Run, study: PreparedStudy) -> pd.DataFrame:
    """25 rows: row_id, the three probabilities, the point in mm, its series and instance,
    confidence, source ("model" or "prior") and note.

    Probabilities are the mean over the folds in which the target was visible; where it was in none,
    they are the weighted prior. The point is that of the most confident fold. Of several runs
    (load_runs) they are again the mean, over the runs that saw the target; all else is told of the
    first of these.
    """
    return _averaged(run, [_predicted(one, study) for one in (run, *run.others)])


def _averaged(run: Run, tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The 25 rows of each run -> 25 rows."""
    p = np.array([table[list(GRADE_COLUMNS)].to_numpy(float) for table in tables])  # (runs, 25, 3)
    saw = np.array([table.source == MODEL for table in tables])  # (runs, 25)
    weight = np.where(saw.any(0), saw, True)[..., None]
    mean = (weight * p).sum(0) / weight.sum(0)
    chosen = saw.argmax(0) * len(TARGETS) + np.arange(len(TARGETS))
    rows = pd.concat(tables, ignore_index=True).iloc[chosen].reset_index(drop=True)
    return rows.assign(**dict(zip(GRADE_COLUMNS, mean.T)), run=run.signature)


def _predicted(run: Run, study: PreparedStudy) -> pd.DataFrame:
    """The 25 rows of one run alone."""
    located = [locate(locator, study, run.preset) for locator, _ in run.folds]
    points, confidence = _most_confident(located)
    probabilities, visible = _mean_probabilities(run, study, [found for found, _ in located])
    absent = np.isnan(points[TARGET_LEVEL, 0])  # the level's canal point was not found
    views = views_of(run.preset)
    notes = [_note(study, views, *of) for of in zip(TARGETS, visible, absent)]
    doubt = level_doubt(points[CANAL_ROWS])
    if doubt:
        notes = ["; ".join(filter(None, [doubt, note])) for note in notes]
    images = [_image_of(study, *of) for of in zip(TARGETS, points)]
    sources = np.where(visible, MODEL, PRIOR)
    found = _Located(points, confidence, images)
    rows = _table(run, study.study_id, probabilities, found, sources, notes)
    seen = rows.source == MODEL
    raised = metrics.with_severe_factor(rows[seen], run.severe_factor)
    rows.loc[seen, list(GRADE_COLUMNS)] = raised[list(GRADE_COLUMNS)]
    return rows


def level_doubt(canal: np.ndarray) -> str:
    """Why the levels of five canal points (5, 3) mm, nan where not found, are doubtful; "" if they
    are not. The patient's own spacing is the measure."""
    if (np.diff(canal[:, 2]) > 0).any():
        return UNORDERED
    steps = np.linalg.norm(np.diff(canal, axis=0), axis=1)
    found = np.isfinite(steps)
    if found.sum() < 3:
        return ""
    usual = float(np.median(steps[found]))
    for upper, lower, step in zip(LEVELS, LEVELS[1:], steps):
        if not SHORT_STEP * usual <= step <= LONG_STEP * usual and np.isfinite(step):
            return (
                f"{DOUBT}{upper} and {lower} are {step:.0f} mm apart, other levels {usual:.0f}; "
                "a disc may have been skipped or counted twice"
            )
    return ""


def prior_prediction(run: Run, study_id: int, why: str) -> pd.DataFrame:
    """The weighted prior for a study that cannot be read at all; of several runs the mean."""
    return _averaged(run, [_unread(one, study_id, why) for one in (run, *run.others)])


def _unread(run: Run, study_id: int, why: str) -> pd.DataFrame:
    count = len(TARGETS)
    nowhere = _Located(np.full((count, 3), np.nan), np.zeros(count), [(pd.NA, pd.NA)] * count)
    notes = [f"{FAILED} {why}"] * count
    return _table(run, study_id, _prior(run), nowhere, np.full(count, PRIOR), notes)


def locate_study(run: Run, study: PreparedStudy) -> tuple[np.ndarray, np.ndarray]:
    """Points (25, 3) mm and confidences (25,), each of the most confident fold: the mean of two
    points that differ by a level would be a position at which no model has looked."""
    return _most_confident([locate(locator, study, run.preset) for locator, _ in run.folds])


@dataclass(frozen=True)
class _Located:
    """Points (25, 3) mm, confidences (25,), and the (series_id, instance) each point is on."""

    points: np.ndarray
    confidence: np.ndarray
    images: list[tuple]


def _most_confident(
    located: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    points = np.array([found for found, _ in located])  # (folds, 25, 3)
    confidence = np.array([of for _, of in located])  # (folds, 25)
    best = confidence.argmax(0), np.arange(len(TARGETS))
    is_doubtful = bool(level_doubt(points[best][CANAL_ROWS]))
    return points[best], np.minimum(confidence[best], DOUBTFUL if is_doubtful else 1)


def _mean_probabilities(
    run: Run, study: PreparedStudy, points: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (25, 3), and which targets were visible in any fold (25,)."""
    graders = [grader for _, grader in run.folds]
    graded = [grade(grader, study, at, run.preset) for grader, at in zip(graders, points)]
    weight = np.array([visible for _, visible in graded], float)[..., None]  # (folds, 25, 1)
    shifted = [logits / run.temperature + run.prior_shift for logits, _ in graded]
    p = softmax(np.array(shifted, float), axis=-1)  # (folds, 25, 3)
    visible = np.any(weight, axis=(0, 2))
    mean = (weight * p).sum(0) / weight.sum(0).clip(1)
    mean = np.where(visible[:, None], mean, _prior(run))
    return mean / mean.sum(1, keepdims=True), visible


def _prior(run: Run) -> np.ndarray:
    return run.prior.loc[list(TARGETS), list(GRADE_COLUMNS)].to_numpy()


def _note(study: PreparedStudy, views: Views, target: Target, visible: bool, absent: bool) -> str:
    """What a prediction had to do without; nothing if it had all."""
    if not (visible or study.of(SAGITTAL_T2) or study.of(SAGITTAL_T1)):
        return "there is no sagittal series to find the levels on"
    if absent:
        return "this level was not found in the sagittal images; they may end before it"
    own = [view for view in views.each if TARGETS[view.target].condition == target.condition]
    needed = dict.fromkeys(view.series for view in own)
    missing = [kind for kind in needed if not study.of(kind)]
    if missing:
        why = _why_left_out(study, missing[0])
        return f"{'seen without' if visible else 'no'} {missing[0]}: {why}"
    return "" if visible else f"{target.series} does not reach this level, or it was not found"


def _why_left_out(study: PreparedStudy, series: str) -> str:
    """The first reason for which a kind of series was left out."""
    reasons = [
        why for what, why in study.left_out if what == series or what.endswith(f"({series})")
    ]
    return reasons[0] if reasons else "no such series in this study"


def _image_of(study: PreparedStudy, target: Target, point: np.ndarray) -> tuple:
    """Series and instance a point is on; empty where there is none."""
    found = nearest(study.of(target.series), point) if np.isfinite(point).all() else None
    if found is None:
        return pd.NA, pd.NA
    series, index = found
    return series.slices[index].series_id, series.slices[index].instance


def _table(
    run: Run,
    study_id: int,
    probabilities: np.ndarray,
    found: _Located,
    sources: np.ndarray,
    notes: list[str],
) -> pd.DataFrame:
    """The 25 rows of one study."""
    table = pd.DataFrame(TARGETS, columns=["condition", "level"])
    table.insert(0, "row_id", [row_id(study_id, *target) for target in TARGETS])
    table.insert(1, "study_id", study_id)
    table[list(GRADE_COLUMNS)] = probabilities
    table[POINT_MM] = found.points
    table["confidence"] = found.confidence
    table[["series_id", "instance_number"]] = pd.DataFrame(found.images, dtype="Int64")
    lines = [" ".join(note.split()) for note in notes]  # on one line, whatever an error said
    return table.assign(source=sources, note=lines, run=run.signature)
