"""What can be measured in mm at each level: how deep and how large the sac is, how high the disc,
how far it bulges, how far a vertebra has slipped, and how deep the recesses are; and in degrees how
a spine is curved.

Sagittal measures follow a disc's own axis, axial ones the slice through the disc. Definitions:
depth and area of the sac, Schizas 2010 and Hughes 2015; slip, Meyerding 1932 (between posterior
walls, here in mm); recess, Bartynski 2003 (between disc and ligament, where the root passes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from utils.dicom import Series, Slice
from utils.inference.counting import count_levels, middle_of_spine
from utils.inference.fat import AREA_MM2, fat_shares
from utils.inference.levels import Counted, Disc, counted_beside
from utils.inference.localisation import levels_series
from utils.inference.run import Run
from utils.inference.segmentation import Segmented, segment, segment_at
from utils.models import Segmenter
from utils.prepare import PreparedStudy
from utils.rsna import AXIAL_T2, CANAL_ROWS, SIDES, TARGETS, rows_of
from utils.structures import AXIAL, BODY, DISC, FAT, ROOT, SAC, SACRUM, SAGITTAL

STEP_MM = 0.25  # between samples of a line
# Where the sac is sought from a disc's back end, and how far to either side of an axis lines lie.
BEFORE_MM, BEHIND_MM, BESIDE_MM = 6.0, 30.0, 2.0
ALONG_SAC = np.arange(-BEFORE_MM, BEHIND_MM, STEP_MM)
BESIDE = np.arange(-BESIDE_MM, BESIDE_MM + 1)
MIDDLE = 0.25  # of a disc's length, to either side of its centre: where its height is measured
HALF_HEIGHT_MM = 12.0  # more than half of the highest disc
WALL_MM = (3.0, 9.0)  # from a disc's surface: where the posterior walls of its bodies are compared
# Between a body's marrow, which is what is segmented, and its posterior wall; on clinical phantoms.
CORTEX_MM = 1.7
WALL_BACK_MM = 12.0  # behind a disc's back end no vertebral body reaches further
RECESS_MM = 10.0  # before and behind a recess's point, where its walls are sought
ALONG_RECESS = np.arange(-RECESS_MM, RECESS_MM + STEP_MM, STEP_MM)
HALF = 0.5  # of the probability
NEAR_MM = 16.0  # the middle of a crop
EDGE_PX = 2  # over which the edge of a structure is blurred
TO_BACK = np.array([0.0, 1.0, 0.0])


Measures = dict[str, np.ndarray]  # by MEASURES, each (25,); nan where there is nothing to measure
# What is measured at which targets, its unit in its name:
# at the canal of each level
#   sac_mm     depth of the sac from front to back beside the disc, on the sagittal slice
#   sac_mm2    area of the sac on the axial slice through the disc, at a right angle to the canal
#   disc_mm    mean height of the middle half of the disc
#   bulge_mm   by which the disc reaches further back than the vertebrae beside it
#   slip_mm    by which the vertebra above is further forward than the one below; negative: backward
#   lordosis_degrees   angle between the discs L1/L2 and L5/S1, positive where they open forward
#   scoliosis_degrees  greatest angle between two stretches of the canal, seen from the front
# in each foramen
#   fat_mm2    area of the fat near the root (see fat)
# in each recess
#   recess_mm  depth of what is left of it
OF_PATIENT = ("lordosis_degrees", "scoliosis_degrees")  # the same at the canal of each level
ON_SAGITTAL = ("sac_mm", "disc_mm", "bulge_mm", "slip_mm", *OF_PATIENT)
MEASURES = (*ON_SAGITTAL, "sac_mm2", "fat_mm2", "recess_mm")


class Seen(NamedTuple):
    """The structures of a study's sagittal slices, and the levels counted on them."""

    found: Segmented
    counted: Counted


def see(run: Run, study: PreparedStudy) -> Seen | None:
    """None if the run has no segmenter, or the study no sagittal series."""
    series = levels_series(study)
    if run.segmenter is None or series is None:
        return None
    found = segment(run.segmenter, series)
    return Seen(found, count_levels(found))


def nothing() -> Measures:
    """No measures at all."""
    return {name: np.full(len(TARGETS), np.nan) for name in MEASURES}


def measured(run: Run, study: PreparedStudy, seen: Seen | None, points: np.ndarray) -> Measures:
    """What can be measured at the points (25, 3) mm of a study."""
    measures = nothing()
    if run.measures:
        measures["fat_mm2"] = AREA_MM2 * fat_shares(study, points)
    if seen is not None:
        measures |= on_sagittal(seen, points[CANAL_ROWS])
    if run.axial_segmenter is not None:
        measures |= on_axial(run.axial_segmenter, study.of(AXIAL_T2), points)
    return measures


def on_sagittal(seen: Seen, canal: np.ndarray) -> Measures:
    """ON_SAGITTAL at five canal points (5, 3) mm."""
    p, at = middle_of_spine(seen.found.p)
    measures = {name: np.full(len(TARGETS), np.nan) for name in ON_SAGITTAL}
    beside = counted_beside(canal, seen.counted)
    discs = [None if k is None else seen.counted.discs[k] for k in beside]
    for level, disc in enumerate(discs):
        if disc is not None:
            sac = seen.found.p[SAC, slice_of(disc, at)]
            found = (sac_depth(sac, disc), disc_height(p[DISC], disc), *_behind(p, disc))
            for name, value in zip(ON_SAGITTAL, found):
                measures[name][level] = value
    measures["lordosis_degrees"][CANAL_ROWS] = lordosis(discs[0], discs[-1])
    measures["scoliosis_degrees"][CANAL_ROWS] = scoliosis(canal)
    return measures


def lordosis(first: Disc | None, last: Disc | None) -> float:
    """Degrees between two discs, positive where they open to the front; nan if one is missing."""
    if first is None or last is None:
        return np.nan
    degrees = [np.degrees(np.arctan2(*disc.direction[::-1])) for disc in (first, last)]
    return float(degrees[0] - degrees[1])  # rows grow downwards


def scoliosis(canal: np.ndarray) -> float:
    """Greatest angle in degrees, seen from the front, between two stretches of the canal through
    five points (5, 3) mm; nan if less than three are known. Of the canal, so less than Cobb's angle
    between endplates."""
    steps = np.diff(canal, axis=0)
    degrees = np.degrees(np.arctan2(steps[:, 0], -steps[:, 2]))
    known = degrees[np.isfinite(degrees)]
    return float(np.ptp(known)) if len(known) > 1 else np.nan


def slice_of(disc: Disc, at: np.ndarray) -> int:
    """The slice that shows the sac behind a disc best; at (h, N): see middle_of_spine."""
    row = round(disc.back[1] / SAGITTAL.mm)
    return int(at[np.clip(row, 0, len(at) - 1)].argmax())


def sac_depth(p: np.ndarray, disc: Disc) -> float:
    """Antero-posterior depth in mm of the sac, of probability p (h, w), along a disc's axis: that
    of the narrowest of the lines beside it."""
    return float(STEP_MM * _sampled(p, disc, disc.back, ALONG_SAC, BESIDE).sum(0).min())


def sac_line(p: np.ndarray, disc: Disc) -> np.ndarray | None:
    """The ends (2, 2) mm of the line on which sac_depth is measured; None without a sac."""
    lines = _sampled(p, disc, disc.back, ALONG_SAC, BESIDE)
    narrowest = lines.sum(0).argmin()
    inside = ALONG_SAC[lines[:, narrowest] > HALF]
    if not len(inside):
        return None
    ends = inside[[0, -1], None] * disc.direction
    return disc.back + ends + BESIDE[narrowest] * disc.across


def disc_height(p: np.ndarray, disc: Disc) -> float:
    """Mean height in mm of the middle of a disc, of probability p (h, w)."""
    along = np.arange(-MIDDLE, MIDDLE, STEP_MM / disc.length) * disc.length
    across = np.arange(-HALF_HEIGHT_MM, HALF_HEIGHT_MM, STEP_MM)
    return float(STEP_MM * _sampled(p, disc, disc.centre, along, across).sum(1).mean())


def _behind(p: np.ndarray, disc: Disc) -> tuple[float, float]:
    """mm by which a disc reaches further back than the vertebrae beside it, and by which the one
    above is further forward than the one below; nan where either is not seen. p (structures, h,
    w)."""
    from_middle = np.arange(*WALL_MM, 1.0) + disc_height(p[DISC], disc) / 2
    bone = p[BODY] + p[SACRUM]
    above, below = (_wall(bone, disc, sign * from_middle) for sign in (-1, 1))
    bulge = _wall(p[DISC], disc, BESIDE) - (above + below) / 2 - CORTEX_MM
    return bulge, below - above


def _wall(p: np.ndarray, disc: Disc, across: np.ndarray) -> float:
    """How far behind a disc's back end a structure of probability p (h, w) ends, in mm: the median
    at so many mm across the disc's axis."""
    along = np.arange(-disc.length / 2, WALL_BACK_MM, STEP_MM)
    bone = _sampled(p, disc, disc.back, along, across) > HALF
    lines = bone[::-1, bone.any(0)]
    return float(np.median(along[len(along) - 1 - lines.argmax(0)])) if lines.size else np.nan


def _sampled(
    p: np.ndarray, disc: Disc, start: np.ndarray, along: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """p (h, w) at so many mm along and across (a, c) a disc's axis from a point (2,) mm."""
    mm = start + along[:, None, None] * disc.direction + across[None, :, None] * disc.across
    return ndimage.map_coordinates(p, mm[..., ::-1].transpose(2, 0, 1) / SAGITTAL.mm, order=1)


def on_axial(segmenter: Segmenter, parts: list[Series], points: np.ndarray) -> Measures:
    """sac_mm2 and recess_mm for points (25, 3) mm, on axial series."""
    area, recess = np.full((2, len(TARGETS)), np.nan)
    for at in axial_levels(segmenter, parts, points[CANAL_ROWS]):
        area[at.level] = at.sac_mm2  # the rows of the canal are the first
        for row in recesses_of(at.level):
            recess[row] = recess_depth(at.free, at.one, points[row])
    return {"sac_mm2": area, "recess_mm": recess}


class AxialLevel(NamedTuple):
    """What the axial slice of one level shows.

    level    position in LEVELS
    one      the slice, cropped round the canal's point
    sac      (px, px) probability of the sac, free: of fluid, fat or root
    sac_mm2  area of the sac at a right angle to the canal
    """

    level: int
    one: Slice
    sac: np.ndarray
    free: np.ndarray
    sac_mm2: float


def axial_levels(
    segmenter: Segmenter, parts: list[Series], canal: np.ndarray
) -> Iterator[AxialLevel]:
    """The levels of five canal points (5, 3) mm that axial series show."""
    for level, one, p in segment_at(segmenter, parts, canal):
        area = sac_area(p[SAC]) * obliquity(one, canal, level)
        yield AxialLevel(level, one, p[SAC], p[[SAC, FAT, ROOT]].sum(0), area)


def recesses_of(level: int) -> list[int]:
    """Positions in TARGETS of the two recesses of a level."""
    return [rows_of("subarticular", side)[level] for side in SIDES]


def sac_area(p: np.ndarray) -> float:
    """mm² of the sac, of probability p (h, w): of its parts the largest near the middle, where the
    canal's point is, with its blurred edge."""
    numbered, count = ndimage.label(p > HALF)
    if not count:
        return 0.0
    mm = (np.arange(len(p)) - (len(p) - 1) / 2) * AXIAL.mm
    near = np.exp(-(mm**2) / (2 * NEAR_MM**2))
    sizes = ndimage.sum(p * near * near[:, None], numbered, range(1, count + 1))
    sac = numbered == np.argmax(sizes) + 1
    return float(p[ndimage.binary_dilation(sac, iterations=EDGE_PX)].sum() * AXIAL.mm**2)


def obliquity(one: Slice, canal: np.ndarray, level: int) -> float:
    """What a slice's areas are to be multiplied by, because it cuts the canal through five points
    (5, 3) mm aslant; 1 where its direction is not known."""
    if not np.isfinite(canal).all():
        return 1.0
    direction = np.gradient(canal, axis=0, edge_order=2)[level]
    return float(abs(one.normal @ direction) / np.linalg.norm(direction))


def recess_depth(p: np.ndarray, one: Slice, point: np.ndarray) -> float:
    """mm from front to back that are free at a recess's point (3,) mm, on the narrowest of the
    lines beside it; nan without a point. p (h, w): the probability of fluid, fat or root."""
    if not np.isfinite(point).all():
        return np.nan
    ends = recess_line(p, one, point) * one.spacing
    return float(np.linalg.norm(ends[1] - ends[0]))


def recess_line(p: np.ndarray, one: Slice, point: np.ndarray) -> np.ndarray:
    """The ends (2, 2) px of the line on which recess_depth is measured."""
    to_back = one.axes @ TO_BACK
    to_back = to_back / np.linalg.norm(to_back)
    aside = BESIDE[:, None] * np.array([-to_back[1], to_back[0]])
    along = ALONG_RECESS[:, None] * to_back
    xy = one.to_pixel(point) + (along + aside[:, None]) / one.spacing  # (lines, steps, 2)
    free = ndimage.map_coordinates(p, xy[..., ::-1].transpose(2, 0, 1), order=1) > HALF
    stretches = [_nearest_stretch(line) for line in free]
    narrowest = int(np.argmin([end - start for start, end in stretches]))
    start, end = stretches[narrowest]
    return np.array([xy[narrowest, start], xy[narrowest, end]])


def _nearest_stretch(free: np.ndarray) -> tuple[int, int]:
    """First and last step of the stretch of a line (n,) bool that is nearest to its middle; twice
    the middle if nothing is free."""
    middle = len(free) // 2
    steps = np.flatnonzero(free)
    if not len(steps):
        return middle, middle
    parts = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    nearest = min(parts, key=lambda part: np.abs(part - middle).min())
    return int(nearest[0]), int(nearest[-1])
