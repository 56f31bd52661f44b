"""What chance does to what the models learn from: moved, turned, zoomed, mirrored, cut off, mixed. (Its look is in utils.looks.)

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
PICTURE = 0.45  # from a sagittal picture's middle to its edge, as a share of the locator's window
WHOLE = (-1e6, -1e6, 1e6, 1e6)  # the frame that cuts nothing off: left, top, right, bottom, px from the window's middle


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


def draw_frame(rng: np.random.Generator, px: int, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture that ends early on one side, above or below more often than in front or behind: its frame (4,) float32, and the
    shift (2,) px that was given, changed by as much as the middle of what is left lies aside."""
    frame, side = np.array(WHOLE, np.float32), int(rng.choice(4, p=(0.08, 0.42, 0.08, 0.42)))
    outwards, lost = -1 if side < 2 else 1, rng.uniform(0.12, 0.48) * px
    shift = shift - outwards * lost / 2 * np.eye(2)[side % 2]
    frame[side] = outwards * (PICTURE * px - lost) - shift[side % 2]
    return frame, shift


def glances(step: float) -> Tensor:
    """(5, 2, 3) moves: as it is, and four times a little aside (step px both ways), smaller or larger. The mean of the answers
    to several glances is steadier, and less sure where it should not be."""
    drawn = [(0, 0, 1), (-step, -step, 0.95), (step, -step, 1.05), (-step, step, 1.05), (step, step, 0.95)]
    return torch.tensor([[[zoom, 0, x], [0, zoom, y]] for x, y, zoom in drawn], dtype=torch.float32)


def back(move: Tensor) -> Tensor:
    """(n, 2, 3): the move that undoes each."""
    turned = torch.linalg.inv(move[..., :2])
    return torch.cat([turned, -turned @ move[..., 2:]], -1)


def move_windows(x: Tensor, move: Tensor, px: int) -> Tensor:
    """(n, N, P, P) and (n, 2, 3) -> (n, N, px, px): each window through its own move, black from outside, bilinear."""
    size = x.shape[-1]
    scale = move.new_tensor([px / size, px / size, 2 / size])  # grid_sample counts from -1 to 1 between the outer edges
    grid = F.affine_grid(move * scale, [len(x), 1, px, px], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def move_points(at: Tensor, move: Tensor) -> Tensor:
    """(n, ..., 2) px and (n, 2, 3) -> (n, ..., 2) px: where a point is seen after its window has been moved."""
    turned, shift = back(move).split([2, 1], -1)
    flat = at.reshape(len(at), -1, 2)
    return (flat @ turned.transpose(1, 2) + shift.transpose(1, 2)).reshape(at.shape)


def inside(at: Tensor, frame: Tensor, px: int) -> Tensor:
    """(n, N, C, 2) px and frames (n, 4) -> (n, N, C) bool: is the place in the frame, and in the window?"""
    low, high = frame[:, None, None, :2].clamp(min=-px / 2), frame[:, None, None, 2:].clamp(max=px / 2)
    return ((at >= low) & (at <= high)).all(-1)


def cut_off(x: Tensor, frame: Tensor) -> Tensor:
    """x (n, N, px, px), black outside each window's frame (n, 4)."""
    if (frame.abs() >= WHOLE[-1]).all():
        return x
    grid = torch.arange(x.shape[-1], device=x.device) - (x.shape[-1] - 1) / 2
    left, top, right, bottom = (edge[:, None] for edge in frame.unbind(1))
    columns, rows = (grid >= left) & (grid <= right), (grid >= top) & (grid <= bottom)
    return x * (rows[:, None, :, None] & columns[:, None, None, :])


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


def partners(count: int) -> list[int]:
    """Who is mixed with whom: neighbours, so that a batch halved between two processes keeps its pairs."""
    return [k ^ 1 if k ^ 1 < count else k for k in range(count)]


def mix(crops: Tensor, exists: Tensor, share: Tensor) -> Tensor:
    """Mixup (Zhang 2018): share (B,) of a study's own crops and the rest from its partner's, where both have the view."""
    other = partners(len(crops))
    own = share.view(-1, 1, 1, 1, 1)
    both = (exists & exists[other])[..., None, None, None]
    return torch.where(both, own * crops + (1 - own) * crops[other], crops)
