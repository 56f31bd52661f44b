"""What the models learn from: windows with heat maps for the locator, jittered crops with grades for the grader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from utils.models import STRIDE
from utils.prepare import load_study
from utils.presets import Preset
from utils.rsna import AXIAL_T2, GRADES, LEVELS, SAGITTAL_T1, SAGITTAL_T2, TARGETS
from utils.views import (
    SIDES,
    Jitter,
    foramen_windows,
    grader_views,
    point_table,
    recess_window,
    sagittal_windows,
    stack_pixels,
)


class Studies(Dataset):
    """Studies of a store; every draw of chance comes from (seed, epoch, index), so that a resumed run sees the same."""

    def __init__(self, prepared: Path, studies: list[int], preset: Preset):
        self.prepared, self.studies, self.preset = Path(prepared), list(studies), preset
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # shared with loader workers that stay alive

    def __len__(self) -> int:
        return len(self.studies)

    def load(self, index: int):
        """The index-th study of this epoch's order, and its source of chance."""
        seed = [self.preset.seed, int(self.epoch)]
        index = int(np.random.default_rng(seed).permutation(len(self))[index])
        return load_study(self.prepared, self.studies[index]), np.random.default_rng([*seed, index])


class LocatorData(Studies):
    """Per study: slices to search, moved, zoomed and disturbed at random, and where the points are in them as heat maps.

    canal_x (N, px, px), canal_heat (N, 5, h, w); foramen_x (10, n, px/2, px/2), foramen_heat (10, n, h/2, w/2), left
    levels first; recess_x (5, px/2, px/2), recess_heat (5, 2, h/2, w/2). All zero where something is missing.
    """

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        study, rng = self.load(index)
        points = point_table(study.points)
        item = self._canal(study, points[:5], rng) | self._foramina(study, points, rng) | self._recesses(study, points, rng)
        return {name: torch.from_numpy(array) for name, array in item.items()}

    def _canal(self, study, sought: np.ndarray, rng) -> dict[str, np.ndarray]:
        """Slices of Sagittal T2, or of T1, on which the canal runs in the same place: one net that reads both."""
        p, cells = self.preset, self.preset.locator_px // STRIDE
        x, heat = _zeros(p.locator_slices, p.locator_px, p.locator_px), _zeros(p.locator_slices, 5, cells, cells)
        parts = [study.of(name) for name in ((SAGITTAL_T1, SAGITTAL_T2) if rng.random() < 0.3 else (SAGITTAL_T2, SAGITTAL_T1))]
        parts = parts[0] or parts[1]
        if not parts:
            return {"canal_x": x, "canal_heat": heat}
        series = max(parts, key=len)
        there = [series.nearest_slice(mm) for mm in sought if np.isfinite(mm).all()]
        chosen = _some(len(series), there, p.locator_slices, rng)
        windows = sagittal_windows(series, p, rng.uniform(-30, 30, 2), np.exp(rng.normal(0, 0.08)), chosen)
        heat = np.stack([heat_map(windows, mm, cells) for mm in sought], 1)
        return {"canal_x": disturb(stack_pixels(windows), rng), "canal_heat": heat}

    def _foramina(self, study, points: np.ndarray, rng) -> dict[str, np.ndarray]:
        count, px = 2, self.preset.locator_px // 2
        x, heat = _zeros(10, count, px, px), _zeros(10, count, px // STRIDE, px // STRIDE)
        for k, (side, level) in enumerate((side, level) for side in SIDES for level in range(5)):
            move = rng.normal(0, 5, 2), np.exp(rng.normal(0, 0.08))
            windows = foramen_windows(study.of(SAGITTAL_T1), points[level], side, self.preset, *move)
            if windows and np.isfinite(points[5 + k]).all():
                best = int(np.argmin([abs(w.distance(points[5 + k])) for w in windows]))
                windows = [windows[i] for i in _some(len(windows), [best], count, rng)]
                x[k], heat[k] = disturb(stack_pixels(windows), rng), heat_map(windows, points[5 + k], px // STRIDE)
        return {"foramen_x": x, "foramen_heat": heat}

    def _recesses(self, study, points: np.ndarray, rng) -> dict[str, np.ndarray]:
        px = self.preset.locator_px // 2
        x, heat = _zeros(5, px, px), _zeros(5, 2, px // STRIDE, px // STRIDE)
        for k in range(len(LEVELS)):
            move = rng.normal(0, 5, 2), np.exp(rng.normal(0, 0.08))
            view = recess_window(study.of(AXIAL_T2), points[k], self.preset, *move)
            if view is not None:
                x[k] = disturb(view.pixels[None], rng)[0]
                heat[k] = np.concatenate([heat_map([view], points[row + k], px // STRIDE) for row in (15, 20)])
        return {"recess_x": x, "recess_heat": heat}


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _some(count: int, must: list[int], wanted: int, rng: np.random.Generator) -> list[int]:
    """`wanted` of `count` indices in order: those that hold points first, then others; repeated if there are too few."""
    must = list(dict.fromkeys(must))
    rng.shuffle(must)
    others = rng.permutation([i for i in range(count) if i not in must]).astype(int)
    return sorted(int(i) for i in [*must, *others, *rng.integers(0, count, wanted)][:wanted])


def heat_map(windows, mm: np.ndarray, cells: int, sigma_mm: float = 4.0) -> np.ndarray:
    """(N, cells, cells) float32 summing to 1: a Gaussian round the point in 3-D; all zero where there is no point."""
    if not np.isfinite(mm).all():
        return np.zeros((len(windows), cells, cells), np.float32)
    grid = (np.arange(cells) + 0.5) * STRIDE - 0.5
    maps = []
    for w in windows:
        x, y = w.to_pixel(mm)
        squared = ((grid - x) ** 2 * w.spacing[0] ** 2)[None] + ((grid - y) ** 2 * w.spacing[1] ** 2)[:, None]
        maps.append(np.exp(-(squared + float(w.distance(mm)) ** 2) / (2 * sigma_mm**2)))
    heat = np.stack(maps).astype(np.float32)
    return heat / heat.sum() if heat.sum() > 1e-3 else np.zeros_like(heat)


def disturb(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (n, px, px) -> float32 in 0..1 with another contrast curve, brightness and noise: scanners differ."""
    x = pixels.astype(np.float32) / 255
    x = x ** np.float32(np.exp(rng.normal(0, 0.35)))
    x = x * np.float32(rng.uniform(0.8, 1.2)) + np.float32(rng.uniform(-0.05, 0.05))
    return x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(0, 0.05))


class GraderData(Studies):
    """Per study: the 30 views round the annotated points, moved by as much as the locator errs, and the 25 grades."""

    def __init__(self, prepared: Path, studies: list[int], preset: Preset, jitter: Jitter | None):
        super().__init__(prepared, studies, preset)
        self.jitter, self.grades = jitter, grade_table(pd.read_csv(self.prepared / "labels.csv"))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        study, rng = self.load(index)
        crops, exists = grader_views(study, point_table(study.points), self.preset, rng, self.jitter)
        crops = np.stack([disturb(view, rng) for view in crops]) if self.jitter else crops.astype(np.float32) / 255
        exists &= rng.random(len(exists)) > (0.05 if self.jitter else 0)  # learn to do without
        item = {"crops": crops, "exists": exists, "grades": self.grades[study.study_id]}
        return {name: torch.from_numpy(value) for name, value in item.items()}


def grade_table(labels: pd.DataFrame) -> dict[int, np.ndarray]:
    """study_id -> (25,) grades 0, 1, 2, or -1 where there is no label."""
    codes = labels.assign(code=labels.grade.map(GRADES.index, na_action="ignore").fillna(-1).astype(int))
    order = pd.MultiIndex.from_tuples(TARGETS)
    return {
        int(study): rows.set_index(["condition", "level"]).code.reindex(order, fill_value=-1).to_numpy(copy=True)
        for study, rows in codes.groupby("study_id")
    }
