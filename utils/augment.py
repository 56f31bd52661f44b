"""What chance does to what the models learn from: moved, turned, zoomed, mirrored, another contrast, noise, mixed.

Chance is drawn on the CPU, from a generator that depends on seed, epoch and study only (draw_…); it acts on whole batches
on the device (the rest). A window is moved together with the points in it, so a heat map never has to be moved: it is
drawn where the point has gone.

Places in a window are pixels from its middle, (x, y). n windows of N slices, C sought points.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA_MM = 3.0  # of a heat map's Gaussian
PLAIN = (1.0, 1.0, 0.0, 0.0)  # the look that changes nothing: gamma, gain, brightness, noise


def draw_move(rng: np.random.Generator, shift: np.ndarray, mirror: bool, zoom: float, turn: float) -> np.ndarray:
    """(2, 3) float32: from a place in the moved window to the place in the given one that is shown there.

    shift  (2,) px and mirror are given; zoom and turn are standard deviations of the factor's logarithm and of the degrees
    """
    size, angle = np.exp(rng.normal(0, zoom)), np.deg2rad(rng.normal(0, turn))
    turned = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turned @ np.diag([-1.0 if mirror else 1.0, 1.0]), shift]).astype(np.float32)


def stay() -> np.ndarray:
    """The move that moves nothing."""
    return np.eye(2, 3, dtype=np.float32)


def draw_look(rng: np.random.Generator) -> np.ndarray:
    """(4,) float32: gamma, gain, brightness and noise of a scanner unlike the others."""
    gamma = np.exp(rng.normal(0, 0.35))
    return np.array([gamma, rng.uniform(0.8, 1.2), rng.uniform(-0.05, 0.05), rng.uniform(0, 0.05)], np.float32)


def move_windows(x: Tensor, move: Tensor, px: int) -> Tensor:
    """(n, N, P, P) and (n, 2, 3) -> (n, N, px, px): each window through its own move, black from outside, bilinear."""
    size = x.shape[-1]
    scale = move.new_tensor([px / size, px / size, 2 / size])  # grid_sample counts from -1 to 1 between the outer edges
    grid = F.affine_grid(move * scale, [len(x), 1, px, px], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def move_points(at: Tensor, move: Tensor) -> Tensor:
    """(n, ..., 2) px and (n, 2, 3) -> (n, ..., 2) px: where a point is seen after its window has been moved."""
    back = torch.linalg.inv(move[..., :2])
    shape = at.shape
    flat = at.reshape(len(at), -1, 2) - move[:, None, :, 2]
    return (flat @ back.transpose(1, 2)).reshape(shape)


def heat_maps(at: Tensor, off_mm: Tensor, cells: int, cell_mm: float, stride: int) -> Tensor:
    """(n, N, C, cells, cells) summing to 1 over N and cells: a Gaussian in 3-D round each point; zero where there is none.

    at  (n, N, C, 2) px from the middle, nan for no point; off_mm: (n, N, C) from each slice to the point, mm
    """
    grid = (torch.arange(cells, device=at.device) - (cells - 1) / 2) * cell_mm
    x, y = ((at * (cell_mm / stride)).unsqueeze(-1) - grid).unbind(-2)  # (n, N, C, cells) mm
    squared = x[..., None, :] ** 2 + y[..., :, None] ** 2 + off_mm[..., None, None] ** 2
    heat = torch.exp(-squared / (2 * SIGMA_MM**2)).nan_to_num(0.0)
    total = heat.sum((1, 3, 4), keepdim=True)
    return torch.where(total > 0.1, heat / total.clamp(min=1e-6), 0.0)  # a point outside the window is not sought


def change_look(x: Tensor, look: Tensor, seeds: Tensor) -> Tensor:
    """x (n, ...) in 0..1 with each window's gamma, gain, brightness and noise; the same seed gives the same noise."""
    gamma, gain, brightness, noise = (v.view(-1, *[1] * (x.dim() - 1)) for v in look.unbind(-1))
    x = x.clamp(min=0).pow(gamma) * gain + brightness
    if not noise.any():
        return x
    return x + noise * torch.cat([_noise(part, seed) for part, seed in zip(x.chunk(len(seeds)), seeds.tolist())])


def _noise(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def partners(count: int) -> list[int]:
    """Who is mixed with whom: neighbours, so that a batch halved between two processes keeps its pairs."""
    return [k ^ 1 if k ^ 1 < count else k for k in range(count)]


def mix(crops: Tensor, exists: Tensor, share: Tensor) -> Tensor:
    """Mixup (Zhang 2018): share (B,) of a study's own crops and the rest from its partner's, where both have the view."""
    other = partners(len(crops))
    own = share.view(-1, 1, 1, 1, 1)
    both = (exists & exists[other])[..., None, None, None]
    return torch.where(both, own * crops + (1 - own) * crops[other], crops)
