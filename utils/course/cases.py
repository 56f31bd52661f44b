"""Which patients a figure shows: typical ones of a grade, not the first that come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.crops import crop, nearest, point_table
from utils.prepare import prepare_study
from utils.rsna import CANAL, FAMILY, GRADES, SERIES_OF, Tables, target_index

WINDOW_PERCENTILE = 99  # of a crop: white of its display window
TRIED = 3  # cases, until one has its image
NEAREST = 8  # to the median of a grade
RECESSES = ("Left Subarticular Stenosis", "Right Subarticular Stenosis")
KEY = ["study_id", "condition", "level"]


class Case(NamedTuple):
    """One graded target of one study."""

    study_id: int
    condition: str
    level: str


def typical_cases(tables: Tables, family: str, grade: str) -> list[Case]:
    """Targets of a family on the patient's left or in the middle that have this grade, an annotated
    point and images on this disk; the most typical first: those with an open canal and least else
    narrowed at their level. Of a phantom, whose rooms are known, only those nearest to the grade's
    median.
    """
    labels = tables.labels.dropna(subset=["grade"])
    narrowed = labels.grade != GRADES[0]
    at_level = narrowed.groupby([labels.study_id, labels.level]).transform("sum")
    at_canal = labels[labels.condition == CANAL].set_index(["study_id", "level"]).grade
    canal = labels.set_index(["study_id", "level"]).index.map(
        at_canal.astype(str).map(GRADES.index)
    )
    labels = labels.assign(others=at_level - narrowed, canal=canal)
    fits = (labels.condition.map(FAMILY) == family) & (labels.grade == grade)
    fits &= ~labels.condition.str.startswith("Right") & labels.study_id.isin(tables.studies())
    cases = labels[fits].merge(tables.points[KEY].drop_duplicates(), on=KEY)
    rooms = cases.merge(true_rooms(tables)[[*KEY, "measure_mm"]], on=KEY, how="left").measure_mm
    off = (rooms - rooms.median()).abs()
    if off.notna().any():
        cases = cases.loc[off.sort_values().index[:NEAREST]]
    order = cases.sort_values(["canal", "others"], kind="stable")
    return [Case(*row) for row in order[KEY].itertuples(index=False)]


def unequal_sides(tables: Tables, level: str) -> int:
    """A study with images of all kinds whose left and right recess differ most at a level; the
    first such study where none is known to differ."""
    labels = tables.labels[tables.labels.level == level]
    numbers = labels.grade.astype(object).map({grade: k for k, grade in enumerate(GRADES)})
    graded = labels.assign(number=numbers.astype(float))
    by_side = graded.pivot_table(index="study_id", columns="condition", values="number")
    left, right = (by_side.reindex(columns=[recess])[recess] for recess in RECESSES)
    difference = (left - right).abs().reindex(tables.whole_studies()).fillna(0)
    return int(difference.idxmax())


def true_rooms(tables: Tables) -> pd.DataFrame:
    """Of a phantom what is left of each target, measure_mm (see phantom.Spine.measure_mm), with its
    grade; empty for patients, of whom nobody knows."""
    path = tables.root / "truth" / "truth.csv"
    columns = [*KEY, "grade", "measure_mm"]
    return pd.read_csv(path, usecols=columns) if path.is_file() else pd.DataFrame(columns=columns)


def typical_crop(
    tables: Tables, family: str, grade: str, mm: float = 50.0, px: int = 160
) -> np.ndarray:
    """The square (px, px) in 0..1 round the most typical case that can be shown; nan where there is
    none."""
    for case in typical_cases(tables, family, grade)[:TRIED]:
        found = _crop(tables, case, mm, px)
        if found is not None:
            return found
    return np.full((px, px), np.nan)


def _crop(tables: Tables, case: Case, mm: float, px: int) -> np.ndarray | None:
    study = prepare_study(tables, case.study_id)
    point = point_table(study.points)[target_index(case.condition, case.level)]
    if not np.isfinite(point).all():
        return None
    found = nearest(study.of(SERIES_OF[case.condition]), point)
    if found is None:
        return None
    series, k = found
    pixels = crop(series.slices[k], point, mm, px).pixels
    return np.clip(pixels / max(np.percentile(pixels, WINDOW_PERCENTILE), 1e-6), 0, 1)
