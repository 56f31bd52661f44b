"""A canvas: signal of water and of fat on points, painted shape by shape.

Every shape is a depth: the mm from a point to its surface, positive inside. A depth makes a soft
edge one pixel wide (partial volume in the plane); the smaller of two depths is what two shapes have
in common, the larger is both together. Water and fat are kept apart, since a scanner shifts and
suppresses fat alone: as real and imaginary part of one array, so that one stroke paints both.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

# Smoothness of each texture in cells, the same in all directions or one per axis; by eye.
TEXTURES = {"grain": 1.8, "cloud": 4.0, "fibres": (10.0, 1.6, 1.6), "folds": 7.0}
TEXTURE_CELLS = 128  # per axis, a power of two: indices wrap by masking
_BITS = TEXTURE_CELLS.bit_length() - 1


class Canvas:
    """Signal of water (real) and fat (imaginary) on points of patient space.

    signal  of every tissue by name
    image   complex64, any shape; painted in place
    pixel   mm, the width of an edge
    """

    def __init__(
        self, signal: dict[str, complex], image: np.ndarray, pixel: float | np.floating
    ) -> None:
        self.signal = signal
        self.image = image
        self.pixel = np.float32(pixel)

    def put(self, depth: np.ndarray, tissue: str, gain: np.ndarray | float = 1.0) -> None:
        """Paint where depth (mm inside the shape) is positive, with an edge one pixel wide."""
        at = np.flatnonzero(depth > -self.pixel / 2)
        if not len(at):
            return
        covered = np.minimum(depth.ravel()[at] * (1 / self.pixel) + np.float32(0.5), 1)
        if isinstance(gain, np.ndarray):
            gain = gain.ravel()[at]
        flat = self.image.reshape(-1)
        before = flat[at]
        flat[at] = before + covered * (np.complex64(self.signal[tissue]) * gain - before)


def texture(
    origin: np.ndarray, kind: str, points: np.ndarray | tuple, cell_mm: float = 0.7
) -> np.ndarray:
    """Texture (…), of mean 0 and standard deviation 1, at three coordinates (3, …) in mm.

    origin  (3,) cells: where in the volume the patient is; the same in every series
    kind    a name out of TEXTURES
    """
    per_mm = np.float32(1 / cell_mm)
    cells = [(p * per_mm).astype(np.int32) + shift for p, shift in zip(points, origin)]
    x, y, z = (cell & (TEXTURE_CELLS - 1) for cell in cells)
    return _texture_volume(kind)[(x << 2 * _BITS) + (y << _BITS) + z]


@cache
def _texture_volume(kind: str) -> np.ndarray:
    """A periodic volume, flat, float32: the same for all patients, who differ in their origin."""
    rng = np.random.default_rng(list(TEXTURES).index(kind))
    noise = rng.standard_normal((TEXTURE_CELLS,) * 3, dtype=np.float32)
    field = gaussian_filter(noise, TEXTURES[kind], mode="wrap", truncate=3)
    return (field / field.std()).ravel()
