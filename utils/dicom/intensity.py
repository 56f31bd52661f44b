"""Which intensities of a series are measured, for whoever needs their range."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from utils.dicom.geometry import Slice

_FILL_TOLERANCE = 1e-5  # of the range: resampling leaves a constant nearly constant


def sampled_intensities(slices: Iterable[Slice], step: int) -> np.ndarray:
    """Every step-th row and column of all slices, flat float32, without the least value of each
    slice: padding, and the border round a smaller field of view, have no other."""
    return np.concatenate([_scanned(one.pixels[::step, ::step]) for one in slices])


def _scanned(pixels: np.ndarray) -> np.ndarray:
    sample = pixels.ravel().astype(np.float32)
    least, greatest = sample.min(), sample.max()
    scanned = sample[sample > least + _FILL_TOLERANCE * (greatest - least)]
    return scanned if len(scanned) else sample
