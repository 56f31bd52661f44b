"""One study before it is written: spine, scans and points, and how readers annotate it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.phantom.scan import Scan
from utils.phantom.spine import Spine
from utils.rsna import TARGETS, Target

REACH_MM = 6.0  # readers mark a point on a series' last slice if it is no further beside it
REACH_GAPS = 1.2  # the same, in gaps between slices; the larger of the two counts


@dataclass
class Draft:
    """One study on its way to the disk; anomalies change it."""

    spine: Spine
    scans: list[Scan]
    ungraded: list[tuple[str, str]]  # (condition, level) of targets without label and point
    points: list[dict]  # rows of train_label_coordinates.csv, without study_id

    def of(self, name: str) -> Scan:
        """The first series of a kind. Raises StopIteration if there is none."""
        return next(scan for scan in self.scans if scan.name == name)

    def new_series_id(self) -> int:
        """An id that no series of the study has."""
        return max(scan.series_id for scan in self.scans) + 1


def annotate(draft: Draft) -> list[dict]:
    """The points of a study: each on the slice nearest to its true position, in the series that
    shows its condition. Targets that are ungraded or outside every image have none."""
    graded = [target for target in TARGETS if target not in draft.ungraded]
    marked = [_mark(draft, target) for target in graded]
    return [row for row in marked if row is not None]


def _mark(draft: Draft, target: Target) -> dict | None:
    """A target's point as a row of the table; None if there is nothing to mark."""
    fitting = [scan for scan in draft.scans if _is_read_for(scan, target)]
    if not fitting:
        return None
    mm = draft.spine.point(*target)
    scan = min(fitting, key=lambda scan: _distance(scan, mm))
    i = scan.series.nearest_slice(mm)
    if not _shows(scan, i, mm):
        return None
    x, y = scan.slices[i].to_pixel(mm)
    return {
        "series_id": scan.series_id,
        "instance_number": scan.slices[i].instance,
        "condition": target.condition,
        "level": target.level,
        "x": round(float(x), 4),
        "y": round(float(y), 4),
    }


def _is_read_for(scan: Scan, target: Target) -> bool:
    return scan.name == target.series and target.side in scan.annotated_sides


def _distance(scan: Scan, mm: np.ndarray) -> float:
    """mm from a point (3,) to the plane of the nearest slice."""
    nearest = scan.slices[scan.series.nearest_slice(mm)]
    return float(abs(nearest.distance(mm)))


def _shows(scan: Scan, i: int, mm: np.ndarray) -> bool:
    """Whether a point (3,) LPS mm is on slice i, or near enough beside it."""
    plane = scan.slices[i]
    reach = max(REACH_GAPS * scan.protocol.gap_mm, REACH_MM)
    return plane.beside(mm) == 0 and float(abs(plane.distance(mm))) <= reach
