"""The structures that are told apart on a sagittal slice, by their numbers in a mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STRUCTURES = ("background", "vertebral body", "disc", "thecal sac", "sacrum", "arch")
BACKGROUND, BODY, DISC, SAC, SACRUM, ARCH = range(len(STRUCTURES))
# Of their outlines; none is a grade's, so that an outline says nothing of how bad it is.
COLOURS = ("", "#f0c36d", "#ff9ecb", "#41e0d0", "#b9a4ff", "#d0a080")


class Outline(NamedTuple):
    """Where a structure ends on one slice of one series: a closed line through mm (n, 3), LPS."""

    series_id: int
    instance: int
    structure: int
    mm: np.ndarray
