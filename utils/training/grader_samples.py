"""What the grader is trained on: views round the annotated points, and 25 grades."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils import metrics
from utils.crops import (
    MARGIN,
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
from utils.views import views_of

# Standard deviations of the logarithm of the zoom and of the rotation; chosen by eye.
ZOOM, TURN_DEGREES = 0.06, 5.0
NO_LABEL = -1
NOT_MIXED = np.float32(1), np.zeros(4, np.float32)  # lambda and region
MIRRORED = 0.5  # probability that a study is shown mirrored


@dataclass(frozen=True)
class Jitter:
    """How far a locator typically errs, per family in the order of FAMILIES."""

    std_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the plane
    off_slice: tuple[float, float, float] = (0.0, 0.0, 0.0)  # probability of one slice off


class GraderSample(NamedTuple):
    """One study; a batch has a first dimension B in every part.

    crops      (V, S, P, P) uint8
    exists     (V,) bool
    annotated  (V, S) bool: the slice nearest to the annotated point; none where it is not shown
    grades     (25,), NO_LABEL where there is none
    affine     (V, 2, 3), see models.spatial
    intensity  (V, K), see models.intensity
    own        (): the proportion (mixup's lambda) of this study in its mixture
    region     (4,): what cutmix takes from the other study, see models.spatial.mix
    """

    crops: Array
    exists: Array
    annotated: Array
    grades: Array
    affine: Array
    intensity: Array
    own: Array
    region: Array
    seed: Array = None


class GraderDataset(StudyDataset):
    """Studies as GraderSamples, jittered by as much as the locator errs; without jitter, held
    out."""

    name, settings = "grader", ("views", "crop_px", "crop_mm", "slices", "slice_shift")

    def __init__(
        self, prepared: str | Path, studies: list[int], preset: Preset, jitter: Jitter | None
    ):
        super().__init__(prepared, studies, preset, augment=jitter is not None)
        self.views = views_of(preset)
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
            return self._as_it_is(crops, exists, grades)
        crops, annotated = self._shown(crops, self._slices_off(rng))
        exists = self._drop_views(exists, rng)
        flip = np.zeros(len(self.views), bool)
        if rng.random() < MIRRORED:
            crops, exists, grades, flip = mirror_views(crops, exists, grades, self.views)
            annotated = self.views.mirrored(annotated)
        affines = self._affines(flip, rng)
        vectors = np.stack([self.intensity_vector(rng) for _ in SERIES])[self.views.series]
        grades = add_label_noise(grades, self.preset.label_noise, rng)
        shown = crops, exists, annotated
        return GraderSample(*shown, grades, affines, vectors, *self._mixture(rng))

    def _as_it_is(self, crops: np.ndarray, exists: np.ndarray, grades: np.ndarray) -> GraderSample:
        count = len(self.views)
        crops, annotated = self._shown(crops, np.zeros(count, int))
        affines = np.stack([identity_affine()] * count)
        vectors = np.stack([intensity.IDENTITY] * count)
        return GraderSample(crops, exists, annotated, grades, affines, vectors, *NOT_MIXED)

    def _slices_off(self, rng: np.random.Generator) -> np.ndarray:
        """(V,) how many slices off each view is, now and then; alike for views of one place."""
        most, count = self.preset.slice_shift, self.views.place.max() + 1
        chosen = rng.random(count)[self.views.place] < self._of_family(self.jitter.off_slice)
        off = rng.choice([-1, 1], count) * rng.integers(1, most + 1, count) if most else 0
        return np.where(chosen, np.broadcast_to(off, count)[self.views.place], 0)

    def _shown(self, crops: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the cached slices those that are shown, so many slices off (V,); and which of them is
        the annotated one, the middle of those cached."""
        slices = self.preset.slice_shift + off[:, None] + np.arange(self.preset.slices)
        annotated = slices == crops.shape[1] // 2
        return crops[np.arange(len(crops))[:, None], slices], annotated

    def _drop_views(self, exists: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Single views are hidden, and now and then a whole series."""
        probability = self.preset.view_dropout
        exists = exists & (rng.random(len(self.views)) >= probability)
        if rng.random() < probability:
            exists &= rng.integers(len(SERIES)) != self.views.series
        return exists

    def _affines(self, flip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(V, 2, 3). Views of one place are moved by the same mm, for there the point is wrong."""
        place, px_per_mm = self.views.place, self.preset.crop_px / self.preset.crop_mm
        shifts = rng.normal(0, 1, (place.max() + 1, 2))[place]
        shifts *= self._of_family(self.jitter.std_mm)[:, None]
        shifts *= px_per_mm / self.views.width[:, None]
        affines = [sample_affine(rng, *of, ZOOM, TURN_DEGREES) for of in zip(shifts, flip)]
        return np.stack(affines)

    def _of_family(self, values: tuple[float, float, float]) -> np.ndarray:
        """(V,): of each view the value of its family."""
        return np.take(values, self.views.family)

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
