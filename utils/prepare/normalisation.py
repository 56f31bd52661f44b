"""One kind of series in standard form: direction, spacing, intensity, and no air round the body.

Every step changes pixels and geometry together, so that each point keeps its position in mm.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from utils.dicom import Series, Slice
from utils.presets import SPACING_MM

PERCENTILES = (1.0, 99.5)  # of a series' intensities: these become 0 and 255
ONE_SCALE = 2.0  # series of one kind whose ranges differ by more than this factor are scaled apart
# A border row or column is air, and cut off, if less than this fraction of its pixels is above AIR.
AIR = 10
AIR_FRACTION = 0.03
_EVERY = 3  # intensities are sampled at every third pixel: percentiles need no more
# The least value of an image is taken for padding, or an empty border, if more than this fraction
# of its pixels has it. Chosen, not measured: of the real study looked at, two series have 1 to 3 %
# zeros, in air, the third 10 %; the corners that a correction of distortion pads are 12 %.
FILL_FRACTION = 0.05
_FILL_TOLERANCE = 1e-5  # of the range: resampling leaves a constant nearly constant
_SMALLEST_RANGE = 1e-6  # of intensities, so that an image of one grey divides by something
# Where columns and rows run after preparation, per orientation (LPS).
DIRECTIONS = {
    "sagittal": ((0, 1, 0), (0, 0, -1)),  # front to back, head to foot
    "coronal": ((1, 0, 0), (0, 0, -1)),  # right to left, head to foot
    "axial": ((1, 0, 0), (0, 1, 0)),  # right to left, front to back: patient's left on the right
}


def canonical(one: Slice, orientation: str) -> Slice:
    """The same slice with columns and rows in the standard directions of "sagittal", "coronal" or
    "axial"; only transposed and flipped, so no pixel value changes."""
    columns = np.array(DIRECTIONS[orientation][0])
    if abs(one.axes[1] @ columns) > abs(one.axes[0] @ columns):
        one = replace(one, pixels=one.pixels.T, axes=one.axes[::-1], spacing=one.spacing[::-1])
    for axis, direction in enumerate(DIRECTIONS[orientation]):
        if one.axes[axis] @ np.array(direction) < 0:
            one = _flipped(one, axis)
    return one


def _flipped(one: Slice, axis: int) -> Slice:
    """The same slice, stored in the other direction along one axis (0: columns, 1: rows)."""
    last = one.pixels.shape[1 - axis] - 1
    signs = np.where(np.arange(2) == axis, -1.0, 1.0)
    return replace(
        one,
        pixels=np.flip(one.pixels, 1 - axis),
        origin=one.origin + one.axes[axis] * one.spacing[axis] * last,
        axes=one.axes * signs[:, None],
    )


def resample(one: Slice, spacing_mm: float = SPACING_MM) -> Slice:
    """Resampled to spacing_mm (mm per pixel) where the slice is finer, with anti-aliasing; never
    upsampled. The image's outer edges keep their position in mm.

    The first pixel of 0.25 mm begins at -0.125 mm, and so does the first of 0.5, whose middle is
    0.125 mm further on:

    >>> one = Slice(1, np.full((6, 8), 7), np.zeros(3), np.eye(3)[:2], np.full(2, 0.25))
    >>> half = resample(one, spacing_mm=0.5)
    >>> half.pixels.shape, half.spacing.tolist(), half.origin.tolist()
    ((3, 4), [0.5, 0.5], [0.125, 0.125, 0.0])
    >>> resample(half, spacing_mm=0.1) is half
    True
    """
    height, width = one.pixels.shape
    new_width = _resampled_count(width, one.spacing[0], spacing_mm)
    new_height = _resampled_count(height, one.spacing[1], spacing_mm)
    if (new_width, new_height) == (width, height):
        return one
    spacing = one.spacing * (width / new_width, height / new_height)
    image = Image.fromarray(one.pixels.astype(np.float32))
    small = image.resize((new_width, new_height), Image.Resampling.BILINEAR)
    origin = one.origin + (spacing - one.spacing) / 2 @ one.axes
    return replace(one, pixels=np.asarray(small), origin=origin, spacing=spacing)


def _resampled_count(count: int, mm: float, wanted_mm: float) -> int:
    """How many pixels of wanted_mm cover `count` pixels of mm; never more than there are."""
    return max(1, round(count * min(1.0, mm / wanted_mm)))


def intensity_limits(parts: list[list[Slice]]) -> list[tuple[float, float]]:
    """For each series of one kind, the intensities that become 0 and 255.

    They are percentiles of a whole series, so that its slices stay comparable, and of all series
    together if they are on one scale, as the blocks of one scan are.
    """
    samples = [_sampled(slices) for slices in parts]
    own = [np.percentile(sample, PERCENTILES) for sample in samples]
    ranges = [high - low for low, high in own]
    if max(ranges) > ONE_SCALE * min(ranges):
        return [tuple(limits) for limits in own]
    common = np.percentile(np.concatenate(samples), PERCENTILES)
    return [tuple(common)] * len(parts)


def _sampled(slices: list[Slice]) -> np.ndarray:
    """A regular sample of a series' intensities as flat float32."""
    return np.concatenate([_scanned(one.pixels[::_EVERY, ::_EVERY]) for one in slices])


def _scanned(pixels: np.ndarray) -> np.ndarray:
    """The intensities of one image, flat, without its least one if that fills a part of it:
    padding, and the border round a smaller field of view, have no other."""
    sample = pixels.ravel().astype(np.float32)
    least, greatest = sample.min(), sample.max()
    is_scanned = sample > least + _FILL_TOLERANCE * (greatest - least)
    is_filled = 0 < is_scanned.mean() < 1 - FILL_FRACTION
    return sample[is_scanned] if is_filled else sample


def normalise(slices: list[Slice], low: float, high: float) -> list[Slice]:
    """Slices as uint8, with low as 0 and high as 255; what is beyond is clipped.

    >>> one = Slice(1, np.array([[5, 10, 30, 61, 90]]), np.zeros(3), np.eye(3)[:2], np.ones(2))
    >>> normalise([one], low=10, high=61)[0].pixels.tolist()  # 51 of the scanner's greys: 5 for 1
    [[0, 0, 100, 255, 255]]
    """
    gain = 255 / max(high - low, _SMALLEST_RANGE)
    normalised = []
    for one in slices:
        scaled = np.clip((one.pixels.astype(np.float32) - low) * gain, 0, 255)
        normalised.append(replace(one, pixels=scaled.round().astype(np.uint8)))
    return normalised


def trim(slices: list[Slice]) -> list[Slice]:
    """A series (uint8) without the air round the body: the border rows and columns in which hardly
    a pixel of any slice is above AIR. Series with slices of several sizes stay as they are."""
    if len({s.pixels.shape for s in slices}) > 1:
        return slices
    shown = np.mean([s.pixels > AIR for s in slices], axis=0)
    rows = np.flatnonzero(shown.mean(1) > AIR_FRACTION)
    columns = np.flatnonzero(shown.mean(0) > AIR_FRACTION)
    if not len(rows) or not len(columns):
        return slices
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = (columns[0], rows[0])
    return [replace(s, pixels=s.pixels[box], origin=s.to_patient(corner)) for s in slices]


def prepare_series(parts: list[Series], spacing_mm: float = SPACING_MM) -> list[Series]:
    """All series of one kind: in standard directions, in known mm, as uint8 on a common scale,
    without air at the edges. Images finer than spacing_mm are resampled to it.

    The directions are those of all series together: a block through L5/S1 alone can be nearer to
    coronal than to axial.
    """
    orientation = Series(tuple(s for one in parts for s in one.slices)).orientation
    oriented = [
        [resample(canonical(s, orientation), spacing_mm) for s in one.slices] for one in parts
    ]
    limits = intensity_limits(oriented)
    prepared = []
    for one, slices, (low, high) in zip(parts, oriented, limits):
        prepared.append(replace(one, slices=tuple(trim(normalise(slices, low, high)))))
    return prepared
