"""What a model sees of a study: crops in mm, each of which still knows its position in the patient.

A crop is a `utils.dicom.Slice`, so a pixel that a model points at goes back to patient mm by the
same two methods as every other pixel. In: a `PreparedStudy` and points (25, 3) in mm. Out: crops
for the locator (stage 1) and for the grader (stage 2). Needs no torch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from utils.dicom import Series, Slice
from utils.prepare import PreparedStudy
from utils.presets import Preset
from utils.rsna import (
    AXIAL_T2,
    FAMILIES,
    LEVELS,
    SERIES,
    TARGETS,
    target_index,
)
from utils.rsna import side as side_of
from utils.views import Views, views_of

POINT_MM = ["x_mm", "y_mm", "z_mm"]  # the columns of a point in a table
LOCAL_CROP_MM = 88.0  # foramina and recesses are located in a crop this wide round the canal point
# A level's foramina are searched on the sagittal slices this far beside its canal point. In real
# studies they are 13 to 23 mm from it.
FORAMEN_OFFSET_MM = (4.0, 34.0)
# Slices that are kept for training, of each side and level, and of each level.
FORAMEN_SLICES, RECESS_SLICES = 8, 5
# A slice further from a point does not show it. Blocks of a real axial series are up to 22.5 mm
# apart.
REACH_MM = 13.0
MARGIN = 1.25  # crops for training are cut this many times as wide, for the augmentation to follow
_BORDER_PX = 2  # kept beside the box of a crop, for interpolation at its edge
# The targets as arrays (25,), for indexing.
TARGET_FAMILY = np.array([FAMILIES.index(target.family) for target in TARGETS])
TARGET_LEVEL = np.array([LEVELS.index(target.level) for target in TARGETS])
# Where each is found when the patient is mirrored
OTHER_TARGET = np.array([target_index(*target.mirrored) for target in TARGETS])


def crop(one: Slice, centre_mm: np.ndarray, size_mm: float, px: int) -> Slice:
    """A square of size_mm round the point centre_mm (3,), as px × px pixels; black outside the
    image.

    The pixels are float32, with anti-aliasing. Rounded to whole greys, a patient and their mirror
    image would differ wherever a value is halfway between two.

    4 mm round (4, 4, 0) as 2 × 2 pixels of 2 mm: the first covers 2 to 4 mm, its middle is at 3:

    >>> one = Slice(1, np.full((9, 9), 200), np.zeros(3), np.eye(3)[:2], np.ones(2))
    >>> cut = crop(one, (4, 4, 0), size_mm=4, px=2)
    >>> cut.pixels.tolist(), cut.origin.tolist(), cut.spacing.tolist()
    ([[200.0, 200.0], [200.0, 200.0]], [3.0, 3.0, 0.0], [2.0, 2.0])
    """
    half = size_mm / 2 / one.spacing
    middle = one.to_pixel(centre_mm) + 0.5  # in edge coordinates, as Pillow counts
    pixels = _cut(one.pixels, middle - half, middle + half, px)
    spacing = np.full(2, size_mm / px)
    corner = middle - half - 0.5  # the crop's upper left edge, as a pixel coordinate
    origin = one.to_patient(corner) + spacing / 2 @ one.axes
    return replace(one, pixels=pixels, origin=origin, spacing=spacing)


def _cut(pixels: np.ndarray, start: np.ndarray, end: np.ndarray, px: int) -> np.ndarray:
    """The box between two corners (2,), in edge coordinates, as (px, px) float32.

    The part that matters is cut first: padding a whole slice would cost more than the crop.
    """
    height, width = pixels.shape
    (left, top), (right, bottom) = start, end
    pad = int(np.ceil(max(0, -left, -top, right - width, bottom - height)))
    x0, y0 = (max(0, int(edge) - _BORDER_PX) for edge in start)
    x1, y1 = (min(n, int(np.ceil(edge)) + _BORDER_PX) for n, edge in zip((width, height), end))
    if x1 <= x0 or y1 <= y0:
        return np.zeros((px, px), np.float32)
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    if pad:
        part = np.pad(part, pad)
    box = (left - x0 + pad, top - y0 + pad, right - x0 + pad, bottom - y0 + pad)
    image = Image.fromarray(part.astype(np.float32))
    return np.asarray(image.resize((px, px), Image.Resampling.BILINEAR, box=box))


def with_margin(px: int, margin: float = MARGIN) -> int:
    """Pixels of a crop that is `margin` times as wide; even if px is, so that the pixels of the
    small crop are among those of the large one.

    >>> with_margin(64), with_margin(64, 1.1)
    (80, 70)
    """
    return px + 2 * round(px * (margin - 1) / 2)


def nearest(parts: list[Series], mm: np.ndarray) -> tuple[Series, int] | None:
    """Of several series of one kind, the one that comes nearest to a point (3,), and the index of
    its nearest slice.

    None if the point is nan, or if no series reaches it (REACH_MM): a level outside an axial series
    was not imaged.
    """
    if not parts or not np.isfinite(mm).all():
        return None
    found = [(series, series.nearest_slice(mm)) for series in parts]
    best, i = min(found, key=lambda pair: pair[0].slices[pair[1]].distance_to_image(mm))
    return (best, i) if best.slices[i].distance_to_image(mm) <= REACH_MM else None


def neighbours(series: Series, i: int, beside: int, repeat: bool = True) -> list[int]:
    """Indices of slice i and of `beside` slices on either side of it in the same stack.

    repeat  at the ends of the stack, repeat its last slice; False: return fewer
    """
    stack = next(s for s in series.stacks if i in s)
    last = len(stack) - 1
    middle = stack.index(i)
    positions = range(middle - beside, middle + beside + 1)
    if repeat:
        return [stack[min(max(k, 0), last)] for k in positions]
    return [stack[k] for k in positions if 0 <= k <= last]


def point_table(points: pd.DataFrame) -> np.ndarray:
    """Points (condition, level, x_mm, y_mm, z_mm) as (25, 3) mm in the order of TARGETS; nan where
    there is no point."""
    table = np.full((len(TARGETS), 3), np.nan)
    for row in points.itertuples():
        table[target_index(row.condition, row.level)] = row.x_mm, row.y_mm, row.z_mm
    return table


def stack_pixels(crops: list[Slice]) -> np.ndarray:
    """(n, px, px) float32 in 0..255."""
    return np.stack([one.pixels for one in crops])


def as_uint8(pixels: np.ndarray) -> np.ndarray:
    """Rounded to uint8, to be kept or shown."""
    return pixels.round().astype(np.uint8)


# --- stage 1: what the locator sees ---------------------------------------------------------------


def sagittal_crops(series: Series, preset: Preset, margin: float = 1.0) -> list[Slice]:
    """Every slice, as one square crop round the middle of the series.

    margin  of this and the functions below: crops are so many times as wide
    """
    centre_mm = np.mean([s.centre for s in series.slices], 0)
    px = with_margin(preset.locator_px, margin)
    size_mm = preset.locator_mm * px / preset.locator_px
    return [crop(s, centre_mm, size_mm, px) for s in series.slices]


def foramen_crops(
    parts: list[Series], canal_mm: np.ndarray, side: str, preset: Preset, margin: float = 1.0
) -> list[Slice]:
    """The sagittal slices on one side ("Left" or "Right") of a canal point (3,), cropped round its
    level; [] where there is no series or point.

    The position of a slice says which side it shows (LPS: the left has the greater x).
    """
    if not parts or not np.isfinite(canal_mm).all():
        return []
    sign = 1.0 if side == "Left" else -1.0
    low, high = FORAMEN_OFFSET_MM
    crops = []
    for one in max(parts, key=len).slices:
        offset_mm = -sign * one.distance(canal_mm) * np.sign(one.normal[0])
        if one.beside(canal_mm) <= REACH_MM and low < offset_mm < high:
            crops.append(_local_crop(one, canal_mm, preset, margin))
    return crops


def recess_crops(
    parts: list[Series],
    canal_mm: np.ndarray,
    preset: Preset,
    margin: float = 1.0,
    beside: int = 0,
) -> list[Slice]:
    """The axial slice through a canal point (3,) and `beside` slices on either side of it, cropped
    round the point; [] where there is no such slice or point."""
    found = nearest(parts, canal_mm)
    if found is None:
        return []
    series, middle = found
    indices = neighbours(series, middle, beside, repeat=False)
    return [_local_crop(series.slices[i], canal_mm, preset, margin) for i in indices]


def _local_crop(one: Slice, canal_mm: np.ndarray, preset: Preset, margin: float) -> Slice:
    """A crop of LOCAL_CROP_MM, with half as many pixels as a whole sagittal slice has."""
    plain_px = preset.locator_px // 2
    px = with_margin(plain_px, margin)
    return crop(one, canal_mm, LOCAL_CROP_MM * px / plain_px, px)


# --- stage 2: what the grader sees ----------------------------------------------------------------


def grader_crops(
    study: PreparedStudy, points: np.ndarray, preset: Preset, margin: float = 1.0, beside: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Crops (V, slices, px, px) float32 in 0..255 of the preset's V views and which of them exist
    (V,) bool, for points (25, 3) in mm.

    margin  crops are so many times as wide
    beside  so many more slices on either side

    Both are for augmentation, which moves crops. Right-sided views are mirrored onto the left, so
    that one model learns both sides from all of them.
    """
    views, px = views_of(preset), with_margin(preset.crop_px, margin)
    count = preset.slices + 2 * beside
    size_mm = preset.crop_mm * px / preset.crop_px
    parts = {description: study.of(description) for description in SERIES}
    crops = np.zeros((len(views), count, px, px), np.float32)
    exists = np.zeros(len(views), bool)
    for k, view in enumerate(views.each):
        mm = points[view.target]
        found = nearest(parts[view.series], mm)
        if found is None:
            continue
        series, middle = found
        indices = neighbours(series, middle, count // 2)
        cut = [crop(series.slices[i], mm, size_mm * view.width, px) for i in indices]
        condition = TARGETS[view.target].condition
        crops[k] = mirrored_to_left(stack_pixels(cut), condition, view.series)
        exists[k] = crops[k].any()
    return crops, exists


def mirrored_to_left(crops: np.ndarray, condition: str, description: str) -> np.ndarray:
    """Crops (slices, px, px) of a right-sided condition as they would look on the left; crops of
    other conditions as they are. Axial crops are flipped, sagittal slices are put in reverse.

    >>> crops = np.array([[[1, 2]], [[3, 4]]])  # two slices of a row of two pixels
    >>> mirrored_to_left(crops, "Right Subarticular Stenosis", "Axial T2").tolist()
    [[[2, 1]], [[4, 3]]]
    >>> mirrored_to_left(crops, "Right Neural Foraminal Narrowing", "Sagittal T1").tolist()
    [[[3, 4]], [[1, 2]]]
    """
    if side_of(condition) != "Right":
        return crops
    return crops[:, :, ::-1] if description == AXIAL_T2 else crops[::-1]


def mirror_views(
    crops: np.ndarray, exists: np.ndarray, targets: np.ndarray, views: Views
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The mirrored patient: crops (V, …), exists (V,), targets (25, …), flip (V,) bool.

    targets  whatever there is one of per target
    flip     which crops the caller is still to flip along the last axis

    What was left is right. Views of the right already look like those of the left, so they only
    change places. The canal's sagittal slices are put in reverse order; its axial crops are to be
    flipped.
    """
    return views.mirrored(crops), exists[views.other], targets[OTHER_TARGET], views.flip
