"""The mixed-precision loop: fit the locator, measure it, fit the grader on crops as wrong as the locator is, check both
out of fold. Kill it anywhere and call it again: it goes on from the last finished epoch.

    python -m utils.training PREPARED RUN --preset demo
    accelerate launch -m utils.training PREPARED RUN --preset l4        (several GPUs)
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from utils import metrics
from utils.batches import GraderData, LocatorData, Studies
from utils.inference import as_submission, grade, locate, softmax
from utils.losses import grader_loss, locator_loss
from utils.models import Grader, Locator
from utils.prepare import StoreError, load_study
from utils.presets import Preset, get_preset
from utils.rsna import GRADE_COLUMNS, TARGETS, row_id
from utils.views import TARGET_FAMILY, Jitter, point_table

Report = Callable[[str, pd.DataFrame], None]


def precision() -> str:
    """'bf16', 'fp16' or 'no': what this device does natively. A T4 says it supports bf16 but only emulates it."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


# --- the loop -------------------------------------------------------------------------------------------------------


@dataclass
class Task:
    """One model to train: where it lives, what it learns from, what it minimises."""

    folder: Path
    model: nn.Module
    train: Studies
    held_out: Studies
    loss: Callable[[nn.Module, dict], Tensor]
    epochs: int


def train(task: Task, preset: Preset, accelerator: Accelerator, deadline: float = np.inf, report: Report | None = None) -> bool:
    """Train to the end or to the deadline; True when finished. Every epoch is saved, and resumed from, in task.folder."""
    if (task.folder / "model.safetensors").is_file():
        task.model.load_state_dict(load_file(task.folder / "model.safetensors"))
        return True
    task.folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(task.model.parameters(), preset.learning_rate, weight_decay=preset.weight_decay)
    loader, held_out = (DataLoader(d, preset.batch, num_workers=preset.workers) for d in (task.train, task.held_out))
    model, optimizer, loader, held_out = accelerator.prepare(task.model, optimizer, loader, held_out)
    steps = task.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, steps))
    parts = {"model": accelerator.unwrap_model(model), "optimizer": optimizer, "scheduler": scheduler}
    if accelerator.scaler is not None:
        parts["scaler"] = accelerator.scaler
    history = resume(task.folder, parts)
    bar = tqdm(total=task.epochs, initial=len(history), desc=task.folder.name, disable=not accelerator.is_main_process)
    for epoch in range(len(history), task.epochs):
        if time.monotonic() > deadline:
            return False
        start = time.monotonic()
        torch.manual_seed(preset.seed * 1000 + epoch)  # so that a resumed epoch drops out alike
        task.train.epoch.fill_(epoch)
        row = {"epoch": epoch + 1, "loss": _one_epoch(model, loader, task.loss, accelerator, optimizer, scheduler)}
        row |= {"held_out": _one_epoch(model, held_out, task.loss, accelerator), "seconds": time.monotonic() - start}
        history.append(row)
        bar.update()
        bar.set_postfix(loss=f"{row['loss']:.3f}", held_out=f"{row['held_out']:.3f}")
        if accelerator.is_main_process:
            save_checkpoint(task.folder, parts, history)
            if report:
                report(task.folder.name, pd.DataFrame(history))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        weights = {name: value.detach().cpu().contiguous() for name, value in parts["model"].state_dict().items()}
        save_file(weights, task.folder / ".model.safetensors")
        (task.folder / ".model.safetensors").replace(task.folder / "model.safetensors")
        (task.folder / "checkpoint.pt").unlink()
    accelerator.free_memory()
    return True


def _one_epoch(model, loader, loss_of, accelerator, optimizer=None, scheduler=None) -> float:
    """Mean loss over a loader; learns if there is an optimizer."""
    model.train(optimizer is not None)
    total, count = 0.0, 0
    for batch in loader:
        with torch.set_grad_enabled(optimizer is not None), accelerator.autocast():
            loss = loss_of(model, batch)
        if optimizer is not None:
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        mean = accelerator.gather(loss.detach()[None]).mean()
        total, count = total + float(mean), count + 1
    return total / max(count, 1)


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Learning-rate factor: up in the first tenth, then half a cosine down to 2 %."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * (1 + math.cos(math.pi * min(1, (step - warm) / max(1, steps - warm)))) / 2


def save_checkpoint(folder: Path, parts: dict, history: list[dict]) -> None:
    """Everything a resumed run needs, under a temporary name until it is whole."""
    torch.save({name: part.state_dict() for name, part in parts.items()} | {"history": history}, folder / ".checkpoint.pt")
    (folder / ".checkpoint.pt").replace(folder / "checkpoint.pt")
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)


def resume(folder: Path, parts: dict) -> list[dict]:
    """Load the checkpoint into the parts, if there is one; returns its history."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return []
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["history"]


# --- the recipe -----------------------------------------------------------------------------------------------------


def fit(
    prepared: str | Path,
    run: str | Path,
    preset: str | Preset = "demo",
    time_budget: float | None = None,
    report: Report | None = None,
) -> bool:
    """Train every fold of the preset into the run folder; True when all is done, False when the time budget ended it.

    time_budget  minutes after which no new epoch starts
    report       called after every epoch with the model's name and its history, for a live curve
    Leaves fold*/{locator,grader}/{model.safetensors,history.csv}, fold*/points.csv, oof.csv, prior.csv and run.json.
    """
    prepared, run, preset = Path(prepared), Path(run), get_preset(preset)
    if not (prepared / "folds.csv").is_file():
        raise StoreError(f"{prepared}: no prepared studies here; run 02_preprocess, or `python -m utils.prepare ROOT {prepared}`")
    deadline = np.inf if time_budget is None else time.monotonic() + 60 * time_budget
    accelerator = Accelerator(mixed_precision=precision())
    _claim(run, preset, accelerator)
    for fold in preset.train_folds:
        limits = {"deadline": deadline, "report": report}
        if not _fit_fold(prepared, run / f"fold{fold}", preset, fold, accelerator, **limits):
            return False
    if accelerator.is_main_process:
        _finish(prepared, run, preset)
    accelerator.wait_for_everyone()
    return True


def _fit_fold(prepared: Path, folder: Path, preset: Preset, fold: int, accelerator: Accelerator, **limits) -> bool:
    """Locator, its measured error, grader, out-of-fold answers of one fold."""
    folds = pd.read_csv(prepared / "folds.csv")
    outside = folds.study_id[folds.fold == fold].tolist()
    inside = folds.study_id[folds.fold != fold].tolist() or outside  # a single study is its own fold
    torch.manual_seed(preset.seed + fold)
    locator = Locator(preset)
    data = [LocatorData(prepared, ids, preset) for ids in (inside, outside)]
    task = Task(folder / "locator", locator, *data, locator_loss, preset.locator_epochs)
    if not train(task, preset, accelerator, **limits):
        return False
    if accelerator.is_main_process and not (folder / "points.csv").is_file():
        measure_locator(locator, prepared, outside, preset).to_csv(folder / "points.csv", index=False)
    accelerator.wait_for_everyone()
    jitter = measured_jitter(pd.read_csv(folder / "points.csv"))
    torch.manual_seed(preset.seed + fold)
    grader = Grader(preset)
    data = [GraderData(prepared, inside, preset, jitter), GraderData(prepared, outside, preset, None)]
    task = Task(folder / "grader", grader, *data, grader_loss, preset.grader_epochs)
    if not train(task, preset, accelerator, **limits):
        return False
    if accelerator.is_main_process and not (folder / "oof.csv").is_file():
        out_of_fold(locator, grader, prepared, outside, preset).to_csv(folder / "oof.csv", index=False)
    return True


def _claim(run: Path, preset: Preset, accelerator: Accelerator) -> None:
    """A run folder belongs to one preset: other settings must not be mixed into its checkpoints."""
    path = run / "preset.json"
    if path.is_file() and (found := json.loads(path.read_text())) != preset.as_dict():
        changed = [k for k, v in preset.as_dict().items() if found.get(k) != v]
        raise ValueError(f"{run} was begun with other settings ({', '.join(changed)}); choose another run folder or delete it")
    if accelerator.is_main_process:
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(preset.as_dict(), indent=1))
    accelerator.wait_for_everyone()


def measure_locator(locator: Locator, prepared: Path, studies: list[int], preset: Preset) -> pd.DataFrame:
    """Found against annotated points of studies the locator has not seen: one row per point, error in mm."""
    locator.eval()
    rows = []
    for study_id in tqdm(studies, desc="measuring the locator", unit="study"):
        study = load_study(prepared, study_id)
        found, sure = locate(locator, study, preset)
        truth = point_table(study.points)
        for k, (condition, level) in enumerate(TARGETS):
            off = found[k] - truth[k]
            rows.append((study_id, condition, level, *off, np.linalg.norm(off), sure[k]))
    columns = ["study_id", "condition", "level", "dx_mm", "dy_mm", "dz_mm", "error_mm", "confidence"]
    return pd.DataFrame(rows, columns=columns).dropna(subset=["error_mm"])


def measured_jitter(points: pd.DataFrame) -> Jitter:
    """The locator's typical error per family, as the spread to train the grader with (robust: 1.48 × the median)."""
    family = points.condition.map(dict(TARGETS_FAMILY))
    per_axis = points[["dx_mm", "dy_mm", "dz_mm"]].abs().groupby(family).median().mean(axis=1) * 1.48
    return Jitter(tuple(float(np.clip(per_axis.get(f, 2.0), 0.5, 6.0)) for f in range(3)), slice_chance=0.1, zoom=0.06)


TARGETS_FAMILY = [(condition, int(family)) for (condition, _), family in zip(TARGETS, TARGET_FAMILY)]


def out_of_fold(locator: Locator, grader: Grader, prepared: Path, studies: list[int], preset: Preset) -> pd.DataFrame:
    """Logits for studies neither model has seen, by the same path as inference: row_id and three logits."""
    locator.eval(), grader.eval()
    rows = []
    for study_id in tqdm(studies, desc="grading held-out studies", unit="study"):
        study = load_study(prepared, study_id)
        logits, _ = grade(grader, study, locate(locator, study, preset)[0], preset)
        rows += [(study_id, row_id(study_id, *target), *values) for target, values in zip(TARGETS, logits)]
    return pd.DataFrame(rows, columns=["study_id", "row_id", *GRADE_COLUMNS])


def _finish(prepared: Path, run: Path, preset: Preset) -> None:
    """Prior, temperature and out-of-fold answers of the whole run; run.json last, because it says that all is there."""
    labels = pd.read_csv(prepared / "labels.csv")
    metrics.prior(labels, smoothing=4).to_csv(run / "prior.csv")
    oof = pd.concat([pd.read_csv(run / f"fold{fold}" / "oof.csv") for fold in preset.train_folds], ignore_index=True)
    temperature = fit_temperature(labels[labels.study_id.isin(oof.study_id)], oof)
    cooled(oof, temperature).to_csv(run / "oof.csv", index=False)
    content = {"preset": preset.as_dict(), "folds": list(preset.train_folds), "temperature": temperature}
    (run / ".run.json").write_text(json.dumps(content, indent=1))
    (run / ".run.json").replace(run / "run.json")


def cooled(logits: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Logits as a submission, after division by the temperature."""
    columns = list(GRADE_COLUMNS)
    return as_submission(logits.assign(**dict(zip(columns, softmax(logits[columns].to_numpy(), temperature).T))))


def fit_temperature(labels: pd.DataFrame, logits: pd.DataFrame) -> float:
    """The divisor of the logits that scores best out of fold, between a half and three."""
    grid = np.round(np.exp(np.linspace(np.log(0.5), np.log(3), 25)), 3)
    return float(min(grid, key=lambda t: metrics.rsna_score(labels, cooled(logits, t)).total))


def oof_score(prepared: str | Path, run: str | Path) -> metrics.Score:
    """The competition's score of the run's out-of-fold answers."""
    oof = pd.read_csv(Path(run) / "oof.csv")
    labels = pd.read_csv(Path(prepared) / "labels.csv")
    studies = oof.row_id.str.split("_").str[0].astype("int64").unique()
    return metrics.rsna_score(labels[labels.study_id.isin(studies)], oof)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m utils.training", description="Train a run on a prepared store.")
    parser.add_argument("prepared"), parser.add_argument("run")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--minutes", type=float, help="start no new epoch after this long")
    a = parser.parse_args()
    done = fit(a.prepared, a.run, a.preset, a.minutes)
    print(f"{a.run}: out-of-fold {oof_score(a.prepared, a.run)}" if done else f"{a.run}: time is up; run it again to go on")
