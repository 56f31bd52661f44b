"""Annotated points in patient mm, and which of them must not be used.

Two checks: a point on its own (`points_in_mm`: is it on an image at all?) and points against each
other (`contradictory_points`: one per target, left is left, each level is below the one before).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from utils.dicom import BY_ORDER, Series
from utils.rsna import CANAL, FAMILY, SIDES, is_placeholder, known_faults, side

SAME_POINT_MM = 1.0  # points that are nearer mark the same
# The middle is known no better: the canal is marked on one of several sagittal slices.
BEYOND_MIDDLE_MM = 3.0
_COLUMNS = ["condition", "level", "series_id", "instance_number", "x_mm", "y_mm", "z_mm"]


class UnusablePoint(NamedTuple):
    """A point that must not be used: its row (of a DataFrame, by itertuples), a kind of finding of
    the audit (a key of utils.audit.KINDS), and the reason in words."""

    row: Any
    kind: str
    why: str


def points_in_mm(
    points: pd.DataFrame, series: dict[int, Series]
) -> tuple[pd.DataFrame, list[UnusablePoint]]:
    """Annotated points in patient mm (LPS), and those that must not be used.

    points   study_id, series_id, instance_number, condition, level, x, y (px), as in Tables.points
    series   the study's raw series by id
    returns  condition, level, series_id, instance_number, x_mm, y_mm, z_mm; and the unusable ones
    """
    faults = known_faults()
    kept, unusable = [], []
    for row in points.itertuples():
        reason = _reason(row, series, faults)
        if reason:
            unusable.append(UnusablePoint(row, *reason))
            continue
        own = series[row.series_id]
        mm = own.to_patient(own.index(row.instance_number), (row.x, row.y))
        image = (int(row.series_id), int(row.instance_number))
        kept.append((row.condition, row.level, *image, *mm))
    return pd.DataFrame(kept, columns=_COLUMNS), unusable


def _reason(row: Any, series: dict[int, Series], faults: pd.DataFrame) -> tuple[str, str] | None:
    """(kind, why) of a point that must not be used; None for one that can be used."""
    if row.series_id not in series:
        return "unreadable series", f"series {row.series_id} is not usable"
    own = series[row.series_id]
    if own.numbering.source == BY_ORDER:
        unclear = f"instance numbers of series {row.series_id} are missing or not unique"
        return "unclear instance numbers", unclear
    if not own.shows(row.instance_number):
        missing = f"instance {row.instance_number} is not in series {row.series_id}"
        return "point on a missing slice", missing
    height, width = own.slices[own.index(row.instance_number)].pixels.shape
    if not (-0.5 <= row.x < width and -0.5 <= row.y < height):
        return "point outside the image", "lies outside its image"
    if is_placeholder(row):
        return "placeholder point", "placeholder in the image's corner"
    return _known_fault(row, faults)


def _known_fault(row: Any, faults: pd.DataFrame) -> tuple[str, str] | None:
    """The published fault for which the register says to ignore this point."""
    ignored = faults.action.str.startswith("ignore")
    for fault in faults[(faults.study_id == row.study_id) & ignored].itertuples():
        of_level = pd.isna(fault.level) or fault.level == row.level
        if FAMILY[row.condition] in fault.action and of_level:
            return "known fault", f"known fault: {fault.kind}"
    return None


def contradictory_points(points: pd.DataFrame) -> list[UnusablePoint]:
    """Points in mm that contradict each other; kind is "several points for one target", "sides
    exchanged" or "levels out of order".

    points  of one study, as points_in_mm returns them
    In LPS the left point of a pair has the greater x, and each level lies below the one before.

    >>> names = ["condition", "level", "x_mm", "y_mm", "z_mm"]
    >>> left = ("Left Subarticular Stenosis", "L4/L5", -9.0, 0.0, 0.0)
    >>> right = ("Right Subarticular Stenosis", "L4/L5", 9.0, 0.0, 0.0)
    >>> for point in contradictory_points(pd.DataFrame([left, right], columns=names)):
    ...     print(point.kind, "-", point.why)
    sides exchanged - the left point lies 18 mm to the right of the right one
    sides exchanged - the left point lies 18 mm to the right of the right one
    """
    found: dict[int, UnusablePoint] = {}
    repeated = list(_repeated(points))
    single = points.drop(index=[point.row.Index for point in repeated])
    checks = (repeated, _exchanged_sides(single), _disordered_levels(single))
    for point in chain.from_iterable(checks):
        found.setdefault(point.row.Index, point)
    return list(found.values())


def _repeated(points: pd.DataFrame) -> Iterator[UnusablePoint]:
    """Points of a target that has several: all of them where they differ, else all but one."""
    for _, same in points.groupby(["condition", "level"]):
        if len(same) == 1:
            continue
        positions = same[["x_mm", "y_mm", "z_mm"]].to_numpy()
        apart_mm = float(np.linalg.norm(positions - positions[0], axis=1).max())
        why = f"{len(same)} points are marked, up to {apart_mm:.0f} mm apart"
        for row in list(same.itertuples())[int(apart_mm < SAME_POINT_MM) :]:
            yield UnusablePoint(row, "several points for one target", why)


def _exchanged_sides(points: pd.DataFrame) -> Iterator[UnusablePoint]:
    """Both points of each pair whose left point is to the right of the right one; of a pair that is
    half there, a point that lies on the other side of the patient's middle."""
    middles = _middles(points)
    for (_, level), pair in points.groupby([points.condition.map(FAMILY), "level"]):
        rows = {side(row.condition): row for row in pair.itertuples()}
        if set(SIDES) <= set(rows):
            crossed_mm = rows["Right"].x_mm - rows["Left"].x_mm
            if crossed_mm > 0:
                why = f"the left point lies {crossed_mm:.0f} mm to the right of the right one"
                for row in rows.values():
                    yield UnusablePoint(row, "sides exchanged", why)
        elif level in middles and not set(rows).isdisjoint(SIDES):
            (name, row), *_ = rows.items()
            beyond_mm = (row.x_mm - middles[level]) * (-1 if name == "Left" else 1)
            if beyond_mm > BEYOND_MIDDLE_MM:
                why = f"it lies {beyond_mm:.0f} mm beyond the middle, and its pair is not marked"
                yield UnusablePoint(row, "sides exchanged", why)


def _middles(points: pd.DataFrame) -> dict[Any, float]:
    """The x of the patient's middle at each level, mm: of the canal's point and between the points
    of each pair, whichever are there."""
    found: dict[Any, list[float]] = {}
    for (family, level), same in points.groupby([points.condition.map(FAMILY), "level"]):
        if family == FAMILY[CANAL] or len(same) == len(SIDES):
            found.setdefault(level, []).append(float(same.x_mm.mean()))
    return {level: float(np.mean(places)) for level, places in found.items()}


def _disordered_levels(points: pd.DataFrame) -> Iterator[UnusablePoint]:
    """Both points of each two neighbouring levels of which the lower one is above the upper one."""
    for _, column in points.groupby("condition"):
        for upper, lower in pairwise(column.sort_values("level").itertuples()):
            rise_mm = lower.z_mm - upper.z_mm
            if rise_mm > 0:
                why = f"{lower.level} lies {rise_mm:.0f} mm above {upper.level}"
                yield UnusablePoint(upper, "levels out of order", why)
                yield UnusablePoint(lower, "levels out of order", why)
