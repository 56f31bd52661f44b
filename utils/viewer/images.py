"""A series as JPEGs of one common intensity range, each slice with its plane in the patient."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from utils.dicom import Series, Slice

# About 4 MB a study; by eye not distinguishable from lossless in any usual display window.
JPEG_QUALITY = 90
# Of all pixels of a series: leaves out the few very bright ones next to the coil.
ROBUST_PERCENTILES = (0.5, 99.5)
SAMPLE_STEP = 4  # every fourth row and column is enough to estimate a percentile
GREY_MAX = 255


def encode(series: Series, images: bytearray) -> dict:
    """The series' entry in the payload; appends one JPEG per slice to `images`.

    Grey 0 and 255 of the JPEGs stand for the two values of the entry's `range`.
    """
    low, high = intensity_range(series)
    slices = [_encode_slice(image, low, high, images) for image in series.slices]
    return {
        "orientation": series.orientation,
        "range": [low, high],
        "gap_mm": series.gap_mm if np.isfinite(series.gap_mm) else None,
        "slices": slices,
        "left_out": [f"{name}: {reason}" for name, reason in series.left_out],
    }


def intensity_range(series: Series) -> tuple[float, float]:
    """The intensities shown as black and as white: robust percentiles, at least 1 apart."""
    sample = [pixels[::SAMPLE_STEP, ::SAMPLE_STEP].ravel() for pixels in series.pixels]
    low, high = np.percentile(np.concatenate(sample), ROBUST_PERCENTILES)
    return float(low), float(max(high, low + 1))


def _encode_slice(image: Slice, low: float, high: float, images: bytearray) -> dict:
    grey = _to_grey(image.pixels, low, high)
    start = len(images)
    images += _jpeg(grey)
    height, width = grey.shape
    return {
        "instance": image.instance,
        "size": [width, height],
        "origin": image.origin.tolist(),
        "axes": image.axes.tolist(),
        "spacing": image.spacing.tolist(),
        "bytes": [start, len(images)],
    }


def _to_grey(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) intensities -> uint8, in single precision, rounded to the nearest grey."""
    scale = np.float32(GREY_MAX / (high - low))
    grey = (pixels - np.float32(low)) * scale + 0.5
    return np.clip(grey, 0, GREY_MAX).astype(np.uint8)


def _jpeg(grey: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
