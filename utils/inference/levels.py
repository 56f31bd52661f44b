"""Are these the right levels? What five canal points of one patient say by themselves, and what
those say that were counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from utils.rsna import LEVELS

DOUBT = "doubtful: "  # how a note starts that doubts the levels of a study
UNORDERED = f"{DOUBT}the levels were not found in order"
# Discs of one patient are about as far apart: a step from level to level that is longer or shorter
# than their median by these factors means that a disc was skipped or counted twice. Of the levels
# that readers marked in 1,899 real studies, 97 % have no such step; of 400 of the phantom, all.
LONG_STEP, SHORT_STEP = 1.4, 0.6
DOUBTFUL = 0.2  # all points of a study whose levels are doubtful have at most this confidence
SAME_MM = 12.0  # two points at most so far apart are of one level: half a vertebra is more
NEXT = "; "  # between the parts of a note


class Disc(NamedTuple):
    """A disc on the middle of the spine: in mm to the right and down the picture.

    centre     (2,) its middle
    direction  (2,) of its long axis, to the back
    length     of that axis
    is_sacral  more sacrum than vertebra above it: a remnant between two sacral segments
    """

    centre: np.ndarray
    direction: np.ndarray
    length: float
    is_sacral: bool

    @property
    def back(self) -> np.ndarray:
        """(2,) its end beside the sac."""
        return self.centre + self.direction * self.length / 2

    @property
    def across(self) -> np.ndarray:
        """(2,) to the feet, at a right angle to its axis."""
        x, y = self.direction
        return np.array([-y, x])


class Counted(NamedTuple):
    """Levels as the discs above the sacrum count them.

    points   (5, 3) mm, L1/L2 first; nan where there are no more discs
    discs    of each level; None where there are no more
    is_sure  the sacrum is in the image, and the discs follow each other at the patient's own
             distance: none was missed
    """

    points: np.ndarray
    discs: tuple[Disc | None, ...]
    is_sure: bool


class Levels(NamedTuple):
    """Canal points (5, 3) mm, their confidences (5,), and why they are doubtful, "" if not."""

    points: np.ndarray
    confidence: np.ndarray
    doubt: str


def agreed(points: np.ndarray, confidence: np.ndarray, counted: Counted) -> Levels:
    """Levels as they were recognised (5, 3), with their confidences (5,), and as they were counted:
    the recognised ones where both are the same, else the counted ones if the count is sure, and in
    either case a doubt."""
    off = np.linalg.norm(points - counted.points, axis=1)
    if not (off > SAME_MM).any():
        return Levels(points, confidence, "")
    doubt = (
        f"{DOUBT}recognised by their looks the levels are up to {np.nanmax(off):.0f} mm from where "
        "they are if discs are counted from the sacrum"
    )
    if not counted.is_sure:
        return Levels(points, np.minimum(confidence, DOUBTFUL), doubt)
    return Levels(counted.points, np.full(len(LEVELS), DOUBTFUL), doubt)


def counted_beside(canal: np.ndarray, counted: Counted) -> list[int | None]:
    """Which counted level lies beside each of five canal points (5, 3) mm; None where none does."""
    away = np.linalg.norm(canal[:, None] - counted.points, axis=2)  # (5, 5)
    away = np.nan_to_num(away, nan=np.inf)
    return [int(row.argmin()) if row.min() <= SAME_MM else None for row in away]


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
                f"{DOUBT}{upper} and {lower} are {step:.0f} mm apart, other levels {usual:.0f}: "
                "a disc may have been skipped or counted twice"
            )
    return ""


def doubt_in(notes: Iterable[str]) -> str:
    """The doubt that the notes of a study begin with; "" if they have none."""
    first = (str(note).split(NEXT)[0] for note in notes)
    return next((part for part in first if part.startswith(DOUBT)), "")
