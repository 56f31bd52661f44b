"""T1 or T2 from the images alone, for files that do not say how they were scanned: is the fluid in
the canal brighter than what is beside it, or darker?

The canal is found without a model: in the middle of a sagittal scan it is the path from top to
bottom that stands out most from both sides; in an axial one, the spot in the middle.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from utils.dicom import Series, Slice
from utils.prepare.normalisation import prepare_series

# Lengths in mm, about those of an adult's canal and of what surrounds it.
CANAL_MM, BESIDE_MM = 9, 11
FIELD_MM = 20  # standard deviation of what counts as the brightness of a height
ALONG_MM = 4
AROUND_MM = (45, 60)  # of the image's middle: half of the width and height that are looked at
MOST = 0.5  # of contrast: one bright spot must not decide for a whole path
DEEP_MM = 35  # the canal is farther from the skin
SKIN = 0.15  # of the brightest pixel of its row
QUANTILE = 0.4  # of the contrast along the path: the canal is bright nearly everywhere
BRIGHT, DARK = 0.40, 0.32  # above: T2; below: T1; between: doubtful


def fluid_contrast(series: Series) -> float:
    """How much brighter than its surroundings the canal is, as a proportion of their brightness:
    the greatest of the images in the middle third. Of a raw sagittal series."""
    slices = prepare_series([series])[0].slices
    third = len(slices) // 3
    return max(_of_slice(one) for one in slices[third : max(third + 1, len(slices) - third)])


def _of_slice(one: Slice) -> float:
    contrast = _ridges(one)
    column = _best_path(contrast)
    return float(np.quantile(contrast[np.arange(len(contrast)), column], QUANTILE))


def _ridges(one: Slice) -> np.ndarray:
    """By how much a column of the canal's width is brighter than the brighter of both sides, as a
    proportion of the brightest at about this height; in the middle of the image, below the skin."""
    across, along = one.spacing
    image = ndimage.gaussian_filter1d(one.pixels.astype(np.float32), ALONG_MM / along, axis=0)
    inside = ndimage.uniform_filter1d(image, max(1, round(CANAL_MM / across)), axis=1)
    shift = round(BESIDE_MM / across)
    beside = np.maximum(np.roll(inside, shift, 1), np.roll(inside, -shift, 1))
    is_deep = _is_deep(image, across)
    height, width = image.shape
    half_width, half_height = AROUND_MM[0] / across, AROUND_MM[1] / along
    rows = slice(max(0, round(height / 2 - half_height)), round(height / 2 + half_height))
    columns = slice(max(0, round(width / 2 - half_width)), round(width / 2 + half_width))
    even = ndimage.gaussian_filter1d(inside, FIELD_MM / along, axis=0)
    brightest = np.where(is_deep, even, 1)[rows, columns].max(1, keepdims=True)
    brightest = np.maximum(brightest, 1)  # a black row stands out from nothing
    contrast = np.clip((inside - beside)[rows, columns] / brightest, -MOST, MOST)
    return np.where(is_deep[rows, columns], contrast, -MOST)


def _is_deep(image: np.ndarray, across: float) -> np.ndarray:
    """Where an image (columns to the back) is far from the skin of the back."""
    body = image > SKIN * image.max(1, keepdims=True)
    skin = image.shape[1] - 1 - body[:, ::-1].argmax(1)
    return np.arange(image.shape[1]) < skin[:, None] - DEEP_MM / across


def _best_path(values: np.ndarray) -> np.ndarray:
    """The column in each row of the path from top to bottom with the greatest sum, whose steps go
    to one of the three nearest pixels of the next row (dynamic programming)."""
    total = values.copy()
    steps = np.zeros(values.shape, int)
    edge = np.array([-np.inf])
    for row in range(1, len(values)):
        above = total[row - 1]
        from_each = np.stack([np.r_[edge, above[:-1]], above, np.r_[above[1:], edge]])
        steps[row] = from_each.argmax(0) - 1
        total[row] += from_each.max(0)
    path = [int(total[-1].argmax())]
    for row in range(len(values) - 1, 0, -1):
        path.append(path[-1] + steps[row, path[-1]])
    return np.array(path[::-1])
