"""What the locator is trained on: three kinds of searches in crops, each with its points."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.crops import (
    FORAMEN_SLICES,
    LOCAL_CROP_MM,
    MARGIN,
    RECESS_SLICES,
    as_uint8,
    foramen_crops,
    point_table,
    recess_crops,
    sagittal_crops,
    with_margin,
)
from utils.dicom import Slice
from utils.models.spatial import UNBOUNDED, identity_affine, sample_affine, sample_truncation
from utils.prepare import PreparedStudy, load_table
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
from utils.training.samples import Array, StudyDataset

# The fraction of a study's searches that one epoch shows, by kind, in the order of FAMILIES.
SHOWN = {"canal": 1.0, "foramen": 0.5, "recess": 0.6}
CANAL_ON = {"canal_t2": SAGITTAL_T2, "canal_t1": SAGITTAL_T1}
FORAMINA = [*rows_of("foraminal", "Left"), *rows_of("foraminal", "Right")]
_LEFT, _RIGHT = (rows_of("subarticular", side) for side in SIDES)
RECESSES = [list(pair) for pair in zip(_LEFT, _RIGHT)]  # per level
# Chosen by eye: how far a whole sagittal crop and a local one are shifted, and all of them warped.
CANAL_SHIFT_MM = 40.0  # up to so much
LOCAL_SHIFT_MM = 5.0  # standard deviation
ZOOM, TURN_DEGREES = 0.08, 5.0  # standard deviations, of the logarithm and of the angle
SWITCH_TO_T1 = 0.3  # probability: the locator must also work where there is no T2


class Search(NamedTuple):
    """n searches, each in N slices for C points.

    crops      (n, N, P, P) uint8
    points     (n, N, C, 3): px from the crop's centre (x, y), and mm from the slice; nan for no
               point
    affine     (n, 2, 3), see models.spatial
    bounds     (n, 4): the field of view, px from the centre: left, top, right, bottom
    intensity  (n, K), see models.intensity
    """

    crops: Array
    points: Array
    affine: Array
    bounds: Array
    intensity: Array


class LocatorSample(NamedTuple):
    """The searches of one study; a batch has a first dimension B in every part.

    canal    1 search for 5 points, on whole sagittal slices
    foramen  10 searches for 1 point each (the left levels first), on slices beside the canal point
    recess   5 searches for 2 points, left and right, on slices through the canal point
    An epoch has some of the foramen and recess searches (SHOWN).
    """

    canal: Search
    foramen: Search
    recess: Search
    seed: Array = None


class LocatorDataset(StudyDataset):
    """Studies as LocatorSamples."""

    name, settings = "locator", ("locator_px", "locator_mm")

    @cached_property
    def points(self) -> pd.DataFrame:
        """The annotated points of all prepared studies."""
        return load_table(self.prepared, "points.csv")

    def make_crops(self, study: PreparedStudy) -> dict[str, np.ndarray]:
        """The slices that each kind of point is searched on, with where it is."""
        points = point_table(study.points)
        kinds = {
            name: _canal(study, series, points, self.preset) for name, series in CANAL_ON.items()
        }
        kinds["foramen"] = _foramina(study, points, self.preset)
        kinds["recess"] = _recesses(study, points, self.preset)
        arrays = {}
        for name, packed in kinds.items():
            arrays[f"{name}.crops"] = np.stack([crops for crops, _ in packed])
            arrays[f"{name}.points"] = np.stack([at for _, at in packed])
        return arrays

    def sample(
        self, cached: dict[str, np.ndarray], study_id: int, rng: np.random.Generator
    ) -> LocatorSample:
        """One study as the locator is given it, augmented in training."""
        p = self.preset
        source = self._canal_source(cached, rng)
        shift = rng.uniform(-CANAL_SHIFT_MM, CANAL_SHIFT_MM, (1, 2)) / p.locator_mm * p.locator_px
        canal = self._search("canal", _of(cached, source), p.locator_slices, shift, rng)
        foramen = self._local_search("foramen", cached, rng)
        recess = self._local_search("recess", cached, rng)
        return LocatorSample(canal, foramen, recess)

    def _canal_source(self, cached: dict[str, np.ndarray], rng: np.random.Generator) -> str:
        """Which series the canal is searched on: T2, sometimes T1, and what is there if one is
        not."""
        order = list(CANAL_ON)
        if self.augment and rng.random() < SWITCH_TO_T1:
            order.reverse()
        annotated = [name for name in order if np.isfinite(cached[f"{name}.points"]).any()]
        return annotated[0] if annotated else order[0]

    def _local_search(
        self, kind: str, cached: dict[str, np.ndarray], rng: np.random.Generator
    ) -> Search:
        """Some of the searches of a kind (all of a held-out study)."""
        crops, points = _of(cached, kind)
        chosen = np.arange(len(crops))
        if self.augment:
            chosen = rng.permutation(len(crops))[: round(SHOWN[kind] * len(crops))]
        px_per_mm = (self.preset.locator_px // 2) / LOCAL_CROP_MM
        shifts = rng.normal(0, LOCAL_SHIFT_MM, (len(chosen), 2)) * px_per_mm
        return self._search(kind, (crops[chosen], points[chosen]), 2, shifts, rng)

    def _search(
        self,
        kind: str,
        cached: tuple[np.ndarray, np.ndarray],
        slices: int,
        shifts: np.ndarray,
        rng: np.random.Generator,
    ) -> Search:
        """Some slices of each search, and the augmentation of each."""
        crops, points = cached
        rows = np.arange(len(crops))[:, None]
        chosen = np.array([_choose_slices(one, slices, rng) for one in points])
        crops, points = crops[rows, chosen], points[rows, chosen]
        mirrored = (rng.random(len(crops)) < 0.5) & (kind == "recess") & self.augment
        swapped = points[:, :, ::-1]  # mirrored, the left point is the right one
        points = np.where(mirrored[:, None, None, None], swapped, points)
        bounds = np.tile(np.array(UNBOUNDED, np.float32), (len(crops), 1))
        if self.augment and kind == "canal" and rng.random() < self.preset.truncation:
            bounds[0], shifts[0] = sample_truncation(rng, self.preset.locator_px, shifts[0])
        affines = [self._affine(rng, *of) for of in zip(shifts, mirrored)]
        vectors = [self.intensity_vector(rng) for _ in crops]
        return Search(crops, points, np.stack(affines), bounds, np.stack(vectors))

    def _affine(self, rng: np.random.Generator, shift: np.ndarray, mirror: bool) -> np.ndarray:
        if not self.augment:
            return identity_affine()
        return sample_affine(rng, shift, mirror, ZOOM, TURN_DEGREES)


def pack(
    crops: list[Slice], points: np.ndarray, px: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` crops, those nearest to the points (C, 3) mm, as crops and points of a Search;
    black and nan where there are fewer."""
    size = with_margin(px)
    pixels = np.zeros((count, size, size), np.uint8)
    at = np.full((count, len(points), 3), np.nan, np.float32)
    away = [np.nanmin(abs(one.distance(points)), initial=1e6) for one in crops]
    nearest = sorted(np.argsort(away, kind="stable")[:count])
    for k, i in enumerate(nearest):
        pixels[k] = as_uint8(crops[i].pixels)
        at[k, :, :2] = crops[i].to_pixel(points) - (size - 1) / 2
        at[k, :, 2] = crops[i].distance(points)
    return pixels, at


def choose(indices: np.ndarray, must: list[int], count: int, rng: np.random.Generator) -> list[int]:
    """`count` of the indices in order: those in must first, then others; repeated if too few."""
    must = list(dict.fromkeys(must))
    rng.shuffle(must)
    others = rng.permutation([i for i in indices if i not in must])
    repeated = rng.choice(indices, count)
    return sorted(int(i) for i in [*must, *others, *repeated][:count])


def _choose_slices(points: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Of a search's points (N, C, 3) the slices nearest to each point first, then others."""
    there = np.flatnonzero(np.isfinite(points[0, :, 2]))
    if not len(there):
        return [0] * count
    filled = np.flatnonzero(np.isfinite(points[:, there[0], 2]))
    nearest = np.nanargmin(abs(points[:, there, 2]), 0)
    return choose(filled, nearest, count, rng)


def _of(cached: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return cached[f"{name}.crops"], cached[f"{name}.points"]


def _canal(study: PreparedStudy, series: str, points: np.ndarray, preset: Preset) -> list[tuple]:
    parts = study.of(series)
    crops = sagittal_crops(max(parts, key=len), preset, MARGIN) if parts else []
    return [pack(crops, points[CANAL_ROWS], preset.locator_px, max(1, len(crops)))]


def _foramina(study: PreparedStudy, points: np.ndarray, preset: Preset) -> list[tuple]:
    packed = []
    for row in FORAMINA:
        canal = points[LEVELS.index(TARGETS[row].level)]
        parts = study.of(SAGITTAL_T1)
        crops = foramen_crops(parts, canal, TARGETS[row].side, preset, MARGIN)
        packed.append(pack(crops, points[[row]], preset.locator_px // 2, FORAMEN_SLICES))
    return packed


def _recesses(study: PreparedStudy, points: np.ndarray, preset: Preset) -> list[tuple]:
    packed = []
    for canal, both in zip(points[CANAL_ROWS], RECESSES):
        parts = study.of(AXIAL_T2)
        crops = recess_crops(parts, canal, preset, MARGIN, beside=RECESS_SLICES // 2)
        packed.append(pack(crops, points[both], preset.locator_px // 2, RECESS_SLICES))
    return packed
