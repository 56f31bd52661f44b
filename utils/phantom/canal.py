"""The spinal canal along the axis: the thecal sac and the walls of canal and recesses.

Distances are mm in spine coordinates (see axis). Shapes were chosen by eye against two real
studies; what the grades leave open is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utils.phantom.axis import STEP, as_tables, step_of
from utils.phantom.column import Column
from utils.phantom.narrowing import OPEN_RECESS_MM, RECESS_U, Narrowing, Sac
from utils.phantom.shapes import bump, smoothstep

_NARROWING_MM = 6.0  # mm of s over which a canal narrowing fades, above and below its disc
_OPEN_BACK_WALL = 19.5  # mm, v of the back wall at the mid-line of an open canal of scale 1


@dataclass(frozen=True)
class Canal:
    """What is left of the canal of one spine, with the narrowing of every level applied."""

    column: Column
    hydration: np.ndarray  # (n - 1,) of the discs: dry ones bulge
    narrowing: Narrowing
    unnarrowed: Sac

    @cached_property
    def openings(self) -> dict[tuple[str, str], np.ndarray]:
        """Narrowing.openings of this column."""
        return self.narrowing.openings(self.column)

    @cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """What depends on s alone, as float32 columns (k,): see lost_depth and sac."""
        s = np.arange(self.column.samples) * STEP
        front, back, half_width = self.sac(s)
        lost, anterior = self.lost_depth(s)
        columns = {"sac_front": front, "sac_back": back, "sac_half_width": half_width}
        columns |= {"lost": np.clip(lost, 0, 1), "anterior": anterior}
        return as_tables(columns)

    def lost_depth(self, s: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Fraction of the sac's depth lost at s, and the fraction of that taken by the disc."""
        lost = np.zeros(np.shape(s))
        anterior = np.full(np.shape(s), 0.5)
        graded = self.column.graded
        openings = self.openings["spinal", "Left"][graded]
        by_disc = self.narrowing.anterior[graded]
        for centre, opening, disc in zip(self.column.disc_s, openings, by_disc):
            here = (1 - opening) * bump(s - centre, _NARROWING_MM)
            more = np.abs(here) > np.abs(lost)
            anterior = np.where(more, disc, anterior)
            lost = np.where(more, here, lost)
        return lost, anterior

    def sac(self, s: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Front (v), back (v) and half-width of the thecal sac at s; it ends at S2."""
        lost, anterior = self.lost_depth(s)
        depth = self.unnarrowed.depth
        last = self.column.disc_s[-1]
        end = smoothstep((s - last - 12) / 50)
        front = 1.2 + 3.5 * smoothstep((s - last) / 15) + anterior * lost * depth
        back = front + np.clip((1 - lost) * (1 - 0.8 * end), 0.05, None) * depth
        half_width = self.unnarrowed.half_width * (1 - 0.3 * np.clip(lost, 0, 1)) * (1 - end)
        return front, back, half_width

    def front_wall(self, s: np.ndarray, u: np.ndarray) -> np.ndarray:
        """v (n,) to which disc tissue extends into canal, recesses and foramina at s, u (n,)."""
        at = self._step_of(s)
        column = self.column.tables
        j = column["disc"][at].astype(np.int32)
        lateral = self._lost_recess(u, j) * self.narrowing.anterior.astype(np.float32)[j]
        lateral = lateral * bump(np.abs(u) - self._recess_u, np.float32(4))
        bulge = 1.5 * (1 - self.hydration.astype(np.float32)[j])
        near = bump(s - column["disc_middle"][at], column["disc_half"][at] + 2)
        central = self._central_protrusion(u, at, j)
        return np.maximum(np.maximum(central, lateral), bulge) * near

    def back_wall(self, s: np.ndarray, u: np.ndarray) -> np.ndarray:
        """v (n,) of the back wall at disc level: flavum at the mid-line, facets at the sides."""
        at = self._step_of(s)
        j = self.column.tables["disc"][at].astype(np.int32)
        wide_open = np.float32(_OPEN_BACK_WALL * self.column.scale)
        lost = self.tables["lost"][at]
        back = self.tables["sac_back"][at]
        middle = wide_open + smoothstep(lost / np.float32(0.3)) * (back + 0.6 - wide_open)
        disc = self._lost_recess(u, j) * self.narrowing.anterior.astype(np.float32)[j]
        side = 0.5 + disc + self.opening_at("subarticular", u, j)
        across = np.clip(np.abs(u) / self._recess_u, 0, 1.15)
        return middle + (np.minimum(side, middle) - middle) * across**2

    def recess_root(self, s: np.ndarray, u: np.ndarray) -> np.ndarray:
        """v (n,) of the traversing root in its recess, at s, u (n,)."""
        j = self.column.tables["disc"][self._step_of(s)].astype(np.int32)
        left = self.opening_at("subarticular", u, j)
        return self.front_wall(s, u) + np.minimum(left / 2, 2.6) + 0.2

    def opening_at(self, family: str, u: np.ndarray, j: np.ndarray) -> np.ndarray:
        """What is left of a family's structure at disc j on the side of u, (n,)."""
        right_then_left = [self.openings[family, side] for side in ("Right", "Left")]
        sides = np.concatenate(right_then_left).astype(np.float32)
        return sides[j + len(self.column.discs) * (u > 0)]

    @property
    def _recess_u(self) -> np.float32:
        return np.float32(RECESS_U * self.column.scale)

    def _step_of(self, s: np.ndarray) -> np.ndarray:
        return step_of(s, self.column.samples)

    def _lost_recess(self, u: np.ndarray, j: np.ndarray) -> np.ndarray:
        """mm that the recess on the side of u has lost, (n,)."""
        return np.clip(OPEN_RECESS_MM - self.opening_at("subarticular", u, j), 0, None)

    def _central_protrusion(self, u: np.ndarray, at: np.ndarray, j: np.ndarray) -> np.ndarray:
        """v (n,) to which the disc extends at the mid-line, at axis step `at` and disc j."""
        lost = self.tables["lost"][at]
        depth = np.float32(self.unnarrowed.depth)
        taken = 1 + self.tables["anterior"][at] * lost * depth
        central = taken * smoothstep(lost / np.float32(0.15))
        return central * bump(u - self.narrowing.protrusion.astype(np.float32)[j], np.float32(9))
