"""Sagittal slices to the structures of their pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from utils.crops import crop, stack_pixels
from utils.dicom import Series, Slice
from utils.models.hardware import mixed_precision
from utils.models.segmenter import MM, Segmenter

PX = 320  # side of the square that is segmented, at MM a pixel
APART_MM = 2.5  # between slices, at least: those of 3-D sequences show the same several times
AT_ONCE = 8  # slices


class Segmented(NamedTuple):
    """Slices of one series, px × px at MM a pixel, and the probability of each structure.

    crops  N slices, in the series' order
    p      (structures, N, px, px) float32
    """

    crops: list[Slice]
    p: np.ndarray


@torch.inference_mode()
def segment(segmenter: Segmenter, series: Series) -> Segmented:
    """The slices of a sagittal series."""
    centre = np.mean([one.centre for one in series.slices], 0)
    crops = [crop(one, centre, PX * MM, PX) for one in _spaced(series)]
    x = torch.from_numpy(stack_pixels(crops))[:, None] / 255
    with mixed_precision():
        parts = [
            segmenter(part.to(next(segmenter.parameters()).device)).float().softmax(1).cpu()
            for part in x.split(AT_ONCE)
        ]
    return Segmented(crops, torch.cat(parts).transpose(0, 1).numpy())


def _spaced(series: Series) -> list[Slice]:
    """Its slices, without those less than APART_MM from the one before."""
    kept = [series.slices[0]]
    for one in series.slices[1:]:
        if abs(kept[-1].distance(one.centre)) >= APART_MM:
            kept.append(one)
    return kept
