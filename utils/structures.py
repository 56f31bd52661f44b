"""The structures that are told apart on slices, by their numbers in a mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STRUCTURES = (
    "background",
    "vertebral body",
    "disc",
    "thecal sac",
    "sacrum",
    "arch",
    "ligament",
    "fat",
    "root",
)
BACKGROUND, BODY, DISC, SAC, SACRUM, ARCH, LIGAMENT, FAT, ROOT = range(len(STRUCTURES))
# Of their outlines; none is a grade's, so that an outline says nothing of how bad it is.
COLOURS = (
    "",
    "#f0c36d",
    "#ff9ecb",
    "#41e0d0",
    "#b9a4ff",
    "#d0a080",
    "#8fa8c8",
    "#fff3a0",
    "#9be37b",
)


class Plane(NamedTuple):
    """Slices of one orientation, as they are segmented.

    px          side of the squares that are segmented, trained_px: of those in training
    mm          of a pixel
    structures  so many, the first of STRUCTURES, are told apart
    """

    name: str
    px: int
    trained_px: int
    mm: float
    structures: int


SAGITTAL = Plane("sagittal", 320, 256, 1.0, ARCH + 1)
AXIAL = Plane("axial", 192, 160, 0.5, ROOT + 1)  # ligament, fat and roots in and beside the canal


class Outline(NamedTuple):
    """Where a structure ends on one slice of one series, a closed line through mm (n, 3), LPS; or
    where it was measured, a line from end to end.

    text  what was measured, with its unit; "" for nothing
    """

    series_id: int
    instance: int
    structure: int
    mm: np.ndarray
    text: str = ""
