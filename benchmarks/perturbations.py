"""The same study acquired otherwise: magnified, moved, with another gamma, or truncated.

The patient does not change, so neither should a prediction. Used by zero_shot.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from utils import rsna
from utils.dicom import Series, Slice
from utils.prepare import PreparedStudy

ZOOM = (0.9, 1.12)  # magnification, about the scanner's isocentre
LOG_GAMMA = 0.4  # the logarithm of gamma is uniform between minus and plus this
SHIFT_MM = {"axial": 15.0, "sagittal": 30.0}  # the field of view moves by at most this, each way


class Truncation(NamedTuple):
    """A sagittal field of view that lacks some levels at its "top" or "bottom"."""

    end: str
    levels: int


TRUNCATIONS = (
    Truncation("top", 1),
    Truncation("top", 2),
    Truncation("bottom", 1),
    Truncation("bottom", 2),
)


def perturbed(study: PreparedStudy, seed: int) -> tuple[PreparedStudy, float]:
    """The study magnified, each series moved in its plane, with another gamma; also the
    magnification, by which the true points in mm must be multiplied."""
    rng = np.random.default_rng(seed)
    zoom = rng.uniform(*ZOOM)
    gamma = np.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA))
    parts = []
    for part in study.series:
        plane = "axial" if part.description == rsna.AXIAL_T2 else "sagittal"
        shift_mm = rng.uniform(-1, 1, 2) * SHIFT_MM[plane]
        slices = [_perturbed_slice(one, shift_mm, zoom, gamma) for one in part.series.slices]
        parts.append(replace(part, series=Series(tuple(slices))))
    return replace(study, series=tuple(parts)), zoom


def _perturbed_slice(one: Slice, shift_mm: np.ndarray, zoom: float, gamma: float) -> Slice:
    right, down = np.round(shift_mm / one.spacing).astype(int)
    origin = one.to_patient((-right, -down))
    moved = _moved(one.pixels, right, down)
    pixels = (255 * (moved / 255) ** gamma).round().astype(np.uint8)
    return replace(one, pixels=pixels, origin=origin * zoom, spacing=one.spacing * zoom)


def _moved(pixels: np.ndarray, right: int, down: int) -> np.ndarray:
    """(H, W) moved by whole pixels; black where nothing was."""
    height, width = pixels.shape
    rows, columns = _kept(height, down), _kept(width, right)
    moved = np.zeros_like(pixels)
    moved[rows, columns] = pixels[_kept(height, -down), _kept(width, -right)]
    return moved


def _kept(size: int, shift: int) -> slice:
    """Where the pixels of an axis are after a shift, as far as they are still inside."""
    return slice(max(0, shift), size + min(0, shift))


def truncated(study: PreparedStudy, cut: Truncation, canal: np.ndarray) -> PreparedStudy:
    """The study with a sagittal field of view that ends halfway between two levels.

    canal  the true canal points (5, 3) mm, head to foot
    """
    k = cut.levels if cut.end == "top" else len(rsna.LEVELS) - cut.levels
    between = (canal[k - 1] + canal[k]) / 2
    parts = []
    for part in study.series:
        slices = part.series.slices
        if part.description != rsna.AXIAL_T2:
            slices = tuple(_truncated_slice(one, cut.end, between) for one in slices)
        parts.append(replace(part, series=Series(slices)))
    return replace(study, series=tuple(parts))


def _truncated_slice(one: Slice, end: str, at_mm: np.ndarray) -> Slice:
    row = round(float(one.to_pixel(at_mm)[1]))
    if end == "bottom":
        return replace(one, pixels=one.pixels[:row])
    return replace(one, pixels=one.pixels[row:], origin=one.to_patient((0, row)))


def margin_mm(study: PreparedStudy, mm: np.ndarray) -> float:
    """How far a point (3,) is inside the field of view of the sagittal series on which levels are
    located, in its plane; negative outside."""
    parts = study.of(rsna.SAGITTAL_T2) or study.of(rsna.SAGITTAL_T1)
    one = parts[0].slices[0]
    height, width = one.pixels.shape
    xy = one.to_pixel(mm)
    to_start = xy * one.spacing
    to_end = (np.array([width - 1, height - 1]) - xy) * one.spacing
    return float(min(*to_start, *to_end))
