"""The points of a slice near the spine, in the spine's own coordinates, as a canvas to paint on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from utils.phantom.axis import step_of
from utils.phantom.canvas import Canvas, texture
from utils.phantom.spine import Spine

OUTSIDE = -9  # mm: a depth at which nothing is painted


class Region(Canvas):
    """n points with their spine coordinates, to which painters add one structure each.

    s, u, v  (n,) float32 mm, see axis
    j        index of the nearest disc
    ds       mm below the centre of that disc; half: half its height. The vertebra above extends
             from the point up to the middle of its body, and so does the one below.
    k        scale of the body
    """

    def __init__(
        self, spine: Spine, canvas: Canvas, place: np.ndarray, noise: np.ndarray, image: np.ndarray
    ) -> None:
        """place: s, u, v (3, n); noise: the fine texture (n,); image: the signal (n,) to paint."""
        super().__init__(canvas.signal, image, canvas.pixel)
        self.spine = spine
        self.place = place.astype(np.float32, copy=False)
        self.noise = noise
        self.s, self.u, self.v = self.place
        self.k = np.float32(spine.column.scale)

    @cached_property
    def at(self) -> np.ndarray:
        """Index (n,) of the nearest axis sample."""
        return step_of(self.s, self.spine.axis.samples)

    @cached_property
    def side(self) -> np.ndarray:
        """mm from the mid-line, on either side."""
        return np.abs(self.u)

    @cached_property
    def v_unslipped(self) -> np.ndarray:
        """v for what does not follow a slipped vertebra."""
        return self.v + self.along("slip")

    @cached_property
    def j(self) -> np.ndarray:
        """Index of the nearest disc."""
        return self.along("disc").astype(np.int32)

    @cached_property
    def ds(self) -> np.ndarray:
        """mm below the centre of the nearest disc."""
        return self.s - self.along("disc_middle")

    @cached_property
    def half(self) -> np.ndarray:
        """mm, half the height of the nearest disc."""
        return self.along("disc_half")

    @property
    def sacrum_s(self) -> np.floating:
        """s of the upper endplate of the sacrum."""
        return self.spine.discs[self.spine.graded][-1, 1]

    def disc_s(self, k: int) -> np.float32:
        """s of the centre of the k-th graded disc."""
        return np.float32(self.spine.disc_s[k])

    def along(self, name: str) -> np.ndarray:
        """One of the spine's tables along s, per point."""
        return self.spine.tables[name][self.at]

    def of_disc(self, values: np.ndarray) -> np.ndarray:
        """Values per disc (n - 1,) -> per point."""
        return np.asarray(values, np.float32)[self.j]

    def of_side(self, values: np.ndarray) -> np.ndarray:
        """Values per disc and side (n - 1, 2: left, right) -> per point."""
        return np.asarray(values, np.float32)[self.j, (self.u < 0).astype(np.intp)]

    def opening(self, family: str) -> np.ndarray:
        """What is left of the structure on the point's own side at the nearest disc."""
        return self.spine.canal.opening_at(family, self.u, self.j)

    def texture(self, kind: str, points: np.ndarray | tuple) -> np.ndarray:
        """A texture (n,) at three coordinates of the points."""
        return texture(self.spine.body.texture_origin, kind, points)

    def only(self, mask: np.ndarray, *painters: Callable[[Region], None]) -> None:
        """Paint on some of the points: most structures fill a small part of the image."""
        at = np.flatnonzero(mask)
        if not len(at):
            return
        part = Region(self.spine, self, self.place[:, at], self.noise[at], self.image[at])
        for painter in painters:
            painter(part)
        self.image[at] = part.image

    def put_bone(self, depth: np.ndarray, cortex: float = 1.0) -> None:
        """Marrow in a dark shell of cortex (mm)."""
        self.put(depth, "cortex")
        self.put(depth - np.float32(cortex), "marrow", 1 + 0.09 * self.noise)
