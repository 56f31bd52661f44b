"""The vertebral column: sizes of bodies and discs from T9 down, and where along the axis they are.

Sizes are those of adult lumbar morphometry, adjusted to two real studies by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from utils.phantom.axis import STEP, as_tables
from utils.phantom.shapes import smoothstep
from utils.rsna import LEVELS

BODIES = (
    *("T9", "T10", "T11", "T12"),
    *("L1", "L2", "L3", "L4", "L5"),
    *("S1", "S2", "S3", "S4", "S5"),
)
# Per body, mm: height, depth (front to back), width (side to side); degrees of lordosis it adds.
BODY_HEIGHTS = np.array(
    [21.5, 22.0, 22.5, 24.0, 26.5, 27.0, 27.0, 27.0, 26.5, 28.0, 23.0, 19.0, 17.0, 14.0]
)
BODY_DEPTHS = np.array(
    [28.0, 29.0, 30.0, 31.0, 33.0, 34.0, 34.0, 34.5, 35.0, 31.0, 22.0, 16.0, 13.0, 10.0]
)
BODY_WIDTHS = np.array(
    [30.0, 32.0, 34.0, 38.0, 41.0, 43.0, 45.0, 48.0, 51.0, 52.0, 44.0, 38.0, 32.0, 26.0]
)
BODY_WEDGES = np.array(
    [-3.0, -3.0, -3.0, -3.0, -3.0, -1.0, 1.0, 3.0, 8.0, -6.0, -12.0, -14.0, -12.0, -10.0]
)
# Per disc, from T9/T10 down: height in mm, degrees of lordosis it adds.
DISC_HEIGHTS = np.array([4.5, 5.0, 5.5, 7.0, 8.5, 9.5, 10.5, 11.0, 10.0, 2.5, 1.5, 1.2, 1.0])
DISC_WEDGES = np.array([0.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 0.0, 0.0, 0.0, 0.0])
SACRAL_BODIES = 5

SIXTH_LUMBAR = "sixth lumbar vertebra"
SACRALISED = "sacralised L5"
TRANSITIONAL = {SIXTH_LUMBAR: 0.02, SACRALISED: 0.03}  # proportion of spines
_SACRALISED_DISC = {"height": 0.4, "wedge": 0.5}  # what is left of the last disc's
_END_BODIES_MM = (20.0, 12.0)  # heights given to T9 and S5, of which only one endplate is known


class Segments(NamedTuple):
    """Typical sizes from T9 down: n bodies and the n - 1 discs between them."""

    heights: np.ndarray  # (n,) mm
    depths: np.ndarray  # (n,) mm
    widths: np.ndarray  # (n,) mm
    wedges: np.ndarray  # (n,) degrees
    disc_heights: np.ndarray  # (n - 1,) mm
    disc_wedges: np.ndarray  # (n - 1,) degrees

    @property
    def first(self) -> int:
        """Index of the disc L1/L2: the graded discs end above S1."""
        return len(self.heights) - SACRAL_BODIES - len(LEVELS)


def segments_of(transitional: str) -> Segments:
    """Typical sizes of a spine; transitional is "", SIXTH_LUMBAR or SACRALISED."""
    columns = [BODY_HEIGHTS, BODY_DEPTHS, BODY_WIDTHS, BODY_WEDGES, DISC_HEIGHTS, DISC_WEDGES]
    if transitional == SIXTH_LUMBAR:
        at = BODIES.index("L4")
        columns = [np.insert(column, at, column[at]) for column in columns]
    segments = Segments(*(column.copy() for column in columns))
    if transitional == SACRALISED:
        last = len(segments.disc_heights) - SACRAL_BODIES
        segments.disc_heights[last] *= _SACRALISED_DISC["height"]
        segments.disc_wedges[last] *= _SACRALISED_DISC["wedge"]
    return segments


@dataclass(frozen=True)
class Column:
    """The n bodies and n - 1 discs of one patient."""

    discs: np.ndarray  # (n - 1, 2) s of the upper and the lower endplate of every disc
    depths: np.ndarray  # (n,) mm of the bodies, front to back
    widths: np.ndarray  # (n,) mm of the bodies, side to side
    first: int  # index of the disc L1/L2
    scale: float  # body size; 1 is the size of the tables above
    transitional: str  # "", SIXTH_LUMBAR or SACRALISED
    samples: int  # samples of the axis, one per STEP of s
    ligament: float = 0.0  # mm of the anterior longitudinal ligament, as dark as cortex

    @cached_property
    def graded(self) -> slice:
        """The five graded discs among all."""
        return slice(self.first, self.first + len(LEVELS))

    @cached_property
    def disc_s(self) -> np.ndarray:
        """(5,) s of the centres of the five graded discs."""
        return self.discs[self.graded].mean(1)

    @cached_property
    def body_heights(self) -> np.ndarray:
        """(n,) mm of every vertebral body, float32."""
        between = np.diff(self.discs.ravel())[1::2]
        top, bottom = _END_BODIES_MM
        return np.r_[top, between, bottom].astype(np.float32)

    @cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """What depends on s alone, as float32 columns (k,).

        disc         index of the nearest disc
        disc_middle  s of its centre; disc_half: mm, half its height
        body_depth, body_width  mm, passing from the size of one body to that of the next
        sacral       0 above the last graded disc, 1 in the sacrum
        """
        s = np.arange(self.samples) * STEP
        middles = self.discs.mean(1)
        disc = np.searchsorted((middles[1:] + middles[:-1]) / 2, s)
        middle = middles[disc]
        half = (np.diff(self.discs, axis=1)[:, 0] / 2)[disc]
        progress = smoothstep(0.5 + (s - middle) / (2 * half))
        columns = {"disc": disc, "disc_middle": middle, "disc_half": half}
        columns["sacral"] = smoothstep((s - self.disc_s[-1]) / 12)
        for name, sizes in (("body_depth", self.depths), ("body_width", self.widths)):
            columns[name] = sizes[disc] + (sizes[disc + 1] - sizes[disc]) * progress
        return as_tables(columns)
