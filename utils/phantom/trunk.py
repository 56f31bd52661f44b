"""The trunk round the spine: skin, subcutaneous fat, abdominal wall, and the organs in view.

Positions and sizes in mm and strengths of textures were chosen by eye against two real studies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from utils.dicom import Slice
from utils.phantom.canvas import Canvas, texture
from utils.phantom.spine import Spine

TRUNK_RADII = (170, 115)  # mm, side to side and front to back


class Organ(NamedTuple):
    """An ellipsoid, placed from the back wall of the middle graded disc (L3/L4)."""

    centre: tuple[float, float, float]  # mm: to the left, behind, towards the head
    half_axes: tuple[float, float, float]  # mm
    tissue: str


ORGANS = (
    Organ((0, -104, -20), (105, 52, 150), "bowel"),
    Organ((62, -28, 40), (29, 25, 56), "kidney"),
    Organ((-62, -28, 30), (29, 25, 56), "kidney"),
    Organ((-88, -75, 90), (72, 78, 74), "liver"),
    Organ((82, -52, 105), (36, 42, 55), "spleen"),
    Organ((0, -72, -165), (42, 38, 34), "fluid"),  # the bladder
    Organ((5, -40, -150), (26, 20, 42), "bowel"),  # the rectum
)


def paint_trunk(canvas: Canvas, spine: Spine, plane: Slice, grid: np.ndarray) -> None:
    """Everything round the spine, on the points (3, H, W) in LPS mm of a plane."""
    x, y, z = grid
    rear = spine.skin(z)
    across = x - np.float32(spine.axis.points[:, 0].mean())
    wide, deep = TRUNK_RADII
    radius = np.sqrt((across / wide) ** 2 + ((y - rear + deep) / deep) ** 2)
    furrow = 7 * np.exp(-((across / 16) ** 2)) * (y > rear - 70)
    depth = (1 - radius) * deep - furrow  # mm below the skin
    septa = texture(spine.body.texture_origin, "cloud", grid, 1.5)
    canvas.put(depth, "muscle")
    canvas.put(depth - 1.5, "fat", 1 + 0.06 * septa)
    wall = np.minimum(depth - spine.body.fat_mm, spine.body.fat_mm + 9 - depth)
    canvas.put(np.minimum(wall, rear - spine.body.skin_mm - y), "muscle")
    for organ in ORGANS:
        _paint_organ(canvas, spine, plane, grid, organ)


def _paint_organ(
    canvas: Canvas, spine: Spine, plane: Slice, grid: np.ndarray, organ: Organ
) -> None:
    """One organ, where the plane meets it at all."""
    centre = spine.to_patient(spine.disc_s[2], 0.0, 0.0) + np.array(organ.centre)
    half_axes = np.array(organ.half_axes, np.float32) * spine.column.scale
    box = _box_round(plane, centre, half_axes.max())
    points = grid[:, *box]
    if abs(plane.distance(centre)) > half_axes.max() or not points.size:
        return
    offset = points - centre[:, None, None].astype(np.float32)
    away = np.sqrt(((offset / half_axes[:, None, None]) ** 2).sum(0))
    depth = (1 - away) * half_axes.min()
    part = Canvas(canvas.signal, canvas.image[box].copy(), canvas.pixel)
    origin = spine.body.texture_origin
    if organ.tissue == "bowel":
        _put_bowel(part, depth, texture(origin, "folds", points, 1.3))
    else:
        gain = 1 + 0.06 * texture(origin, "cloud", points, 1.1)
        _put_solid_organ(part, depth, organ.tissue, gain)
    canvas.image[box] = part.image


def _box_round(plane: Slice, centre: np.ndarray, reach_mm: float) -> tuple[slice, slice]:
    """Rows and columns of a plane within reach of a point (3,) in LPS mm."""
    reach = np.ceil(reach_mm / plane.spacing).astype(int)
    middle = plane.to_pixel(centre).astype(int)
    low = np.maximum(middle - reach, 0)
    high = np.maximum(middle + reach, 0)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _put_bowel(part: Canvas, depth: np.ndarray, folds: np.ndarray) -> None:
    """Loops: walls, contents, some gas, and fat between."""
    for threshold, tissue in ((-0.2, "muscle"), (0.1, "bowel"), (1.5, "air")):
        part.put(np.minimum(depth + 3 * folds, (folds - threshold) * 8), tissue)


def _put_solid_organ(part: Canvas, depth: np.ndarray, tissue: str, gain: np.ndarray) -> None:
    """One tissue throughout; a kidney has fat and the renal pelvis inside."""
    part.put(depth, tissue, gain)
    if tissue == "kidney":
        part.put(depth - 13, "fat", gain)
        part.put(depth - 17, "fluid", gain)
