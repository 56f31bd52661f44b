"""Spatial augmentation: images are shifted, rotated, zoomed, mirrored, truncated and mixed.

Parameters are sampled on the CPU, from a generator that depends on seed, epoch and study only
(sample_…); they are applied to whole batches on the device (the rest). A crop is warped together
with the points in it, so a heat map is never warped: it is made where the point has moved to.

Positions in a crop are pixels from its centre, (x, y). n crops of N slices, C points.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA_MM = 3.0  # of a heat map's Gaussian
IMAGE_EDGE = 0.45  # from a sagittal image's centre to its edge, as a fraction of the locator's crop
# The field of view that truncates nothing: left, top, right, bottom, px from the crop's centre.
UNBOUNDED = (-1e6, -1e6, 1e6, 1e6)
# Truncation, chosen by eye: more often above or below than in front or behind, as in the bounds'
# order; by so much of the crop's width (least, most).
SIDE_PROBABILITY = (0.08, 0.42, 0.08, 0.42)
TRUNCATED = (0.12, 0.48)
# Test-time augmentation: shift in steps (x, y), and zoom.
TTA = ((0, 0, 1), (-1, -1, 0.95), (1, -1, 1.05), (-1, 1, 1.05), (1, 1, 0.95))
VISIBLE_HEAT = 0.1  # of a point's Gaussian: with less of it in the crop the point is not searched


def sample_affine(
    rng: np.random.Generator, shift: np.ndarray, mirror: bool, zoom: float, turn: float
) -> np.ndarray:
    """(2, 3) float32: from a position in the warped crop to the position in the original that is
    shown there.

    shift  (2,) px; shift and mirror are given, not sampled
    zoom   standard deviation of the logarithm of the scale
    turn   standard deviation of the rotation, degrees
    """
    scale = np.exp(rng.normal(0, zoom))
    angle = np.deg2rad(rng.normal(0, turn))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flip = np.diag([-1.0 if mirror else 1.0, 1.0])
    return np.column_stack([scale * rotation @ flip, shift]).astype(np.float32)


def identity_affine() -> np.ndarray:
    """The affine that changes nothing."""
    return np.eye(2, 3, dtype=np.float32)


def sample_truncation(
    rng: np.random.Generator, px: int, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A field of view truncated on one side: its bounds (4,) float32, and the given shift (2,) px,
    corrected so that the crop's centre is the centre of what is left."""
    bounds = np.array(UNBOUNDED, np.float32)
    side = int(rng.choice(4, p=SIDE_PROBABILITY))
    outwards, axis = (-1 if side < 2 else 1), side % 2
    lost = rng.uniform(*TRUNCATED) * px
    shift = shift - outwards * lost / 2 * np.eye(2)[axis]
    bounds[side] = outwards * (IMAGE_EDGE * px - lost) - shift[axis]
    return bounds, shift


def tta_affines(step: float) -> Tensor:
    """(5, 2, 3) affines of test-time augmentation: the identity, and four small shifts (step px
    both ways) with a zoom. The mean prediction is more stable, and less confident where it should
    be."""
    affines = [[[zoom, 0, x * step], [0, zoom, y * step]] for x, y, zoom in TTA]
    return torch.tensor(affines, dtype=torch.float32)


def invert(affine: Tensor) -> Tensor:
    """(n, 2, 3): the affine that undoes each. In closed form: torch's inverse makes the host wait
    for the device, to see whether there is one."""
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in affine.unbind(-2))
    determinant = a * d - b * c
    rows = [d, -b, b * y - d * x], [-c, a, c * x - a * y]
    inverse = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return inverse / determinant[..., None, None]


def warp(x: Tensor, affine: Tensor, px: int) -> Tensor:
    """(n, N, P, P) and (n, 2, 3) -> (n, N, px, px): each crop by its own affine, black from
    outside, bilinear."""
    size = x.shape[-1]
    # grid_sample counts from -1 to 1 between the outer edges
    scale = affine.new_tensor([px / size, px / size, 2 / size])
    grid = F.affine_grid(affine * scale, [len(x), 1, px, px], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def warp_points(points: Tensor, affine: Tensor) -> Tensor:
    """(n, ..., 2) px and (n, 2, 3) -> (n, ..., 2) px: where a point is after its crop was
    warped."""
    matrix, shift = invert(affine).split([2, 1], -1)
    flat = points.reshape(len(points), -1, 2)
    return (flat @ matrix.transpose(1, 2) + shift.transpose(1, 2)).reshape(points.shape)


def in_bounds(points: Tensor, bounds: Tensor, px: int) -> Tensor:
    """(n, N, C, 2) px and bounds (n, 4) -> (n, N, C) bool: is the point in the field of view, and
    in the crop?"""
    low = bounds[:, None, None, :2].clamp(min=-px / 2)
    high = bounds[:, None, None, 2:].clamp(max=px / 2)
    return ((points >= low) & (points <= high)).all(-1)


def truncate(x: Tensor, bounds: Tensor) -> Tensor:
    """x (n, N, px, px), black outside each crop's bounds (n, 4)."""
    grid = torch.arange(x.shape[-1], device=x.device) - (x.shape[-1] - 1) / 2
    left, top, right, bottom = (edge[:, None] for edge in bounds.unbind(1))
    columns = (grid >= left) & (grid <= right)  # (n, px)
    rows = (grid >= top) & (grid <= bottom)
    return x * (rows[:, None, :, None] & columns[:, None, None, :])


def heat_maps(points: Tensor, off_mm: Tensor, cells: int, cell_mm: float, stride: int) -> Tensor:
    """(n, N, C, cells, cells) summing to 1 over N and cells: a Gaussian in 3-D round each point;
    zero where there is none.

    points  (n, N, C, 2) px from the centre, nan for no point
    off_mm  (n, N, C) mm from each slice to the point
    """
    grid = (torch.arange(cells, device=points.device) - (cells - 1) / 2) * cell_mm
    away = (points * (cell_mm / stride)).unsqueeze(-1) - grid  # (n, N, C, 2, cells) mm
    x, y = away.unbind(-2)
    squared = x[..., None, :] ** 2 + y[..., :, None] ** 2 + off_mm[..., None, None] ** 2
    heat = torch.exp(-squared / (2 * SIGMA_MM**2)).nan_to_num(0.0)
    total = heat.sum((1, 3, 4), keepdim=True)
    return torch.where(total > VISIBLE_HEAT, heat / total.clamp(min=1e-6), 0.0)


def partners(x: Tensor) -> Tensor:
    """(B, …): for each study the one that it is mixed with. They are neighbours, so that a batch
    halved between two processes keeps its pairs; an odd last one is its own."""
    even = len(x) // 2 * 2
    pairs = x[:even].unflatten(0, (even // 2, 2)).flip(1).flatten(0, 1)
    return torch.cat([pairs, x[even:]])


def mix(crops: Tensor, exists: Tensor, own: Tensor, region: Tensor) -> Tensor:
    """Crops (B, V, S, px, px) of studies, each mixed with its partner's where both have the view.

    own     lambda (B,): so much is the study's own
    region  (B, 4) left, top, right, bottom in 0..1. Where it is empty, lambda times the study's
            crops plus the rest of the partner's (mixup, Zhang 2018); else the partner's crops
            within the region, which is 1 - lambda of the whole (cutmix, Yun 2019)
    """
    grid = (torch.arange(crops.shape[-1], device=crops.device) + 0.5) / crops.shape[-1]
    left, top, right, bottom = (edge[:, None] for edge in region.unbind(1))
    columns, rows = (grid > left) & (grid < right), (grid > top) & (grid < bottom)  # (B, px)
    outside = ~(rows[:, :, None] & columns[:, None, :])  # (B, px, px)
    is_cut = (right > left)[..., None]
    weight = torch.where(is_cut, outside.to(own.dtype), own[:, None, None])[:, None, None]
    both = (exists & partners(exists))[..., None, None, None]
    return torch.where(both, weight * crops + (1 - weight) * partners(crops), crops)
