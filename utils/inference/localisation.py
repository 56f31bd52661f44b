"""Stage 1 in use: heat maps to points in mm. Each series says where to search in the next.

The five canal points first, on sagittal slices; carried through patient space they give the slices,
and the crop in them, that show a level's foramina and recesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import maximum_filter, uniform_filter
from torch import Tensor

from utils.crops import (
    TARGET_LEVEL,
    foramen_crops,
    recess_crops,
    sagittal_crops,
    stack_pixels,
)
from utils.dicom import Series, Slice
from utils.errors import LumbarError
from utils.inference.levels import Counted, agreed
from utils.models.hardware import in_parts, mixed_precision
from utils.models.locator import STRIDE, Locator, UNet, joint_log_softmax
from utils.models.spatial import invert, tta_affines, warp
from utils.prepare import PreparedStudy
from utils.presets import Preset
from utils.rsna import (
    AXIAL_T2,
    CANAL_ROWS,
    LEVELS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    SIDES,
    TARGETS,
    rows_of,
)

STEP_MM = (31.0, 9.0)  # from one level's point to the next: mean, standard deviation in adults
BACKWARDS = -50.0  # log-probability of a level above the one before it
IMPOSSIBLE = -1e9  # log-probability of what cannot be
NEAR_MM = 10.0  # a point's confidence is the fraction of the heat map within this distance of it
TTA_STEP = 0.03  # of a crop's width: the shift of test-time augmentation
PEAKS = 6  # candidates per level
PEAK_CELLS = 5  # a peak is the maximum of so many cells on a side
TINY = 1e-12

Searches = dict[tuple[int, ...], list[Slice]]  # by the rows of TARGETS that are sought: the crops


class ModelError(LumbarError):
    """A model whose output cannot be used, whatever the images are."""


class Candidate(NamedTuple):
    """A peak of a heat map: the cell's row and column, and the log-probability round it."""

    row: int
    column: int
    log_p: float


class Located(NamedTuple):
    """Where 25 targets are.

    points      (25, 3) mm, nan where not in the image
    confidence  (25,): the fraction of the heat map near the point; for foramina and recesses times
                that of the level, because a foramen that is found with certainty on a doubtful
                level is doubtful
    doubt       why the levels are doubtful, "" if they are not
    """

    points: np.ndarray
    confidence: np.ndarray
    doubt: str = ""


@torch.inference_mode()
def locate(
    locator: Locator, study: PreparedStudy, preset: Preset, counted: Counted | None = None
) -> Located:
    """The 25 points of a study.

    counted  the levels as the discs above the sacrum count them, if they were counted

    Canal points first, on Sagittal T2 (or on T1 where there is no T2: the canal is in the same
    position). Carried through patient space they give the slices that show a level's foramina, the
    side of those, and its axial slices.
    """
    points, confidence = np.full((len(TARGETS), 3), np.nan), np.zeros(len(TARGETS))
    series = levels_series(study)
    if series is None:
        return Located(points, confidence)
    crops = sagittal_crops(series, preset)
    canal, sure = _search_levels(locator.canal, crops, can_be_absent=preset.truncation > 0)
    doubt = ""
    if counted is not None:
        canal, sure, doubt = agreed(canal, sure, counted)
    points[CANAL_ROWS], confidence[CANAL_ROWS] = canal, sure
    foramina, recesses = _beside_levels(study, canal, preset)
    found = _search(locator.foramen, foramina) | _search(locator.recess, recesses, mirror=True)
    for rows, (at, sure) in found.items():
        points[list(rows)] = at
        confidence[list(rows)] = sure * confidence[TARGET_LEVEL[rows[0]]]
    return Located(points, confidence, doubt)


def levels_series(study: PreparedStudy) -> Series | None:
    """The series on which a study's levels are found."""
    parts = study.of(SAGITTAL_T2) or study.of(SAGITTAL_T1)
    return max(parts, key=len) if parts else None


def _beside_levels(
    study: PreparedStudy, canal: np.ndarray, preset: Preset
) -> tuple[Searches, Searches]:
    """Where the foramina and the recesses of each level are sought, from its canal point (5, 3)."""
    foramina: Searches = {}
    recesses: Searches = {}
    for level, point in enumerate(canal):
        for side in SIDES:
            row = rows_of("foraminal", side)[level]
            foramina[(row,)] = foramen_crops(study.of(SAGITTAL_T1), point, side, preset)
        both = tuple(rows_of("subarticular", side)[level] for side in SIDES)
        recesses[both] = recess_crops(study.of(AXIAL_T2), point, preset, beside=2)
    return foramina, recesses


def _search(
    net: UNet, searches: Searches, mirror: bool = False
) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """Points (C, 3) mm and confidences (C,) of the C channels of a net for each search that has
    crops, over all its crops at once.

    mirror  also search the mirrored crops, in which the two channels, left and right, are
            exchanged, and average both
    """
    there = {rows: crops for rows, crops in searches.items() if crops}
    found = {}
    for (rows, crops), (p, _) in zip(there.items(), _heat_maps(net, list(there.values()), mirror)):
        best = [_candidates(one)[0] for one in p.sum(0)]
        found[rows] = _refine_all(p, best, crops)
    return found


def _search_levels(
    net: UNet, crops: list[Slice], can_be_absent: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Points (5, 3) mm and confidences (5,) of the levels in plausible order; nan and 0 for a level
    that is not in the image.

    can_be_absent  the net was trained on truncated fields of view, so that it may report a level as
                   absent
    """
    [(p, absent)] = _heat_maps(net, [crops])
    peaks = [_candidates(one) for one in p.sum(0)]
    log_absent = np.log(absent + TINY) if can_be_absent else np.full(len(LEVELS), IMPOSSIBLE)
    cell_mm = STRIDE * crops[0].spacing[1]
    return _refine_all(p, in_level_order(peaks, log_absent, cell_mm), crops)


def _heat_maps(
    net: UNet, searches: list[list[Slice]], mirror: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """heat_maps of crops as numpy arrays: (N, C, h, w) and (C,) for each search."""
    device = net.absent.device
    images = [torch.from_numpy(stack_pixels(crops)).to(device) / 255 for crops in searches]
    maps = heat_maps(net, images)
    if mirror:
        others = heat_maps(net, [x.flip(-1) for x in images])
        both = zip(maps, others)
        maps = [((p + q.flip(-1, 1)) / 2, (a + b.flip(0)) / 2) for (p, a), (q, b) in both]
    found = [(p.cpu().numpy(), absent.cpu().numpy()) for p, absent in maps]
    if not all(np.isfinite(part).all() for pair in found for part in pair):
        raise ModelError("the locator's output is not finite: the fault is the model's")
    return found


def heat_maps(net: UNet, searches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each search of crops (N, px, px) in 0..1 the probability of each cell of each slice
    (N, C, h, w), and of "not in the image" (C,): the mean over test-time augmentations.

    All slices of all searches go to the net together, which is what a GPU is fast at.
    """
    if not searches:
        return []
    x, sizes = torch.cat(searches), [len(search) for search in searches]
    size = x.shape[-1]
    affines = tta_affines(TTA_STEP * size).to(x.device)
    augmented = warp(x.expand(len(affines), -1, -1, -1), affines, size)  # (K, all N, px, px)
    with mixed_precision():
        logits = in_parts(net, augmented.flatten(0, 1)[:, None])
    in_cells = invert(affines) * affines.new_tensor([1, 1, 1 / STRIDE])
    return [
        _mean_heat_map(joint_log_softmax(one, net.absent), in_cells)
        for one in logits.unflatten(0, augmented.shape[:2]).split(sizes, dim=1)
    ]


def _mean_heat_map(log_p: tuple[Tensor, Tensor], back: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of K augmentations' (K, N, C, h, w) and (K, C), each warped back (K, 2, 3)."""
    p, absent = (part.exp() for part in log_p)
    warped = warp(p.flatten(1, 2), back, p.shape[-1]).view(p.shape)
    return warped.mean(0), absent.mean(0)


def _candidates(flat: np.ndarray) -> list[Candidate]:
    """The highest local maxima of one heat map (h, w), the best first."""
    is_peak = (flat == maximum_filter(flat, PEAK_CELLS)) & (flat > 0)
    cells = np.argwhere(is_peak)
    cells = cells[np.argsort(-flat[tuple(cells.T)])][:PEAKS]
    near = uniform_filter(flat, PEAK_CELLS, mode="constant") * PEAK_CELLS**2  # the sum round a cell
    found = [Candidate(int(r), int(c), float(np.log(near[r, c] + TINY))) for r, c in cells]
    return found or [Candidate(0, 0, -30.0)]


def in_level_order(
    peaks: list[list[Candidate]], absent: np.ndarray, cell_mm: float
) -> list[Candidate | None]:
    """One candidate per level so that levels run head to foot at plausible distances: the most
    probable sequence (Viterbi).

    It only chooses among the peaks of the heat maps, so that a right point is never pulled out of
    position. The field of view may end above or below: then the first or the last levels have None.
    absent: (5,) log-probability of that.
    """
    values = [
        np.array([peak.log_p for peak in level] + [gone, gone])
        for level, gone in zip(peaks, absent)
    ]
    best = values[0]  # of each candidate: log-probability of the best sequence that ends in it
    came_from = []  # for each level after the first: the candidate before, of each candidate
    for (above, here), value in zip(pairwise(peaks), values[1:]):
        total = best[None] + _steps(above, here, cell_mm)
        came_from.append(total.argmax(1))
        best = value + total.max(1)
    sequence = [int(best.argmax())]
    for choice in reversed(came_from):
        sequence.append(int(choice[sequence[-1]]))
    return [level[k] if k < len(level) else None for level, k in zip(peaks, reversed(sequence))]


def _steps(above: list[Candidate], here: list[Candidate], cell_mm: float) -> np.ndarray:
    """(here + 2, above + 2): log-probability of each step from one level to the next. The last two
    of each mean that the image has not started yet, and that it has ended."""
    steps = np.full((len(here) + 2, len(above) + 2), IMPOSSIBLE)
    rows = np.array([[to.row - start.row for start in above] for to in here]) * cell_mm
    columns = np.array([[to.column - start.column for start in above] for to in here]) * cell_mm
    mean, deviation = STEP_MM
    likely = -(((np.hypot(rows, columns) - mean) / deviation) ** 2) / 2
    steps[:-2, :-2] = np.where(rows > 0, likely, BACKWARDS)
    steps[:-2, -2] = steps[-2, -2] = 0.0  # what has not started may start, or not yet
    steps[-1, :-2] = steps[-1, -1] = 0.0  # and may end, but then for good
    return steps


def _refine_all(
    p: np.ndarray, chosen: Sequence[Candidate | None], crops: list[Slice]
) -> tuple[np.ndarray, np.ndarray]:
    """Points (C, 3) mm and confidences (C,) of one candidate per channel of p (N, C, h, w)."""
    points, confidence = np.full((len(chosen), 3), np.nan), np.zeros(len(chosen))
    for channel, peak in enumerate(chosen):
        if peak is not None:
            points[channel], confidence[channel] = _refine(p[:, channel], peak, crops)
    return points, confidence


def _refine(p: np.ndarray, peak: Candidate, crops: list[Slice]) -> tuple[np.ndarray, float]:
    """Centre of mass round a peak of p (N, h, w), across the slices too; confidence is the fraction
    within NEAR_MM."""
    rows, columns = np.mgrid[: p.shape[1], : p.shape[2]]
    reach = PEAK_CELLS // 2
    near = p * ((abs(rows - peak.row) <= reach) & (abs(columns - peak.column) <= reach))
    weight = near / max(near.sum(), TINY)
    cell = np.array([(weight * columns).sum(), (weight * rows).sum()])
    xy = (cell + 0.5) * STRIDE - 0.5  # px of the crop
    point = weight.sum((1, 2)) @ np.array([one.to_patient(xy) for one in crops])
    nearest = crops[int(np.argmin([abs(one.distance(point)) for one in crops]))]
    cells_mm = nearest.to_patient((np.stack([columns, rows], -1) + 0.5) * STRIDE - 0.5)
    within = np.linalg.norm(cells_mm - nearest.to_patient(xy), axis=-1) < NEAR_MM
    return point, float(p.sum(0)[within].sum())
