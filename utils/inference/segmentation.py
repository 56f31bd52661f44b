"""Slices to the structures of their pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from utils.crops import crop, nearest, stack_pixels
from utils.dicom import Series, Slice
from utils.models import Segmenter
from utils.models.hardware import in_parts, mixed_precision
from utils.structures import AXIAL, SAGITTAL

APART_MM = 2.5  # between slices, at least: those of 3-D sequences show the same several times


class Segmented(NamedTuple):
    """Slices, px × px of the plane's mm, and the probability of each of its structures.

    crops  N slices
    p      (structures, N, px, px) float32
    """

    crops: list[Slice]
    p: np.ndarray


def segment(segmenter: Segmenter, series: Series) -> Segmented:
    """The slices of a sagittal series, in its order."""
    centre = np.mean([one.centre for one in series.slices], 0)
    width = SAGITTAL.px * SAGITTAL.mm
    return _segmented(segmenter, [crop(s, centre, width, SAGITTAL.px) for s in _spaced(series)])


def segment_at(
    segmenter: Segmenter, parts: list[Series], points: np.ndarray
) -> list[tuple[int, Slice, np.ndarray]]:
    """The axial slice nearest to each of the points (n, 3) mm, cropped round it: which point, the
    crop, and the probability of each structure (structures, px, px), the mean with that of the
    mirrored slice, so that a mirrored patient has mirrored structures. Points that no slice shows
    are left out."""
    crops, width = {}, AXIAL.px * AXIAL.mm
    for k, point in enumerate(points):
        found = nearest(parts, point)
        if found is not None:
            series, index = found
            crops[k] = crop(series.slices[index], point, width, AXIAL.px)
    if not crops:
        return []
    as_it_is = list(crops.values())
    mirrored = [replace(one, pixels=one.pixels[:, ::-1]) for one in as_it_is]
    p, other = (_segmented(segmenter, each).p for each in (as_it_is, mirrored))
    return list(zip(crops, as_it_is, ((p + other[..., ::-1]) / 2).swapaxes(0, 1)))


@torch.inference_mode()
def _segmented(segmenter: Segmenter, crops: list[Slice]) -> Segmented:
    device = next(segmenter.parameters()).device
    x = torch.from_numpy(stack_pixels(crops)).to(device)[:, None] / 255
    with mixed_precision():
        p = in_parts(lambda part: segmenter(part).float().softmax(1), x)
    return Segmented(crops, p.transpose(0, 1).cpu().numpy())


def _spaced(series: Series) -> list[Slice]:
    """Its slices, without those less than APART_MM from the one before."""
    kept = [series.slices[0]]
    for one in series.slices[1:]:
        if abs(kept[-1].distance(one.centre)) >= APART_MM:
            kept.append(one)
    return kept
