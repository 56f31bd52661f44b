"""Foramina by what a reader looks at: how much of the bright fat round the root is left on T1.

Lee 2010 grades a foramen by how far its fat is obliterated, and so do the competition's readers.
"""

from __future__ import annotations

import numpy as np

from utils.crops import crop, nearest
from utils.dicom import Series
from utils.prepare import PreparedStudy
from utils.rsna import CANAL_ROWS, SAGITTAL_T1, TARGETS

FLUID_MM, MOSTLY = 4.0, 0.5  # round a canal point; of the levels
ROOT_MM = 6.0  # round the point: the foramen, without the fat above and beside it
AROUND_MM, PX = 40.0, 80  # the square that says what is bright here
BRIGHT = 0.5  # standard deviations above the mean of the square
LEAST_SPREAD = 3.0  # greys, added to the standard deviation: air is not made noise
LEAST_OPEN = 0.25  # of a patient's most open foramen; in 99 % of 792 real patients at least 0.29
AREA_MM2 = np.pi * ROOT_MM**2
FORAMINAL = np.array([target.family == "foraminal" for target in TARGETS])


def fat_shares(study: PreparedStudy, points: np.ndarray) -> np.ndarray:
    """(25,): how much of the surroundings of each foraminal point (25, 3) mm is fat; nan for other
    targets, where no Sagittal T1 shows the point, and in images that are unlike T1: their fluid is
    not dark, or none of the patient's foramina seems open, as if fat were not bright."""
    shares, parts = np.full(len(TARGETS), np.nan), study.of(SAGITTAL_T1)
    if not _fluid_is_dark(parts, points):
        return shares
    for k in np.flatnonzero(FORAMINAL & np.isfinite(points).all(1)):
        found = nearest(parts, points[k])
        if found is not None:
            series, index = found
            shares[k] = _share(crop(series.slices[index], points[k], AROUND_MM, PX).pixels)
    return shares if np.nanmax(shares, initial=0) >= LEAST_OPEN else np.full_like(shares, np.nan)


def _fluid_is_dark(parts: list[Series], points: np.ndarray) -> bool:
    """Whether the sac at the canal points (25, 3) mm is mostly darker than what surrounds it; True
    where no image shows it."""
    darker = []
    for point in points[CANAL_ROWS][np.isfinite(points[CANAL_ROWS]).all(1)]:
        found = nearest(parts, point)
        if found is not None:
            series, index = found
            pixels = crop(series.slices[index], point, AROUND_MM, PX).pixels
            darker.append(pixels[_near_point(FLUID_MM)].mean() < pixels.mean())
    return not darker or float(np.mean(darker)) >= MOSTLY


def _share(pixels: np.ndarray) -> float:
    """Of a square (PX, PX) round a point."""
    bright = pixels > pixels.mean() + BRIGHT * (pixels.std() + LEAST_SPREAD)
    return float(bright[_near_point(ROOT_MM)].mean())


def _near_point(within_mm: float) -> np.ndarray:
    """(PX, PX): what is near the middle."""
    mm = (np.arange(PX) - (PX - 1) / 2) * AROUND_MM / PX
    return np.hypot(*np.meshgrid(mm, mm)) < within_mm
