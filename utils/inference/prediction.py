"""One study to 25 predictions: locate, crop, grade; average the folds; say what could not be
seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from utils import metrics
from utils.crops import POINT_MM, TARGET_LEVEL, nearest
from utils.inference.levels import DOUBTFUL, NEXT, level_doubt
from utils.inference.localisation import Located, locate
from utils.inference.measures import MEASURES, Measures, Seen, measured, nothing, see
from utils.inference.probabilities import graded, prior_of
from utils.inference.run import Run
from utils.prepare import PreparedStudy
from utils.rsna import (
    CANAL_ROWS,
    GRADE_COLUMNS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    TARGETS,
    Target,
    row_id,
)
from utils.views import Views, views_of

MODEL, PRIOR = "model", "prior"  # the source of a prediction: the images, or no image at all
FAILED = "the study could not be graded:"  # how the note of a study starts that raised an error


def predict_study(run: Run, study: PreparedStudy) -> pd.DataFrame:
    """25 rows: row_id, the three probabilities, the point in mm, its series and instance,
    confidence, MEASURES (nan where there is nothing to measure), source ("model" or "prior") and
    note.

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
    seen = see(run, study)
    located = _of_folds(run, study, seen)
    points, confidence, doubt = _most_confident(located)
    measures = measured(run, study, seen, points)
    probabilities, visible = graded(run, study, [of.points for of in located], measures)
    absent = np.isnan(points[TARGET_LEVEL, 0])  # the level's canal point was not found
    views = views_of(run.preset)
    notes = [_note(study, views, *of) for of in zip(TARGETS, visible, absent)]
    if doubt:
        notes = [NEXT.join(filter(None, [doubt, note])) for note in notes]
    images = [_image_of(study, *of) for of in zip(TARGETS, points)]
    sources = np.where(visible, MODEL, PRIOR)
    found = _Found(points, confidence, images, measures)
    rows = _table(run, study.study_id, probabilities, found, sources, notes)
    seen = rows.source == MODEL
    raised = metrics.with_severe_factor(rows[seen], run.severe_factor)
    rows.loc[seen, list(GRADE_COLUMNS)] = raised[list(GRADE_COLUMNS)]
    return rows


def prior_prediction(run: Run, study_id: int, why: str) -> pd.DataFrame:
    """The weighted prior for a study that cannot be read at all; of several runs the mean."""
    return _averaged(run, [_unread(one, study_id, why) for one in (run, *run.others)])


def _unread(run: Run, study_id: int, why: str) -> pd.DataFrame:
    count = len(TARGETS)
    images = [(pd.NA, pd.NA)] * count
    nowhere = _Found(np.full((count, 3), np.nan), np.zeros(count), images, nothing())
    notes = [f"{FAILED} {why}"] * count
    return _table(run, study_id, prior_of(run), nowhere, np.full(count, PRIOR), notes)


def locate_study(run: Run, study: PreparedStudy, seen: Seen | None = None) -> Located:
    """Its points, each of the most confident fold: the mean of two points that differ by a level
    would be a position at which no model has looked.

    seen  what `see` returned for it, to spare it being seen twice
    """
    return _most_confident(_of_folds(run, study, seen or see(run, study)))


def _of_folds(run: Run, study: PreparedStudy, seen: Seen | None) -> list[Located]:
    """What each fold's locator finds."""
    counted = None if seen is None else seen.counted
    return [locate(locator, study, run.preset, counted) for locator, _ in run.folds]


@dataclass(frozen=True)
class _Found:
    """Points (25, 3) mm, confidences (25,), the (series_id, instance) each point is on, and what
    was measured there."""

    points: np.ndarray
    confidence: np.ndarray
    images: list[tuple]
    measures: Measures


def _most_confident(located: list[Located]) -> Located:
    points = np.array([of.points for of in located])  # (folds, 25, 3)
    confidence = np.array([of.confidence for of in located])  # (folds, 25)
    best = confidence.argmax(0), np.arange(len(TARGETS))
    doubts = [of.doubt for of in located if of.doubt]
    doubt = level_doubt(points[best][CANAL_ROWS]) or next(iter(doubts), "")
    return Located(points[best], np.minimum(confidence[best], DOUBTFUL if doubt else 1), doubt)


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
    found: _Found,
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
    for name in MEASURES:
        table[name] = found.measures[name].round(1)
    table[["series_id", "instance_number"]] = pd.DataFrame(found.images, dtype="Int64")
    lines = [" ".join(note.split()) for note in notes]  # on one line, whatever an error said
    return table.assign(source=sources, note=lines, run=run.signature)
