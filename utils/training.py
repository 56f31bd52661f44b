"""The recipe: fit the locator, measure it, fit the grader on crops as wrong as the locator is, check both out of fold.

python -m utils.training PREPARED RUN --preset demo
accelerate launch -m utils.training PREPARED RUN --preset l4        (several GPUs)
python -m utils.training PREPARED RUN --preset l4 --fold 2          (each machine its own fold, in one run folder)
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from tqdm.auto import tqdm

from utils import evaluation, metrics
from utils.batches import GraderData, Jitter, LocatorData
from utils.checkpoints import Folder, digest
from utils.geometry import Series
from utils.inference import as_submission, grade, load_run, softmax
from utils.locate import locate
from utils.loop import Limits, Report, Task, start, train
from utils.losses import grader_terms, locator_terms, plain_grader_terms
from utils.models import Grader, Locator
from utils.phantom.grades import shares
from utils.prepare import PreparedStudy, StoreError, load_study
from utils.presets import Preset, get_preset, shaped_like
from utils.rsna import FAMILIES, FAMILY, GRADE_COLUMNS, SERIES_OF, TARGETS, row_id, studies_of
from utils.views import nearest, point_table
from utils.workspace import Workspace

POINT_ERRORS = [
    "study_id",
    "condition",
    "level",
    "dx_mm",
    "dy_mm",
    "dz_mm",
    "error_mm",
    "slices_off",
    "right_level",
    "confidence",
]


def fit(
    prepared: str | Path,
    run: str | Path,
    preset: str | Preset = "demo",
    time_budget: float | None = None,
    report: Report | None = None,
    copies: str | Path | None = None,
    fold: int | None = None,
    begin: str | Path | None = None,
) -> bool:
    """Train every fold of the preset (or one) into the run folder; True when all is done, False when time was up.

    time_budget  minutes; no epoch is begun that would not end within them, going by the one before it
    report       called after every epoch with the model's name and its history, for a live curve
    begin        a finished run whose weights are the first ones, and whose models' shape replaces the preset's
    copies       a second folder (on Drive, say) that is given every file, and gives back what the run folder lacks
    Leaves fold*/{locator,grader}/{model.safetensors,history.csv}, fold*/points.csv, oof.csv, prior.csv and run.json.
    """
    prepared, preset, folder = Path(prepared), get_preset(preset), Folder(run, copies)
    if not (prepared / "folds.csv").is_file():
        raise StoreError(f"{prepared}: no prepared studies here; run 02_preprocess, or `python -m utils.prepare ROOT {prepared}`")
    first = load_run(begin) if begin else None
    if first:
        preset = replace(shaped_like(preset, first.preset), begin=first.name)
    limits = Limits(np.inf if time_budget is None else time.monotonic() + 60 * time_budget, report)
    accelerator = start(preset)
    if accelerator.is_main_process:
        folder.restore("preset.json")
        _claim(folder, preset, prepared)
        folder.restore()
    accelerator.wait_for_everyone()
    folds = _folds(prepared, preset)
    for one in folds if fold is None else (fold,):
        pair = first.folds[one % len(first.folds)] if first else None
        if not _fit_fold(prepared, folder / f"fold{one}", preset, one, accelerator, limits, pair):
            return False
    if accelerator.is_main_process:
        folder.restore()  # other machines may have finished their folds
        _finish(prepared, folder, preset)
    accelerator.wait_for_everyone()
    return (folder.path / "run.json").is_file()


def _folds(prepared: Path, preset: Preset) -> list[int]:
    """The preset's folds that have studies: a sample of three has three. If none has, those that there are. Raises StoreError
    where the studies are dealt to another number of folds."""
    dealt = pd.read_csv(prepared / "folds.csv").fold
    there = dealt.unique().tolist()
    if len(there) != min(preset.folds, len(dealt)):
        raise StoreError(
            f"{prepared}: the studies are dealt to {len(there)} folds, and preset {preset.name} has {preset.folds}; "
            f"prepare them again with folds={preset.folds} (`--folds`; only the folds are made anew)"
        )
    return [fold for fold in preset.train_folds if fold in there] or there


def beginning_with(begin: str | Path, work: Workspace) -> Workspace:
    """The workspace for a run that begins with another's weights: its preset has that one's shape, its folder its own name."""
    first = load_run(begin)
    name = f"{work.run.name}-after-{Path(begin).resolve().name}"
    return replace(work, preset=shaped_like(work.preset, first.preset), run=work.run.with_name(name))


def _claim(folder: Folder, preset: Preset, prepared: Path) -> None:
    """A run folder belongs to one preset and one deal of studies to folds: nothing else must be mixed into its checkpoints, and
    whoever is held out now must not have been learnt from before."""
    path, settings = folder.path / "preset.json", preset.as_dict() | {"studies and their folds": digest(prepared / "folds.csv")}
    if not path.is_file():
        folder.write(path.name, lambda partial: partial.write_text(json.dumps(settings, indent=1)))
    elif (found := json.loads(path.read_text())) != settings:
        changed = [k for k, v in settings.items() if found.get(k) != v]
        raise ValueError(
            f"{folder.path} was begun with other settings ({', '.join(changed)}); choose another run folder or delete it"
        )


def _fit_fold(
    prepared: Path, folder: Folder, preset: Preset, fold: int, accelerator: Accelerator, limits: Limits, first: tuple | None
) -> bool:
    """Locator, its measured error, grader, out-of-fold answers of one fold. first: locator and grader to begin with."""
    folds = pd.read_csv(prepared / "folds.csv")
    outside, inside = (folds.study_id[(folds.fold == fold) == out].tolist() for out in (True, False))
    if not outside:
        raise StoreError(
            f"{prepared}: fold {fold} has no studies; there are folds {', '.join(map(str, sorted(set(folds.fold))))}"
        )
    inside = inside or outside  # of a single study there is nothing else to learn from
    locator = _first_weights(Locator, preset, fold, first and first[0])
    data = LocatorData(prepared, inside, preset), LocatorData(prepared, outside, preset, chance=False)
    task = Task(
        folder / "locator", locator, *data, partial(locator_terms, preset=preset), preset.locator_epochs, preset.locator_rate
    )
    if not _train(task, preset, accelerator, limits):
        return False
    points = _table(folder, "points.csv", accelerator, outside, partial(measure_locator, locator, prepared, preset=preset))
    grader = _first_weights(Grader, preset, fold, first and first[1])
    data = GraderData(prepared, inside, preset, measured_jitter(points)), GraderData(prepared, outside, preset, None)
    task = Task(
        folder / "grader", grader, *data, partial(grader_terms, preset=preset), preset.grader_epochs, preset.grader_rate,
        partial(plain_grader_terms, preset=preset), preset.plain_epochs,
    )  # fmt: skip
    if not _train(task, preset, accelerator, limits):
        return False
    _table(folder, "oof.csv", accelerator, outside, partial(out_of_fold, locator, grader, prepared, preset=preset))
    return True


def _first_weights(kind: type[nn.Module], preset: Preset, fold: int, first: nn.Module | None) -> nn.Module:
    torch.manual_seed(preset.seed + fold)
    model = kind(preset)
    if first is not None:
        model.load_state_dict(first.state_dict())
    return model


def _train(task: Task, preset: Preset, accelerator: Accelerator, limits: Limits) -> bool:
    if accelerator.is_local_main_process and not (task.folder.path / "model.safetensors").is_file():
        for data in (task.train, task.held_out):
            data.cut_all(os.cpu_count() or 1)
    accelerator.wait_for_everyone()
    return train(task, preset, accelerator, limits)


def _table(folder: Folder, name: str, accelerator: Accelerator, studies: list[int], make: Callable) -> pd.DataFrame:
    """A table with rows for every study, made once; each study is one process's work."""
    if not (folder.path / name).is_file():
        with accelerator.split_between_processes(studies) as mine:
            table = make(list(mine))
            rows = gather_object(table.to_dict("records"))
        if accelerator.is_main_process:
            folder.write(name, lambda partial: pd.DataFrame(rows, columns=table.columns).to_csv(partial, index=False))
        accelerator.wait_for_everyone()
    return pd.read_csv(folder.path / name)


def measure_locator(
    locator: Locator, prepared: Path, studies: list[int], preset: Preset, points: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Found against annotated points of studies the locator has not seen: one row per point, error in mm and in slices.

    points  study_id, condition, level, x_mm, y_mm, z_mm: to be compared with instead (a phantom's truth, say)
    """
    rows = []
    for study_id in tqdm(studies, desc="measuring the locator", unit="study"):
        study = load_study(prepared, study_id)
        true = point_table(study.points if points is None else points[points.study_id == study_id])
        rows += point_errors(study, *locate(locator, study, preset), true)
    return pd.DataFrame(rows, columns=POINT_ERRORS)


def point_errors(study: PreparedStudy, found: np.ndarray, sure: np.ndarray, true: np.ndarray) -> list[tuple]:
    """Found against true points (25, 3) mm: a row of POINT_ERRORS for each true one. Not found at all is infinitely far off;
    the level is right if no other level's true point is nearer."""
    rows, condition = [], np.array([name for name, _ in TARGETS])
    for k in np.flatnonzero(np.isfinite(true).all(1)):
        away = np.nan_to_num(np.linalg.norm(true - found[k], axis=1), nan=np.inf)
        right = bool(np.isfinite(away[k]) and away[k] <= away[condition == condition[k]].min())
        off = slices_off(study.of(SERIES_OF[condition[k]]), found[k], true[k])
        rows.append((study.study_id, *TARGETS[k], *(found[k] - true[k]), away[k], off, right, sure[k]))
    return rows


def slices_off(parts: list[Series], found: np.ndarray, true: np.ndarray) -> float:
    """How many slices lie between those nearest to two points; infinitely many if only one of the points is reached."""
    here, there = nearest(parts, found), nearest(parts, true)
    if here is None or there is None or here[0] is not there[0]:
        return np.inf if here or there else 0.0
    return abs(here[1] - there[1])


def measured_jitter(points: pd.DataFrame) -> Jitter:
    """The locator's typical error per family, as the spread to train the grader with (robust: 1.48 × the median), and how
    often it is a slice off; within limits, for a set may be small."""
    points = points[np.isfinite(points.error_mm)]
    by_family = points.groupby(points.condition.map(FAMILY))
    mm = by_family[["dx_mm", "dy_mm", "dz_mm"]].agg(lambda d: d.abs().median()).mean(axis=1) * 1.48
    off = by_family.slices_off.agg(lambda d: (d > 0).mean())
    limits = (mm, 0.5, 2.0, 6.0), (off, 0.05, 0.1, 0.3)
    return Jitter(
        *(tuple(round(float(np.clip(of.get(f, usual), low, high)), 3) for f in FAMILIES) for of, low, usual, high in limits)
    )


def out_of_fold(locator: Locator, grader: Grader, prepared: Path, studies: list[int], preset: Preset) -> pd.DataFrame:
    """Logits for studies neither model has seen, by the same path as inference: study_id, row_id and three logits; those of
    the prior where nothing of the level is to be seen."""
    prior = np.log(metrics.prior(pd.read_csv(prepared / "labels.csv"), smoothing=4).loc[list(TARGETS)].to_numpy())
    rows = []
    for study_id in tqdm(studies, desc="grading held-out studies", unit="study"):
        study = load_study(prepared, study_id)
        logits, seen = grade(grader, study, locate(locator, study, preset)[0], preset)
        logits = np.where(seen[:, None], logits, prior)
        rows += [(study_id, row_id(study_id, *target), *values) for target, values in zip(TARGETS, logits.tolist())]
    return pd.DataFrame(rows, columns=["study_id", "row_id", *GRADE_COLUMNS])


def _finish(prepared: Path, folder: Folder, preset: Preset) -> None:
    """Prior, temperature and out-of-fold answers of the whole run; run.json last, because it says that all is there."""
    folds = _folds(prepared, preset)
    paths = [folder.path / f"fold{fold}" / "oof.csv" for fold in folds]
    if not all(path.is_file() for path in paths):
        return
    labels, oof = pd.read_csv(prepared / "labels.csv"), pd.concat(map(pd.read_csv, paths), ignore_index=True)
    temperature = fit_temperature(labels[labels.study_id.isin(oof.study_id)], oof)
    content = {"preset": preset.as_dict(), "folds": folds, "temperature": temperature}
    learned = metrics.prior(labels, smoothing=4)
    patients = preset.population == "patients"
    folder.write("prior.csv", (metrics.weighted(shares("real")) if patients else learned).to_csv)
    if patients:
        folder.write("learned.csv", learned.to_csv)
    folder.write("oof.csv", lambda path: cooled(oof, temperature).to_csv(path, index=False))
    folder.write("run.json", lambda path: path.write_text(json.dumps(content, indent=1)))


def cooled(logits: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Logits as a submission, after division by the temperature."""
    columns = list(GRADE_COLUMNS)
    return as_submission(logits.assign(**dict(zip(columns, softmax(logits[columns].to_numpy(), temperature).T))))


def fit_temperature(labels: pd.DataFrame, logits: pd.DataFrame) -> float:
    """The divisor of the logits that scores best out of fold, from 1 to 3; 1 if that may be luck (better in fewer than 95 %
    of draws of studies, or fewer than ten studies to draw from), or if there are too few labels for a score.

    Never below 1: a few dozen studies do not hold the rare errors that make bolder answers costly on others.
    """
    if logits.study_id.nunique() < 10:
        return 1.0
    grid = np.round(np.exp(np.linspace(0, np.log(3), 25)), 3)
    answers = [cooled(logits, t) for t in grid]
    best = int(np.argmin([metrics.rsna_score(labels, answer).total for answer in answers]))
    return float(grid[best]) if evaluation.better(labels, answers[best], answers[0]) >= 0.95 else 1.0


def oof_score(prepared: str | Path, run: str | Path) -> metrics.Score:
    """The competition's score of the run's out-of-fold answers."""
    oof = pd.read_csv(Path(run) / "oof.csv")
    labels = pd.read_csv(Path(prepared) / "labels.csv")
    studies = studies_of(oof.row_id).unique()
    return metrics.rsna_score(labels[labels.study_id.isin(studies)], oof)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m utils.training", description="Train a run on a prepared store.")
    parser.add_argument("prepared"), parser.add_argument("run")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--minutes", type=float, help="begin no epoch that would not end within this time")
    parser.add_argument("--fold", type=int, help="train only this fold; the last one to end finishes the run")
    parser.add_argument("--copies", help="a second folder that is given every file")
    parser.add_argument("--begin", help="a finished run to begin with, `released` say")
    a = parser.parse_args()
    done = fit(a.prepared, a.run, a.preset, a.minutes, copies=a.copies, fold=a.fold, begin=a.begin)
    print(f"{a.run}: out-of-fold {oof_score(a.prepared, a.run)}" if done else f"{a.run}: not finished; run it again to go on")
