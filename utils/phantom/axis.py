"""The curved axis of a spine, and the way between patient space and the spine's own coordinates.

For a point in patient space (LPS mm) the spine's coordinates are
    s  mm along the posterior wall of the vertebral bodies, from T9 down
    u  mm to the patient's left of the mid-line
    v  mm behind the posterior wall (the canal has v > 0, the bodies v < 0)
A disc is then a slab of s, the canal a tube of constant v, and bending the axis bends them alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

STEP = 0.5  # mm of s between samples of the axis
_GRID_MM = 2.0  # spacing of the grid that finds the nearest sample
_GRID_BEFORE, _GRID_BEYOND = 130, 110  # mm by which that grid extends past the axis
_LEAST_STRETCH = np.float32(0.3)  # keeps s finite near the centre of a sharp curve


@dataclass(frozen=True)
class Axis:
    """The mid-line of the posterior wall, with k samples, one per STEP of s."""

    points: np.ndarray  # (k, 3) LPS mm
    tilt: np.ndarray  # (k,) radians; 0 straight towards the feet, positive towards the back
    slip: np.ndarray  # (k,) mm by which listhesis moves everything backwards (negative: forwards)

    @property
    def samples(self) -> int:
        """k"""
        return len(self.points)

    def along(self, s: np.ndarray | float, values: np.ndarray) -> np.ndarray:
        """Values per STEP of s (k,), interpolated at any s."""
        return np.interp(np.asarray(s, float) / STEP, np.arange(len(values)), values)

    def to_patient(self, s, u, v) -> np.ndarray:
        """Spine coordinates in mm, each (…) -> LPS mm (…, 3)."""
        centre = np.stack([self.along(s, self.points[:, k]) for k in range(3)], -1)
        tilt = self.along(s, self.tilt)
        back = np.stack([np.zeros_like(tilt), np.cos(tilt), np.sin(tilt)], -1)
        behind = np.asarray(v, float) + self.along(s, self.slip)
        sideways = np.asarray(u, float)[..., None] * (1.0, 0.0, 0.0)
        return centre + sideways + behind[..., None] * back

    def to_spine(self, points: np.ndarray) -> np.ndarray:
        """LPS mm (3, n) -> s, u, v (3, n) float32: inverts to_patient within 10 cm of the spine."""
        i = self._nearest(points)
        table = self.tables
        sin = table["sin"][i]
        cos = table["cos"][i]
        dy = points[1] - table["y"][i]
        dz = points[2] - table["z"][i]
        behind = dy * cos + dz * sin
        # Lengths along the spine grow on the outside of a curve.
        stretch = np.maximum(1 - table["bend"][i] * behind, _LEAST_STRETCH)
        s = i * np.float32(STEP) + (dy * sin - dz * cos) / stretch
        j = step_of(s, self.samples)
        return np.stack([s, points[0] - table["x"][j], behind - table["slip"][j]])

    def shift_to_spine(self, s: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """A small shift in patient space (3,) mm -> its change of s, u, v (3, n) at s (n,)."""
        at = step_of(s, self.samples)
        sin = self.tables["sin"][at]
        cos = self.tables["cos"][at]
        x, y, z = shift.astype(np.float32)
        return np.stack([y * sin - z * cos, np.full_like(sin, x), y * cos + z * sin])

    @cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """The curve as float32 columns (k,); bend is in radians per mm."""
        x, y, z = self.points.T
        columns = {
            "x": x,
            "y": y,
            "z": z,
            "sin": np.sin(self.tilt),
            "cos": np.cos(self.tilt),
            "slip": self.slip,
            "bend": np.gradient(self.tilt, STEP),
        }
        return as_tables(columns)

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """(origin (2,) mm, index (Y, Z) of the axis sample nearest to each cell) of a y-z grid.

        One grid serves all x: the axis bends in the y-z plane only, scoliosis shifts it sideways.
        """
        low = self.points[:, 1:].min(0) - _GRID_BEFORE
        high = self.points[:, 1:].max(0) + _GRID_BEYOND
        ticks = [np.arange(a, b, _GRID_MM) for a, b in zip(low, high)]
        cells = np.stack(np.meshgrid(*ticks, indexing="ij"), -1)
        _, nearest = cKDTree(self.points[:, 1:]).query(cells, workers=1)
        return low, nearest.astype(np.int32)

    def _nearest(self, points: np.ndarray) -> np.ndarray:
        """Index (n,) of the axis sample nearest to each point (3, n)."""
        low, nearest = self._grid
        cells = ((points[1:].T - low) * (1 / _GRID_MM) + 0.5).astype(np.int32).T
        y, z = (np.clip(cell, 0, size - 1) for cell, size in zip(cells, nearest.shape))
        return nearest[y, z]


def step_of(s: np.ndarray, samples: int) -> np.ndarray:
    """Index (n,) of the axis sample nearest to s (n,), float32 mm, among so many samples."""
    nearest = s * np.float32(1 / STEP) + np.float32(0.5)
    return np.clip(nearest, 0, samples - 1).astype(np.int32)


def as_tables(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 columns: reading a value at a step is faster than computing it for every point."""
    return {name: np.ascontiguousarray(values, np.float32) for name, values in columns.items()}
