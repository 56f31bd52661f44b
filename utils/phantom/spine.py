"""One patient's lumbar spine as geometry: the records of its parts, and where readers mark them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utils.phantom.axis import Axis
from utils.phantom.canal import Canal
from utils.phantom.column import Column
from utils.phantom.narrowing import (
    FORAMEN_RIM,
    FORAMEN_S,
    FORAMEN_U,
    FORAMEN_V,
    RECESS_U,
    Degeneration,
    Foramina,
    Narrowing,
    Sac,
)
from utils.rsna import FAMILY, LEVELS, side

_SIGN_OF_U = {"Left": 1.0, "Right": -1.0}
SKIN_MARGIN_MM = 10  # the skin of the back is skin_mm + this behind the spine's smoothed curve
_SKIN_STEP = 0.25  # mm of z between samples of the skin of the back


@dataclass(frozen=True)
class Body:
    """The patient round the spine."""

    age: float  # years
    skin_mm: float  # canal to skin of the back
    fat_mm: float  # subcutaneous fat of the back
    infiltration: float  # fraction of fat in the muscles of the back
    texture_origin: np.ndarray  # (3,) cells: where in the texture volumes this patient is


@dataclass(frozen=True)
class Spine:
    """The anatomy of one study. Coordinates s, u, v are those of the axis."""

    axis: Axis
    column: Column
    degeneration: Degeneration
    narrowing: Narrowing
    foramina: Foramina
    sac: Sac
    body: Body

    @cached_property
    def canal(self) -> Canal:
        """The canal with every level's narrowing applied."""
        return Canal(self.column, self.degeneration.hydration, self.narrowing, self.sac)

    @cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """Everything that depends on s alone, as float32 columns (k,): axis, column and canal."""
        return self.axis.tables | self.column.tables | self.canal.tables

    # Short names for what images and tables are made from.

    @property
    def tilt(self) -> np.ndarray:
        """(k,) radians, see Axis."""
        return self.axis.tilt

    @property
    def discs(self) -> np.ndarray:
        """(n - 1, 2) s of the endplates of every disc."""
        return self.column.discs

    @property
    def graded(self) -> slice:
        """The five graded discs among all."""
        return self.column.graded

    @property
    def disc_s(self) -> np.ndarray:
        """(5,) s of the centres of the five graded discs."""
        return self.column.disc_s

    @property
    def opening(self) -> dict[tuple[str, str], float]:
        """What is left of each target's structure, in the units of grades.OPENING."""
        return self.narrowing.opening

    @property
    def skin_mm(self) -> float:
        """mm from canal to skin of the back."""
        return self.body.skin_mm

    def along(self, s: np.ndarray | float, values: np.ndarray) -> np.ndarray:
        """Values per STEP of s (k,), interpolated at any s."""
        return self.axis.along(s, values)

    def to_patient(self, s, u, v) -> np.ndarray:
        """Spine coordinates in mm, each (…) -> LPS mm (…, 3)."""
        return self.axis.to_patient(s, u, v)

    def to_spine(self, points: np.ndarray) -> np.ndarray:
        """LPS mm (3, n) -> s, u, v (3, n) as float32."""
        return self.axis.to_spine(points)

    def skin(self, z: np.ndarray) -> np.ndarray:
        """y (LPS mm) of the skin of the back at height z (LPS mm)."""
        lowest, curve = self._skin_curve
        at = (z - np.float32(lowest)) * (1 / _SKIN_STEP) + np.float32(0.5)
        return curve[np.clip(at, 0, len(curve) - 1).astype(np.int32)]

    @cached_property
    def _skin_curve(self) -> tuple[float, np.ndarray]:
        """(lowest z, y of the skin every _SKIN_STEP upwards): the spine's curve, flattened."""
        points = self.axis.points
        heights = np.arange(-300.0, 301.0, 4.0) + points[:, 2].mean()
        head_up = points[::-1]
        back = np.interp(heights, head_up[:, 2], head_up[:, 1])
        smoothing = np.hanning(31) / np.hanning(31).sum()
        smooth = np.convolve(np.pad(back, 15, mode="edge"), smoothing, "valid")
        fine = np.arange(heights[0], heights[-1], _SKIN_STEP)
        skin = 0.7 * smooth + 0.3 * smooth.mean() + self.skin_mm + SKIN_MARGIN_MM
        return float(heights[0]), np.interp(fine, heights, skin).astype(np.float32)

    def point(self, condition: str, level: str) -> np.ndarray:
        """Where a reader would mark a target, LPS mm (3,)."""
        s = self.disc_s[LEVELS.index(level)]
        scale = self.column.scale
        family = FAMILY[condition]
        if family == "spinal":
            front, back, _ = self.canal.sac(s)
            return self.to_patient(s, 0.0, (front + back) / 2)
        sign = _SIGN_OF_U[side(condition)]
        if family == "foraminal":
            return self.to_patient(s + FORAMEN_S * scale, sign * FORAMEN_U * scale, FORAMEN_V)
        u = np.array([sign * (RECESS_U * scale + 0.6)], np.float32)
        v = self.canal.recess_root(np.array([s], np.float32), u)
        return self.to_patient(s, u[0], v[0])

    def measure_mm(self, condition: str, level: str) -> float:
        """The size of the graded structure in mm, by the family of the condition.

        spinal        depth of the sac
        foraminal     fat in front of and behind the exiting root; an open foramen has more fat than
                      that, up to the bones
        subarticular  depth of the recess
        """
        unit = {"spinal": self.sac.depth, "foraminal": 2 * FORAMEN_RIM[0], "subarticular": 1.0}
        return self.opening[condition, level] * unit[FAMILY[condition]]
