"""What the grader is trained on: 30 views round the annotated points, and 25 grades."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils import metrics
from utils.crops import (
    MARGIN,
    TARGET_FAMILY,
    VIEW_SERIES,
    VIEW_TARGET,
    VIEWS,
    as_uint8,
    grader_crops,
    mirror_views,
    point_table,
)
from utils.models import intensity
from utils.models.spatial import identity_affine, sample_affine
from utils.prepare import PreparedStudy, load_table
from utils.presets import Preset
from utils.rsna import GRADES, SERIES, TARGETS
from utils.training.samples import Array, StudyDataset

# Standard deviations of the logarithm of the zoom and of the rotation; chosen by eye.
ZOOM, TURN_DEGREES = 0.06, 5.0
NO_LABEL = -1
NOT_MIXED = np.float32(1), np.zeros(4, np.float32)  # lambda and region
_FAMILY_OF_VIEW = TARGET_FAMILY[VIEW_TARGET]


@dataclass(frozen=True)
class Jitter:
    """How far a locator typically errs, per family in the order of FAMILIES."""

    std_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the plane
    off_slice: tuple[float, float, float] = (0.0, 0.0, 0.0)  # probability of one slice off


class GraderSample(NamedTuple):
    """One study; a batch has a first dimension B in every part.

    crops      (30, S, P, P) uint8
    exists     (30,) bool
    grades     (25,), NO_LABEL where there is none
    affine     (30, 2, 3), see models.spatial
    intensity  (30, K), see models.intensity
    own        (): the proportion (mixup's lambda) of this study in its mixture
    region     (4,): what cutmix takes from the other study, see models.spatial.mix
    """

    crops: Array
    exists: Array
    grades: Array
    affine: Array
    intensity: Array
    own: Array
    region: Array
    seed: Array = None


class GraderDataset(StudyDataset):
    """Studies as GraderSamples, jittered by as much as the locator errs; without jitter, held
    out."""

    name, settings = "grader", ("crop_px", "crop_mm", "slices", "slice_shift")

    def __init__(
        self, prepared: str | Path, studies: list[int], preset: Preset, jitter: Jitter | None
    ):
        super().__init__(prepared, studies, preset, augment=jitter is not None)
        self.jitter = jitter or Jitter()
        labels = load_table(self.prepared, "labels.csv")
        self.labels = labels[labels.study_id.isin(studies)]
        self.grades = grade_table(self.labels)

    @property
    def keeps_crops(self) -> bool:
        """Not where loader workers cut them while the GPU is at work: on all 1,975 studies that
        saves 11 GB of disk, and each worker cuts more studies than a GPU trains on (measured by
        benchmarks.loading)."""
        return not self.preset.workers

    @property
    def prior(self) -> np.ndarray:
        """The weighted prior of these studies' labels (25, 3)."""
        return metrics.prior(self.labels, smoothing=metrics.SMOOTHING).loc[list(TARGETS)].to_numpy()

    def make_crops(self, study: PreparedStudy) -> dict[str, np.ndarray]:
        """The crops of the 25 targets, with a margin for augmentation, and which exist."""
        points = point_table(study.points)
        crops, exists = grader_crops(study, points, self.preset, MARGIN, self.preset.slice_shift)
        return {"crops": as_uint8(crops), "exists": exists}

    def sample(
        self, cached: dict[str, np.ndarray], study_id: int, rng: np.random.Generator
    ) -> GraderSample:
        """One study as the grader is given it, augmented in training."""
        crops, exists, grades = cached["crops"], cached["exists"], self.grades[study_id]
        if not self.augment:
            first = self.preset.slice_shift
            return self._as_it_is(crops[:, first : first + self.preset.slices], exists, grades)
        crops = self._off_slice(crops, rng)
        exists = self._drop_views(exists, rng)
        flip = np.zeros(len(VIEWS), bool)
        if rng.random() < 0.5:
            crops, exists, grades, flip = mirror_views(crops, exists, grades)
        affines = self._affines(flip, rng)
        vectors = np.stack([self.intensity_vector(rng) for _ in SERIES])[VIEW_SERIES]
        grades = add_label_noise(grades, self.preset.label_noise, rng)
        return GraderSample(crops, exists, grades, affines, vectors, *self._mixture(rng))

    def _as_it_is(self, crops: np.ndarray, exists: np.ndarray, grades: np.ndarray) -> GraderSample:
        affines = np.stack([identity_affine()] * len(VIEWS))
        vectors = np.stack([intensity.IDENTITY] * len(VIEWS))
        return GraderSample(crops, exists, grades, affines, vectors, *NOT_MIXED)

    def _off_slice(self, crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of the cached slices those that are shown: now and then some slices off."""
        probability = np.take(self.jitter.off_slice, _FAMILY_OF_VIEW)
        most = self.preset.slice_shift
        chosen = rng.random(len(VIEWS)) < probability
        off = rng.choice([-1, 1], len(VIEWS)) * rng.integers(1, most + 1, len(VIEWS)) if most else 0
        slices = most + np.where(chosen, off, 0)[:, None] + np.arange(self.preset.slices)
        return crops[np.arange(len(VIEWS))[:, None], slices]

    def _drop_views(self, exists: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Single views are hidden, and now and then a whole series."""
        probability = self.preset.view_dropout
        exists = exists & (rng.random(len(VIEWS)) >= probability)
        if rng.random() < probability:
            exists &= rng.integers(len(SERIES)) != VIEW_SERIES
        return exists

    def _affines(self, flip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        std_px = np.take(self.jitter.std_mm, _FAMILY_OF_VIEW)[:, None]
        shifts = rng.normal(0, 1, (len(VIEWS), 2)) * std_px
        shifts *= self.preset.crop_px / self.preset.crop_mm
        affines = [sample_affine(rng, *of, ZOOM, TURN_DEGREES) for of in zip(shifts, flip)]
        return np.stack(affines)

    def _mixture(self, rng: np.random.Generator) -> tuple[np.float32, np.ndarray]:
        """Lambda from Beta(alpha, alpha), at least one half: a study keeps the larger part of its
        mixture. For cutmix also a square, somewhere, that is the rest."""
        if not self.preset.mixup:
            return NOT_MIXED
        drawn = rng.beta(self.preset.mixup, self.preset.mixup)
        own = np.float32(max(drawn, 1 - drawn))
        if rng.random() >= self.preset.cutmix:
            return own, NOT_MIXED[1]
        side = np.sqrt(1 - own)
        corner = rng.uniform(0, 1 - side, 2)
        return own, np.concatenate([corner, corner + side]).astype(np.float32)


def add_label_noise(grades: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """(25,) grades, each replaced by a random one with this probability: that of another level,
    say, because a reader counted differently."""
    wrong = (rng.random(len(grades)) < probability) & (grades >= 0)
    return np.where(wrong, rng.integers(len(GRADES), size=len(grades)), grades)


def grade_table(labels: pd.DataFrame) -> dict[int, np.ndarray]:
    """study_id -> (25,) grades 0, 1, 2, or NO_LABEL."""
    codes = labels.grade.map(GRADES.index, na_action="ignore").fillna(NO_LABEL).astype(int)
    order = pd.MultiIndex.from_tuples(TARGETS)
    table = {}
    for study, rows in labels.assign(code=codes).groupby("study_id"):
        by_target = rows.set_index(["condition", "level"]).code
        table[int(study)] = by_target.reindex(order, fill_value=NO_LABEL).to_numpy(copy=True)
    return table
