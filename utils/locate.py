"""Stage 1 in use: heat maps to points in mm. Each series says where to look in the next.

The five canal points first, on sagittal slices; carried through patient space they tell which slices, and which window in
them, show a level's foramina and recesses.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import maximum_filter, uniform_filter

from utils.augment import back, glances, move_windows
from utils.geometry import Slice
from utils.models import STRIDE, Locator, UNet
from utils.prepare import PreparedStudy
from utils.presets import Preset
from utils.rsna import AXIAL_T2, LEVELS, SAGITTAL_T1, SAGITTAL_T2, TARGETS
from utils.views import SIDES, foramen_windows, recess_windows, sagittal_windows, stack_pixels

STEP_MM = (31.0, 9.0)  # from one level's point to the next: mean and spread in adults
BACKWARDS, NEVER = -50.0, -1e9  # log-probability of a level above the one before it, and of what cannot be
NEAR_MM = 10.0  # a point's confidence is the share of the heat map within this distance of it
GLANCE = 0.03  # of the window's width: how far a glance goes aside
Candidate = tuple[int, int, float]  # row and column of a heat map's cell, and the log-probability round it


@torch.inference_mode()
def locate(locator: Locator, study: PreparedStudy, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Points (25, 3) mm, nan where not in the picture, and confidence (25,): the share of the heat map near the point; beside the
    canal times that of the level, for a foramen found with certainty on a doubtful level is doubtful.

    Canal points first, on Sagittal T2 (or on T1 where there is no T2: the canal is in the same place). Carried through
    patient space they say which slices show a level's foramina, which side those are on, and which axial slices are its.
    """
    points, sure = np.full((25, 3), np.nan), np.zeros(25)
    parts = study.of(SAGITTAL_T2) or study.of(SAGITTAL_T1)
    if not parts:
        return points, sure
    windows = sagittal_windows(max(parts, key=len), preset)
    points[:5], sure[:5] = _search(locator.canal, windows, tells=preset.cut_off > 0)
    for k, level in enumerate(LEVELS):
        for side in SIDES:
            row = TARGETS.index((f"{side} Neural Foraminal Narrowing", level))
            beside = foramen_windows(study.of(SAGITTAL_T1), points[k], side, preset)
            if beside:
                points[[row]], sure[[row]] = _search(locator.foramen, beside)
                sure[row] *= sure[k]
        through = recess_windows(study.of(AXIAL_T2), points[k], preset, beside=2)
        if through:
            rows = [TARGETS.index((f"{side} Subarticular Stenosis", level)) for side in SIDES]
            points[rows], sure[rows] = _search(locator.recess, through, mirror=True)
            sure[rows] *= sure[k]
    return points, sure


def _search(net: UNet, windows: list[Slice], mirror: bool = False, tells: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Points (C, 3) mm and confidences (C,) of the C channels of a net, over all windows at once; nan and 0 for what is not
    in the picture.

    mirror  also look in a mirror, where the two channels, left and right, have changed places; the two looks are averaged
    tells   the net has been shown pictures that end early, so that it may say that a level is not there
    """
    x = torch.from_numpy(stack_pixels(windows)).to(net.absent.device) / 255
    p, absent = heat(net, x)
    if mirror:
        other, gone = heat(net, x.flip(-1))
        p, absent = (p + other.flip(-1, 1)) / 2, (absent + gone.flip(0)) / 2
    p, absent = p.cpu().numpy(), absent.cpu().numpy()
    flat = p.sum(0)  # (C, h, w): where in the plane, whatever the slice
    peaks = [_candidates(one) for one in flat]
    chosen = [best[0] for best in peaks]
    if len(peaks) == len(LEVELS):
        gone = np.log(absent + 1e-12) if tells else np.full(len(LEVELS), NEVER)
        chosen = in_level_order(peaks, gone, STRIDE * windows[0].spacing[1])
    found = [_refine(p[:, c], cell, windows) if cell else (np.full(3, np.nan), 0.0) for c, cell in enumerate(chosen)]
    return np.array([f[0] for f in found]), np.array([f[1] for f in found])


def heat(net: UNet, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows (N, px, px) in 0..1 -> probability of each cell of each slice (N, C, h, w), and of "not in the picture" (C,): the
    mean of several glances."""
    moves = glances(GLANCE * x.shape[-1]).to(x.device)
    seen = move_windows(x.expand(len(moves), -1, -1, -1), moves, x.shape[-1])
    log_p, log_absent = net.search(seen)  # (K, N, C, h, w), (K, C)
    undone = back(moves) * moves.new_tensor([1, 1, 1 / STRIDE])  # in cells
    p = move_windows(log_p.exp().flatten(1, 2), undone, log_p.shape[-1]).view(log_p.shape)
    return p.mean(0), log_absent.exp().mean(0)


def _candidates(flat: np.ndarray, count: int = 6) -> list[Candidate]:
    """The highest local maxima of one heat map (h, w) as (row, column, log-probability), best first."""
    top = np.argwhere((flat == maximum_filter(flat, 5)) & (flat > 0))
    top = top[np.argsort(-flat[tuple(top.T)])][:count]
    near = uniform_filter(flat, 5, mode="constant") * 25  # a peak's share is what lies round it
    return [(int(r), int(c), float(np.log(near[r, c] + 1e-12))) for r, c in top] or [(0, 0, -30.0)]


def in_level_order(peaks: list[list[Candidate]], absent: np.ndarray, cell_mm: float) -> list[Candidate | None]:
    """One candidate per level so that levels run head to foot at plausible distances: the best chain (Viterbi).

    It only chooses among the peaks of the heat maps, so that a right point is never pulled out of place. A picture may end
    above or below: then the first or the last levels have None. absent: (5,) log-probability of that.
    """
    values = [np.array([c[2] for c in level] + [gone, gone]) for level, gone in zip(peaks, absent)]
    best, came_from = values[0], []
    for (above, here), value in zip(pairwise(peaks), values[1:]):
        total = best[None] + _steps(above, here, cell_mm)
        came_from.append(total.argmax(1))
        best = value + total.max(1)
    chain = [int(best.argmax())]
    for choice in reversed(came_from):
        chain.append(int(choice[chain[-1]]))
    return [level[k] if k < len(level) else None for level, k in zip(peaks, reversed(chain))]


def _steps(above: list[Candidate], here: list[Candidate], cell_mm: float) -> np.ndarray:
    """(here + 2, above + 2): log-probability of each step from one level to the next. The last two of each mean that the
    picture has not begun yet, and that it has ended."""
    steps = np.full((len(here) + 2, len(above) + 2), NEVER)
    rows, columns = (np.array([[h[k] - a[k] for a in above] for h in here]) * cell_mm for k in (0, 1))
    likely = -(((np.hypot(rows, columns) - STEP_MM[0]) / STEP_MM[1]) ** 2) / 2
    steps[:-2, :-2] = np.where(rows > 0, likely, BACKWARDS)
    steps[:-2, -2] = steps[-2, -2] = 0.0  # what has not begun may begin, or not yet
    steps[-1, :-2] = steps[-1, -1] = 0.0  # and may end, but then for good
    return steps


def _refine(p: np.ndarray, peak: tuple[int, int, float], windows: list[Slice]) -> tuple[np.ndarray, float]:
    """Centre of mass round a peak of p (N, h, w), across the slices too; confidence is the share within NEAR_MM."""
    rows, columns = np.mgrid[: p.shape[1], : p.shape[2]]
    near = p * ((abs(rows - peak[0]) <= 2) & (abs(columns - peak[1]) <= 2))
    weight = near / max(near.sum(), 1e-12)
    xy = (np.array([(weight * columns).sum(), (weight * rows).sum()]) + 0.5) * STRIDE - 0.5
    across = weight.sum((1, 2)) @ np.array([w.to_patient(xy) for w in windows])
    i = int(np.argmin([abs(w.distance(across)) for w in windows]))
    cells = windows[i].to_patient((np.stack([columns, rows], -1) + 0.5) * STRIDE - 0.5)
    beside = np.linalg.norm(cells - windows[i].to_patient(xy), axis=-1) < NEAR_MM
    return across, float(p.sum(0)[beside].sum())
