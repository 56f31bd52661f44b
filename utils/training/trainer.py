"""One model's training: mixed precision, an average of the weights, a checkpoint every epoch.

Kill it anywhere and call it again: it resumes from the last epoch that was saved, bit for bit on a
CPU with as many threads. No state of a random generator has to be saved: order and augmentation are
functions of (seed, epoch, study), and torch's own generator is seeded anew for every epoch. So the
result does not depend on the number of processes either, as long as each has an even number of
studies in a batch (for mixup), there is no dropout, and the backbone has no batch norm of its own,
as some of torchvision's do. Several machines need a run folder that all of them see.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from utils.errors import LumbarError
from utils.files import Folder, writing
from utils.models import WEIGHTS, WeightsError, device, load_weights
from utils.presets import Preset
from utils.training.checkpoints import Checkpoints, all_finite
from utils.training.losses import mean_of, together
from utils.training.processes import global_batch
from utils.training.samples import StudyDataset

Report = Callable[[str, pd.DataFrame], None]
Terms = Callable[[nn.Module, tuple], Tensor]
Tensors = tuple[Tensor, ...] | list[Tensor]
# Steps in a row whose gradients were not finite, after which training stops. In 16 bits the first
# dozen may be: the scaler starts too high and halves its factor at each.
MOST_SKIPPED = 20
LAST_RATE = 0.02  # at the end, as a fraction of the learning rate
log = logging.getLogger(__name__)


class TrainingError(LumbarError):
    """A run that cannot be started, resumed or continued; the message says what to do."""


@dataclass
class Task:
    """One model to train: where its files are, its data, what it minimises (`losses` says what
    terms are), how long and how fast."""

    folder: Folder
    model: nn.Module
    train: StudyDataset
    held_out: StudyDataset
    terms: Terms
    weights: Tensor  # (K,), see losses.mean_of
    epochs: int
    groups: list[dict]  # of parameters, each with its learning rate: "params" and "lr"
    shares: Tensor | None = None  # (K,) of the terms in what is minimised, if not all alike


@dataclass
class Limits:
    """What a session allows: a deadline (time.monotonic()), and who is called after every epoch."""

    deadline: float = np.inf
    report: Report | None = None


def train(task: Task, preset: Preset, accelerator: Accelerator, limits: Limits) -> bool:
    """To the end, or to the deadline; True when finished. Leaves model.safetensors (the averaged
    weights) and history.csv."""
    finished = task.folder.path / WEIGHTS
    if not finished.is_file():
        try:
            done = _all_epochs(task, preset, accelerator, limits)
        finally:
            # A trainer is in a cycle with its scheduler, and the accelerator lists all that it has
            # prepared: without this, average, optimizer and loader workers would stay.
            accelerator.free_memory()
        if not done:
            return False
    try:
        load_weights(task.model, finished)
    except WeightsError as error:
        raise TrainingError(f"{error}; delete this file, and it is trained again") from error
    task.model.to(accelerator.device).eval()
    return True


def averaged(net: nn.Module, keep: float) -> AveragedModel:
    """A moving average of the network, of which each update keeps so much. The statistics of batch
    normalisation are averaged with the weights they belong to; counters and tables are copied."""
    move = get_ema_multi_avg_fn(keep)

    def update(averages: Tensors, current: Tensors, steps: Tensor | int) -> None:
        if averages[0].is_floating_point():
            move(averages, current, steps)
        else:
            for mean, new in zip(averages, current):
                mean.copy_(new)

    average = AveragedModel(net, multi_avg_fn=update, use_buffers=True)
    for layer in average.modules():
        if isinstance(layer, nn.RNNBase):
            layer.flatten_parameters()  # a copy has them apart, which cuDNN would mend at each call
    return average


def _all_epochs(task: Task, preset: Preset, accelerator: Accelerator, limits: Limits) -> bool:
    trainer = Trainer(task, preset, accelerator, limits)
    done = trainer.run()
    if done:
        trainer.finish()
    return done


class Trainer:
    """A task under way."""

    def __init__(self, task: Task, preset: Preset, accelerator: Accelerator, limits: Limits):
        self.task, self.preset = task, preset
        self.accelerator, self.limits = accelerator, limits
        self.checkpoints = Checkpoints(task.folder)
        self.batch, accumulate = global_batch(preset, accelerator.num_processes)
        loader, held_out = self._loader(task.train, drop_last=True), self._loader(task.held_out)
        self.steps = math.ceil(len(loader) / accumulate)  # updates in an epoch
        optimizer = torch.optim.AdamW(task.groups, weight_decay=preset.weight_decay)
        prepared = accelerator.prepare(task.model, optimizer, loader, held_out)
        self.model, self.optimizer, self.loader, self.held_out = prepared
        self.net = accelerator.unwrap_model(self.model)
        self.weights = task.weights.to(accelerator.device)
        self.shares = None if task.shares is None else task.shares.to(accelerator.device)
        span = max(1.0, preset.ema * self.steps * task.epochs)
        self.average = averaged(self.net, 1 - 1 / span)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.skipped = 0  # steps in a row that were not finite
        self.skipped_in_epoch = 0
        self.history = self._resume()

    def _loader(self, studies: StudyDataset, drop_last: bool = False) -> DataLoader:
        workers, processes = self.preset.workers, self.accelerator.num_processes
        most = len(studies) // processes * processes or processes
        return DataLoader(
            studies,
            min(self.batch, most) if drop_last else self.batch,
            drop_last=drop_last,
            pin_memory=device() == "cuda",
            persistent_workers=workers > 0,
            num_workers=workers,
        )

    def _rate(self, step: int) -> float:
        return warm_up_and_cosine(step, self.steps * self.task.epochs)

    # -- epochs

    def run(self) -> bool:
        """Epoch after epoch; False if the next one would not end before the deadline."""
        main, done = self.accelerator.is_main_process, len(self.history)
        name, folder = self.task.folder.path.name, self.task.folder.path / "tensorboard"
        bar = tqdm(total=self.task.epochs, initial=done, desc=name, unit="epoch", disable=not main)
        with writing(folder):
            writer = SummaryWriter(folder, purge_step=done + 1) if main else None
        for epoch in range(done, self.task.epochs):
            if self._too_late():
                return False
            row = self.epoch(epoch)
            if math.isnan(row["loss"]):
                raise TrainingError(self._not_finite(epoch))
            self.history.append(row)
            if row["skipped"] and not self.accelerator.scaler:  # a scaler's first steps may be
                log.warning(
                    f"{self.task.folder.path}, epoch {epoch + 1}: {row['skipped']} steps skipped, "
                    "because their gradients were not finite"
                )
            if writer is not None:
                self._save(epoch, writer)
                bar.update()
                bar.set_postfix(loss=f"{row['loss']:.3f}", held_out=f"{row['held_out']:.3f}")
                if self.limits.report:
                    self.limits.report(name, pd.DataFrame(self.history))
        return True

    def _too_late(self) -> bool:
        """Would the next epoch end after the deadline? If one process says so, all of them stop."""
        seconds = self.history[-1]["seconds"] if self.history else 0
        late = float(time.monotonic() + seconds > self.limits.deadline)
        flag = torch.tensor(late, device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag) > 0)

    def epoch(self, epoch: int) -> dict:
        """Train on every study once, then measure on the held-out ones: a row of the history."""
        start = time.monotonic()
        torch.manual_seed(self.preset.seed * 1000 + epoch)
        self.task.train.epoch.fill_(epoch)
        rate = self.optimizer.param_groups[-1]["lr"]
        self.skipped_in_epoch = 0
        loss = self._train_epoch()
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "held_out": self._validate(),
            "learning_rate": rate,
            "skipped": self.skipped_in_epoch,
        }
        return row | {"seconds": time.monotonic() - start}

    def _train_epoch(self) -> float:
        """One pass over the studies; the loss of all of them together, each as it was when its
        batch came."""
        self.model.train()
        total = torch.zeros(2, len(self.weights), device=self.accelerator.device)
        counted = torch.zeros((), device=self.accelerator.device)
        for batch in self.loader:
            sums = self.step(batch)
            is_finite = sums.isfinite().all()
            total += torch.where(is_finite, sums, 0)
            counted += is_finite
        loss, weight = self.accelerator.reduce(total)
        if not self.accelerator.reduce(counted):
            return float("nan")  # no step had a finite loss: run() stops
        return float(together(loss / weight.clamp(min=1e-6), self.shares))

    def step(self, batch: tuple) -> Tensor:
        """One batch of this process; returns its sums (2, K)."""
        accelerator = self.accelerator
        with accelerator.accumulate(self.model):
            with accelerator.autocast():
                terms = self.task.terms(self.model, batch)
            accelerator.backward(mean_of(terms, self.weights, self.shares))
            if accelerator.sync_gradients:
                self._update()
        return terms.detach().sum(0)

    def _update(self) -> None:
        """A step of the optimizer, unless the gradients are not finite: one overflow must not cost
        all weights."""
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.preset.clip)
        finite = bool(torch.isfinite(norm))
        if finite or self.accelerator.scaler:  # the scaler skips by itself, and adapts
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        if finite:
            self.skipped = 0
            self.average.update_parameters(self.net)
            return
        self.skipped += 1
        self.skipped_in_epoch += 1
        if self.skipped == MOST_SKIPPED:
            raise TrainingError(self._not_finite(len(self.history)))

    def _not_finite(self, done: int) -> str:
        """What is said when training stops after so many epochs that were saved."""
        kept = f"epoch {done}, from which the next call resumes" if done else "none yet"
        return (
            f"{self.task.folder.path}: {self.skipped} steps in a row gave no finite gradients, or "
            f"a state that is not finite. The last good checkpoint is of {kept}. If this comes "
            "again, choose another folder and a lower learning rate, or a higher precision"
        )

    @torch.no_grad()
    def _validate(self) -> float:
        """The averaged weights on the held-out studies, each counted once however they were split
        among processes."""
        self.average.eval()
        terms = []
        for batch in self.held_out:
            with self.accelerator.autocast():
                found = self.task.terms(self.average.module, batch)
            terms.append(self.accelerator.gather_for_metrics(found))
        return float(mean_of(torch.cat(terms)))

    # -- saving

    @property
    def parts(self) -> dict:
        """Everything with a state, by name."""
        parts = {
            "model": self.net,
            "average": self.average,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
        }
        scaler = self.accelerator.scaler
        return parts | ({"scaler": scaler} if scaler else {})

    def _save(self, epoch: int, writer: SummaryWriter) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        if not all_finite(state):  # the running statistics of a batch norm, say
            raise TrainingError(self._not_finite(epoch))
        state |= {"history": self.history, "preset": self.preset.as_dict()}
        self.checkpoints.save(state, epoch + 1)
        with contextlib.suppress(OSError):  # a full disk has been reported with the checkpoint
            self._write_history()
            for name in ("loss", "held_out", "learning_rate", "seconds"):
                writer.add_scalar(name, self.history[-1][name], epoch + 1)
            writer.flush()

    def _write_history(self) -> None:
        self.task.folder.write("history.csv", pd.DataFrame(self.history).to_csv(index=False))

    def _resume(self) -> list[dict]:
        """The newest checkpoint's state into all parts; its history."""
        state = self.checkpoints.newest()
        if state is None:
            return []
        for name, part in self.parts.items():
            if name in state:  # a run started in 32 bits has no scaler
                part.load_state_dict(state[name])
        return state["history"]

    def finish(self) -> None:
        """The averaged weights into their file; then no checkpoint is needed any more."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state = self.average.module.state_dict()
            weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
            if not all_finite(weights):
                raise TrainingError(self._not_finite(len(self.history)))
            self._write_history()
            self.task.folder.write(WEIGHTS, save(weights))
            self.checkpoints.clear()
        # In inference it runs in 32 bits, trained now or before.
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.accelerator.wait_for_everyone()
        self.accelerator.free_memory()


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Learning-rate factor: linearly up in the first tenth, then half a cosine down to 2 %."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    progress = min(1, (step - warm) / max(1, steps - warm))
    return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * progress)) / 2
