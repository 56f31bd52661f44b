"""What the models learn from: windows and points for the locator, crops and grades for the grader.

Windows are cut once, somewhat too large, and kept as one file per study, so that a training step never waits for them.
What is drawn at random for each (a move, a look) goes with it and is carried out on the device, by utils.augment.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from utils import looks
from utils.augment import WHOLE, draw_frame, draw_move, stay
from utils.geometry import Slice
from utils.prepare import PreparedStudy, StoreError, load_study
from utils.presets import Preset
from utils.rsna import AXIAL_T2, GRADES, LEVELS, SAGITTAL_T1, SAGITTAL_T2, TARGETS
from utils.views import (
    LOCAL_MM,
    MARGIN,
    SIDES,
    TARGET_FAMILY,
    TARGET_LEVEL,
    VIEW_SERIES,
    VIEW_TARGET,
    VIEWS,
    as_bytes,
    foramen_windows,
    grader_views,
    mirrored,
    point_table,
    recess_windows,
    sagittal_windows,
    with_margin,
)

VERSION = 2  # raise when the same store gives other windows
FORAMEN_SLICES, RECESS_SLICES = 8, 5  # kept for each side and level, and for each level


class Studies(Dataset):
    """Studies of a store, cut into windows. Chance comes from (seed, epoch, study) alone: a resumed run sees the same.

    chance  False: nothing is drawn, every window is as it will be in use (for studies held out)
    """

    name: str
    settings: tuple[str, ...]  # of the preset, those that change the windows

    def __init__(self, prepared: str | Path, studies: list[int], preset: Preset, chance: bool = True):
        self.prepared, self.studies, self.preset, self.chance = Path(prepared), list(studies), preset, chance
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # shared with loader workers that stay alive
        words = [str(getattr(preset, setting)) for setting in self.settings]
        self.folder = self.prepared / "windows" / "-".join([self.name, str(VERSION), *words])

    def __len__(self) -> int:
        return len(self.studies)

    def cut(self, study: PreparedStudy) -> dict[str, np.ndarray]:
        """All that any epoch may show of a study."""
        raise NotImplementedError

    def item(self, cut: dict[str, np.ndarray], study_id: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What one epoch shows of it."""
        raise NotImplementedError

    def cut_all(self, jobs: int = 1) -> None:
        """Cut the studies that have not been; goes on where it was interrupted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        todo = [study for study in self.studies if not self.path(study).is_file()]
        if todo:
            self._check_disk(todo)  # which cuts the first
        rest, name = todo[1:], f"cutting windows for the {self.name}"
        work = Parallel(jobs, return_as="generator")(delayed(self._cut_one)(study) for study in rest)
        for _ in tqdm(work, name, len(rest), unit="study", disable=not rest):
            pass

    def _check_disk(self, todo: list[int]) -> None:
        """All windows are as large as the first study's, near enough. Raises StoreError where they would not fit."""
        self._cut_one(todo[0])
        need, free = self.path(todo[0]).stat().st_size * (len(todo) - 1), shutil.disk_usage(self.folder).free
        if need > 0.95 * free:
            raise StoreError(
                f"{self.folder}: the windows of {len(todo)} studies need {need / 1e9:.1f} GB and {free / 1e9:.1f} are free; "
                "free some space, or use a preset with smaller crops"
            )

    def path(self, study_id: int) -> Path:
        return self.folder / f"{study_id}.safetensors"

    def _cut_one(self, study_id: int) -> None:
        partial = self.folder / f".{study_id}-{os.getpid()}"
        save_file(self.cut(load_study(self.prepared, study_id)), partial)
        partial.replace(self.path(study_id))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        seed = [self.preset.seed, int(self.epoch)]
        if self.chance:  # every epoch has its own order
            index = int(np.random.default_rng(seed).permutation(len(self))[index])
        study_id = self.studies[index]
        rng = np.random.default_rng([*seed, study_id])
        item = self.item(load_file(self.path(study_id)), study_id, rng)
        return {name: torch.as_tensor(value) for name, value in item.items()} | {"seed": torch.tensor(rng.integers(2**31))}

    def look(self, rng: np.random.Generator) -> np.ndarray:
        return looks.draw(rng, self.preset.looks) if self.chance else looks.PLAIN


# --- the locator ----------------------------------------------------------------------------------------------------


class LocatorData(Studies):
    """Per study the locator's three kinds of searches: canal (1 search for 5 points) on whole sagittal slices, foramen
    (10 for 1 each, left levels first) and recess (5 for 2, left and right), on slices beside or through the canal point. An
    epoch shows half of foramina and recesses. Each kind gives n searches, of N slices, for C points:

    x (n, N, P, P) uint8, at (n, N, C, 3): px from the window's middle, and mm from the slice, nan where there is no point;
    move (n, 2, 3), frame (n, 4) and look (n, …). Their names begin with the kind: canal_x, canal_at …
    """

    name, settings = "locator", ("locator_px", "locator_mm")

    def cut(self, study: PreparedStudy) -> dict[str, np.ndarray]:
        points, px, p = point_table(study.points), self.preset.locator_px // 2, self.preset
        kinds = {"foramen": [], "recess": []}
        for name, description in CANAL_ON.items():
            parts = study.of(description)
            windows = sagittal_windows(max(parts, key=len), p, MARGIN) if parts else []
            kinds[name] = [packed(windows, points[:5], p.locator_px, max(1, len(windows)))]
        for target in FORAMINA:
            side, canal = TARGETS[target][0].split()[0], points[TARGET_LEVEL[target]]
            windows = foramen_windows(study.of(SAGITTAL_T1), canal, side, p, MARGIN)
            kinds["foramen"].append(packed(windows, points[[target]], px, FORAMEN_SLICES))
        for level, both in enumerate(RECESSES):
            windows = recess_windows(study.of(AXIAL_T2), points[level], p, MARGIN, beside=RECESS_SLICES // 2)
            kinds["recess"].append(packed(windows, points[both], px, RECESS_SLICES))
        return {f"{kind}_{part}": np.stack(arrays) for kind, s in kinds.items() for part, arrays in zip(("x", "at"), zip(*s))}

    def item(self, cut: dict[str, np.ndarray], study_id: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        p = self.preset
        order = list(CANAL_ON)[:: -1 if self.chance and rng.random() < 0.3 else 1]  # also T1, to stand in where T2 is missing
        canal = next((name for name in order if np.isfinite(cut[f"{name}_at"]).any()), order[0])
        cut = cut | {f"canal_{part}": cut[f"{canal}_{part}"] for part in ("x", "at")}
        found = self._drawn("canal", cut, [0], p.locator_slices, rng.uniform(-40, 40, (1, 2)) / p.locator_mm * p.locator_px, rng)
        for kind in ("foramen", "recess"):
            count = len(cut[f"{kind}_x"])
            searches = rng.permutation(count)[: -(-count // 2)] if self.chance else np.arange(count)
            shifts = rng.normal(0, 5, (len(searches), 2)) / LOCAL_MM * (p.locator_px // 2)
            found |= self._drawn(kind, cut, searches, 2, shifts, rng)
        return found

    def _drawn(self, kind: str, cut: dict, searches, slices: int, shifts: np.ndarray, rng: np.random.Generator) -> dict:
        x, at = cut[f"{kind}_x"][searches], cut[f"{kind}_at"][searches]
        rows, chosen = np.arange(len(x))[:, None], np.array([self._slices(one, slices, rng) for one in at])
        x, at = x[rows, chosen], at[rows, chosen]
        mirrored = (rng.random(len(x)) < 0.5) & (kind == "recess") & self.chance
        at = np.where(mirrored[:, None, None, None], at[:, :, ::-1], at)  # in a mirror the left point is the right one
        frames = np.tile(np.float32(WHOLE), (len(x), 1))
        if self.chance and kind == "canal" and rng.random() < self.preset.cut_off:
            frames[0], shifts[0] = draw_frame(rng, self.preset.locator_px, shifts[0])
        moves = [draw_move(rng, *drawn, 0.08, 5.0) if self.chance else stay() for drawn in zip(shifts, mirrored)]
        drawn = {"x": x, "at": at, "move": np.stack(moves), "frame": frames, "look": np.stack([self.look(rng) for _ in x])}
        return {f"{kind}_{part}": values for part, values in drawn.items()}

    def _slices(self, at: np.ndarray, wanted: int, rng: np.random.Generator) -> list[int]:
        """Of (N, C, 3) the slices that hold points first, then others."""
        there = np.flatnonzero(np.isfinite(at[0, :, 2]))
        if not len(there):
            return [0] * wanted
        inside = np.flatnonzero(np.isfinite(at[:, there[0], 2]))
        return some(inside, np.nanargmin(abs(at[:, there, 2]), 0), wanted, rng)


CANAL_ON = {"canal_t2": SAGITTAL_T2, "canal_t1": SAGITTAL_T1}
FORAMINA = [TARGETS.index((f"{side} Neural Foraminal Narrowing", level)) for side in SIDES for level in LEVELS]
RECESSES = [[TARGETS.index((f"{side} Subarticular Stenosis", level)) for side in SIDES] for level in LEVELS]


def packed(windows: list[Slice], points: np.ndarray, px: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` windows, those nearest to the points, as x and at of LocatorData; black and nan where there are fewer."""
    size = with_margin(px)
    x, at = np.zeros((count, size, size), np.uint8), np.full((count, len(points), 3), np.nan, np.float32)
    away = [np.nanmin(abs(w.distance(points)), initial=1e6) for w in windows]
    for k, i in enumerate(sorted(np.argsort(away, kind="stable")[:count])):
        x[k] = as_bytes(windows[i].pixels)
        at[k, :, :2] = windows[i].to_pixel(points) - (size - 1) / 2
        at[k, :, 2] = windows[i].distance(points)
    return x, at


def some(indices: np.ndarray, must: list[int], wanted: int, rng: np.random.Generator) -> list[int]:
    """`wanted` of the indices in order: those that must be first, then others; repeated if there are too few."""
    must = list(dict.fromkeys(must))
    rng.shuffle(must)
    others = rng.permutation([i for i in indices if i not in must])
    return sorted(int(i) for i in [*must, *others, *rng.choice(indices, wanted)][:wanted])


# --- the grader -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Jitter:
    """How wrong a locator typically is, per family in the order of FAMILIES: standard deviation in mm."""

    mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    off: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the chance to be one slice off


class GraderData(Studies):
    """Per study the 30 views round the annotated points, moved by as much as the locator errs, and the 25 grades.

    crops (30, S, P, P) uint8, exists (30,) bool, grades (25,) with -1 for no label, move (30, 2, 3), look (30, …), and
    share (): how much of the mixture is this study's own.
    """

    name, settings = "grader", ("crop_px", "crop_mm", "slices")

    def __init__(self, prepared: str | Path, studies: list[int], preset: Preset, jitter: Jitter | None):
        super().__init__(prepared, studies, preset, chance=jitter is not None)
        self.jitter, self.grades = jitter, grade_table(pd.read_csv(self.prepared / "labels.csv"))

    def cut(self, study: PreparedStudy) -> dict[str, np.ndarray]:
        crops, exists = grader_views(study, point_table(study.points), self.preset, MARGIN, beside=1)
        return {"crops": as_bytes(crops), "exists": exists}

    def item(self, cut: dict[str, np.ndarray], study_id: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        crops, exists, grades, count = cut["crops"], cut["exists"], self.grades[study_id], self.preset.slices
        if not self.chance:
            moves, shown = [stay()] * len(VIEWS), [self.look(rng)] * len(VIEWS)
            drawn = {"crops": crops[:, 1:-1], "exists": exists, "grades": grades, "share": np.float32(1)}
            return drawn | {"move": np.stack(moves), "look": np.stack(shown)}
        family = TARGET_FAMILY[VIEW_TARGET]
        off = np.where(rng.random(len(VIEWS)) < np.take(self.jitter.off, family), rng.choice([-1, 1], len(VIEWS)), 0)
        crops = crops[np.arange(len(VIEWS))[:, None], 1 + off[:, None] + np.arange(count)]
        exists = exists & (rng.random(len(VIEWS)) >= self.preset.view_dropout)
        if rng.random() < self.preset.view_dropout:
            exists &= rng.integers(3) != VIEW_SERIES
        flip = np.zeros(len(VIEWS), bool)
        if rng.random() < 0.5:
            crops, exists, grades, flip = mirrored(crops, exists, grades)
        shifts = rng.normal(0, 1, (len(VIEWS), 2)) * np.take(self.jitter.mm, family)[:, None]
        shifts *= self.preset.crop_px / self.preset.crop_mm
        moves = [draw_move(rng, *drawn, 0.06, 5.0) for drawn in zip(shifts, flip)]
        shown = np.stack([self.look(rng) for _ in range(3)])[VIEW_SERIES]  # one series, one look
        grades = misread(grades, self.preset.misread, rng)
        share = max(s := rng.beta(self.preset.mixup, self.preset.mixup), 1 - s) if self.preset.mixup else 1.0
        drawn = {"crops": crops, "exists": exists, "grades": grades, "share": np.float32(share)}
        return drawn | {"move": np.stack(moves), "look": shown}


def misread(grades: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """(25,) grades of which so many have become any of the three: of another level, say, because a reader counted otherwise."""
    wrong = (rng.random(len(grades)) < share) & (grades >= 0)
    return np.where(wrong, rng.integers(len(GRADES), size=len(grades)), grades)


def grade_table(labels: pd.DataFrame) -> dict[int, np.ndarray]:
    """study_id -> (25,) grades 0, 1, 2, or -1 where there is no label."""
    codes = labels.assign(code=labels.grade.map(GRADES.index, na_action="ignore").fillna(-1).astype(int))
    order = pd.MultiIndex.from_tuples(TARGETS)
    return {
        int(study): rows.set_index(["condition", "level"]).code.reindex(order, fill_value=-1).to_numpy(copy=True)
        for study, rows in codes.groupby("study_id")
    }
