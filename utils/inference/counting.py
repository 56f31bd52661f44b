"""Levels by counting: the discs above the sacrum, from below.

A heat map knows a level by how it looks and how far up it is; someone else's lowest disc may look
like another. Counting asks for nothing but that discs are discs, and which of them is the lowest.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from utils.inference.levels import Counted, Disc, level_doubt
from utils.inference.segmentation import Segmented
from utils.rsna import LEVELS
from utils.structures import BODY, DISC, SAC, SACRUM, SAGITTAL

MM = SAGITTAL.mm
SMOOTHING_MM = 10.0  # along the spine, of where its middle is
GAP_PX = 2  # parts of a disc less than twice as far apart are one
LEAST_DISC_MM2 = 25.0  # of a component; smaller ones are specks
LEAST_SACRUM_MM2 = 150.0  # a third of its first segment
# Of the patient's usual disc in the middle: a remnant between S1 and S2 is shorter. Seen on ten of
# the SPIDER patients.
SHORTEST = 0.6
NEAR_SAC_MM = 15.0  # of a disc's back end: at L5/S1 there is fat between; bowel is further off
ON_AXIS_MM = 4.0  # of the disc's long axis: the part of the sac that belongs to it
AROUND_MM = 6.0  # above a disc, where its vertebra is


def count_levels(found: Segmented) -> Counted:
    """The middle of the sac at each of the five lowest discs."""
    points = np.full((len(LEVELS), 3), np.nan)
    of_levels: list[Disc | None] = [None] * len(LEVELS)
    p, at = middle_of_spine(found.p)
    mask = p.argmax(0)
    sac = np.argwhere(mask == SAC)[:, ::-1] * MM
    discs = lumbar(discs_of(mask), sac)[-len(LEVELS) :]
    for k, disc in enumerate(reversed(discs)):
        xy = beside(disc, sac) / MM
        points[-1 - k] = at[round(xy[1])] @ [one.to_patient(xy) for one in found.crops]
        of_levels[-1 - k] = disc
    is_sure = bool(discs) and _sacrum_below(mask, discs[-1]) and not level_doubt(points)
    return Counted(points, tuple(of_levels), is_sure)


def with_whole_sacrum(found: Segmented, counted: Counted) -> Segmented:
    """The same, but below the lowest disc, if the count is sure, all that was taken for a vertebral
    body is sacrum: seen by itself the first sacral segment looks like one."""
    lowest = counted.discs[-1]
    if not counted.is_sure or lowest is None:
        return found
    p = found.p.copy()
    columns_rows = np.mgrid[: p.shape[3], : p.shape[2]].T * MM  # (h, w, 2)
    below = (columns_rows - lowest.centre) @ lowest.across > 0
    p[SACRUM] += np.where(below, p[BODY], 0)
    p[BODY] *= ~below
    return found._replace(p=p)


def _sacrum_below(mask: np.ndarray, disc: Disc) -> bool:
    """Whether enough of the sacrum is seen below a disc to know it as the lowest."""
    return bool((mask[round(disc.centre[1] / MM) :] == SACRUM).sum() * MM**2 > LEAST_SACRUM_MM2)


def middle_of_spine(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p (structures, N, h, w) -> p (structures, h, w) on the surface through the middle of the sac,
    and of which slices each row was made (h, N): a curved spine leaves any one slice."""
    area = (p.argmax(0) == SAC).sum(2).T.astype(float)  # (h, N)
    near = ndimage.gaussian_filter1d(area, SMOOTHING_MM / MM, axis=0, mode="nearest")
    weight = ndimage.gaussian_filter1d(near, 1.0, axis=1, mode="nearest") ** 2
    usual = weight.sum(0) if weight.any() else np.ones(weight.shape[1])
    weight = np.where(weight.sum(1, keepdims=True) > 1e-6, weight, usual)
    at = weight / weight.sum(1, keepdims=True)
    return np.einsum("cnhw,hn->chw", p, at), at


def discs_of(mask: np.ndarray) -> list[Disc]:
    """All discs of a mask (h, w), from above."""
    whole = ndimage.binary_closing(mask == DISC, iterations=GAP_PX)
    numbered, count = ndimage.label(whole)
    cells = [np.argwhere(numbered == k + 1)[:, ::-1] for k in range(count)]
    discs = [_disc(of, mask) for of in cells if len(of) * MM**2 > LEAST_DISC_MM2]
    return sorted(discs, key=lambda disc: disc.centre[1])


def lumbar(discs: list[Disc], sac: np.ndarray) -> list[Disc]:
    """Those in front of the sac (n, 2) mm that are no remnants within the sacrum."""
    near = [disc for disc in discs if len(sac) and _off(disc.back, sac) < NEAR_SAC_MM]
    usual = np.median([disc.length for disc in near]) if near else 0
    return [disc for disc in near if not disc.is_sacral and disc.length > SHORTEST * usual]


def _off(point: np.ndarray, sac: np.ndarray) -> float:
    return float(np.linalg.norm(sac - point, axis=1).min())


def beside(disc: Disc, sac: np.ndarray) -> np.ndarray:
    """(2,) mm: the middle of the sac (n, 2) mm behind a disc, on its long axis; the nearest point
    of it where the axis passes by."""
    away = sac - disc.centre
    to_back, across = away @ disc.direction, np.abs(away @ disc.across)
    behind = (to_back > 0) & (across < ON_AXIS_MM)
    if not behind.any():
        return sac[np.linalg.norm(away, axis=1).argmin()]
    return sac[behind].mean(0)


def _disc(cells: np.ndarray, mask: np.ndarray) -> Disc:
    """cells (n, 2) px to the right and down."""
    variances, directions = np.linalg.eigh(np.cov(cells.T))
    direction = directions[:, 1] * (1 if directions[0, 1] >= 0 else -1)
    columns, tops = np.unique(cells[:, 0]), []
    for column in columns:
        top = cells[cells[:, 0] == column, 1].min()
        tops.append(mask[max(0, top - round(AROUND_MM / MM)) : top, column])
    above = np.concatenate(tops)
    is_sacral = (above == SACRUM).sum() > (above == BODY).sum()
    length = 4 * float(np.sqrt(variances[1])) * MM  # exact for an ellipse
    return Disc(cells.mean(0) * MM, direction, length, bool(is_sacral))
