"""Which tissue is where: the structures of one spine, painted back to front on a slice.

Later painters cover earlier ones, so their order is anatomy: the trunk, what is large against the
thickness of a slice, then the fine structures, averaged over two planes within that thickness.
"""

from __future__ import annotations

import numpy as np

from utils.dicom import Slice
from utils.phantom.axis import STEP
from utils.phantom.canal_contents import paint_canal
from utils.phantom.canvas import Canvas, texture
from utils.phantom.foramen import paint_epidural_space, paint_foramina
from utils.phantom.posterior import paint_posterior_elements
from utils.phantom.region import Region
from utils.phantom.soft_tissue import paint_back_muscles, paint_psoas, paint_vessels
from utils.phantom.spine import Spine
from utils.phantom.trunk import paint_trunk
from utils.phantom.vertebrae import paint_bodies, paint_discs, paint_pelvis

# mm to either side (u), and the range of v: how far the spine's own structures extend, and the part
# with fine structures, which is sampled twice through the slice.
SPINE_BOX = (72.0, -80.0, 74.0)
CORE_BOX = (31.0, -10.0, 56.0)
_MARGIN_MM = 2  # of s, at both ends of the axis, where nothing is painted


def paint(spine: Spine, signal: dict[str, complex], plane: Slice, thickness: float) -> np.ndarray:
    """Water + i fat (H, W) complex64 of the tissues in a plane.

    signal     water + i fat of every tissue by name
    thickness  of the slice, mm; it counts where structures are fine
    """
    grid = points_of(plane)
    canvas = Canvas(signal, np.zeros(grid.shape[1:], np.complex64), plane.spacing.mean())
    paint_trunk(canvas, spine, plane, grid)
    image = canvas.image.reshape(-1)
    points = grid.reshape(3, -1)
    near = np.flatnonzero(_roughly_near(spine, points))
    near, place = _within(SPINE_BOX, near, spine.to_spine(points[:, near]), spine)
    region = _region(spine, canvas, place, points[:, near], image[near])
    _paint_coarse_structures(region)
    image[near] = region.image
    near, place = _within(CORE_BOX, near, place, spine)
    total = np.zeros(len(near), np.complex64)
    for offset in (-thickness / 4, thickness / 4):
        moved = place + spine.axis.shift_to_spine(place[0], plane.normal * offset)
        region = _region(spine, canvas, moved, points[:, near], image[near])
        _paint_fine_structures(region)
        total = total + region.image
    image[near] = total / np.float32(2)
    return canvas.image


def points_of(plane: Slice) -> np.ndarray:
    """(3, H, W) LPS mm of every pixel, float32."""
    height, width = plane.pixels.shape
    across, down = (plane.axes * plane.spacing[:, None]).astype(np.float32)
    rows = down[:, None, None] * np.arange(height, dtype=np.float32)[:, None]
    columns = across[:, None, None] * np.arange(width, dtype=np.float32)
    return plane.origin.astype(np.float32)[:, None, None] + rows + columns


def _roughly_near(spine: Spine, points: np.ndarray) -> np.ndarray:
    """Which of the points (3, n) can be in SPINE_BOX at all, (n,)."""
    low = spine.axis.points.min(0)
    high = spine.axis.points.max(0)
    side, front, behind = SPINE_BOX
    x, y, _ = points
    beside = (x > low[0] - side) & (x < high[0] + side)
    return beside & (y > low[1] + front) & (y < high[1] + behind)


def _within(
    box: tuple[float, float, float], near: np.ndarray, place: np.ndarray, spine: Spine
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the pixels near (n,) with spine coordinates place (3, n) that are in a box."""
    s, u, v = place
    side, front, behind = box
    keep = (np.abs(u) < side) & (v > front) & (v < behind)
    keep &= (s > _MARGIN_MM) & (s < spine.axis.samples * STEP - _MARGIN_MM)
    return near[keep], place[:, keep]


def _region(
    spine: Spine, canvas: Canvas, place: np.ndarray, points: np.ndarray, image: np.ndarray
) -> Region:
    """A region whose fine texture is that of its points in the patient (3, n)."""
    noise = texture(spine.body.texture_origin, "grain", points)
    return Region(spine, canvas, place, noise, image)


def _paint_coarse_structures(region: Region) -> None:
    """What is large against the thickness of a slice."""
    side = region.side
    v = region.v
    region.only(v < 12, paint_psoas)
    region.only((v < -22) & (side < 45), paint_vessels)
    region.only(v > 4, paint_back_muscles)
    region.only((side > 16) & (region.s > region.spine.disc_s[-1] - 24), paint_pelvis)
    region.only((v < 1.5) & (v > -60) & (side < 33), paint_bodies, paint_discs)


def _paint_fine_structures(region: Region) -> None:
    """Everything inside CORE_BOX."""
    side = region.side
    v = region.v
    region.only((v > -4) & (v < 14), paint_epidural_space)
    region.only(v < 1.5, paint_bodies)
    region.only((v < 16) & (np.abs(region.ds) < region.half + 5), paint_discs)
    region.only((v > -8) & (v < 14) & (side > 5), paint_foramina)
    paint_posterior_elements(region)
    region.only((v > -2) & (v < 26) & (side < 17), paint_canal)
