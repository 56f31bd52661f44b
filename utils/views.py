"""What a model sees of a study: windows cut in mm, each still knowing its place in the patient.

A window is a geometry.Slice, so a pixel that a model points at goes back to mm by the same two methods as everything else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from utils.geometry import Series, Slice
from utils.prepare import PreparedStudy
from utils.presets import Preset
from utils.rsna import AXIAL_T2, CANAL, FAMILIES, FAMILY, LEVELS, SAGITTAL_T1, SAGITTAL_T2, SERIES, SERIES_OF, TARGETS, mirror

POINT = ["x_mm", "y_mm", "z_mm"]
LOCAL_MM = 88.0  # foramina and recesses are sought in a window of this size round the level's canal point
FORAMEN_SIDE_MM = (4.0, 34.0)  # and foramina on the sagittal slices this far to the side of it (13-23 in real studies)
REACH_MM = 13.0  # a slice further from a point does not show it; blocks of an axial series are up to 22.5 mm apart
MARGIN = 1.25  # windows for training are cut so many times as large, for moves that follow
SIDES = ("Left", "Right")
# The views of a study: (index into TARGETS, series description). The canal is also seen in the axial slice.
VIEWS = [(k, SERIES_OF[condition]) for k, (condition, _) in enumerate(TARGETS)]
VIEWS += [(k, AXIAL_T2) for k, (condition, _) in enumerate(TARGETS) if condition == CANAL]
VIEW_TARGET = np.array([target for target, _ in VIEWS])
VIEW_SERIES = np.array([[SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2].index(name) for _, name in VIEWS])
TARGET_FAMILY = np.array([FAMILIES.index(FAMILY[condition]) for condition, _ in TARGETS])
TARGET_LEVEL = np.array([LEVELS.index(level) for _, level in TARGETS])
# In a mirror every target and every view is its partner of the other side.
OTHER_TARGET = [TARGETS.index((mirror(condition), level)) for condition, level in TARGETS]
OTHER_VIEW = [VIEWS.index((OTHER_TARGET[target], description)) for target, description in VIEWS]


def window(one: Slice, centre_mm: np.ndarray, size_mm: float, px: int) -> Slice:
    """A square of size_mm round the point (3,), as px × px pixels, anti-aliased; black outside the image.

    float32: rounded to whole greys, a patient and his mirror image would differ where a pixel lies halfway between two.
    """
    half = size_mm / 2 / one.spacing
    middle = one.to_pixel(centre_mm) + 0.5  # in edge coordinates, as Pillow counts
    left, top = middle - half
    right, bottom = middle + half
    height, width = one.pixels.shape
    pad = int(np.ceil(max(0, -left, -top, right - width, bottom - height)))
    # cut first: padding a whole slice for a small window would cost more than the window
    x0, y0 = max(0, int(left) - 2), max(0, int(top) - 2)
    x1, y1 = min(width, int(np.ceil(right)) + 2), min(height, int(np.ceil(bottom)) + 2)
    if x1 <= x0 or y1 <= y0:
        pixels = np.zeros((px, px), np.float32)
    else:
        part = np.pad(one.pixels[y0:y1, x0:x1], pad) if pad else np.ascontiguousarray(one.pixels[y0:y1, x0:x1])
        box = (left - x0 + pad, top - y0 + pad, right - x0 + pad, bottom - y0 + pad)
        image = Image.fromarray(part.astype(np.float32)).resize((px, px), Image.Resampling.BILINEAR, box=box)
        pixels = np.asarray(image)
    spacing = np.full(2, size_mm / px)
    corner = middle - half - 0.5  # edge of the window, as a pixel coordinate
    return replace(one, pixels=pixels, origin=one.to_patient(corner) + spacing / 2 @ one.axes, spacing=spacing)


def nearest(parts: list[Series], mm: np.ndarray) -> tuple[Series, int] | None:
    """Of several series of one kind, the one (and its slice) that comes nearest to a point.

    None if there is no series, or none that reaches the point: a level outside an axial series has not been imaged.
    """
    found = [(series, series.nearest_slice(mm)) for series in parts]
    best = min(found, key=lambda f: f[0].slices[f[1]].distance_to_image(mm), default=None)
    return best if best and best[0].slices[best[1]].distance_to_image(mm) <= REACH_MM else None


def point_table(points: pd.DataFrame) -> np.ndarray:
    """(25, 3) mm in the order of TARGETS; nan where there is no point."""
    table = np.full((len(TARGETS), 3), np.nan)
    for row in points.itertuples():
        table[TARGETS.index((row.condition, row.level))] = row.x_mm, row.y_mm, row.z_mm
    return table


# --- stage 1: what the locator sees ---------------------------------------------------------------------------------


def sagittal_windows(series: Series, preset: Preset, margin: float = 1.0) -> list[Slice]:
    """Every slice as one square window round the middle of the series."""
    centre, px = np.mean([s.centre for s in series.slices], 0), with_margin(preset.locator_px, margin)
    return [window(s, centre, preset.locator_mm * px / preset.locator_px, px) for s in series.slices]


def recess_windows(
    parts: list[Series], canal_mm: np.ndarray, preset: Preset, margin: float = 1.0, beside: int = 0
) -> list[Slice]:
    """The axial slice through a canal point, and so many beside it on either side, as windows round the point; none where
    there is no such slice or point."""
    found = nearest(parts, canal_mm) if np.isfinite(canal_mm).all() else None
    if found is None:
        return []
    px = with_margin(preset.locator_px // 2, margin)
    return [
        window(found[0].slices[i], canal_mm, LOCAL_MM * px / (preset.locator_px // 2), px)
        for i in neighbours(*found, beside, repeat=False)
    ]


def foramen_windows(parts: list[Series], canal_mm: np.ndarray, side: str, preset: Preset, margin: float = 1.0) -> list[Slice]:
    """The sagittal slices to one side of a canal point, as windows round its level; the slice's place tells the side."""
    if not parts or not np.isfinite(canal_mm).all():
        return []
    sign = 1.0 if side == "Left" else -1.0
    low, high = FORAMEN_SIDE_MM
    slices = [s for s in max(parts, key=len).slices if s.beside(canal_mm) <= REACH_MM]
    beside = [s for s in slices if low < -sign * s.distance(canal_mm) * np.sign(s.normal[0]) < high]
    px = with_margin(preset.locator_px // 2, margin)
    return [window(s, canal_mm, LOCAL_MM * px / (preset.locator_px // 2), px) for s in beside]


def with_margin(px: int, margin: float = MARGIN) -> int:
    """px of a window that is so many times as large, even if px is, so that the small one's pixels are among the large one's."""
    return px + 2 * round(px * (margin - 1) / 2)


def neighbours(series: Series, i: int, beside: int, repeat: bool = True) -> list[int]:
    """Slice i with so many on either side of the same stack; at its ends the last is repeated, or left out."""
    stack = next(s for s in series.stacks if i in s)
    places = range(stack.index(i) - beside, stack.index(i) + beside + 1)
    return [stack[min(max(k, 0), len(stack) - 1)] for k in places if repeat or 0 <= k < len(stack)]


def stack_pixels(windows: list[Slice]) -> np.ndarray:
    """(n, px, px) float32 in 0..255."""
    return np.stack([w.pixels for w in windows])


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """uint8, to be kept or shown."""
    return pixels.round().astype(np.uint8)


# --- stage 2: what the grader sees ----------------------------------------------------------------------------------


def grader_views(
    study: PreparedStudy, points: np.ndarray, preset: Preset, margin: float = 1.0, beside: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Crops (30, slices, px, px) float32 in 0..255 and which of the 30 views exist (30,), for points (25, 3) in mm.

    Right-sided views are mirrored onto the left, so that one model learns both sides from all of them.
    margin, beside: so many times as large, and so many more slices on either side, for what is moved afterwards
    """
    px, count = with_margin(preset.crop_px, margin), preset.slices + 2 * beside
    parts = {description: study.of(description) for description in SERIES}
    crops, exists = np.zeros((len(VIEWS), count, px, px), np.float32), np.zeros(len(VIEWS), bool)
    for k, (target, description) in enumerate(VIEWS):
        found = nearest(parts[description], points[target]) if np.isfinite(points[target]).all() else None
        if found is not None:
            slices = [found[0].slices[i] for i in neighbours(*found, count // 2)]
            cut = stack_pixels([window(s, points[target], preset.crop_mm * px / preset.crop_px, px) for s in slices])
            crops[k], exists[k] = seen_from_the_left(cut, TARGETS[target][0], description), cut.any()
    return crops, exists


def seen_from_the_left(crops: np.ndarray, condition: str, description: str) -> np.ndarray:
    """(slices, px, px) of a right-sided condition as they would look on the left."""
    if not condition.startswith("Right"):
        return crops
    return crops[:, :, ::-1] if description == AXIAL_T2 else crops[::-1]


def mirrored(crops: np.ndarray, exists: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, ...]:
    """The patient in a mirror: crops, exists, whatever there is one of per target (25,), and which crops are to be flipped.

    What was left is right. Views of the right already look like those of the left, so they only change places; the canal's
    sagittal slices are turned over, and its axial crops are to be flipped along the last axis.
    """
    crops = crops[OTHER_VIEW]
    canal = np.array([TARGETS[target][0] == CANAL for target in VIEW_TARGET])
    axial = np.array([description == AXIAL_T2 for _, description in VIEWS])
    crops[canal & ~axial] = crops[canal & ~axial][:, ::-1]
    return crops, exists[OTHER_VIEW], targets[OTHER_TARGET], canal & axial
