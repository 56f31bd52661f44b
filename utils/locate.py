"""Stage 1 in use: heat maps to points in mm. Each series says where to look in the next.

The five canal points first, on sagittal slices; carried through patient space they tell which slices, and which window in
them, show a level's foramina and recesses.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from utils.geometry import Slice
from utils.models import STRIDE, Locator, joint_log_softmax
from utils.prepare import PreparedStudy
from utils.presets import Preset
from utils.rsna import AXIAL_T2, LEVELS, SAGITTAL_T1, SAGITTAL_T2, TARGETS
from utils.views import SIDES, foramen_windows, recess_windows, sagittal_windows, stack_pixels

STEP_MM = (31.0, 9.0)  # from one level's point to the next: mean and spread in adults
NEAR_MM = 10.0  # a point's confidence is the share of the heat map within this distance of it


@torch.inference_mode()
def locate(locator: Locator, study: PreparedStudy, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Points (25, 3) mm, nan where not found, and confidence (25,): the share of the heat map near the point.

    Canal points first, on Sagittal T2 (or on T1 where there is no T2: the canal is in the same place). Carried through
    patient space they say which slices show a level's foramina, which side those are on, and which axial slices are its.
    """
    points, sure = np.full((25, 3), np.nan), np.zeros(25)
    parts = study.of(SAGITTAL_T2) or study.of(SAGITTAL_T1)
    if not parts:
        return points, sure
    points[:5], sure[:5] = _search(locator.canal, sagittal_windows(max(parts, key=len), preset))
    for k, level in enumerate(LEVELS):
        for side in SIDES:
            row = TARGETS.index((f"{side} Neural Foraminal Narrowing", level))
            beside = foramen_windows(study.of(SAGITTAL_T1), points[k], side, preset)
            if beside:
                points[[row]], sure[[row]] = _search(locator.foramen, beside)
        through = recess_windows(study.of(AXIAL_T2), points[k], preset, beside=2)
        if through:
            rows = [TARGETS.index((f"{side} Subarticular Stenosis", level)) for side in SIDES]
            points[rows], sure[rows] = _search(locator.recess, through, mirror=True)
    return points, sure


def _search(net, windows: list[Slice], mirror: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Points (C, 3) mm and confidences (C,) of the C channels of a net, over all windows at once.

    mirror  also look in a mirror, where the two channels, left and right, have changed places; the two looks are averaged
    """
    x = torch.from_numpy(stack_pixels(windows)).to(next(net.parameters()).device)[:, None].float() / 255
    p = _heat(net, x)
    if mirror:
        p = (p + _heat(net, x.flip(-1)).flip(-1, 1)) / 2
    p = p.cpu().numpy()
    flat = p.sum(0)  # (C, h, w): where in the plane, whatever the slice
    peaks = [_candidates(one) for one in flat]
    cell_mm = STRIDE * windows[0].spacing[1]
    chosen = in_level_order(peaks, cell_mm) if len(peaks) == len(LEVELS) else [c[0] for c in peaks]
    found = [_refine(p[:, c], cell, windows) for c, cell in enumerate(chosen)]
    return np.array([f[0] for f in found]), np.array([f[1] for f in found])


def _heat(net, x: torch.Tensor) -> torch.Tensor:
    """Windows (N, 1, px, px) -> probability of each cell of each slice (N, C, h, w)."""
    return joint_log_softmax(net(x)[None])[0].exp()


def _candidates(flat: np.ndarray, count: int = 6) -> list[tuple[int, int, float]]:
    """The highest local maxima of one heat map (h, w) as (row, column, log-probability), best first."""
    top = np.argwhere((flat == maximum_filter(flat, 5)) & (flat > 0))
    top = top[np.argsort(-flat[tuple(top.T)])][:count]
    return [(int(r), int(c), float(np.log(flat[r, c] + 1e-12))) for r, c in top] or [(0, 0, -30.0)]


def in_level_order(peaks: list[list[tuple[int, int, float]]], cell_mm: float) -> list[tuple[int, int, float]]:
    """One candidate per level so that levels run head to foot at plausible distances: the best chain (Viterbi).

    It only chooses among the peaks of the heat maps, so that a right point is never pulled out of place.
    """
    score, back = [np.array([c[2] for c in peaks[0]])], []
    for above, here in pairwise(peaks):
        rows, columns = (np.array([[h[k] - a[k] for a in above] for h in here]) * cell_mm for k in (0, 1))
        step = np.where(rows > 0, -(((np.hypot(rows, columns) - STEP_MM[0]) / STEP_MM[1]) ** 2) / 2, -50.0)
        total = score[-1][None] + step
        back.append(total.argmax(1))
        score.append(total.max(1) + [c[2] for c in here])
    k = int(score[-1].argmax())
    chain = [k]
    for choice in reversed(back):
        chain.append(int(choice[chain[-1]]))
    return [level[k] for level, k in zip(peaks, reversed(chain))]


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
