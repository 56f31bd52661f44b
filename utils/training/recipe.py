"""The recipe: train the locator, measure it, train the grader on crops as wrong as the locator is,
evaluate both out of fold."""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from utils import metrics
from utils.files import Folder, digest, read_json, read_table
from utils.inference import Run, load_run
from utils.locks import at_work
from utils.models import WEIGHTS, Ensemble, Grader, Locator, backbone
from utils.prepare import PreparedDataError, check_spacing, load_table
from utils.presets import Preset, get_preset, shaped_like
from utils.rsna import grade_frequencies
from utils.training.board import keep_result
from utils.training.evaluation import measure_locator, measured_jitter, out_of_fold
from utils.training.grader_samples import GraderDataset, Jitter
from utils.training.locator_samples import LocatorDataset
from utils.training.processes import make_accelerator
from utils.training.tasks import grader_task, locator_task
from utils.training.trainer import (
    Limits,
    Report,
    Task,
    TrainingError,
    train,
)

_FOLDS_KEY = "studies and their folds"
SEEDS_APART = 1000  # of the graders of one fold; models of other folds differ by less
Model = TypeVar("Model", Locator, Grader)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _releasing_frames(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """An error that ends the function loses the variables of the frames it has gone through: a
    notebook keeps the last traceback, and with it a model, its optimizer and the graph of a step,
    which on a GPU would leave no room for another try."""

    @wraps(function)
    def released(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return function(*args, **options)
        except BaseException as error:
            cause: BaseException | None = error
            while cause is not None:
                traceback.clear_frames(cause.__traceback__)
                cause = cause.__cause__ or cause.__context__
            raise

    return released


@_releasing_frames
def fit(
    prepared: str | Path,
    run: str | Path,
    preset: str | Preset = "demo",
    time_budget: float | None = None,
    report: Report | None = None,
    backup: str | Path | None = None,
    fold: int | None = None,
    init_from: str | Path | None = None,
) -> bool:
    """Train every fold of the preset (or one) into the run folder; True when all is done, False
    when time was up.

    time_budget  minutes; no epoch is started that would not end within them, going by the one
                 before
    report       called after every epoch with the model's name and its history, for a live curve
    backup       a second folder (on Drive, say) that is given every file, and gives back what the
                 run folder lacks
    init_from    a finished run whose weights are the initial ones (warm start), and whose models'
                 shape replaces the preset's
    Leaves fold*/{locator,grader}/{model.safetensors,history.csv}, fold*/points.csv, oof.csv,
    prior.csv, result.csv and run.json. Raises TrainingError, PreparedDataError, RunError,
    PresetError, or BackboneError where pretrained weights cannot be had.
    """
    prepared, folder, preset = Path(prepared), Folder(run, backup), get_preset(preset)
    folds = _folds(prepared, preset)
    check_spacing(prepared, preset.spacing_mm)
    initial = load_run(init_from) if init_from else None
    if initial:
        preset = replace(shaped_like(preset, initial.preset), init_from=initial.name)
    deadline = _deadline(time_budget)
    accelerator = make_accelerator(preset)
    if accelerator.is_main_process:
        folder.restore("preset.json")
        _bind_to_settings(folder, preset, prepared)
        folder.restore()
    accelerator.wait_for_everyone()
    recipe = _Recipe(prepared, folder, preset, accelerator, Limits(deadline, report), initial)
    numbers = folds if fold is None else [fold]
    return all(recipe.fit_fold(number) for number in numbers) and recipe.finish()


def _deadline(minutes: float | None) -> float:
    """When no epoch may be running any more, on the monotonic clock. Raises TrainingError."""
    if minutes is None:
        return math.inf
    if not minutes >= 0:  # nan neither
        raise TrainingError(f"{minutes} is no number of minutes")
    return time.monotonic() + 60 * minutes


def _folds(prepared: Path, preset: Preset) -> list[int]:
    """The preset's folds that have studies: a sample of three has three. If none has, those that
    there are. Raises PreparedDataError where there is nothing to learn, or the studies are
    assigned to another number of folds."""
    assigned = load_table(prepared, "folds.csv").fold
    for name, what in (("folds.csv", "labels"), ("points.csv", "annotated points")):
        if load_table(prepared, name).empty:
            raise PreparedDataError(
                f"{prepared}: no study here has {what}, so there is nothing to learn"
            )
    there = assigned.unique().tolist()
    if len(there) != min(preset.folds, len(assigned)):
        raise PreparedDataError(
            f"{prepared}: the studies are assigned to {len(there)} folds, and preset {preset.name} "
            f"has {preset.folds}; prepare them again with folds={preset.folds} "
            "(`--folds`; only the folds are made anew)"
        )
    return [fold for fold in preset.train_folds if fold in there] or there


def _bind_to_settings(folder: Folder, preset: Preset, prepared: Path) -> None:
    """A run folder belongs to one preset and one assignment of studies to folds: nothing else must
    be mixed into its checkpoints, and what is held out now must not have been trained on before."""
    path = folder.path / "preset.json"
    settings = preset.as_dict() | {_FOLDS_KEY: digest(prepared / "folds.csv")}
    if not path.is_file():
        folder.write(path.name, json.dumps(settings, indent=1))
        return
    advice = "delete it if this run is of the present settings"
    found = read_json(path, TrainingError, advice)
    if found != settings:
        changed = [name for name, value in settings.items() if found.get(name) != value]
        raise TrainingError(
            f"{folder.path} was started with other settings ({', '.join(changed)}); "
            "choose another run folder or delete it"
        )


def _read_table(path: Path) -> pd.DataFrame:
    """A table that a fold has left. Raises TrainingError."""
    return read_table(path, ["study_id"], TrainingError, "delete it: it is made again")


@dataclass
class _Recipe:
    """A run under way: the same steps for every fold."""

    prepared: Path
    folder: Folder
    preset: Preset
    accelerator: Accelerator
    limits: Limits
    initial: Run | None

    def fit_fold(self, number: int) -> bool:
        """Locator, its measured error, grader, out-of-fold logits of one fold; False if time was
        up."""
        folder = self.folder / f"fold{number}"
        with self._alone(folder):
            if not self._are_there(folder, f"{self.preset.grader_folders[-1]}/{WEIGHTS}"):
                backbone(self.preset)  # weights that cannot be had are told before hours of work
            return self._fit_parts(folder, number)

    def _alone(self, folder: Folder) -> AbstractContextManager:
        """Only one run at a time trains a fold in this folder; its processes work together. A
        finished fold is only read, perhaps from a disk that cannot be written."""
        weights = [f"{name}/{WEIGHTS}" for name in ("locator", *self.preset.grader_folders)]
        finished = self._are_there(folder, *weights, "points.csv", "oof.csv")
        alone = self.accelerator.is_main_process and not finished
        return at_work(folder.path) if alone else nullcontext()

    def _are_there(self, folder: Folder, *parts: str) -> bool:
        return all((folder.path / part).is_file() for part in parts)

    def _fit_parts(self, folder: Folder, number: int) -> bool:
        inside, outside = self._split(number)
        locator = self._fit_locator(number, inside, outside)
        if locator is None:
            return False
        measure = partial(measure_locator, locator, self.prepared, preset=self.preset)
        points = self._table(folder, "points.csv", outside, measure)
        graders = []
        for k in range(self.preset.graders):
            grader = self._fit_grader(number, k, inside, outside, measured_jitter(points))
            if grader is None:
                return False
            graders.append(grader)
        together = Ensemble(graders)
        evaluate = partial(out_of_fold, locator, together, self.prepared, preset=self.preset)
        self._table(folder, "oof.csv", outside, evaluate)
        return True

    def _fit_locator(self, number: int, inside: list[int], outside: list[int]) -> Locator | None:
        preset = self.preset
        locator = self._model(Locator, number, preset.seed)
        data = LocatorDataset(self.prepared, inside, preset)
        held_out = LocatorDataset(self.prepared, outside, preset, augment=False)
        folder = self.folder / f"fold{number}" / "locator"
        task = locator_task(folder, locator, data, held_out, preset)
        return locator if self._train(task, preset) else None

    def _fit_grader(
        self, number: int, k: int, inside: list[int], outside: list[int], jitter: Jitter
    ) -> Grader | None:
        """The k-th grader of a fold: each has a seed of its own."""
        preset = replace(self.preset, seed=self.preset.seed + SEEDS_APART * k)
        grader = self._model(Grader, number, preset.seed)
        data = GraderDataset(self.prepared, inside, preset, jitter)
        if self.initial is None:
            grader.expect(data.prior)
        held_out = GraderDataset(self.prepared, outside, preset, None)
        folder = self.folder / f"fold{number}" / preset.grader_folders[k]
        task = grader_task(folder, grader, data, held_out, preset)
        return grader if self._train(task, preset) else None

    def finish(self) -> bool:
        """Prior, what is fitted, and out-of-fold predictions of the whole run, once all folds are
        there; run.json last, because it says that all is there."""
        if self.accelerator.is_main_process:
            self.folder.restore()  # other machines may have finished their folds
            self._write_results()
        self.accelerator.wait_for_everyone()
        return (self.folder.path / "run.json").is_file()

    def _split(self, number: int) -> tuple[list[int], list[int]]:
        """The studies to train on, and those held out. A single study is both."""
        folds = load_table(self.prepared, "folds.csv")
        outside = folds.study_id[folds.fold == number].tolist()
        if not outside:
            there = ", ".join(map(str, sorted(set(folds.fold))))
            raise PreparedDataError(
                f"{self.prepared}: fold {number} has no studies; there are folds {there}"
            )
        inside = folds.study_id[folds.fold != number].tolist()
        return inside or outside, outside

    def _model(self, kind: type[Model], number: int, seed: int) -> Model:
        """Random weights of the fold's own seed, or those of the initial run."""
        torch.manual_seed(seed + number)
        model = kind(self.preset)
        if self.initial is not None:
            locator, graders = self.initial.folds[number % len(self.initial.folds)]
            source = locator if kind is Locator else graders.first
            model.load_state_dict(source.state_dict())
        return model

    def _train(self, task: Task, preset: Preset) -> bool:
        finished = (task.folder.path / WEIGHTS).is_file()
        if self.accelerator.is_local_main_process and not finished:
            for data in (task.train, task.held_out):
                data.cache_crops(os.cpu_count() or 1)
        self.accelerator.wait_for_everyone()
        return train(task, preset, self.accelerator, self.limits)

    def _table(
        self, folder: Folder, name: str, studies: list[int], make: Callable[..., pd.DataFrame]
    ) -> pd.DataFrame:
        """A table with rows for every study, made once; the studies are split among processes."""
        if not (folder.path / name).is_file():
            with self.accelerator.split_between_processes(studies) as mine:
                table = make(list(mine))
                rows = gather_object(table.to_dict("records"))
            if self.accelerator.is_main_process:
                whole = pd.DataFrame(rows, columns=table.columns)
                folder.write(name, whole.to_csv(index=False))
            self.accelerator.wait_for_everyone()
        return _read_table(folder.path / name)

    def _write_results(self) -> None:
        folds = _folds(self.prepared, self.preset)
        paths = [self.folder.path / f"fold{fold}" / "oof.csv" for fold in folds]
        if not all(path.is_file() for path in paths):
            return
        labels = load_table(self.prepared, "labels.csv")
        logits = pd.concat(map(_read_table, paths), ignore_index=True)
        known = labels[labels.study_id.isin(logits.study_id)]
        temperature = metrics.fit_temperature(known, logits)
        self._write_priors(metrics.prior(labels, smoothing=metrics.SMOOTHING))
        oof = metrics.temperature_scaled(logits, temperature)
        factor = metrics.fit_severe_factor(known, oof)
        oof = metrics.with_severe_factor(oof, factor)
        self.folder.write("oof.csv", oof.to_csv(index=False))
        keep_result(self.folder, self.prepared, self.preset, known, oof)
        fitted = {"temperature": temperature, "severe_factor": factor}
        content = {"preset": self.preset.as_dict(), "folds": folds, **fitted}
        self.folder.write("run.json", json.dumps(content, indent=1))

    def _write_priors(self, training_prior: pd.DataFrame) -> None:
        """The prior predictions are meant for, and, if it is another one, that of the training
        labels."""
        prior = training_prior
        if self.preset.population == "patients":
            prior = metrics.weighted_prior(grade_frequencies())
            self.folder.write("training_prior.csv", training_prior.to_csv())
        self.folder.write("prior.csv", prior.to_csv())
