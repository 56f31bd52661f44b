"""One model's training: mixed precision, an average of the weights, a checkpoint every epoch. Kill it anywhere and call it
again: it goes on from the last epoch that was saved, bit for bit on a CPU with as many threads.

Nothing about chance has to be saved: order and draws are functions of (seed, epoch, study), and torch's own generator is
seeded anew for every epoch. So the result does not depend on the number of processes either, as long as each has an even
number of studies in a batch (for mixup) and the backbone neither draws nor averages over its batch, as some of torchvision's
do. Several machines need a run folder that all of them see.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from utils.batches import Studies
from utils.checkpoints import Checkpoints, Folder
from utils.losses import mean_of
from utils.presets import Preset

Report = Callable[[str, pd.DataFrame], None]
Terms = Callable[[nn.Module, dict[str, Tensor]], Tensor]


def precision() -> str:
    """'bf16', 'fp16' or 'no': what this device does natively. A T4 says it supports bf16 but only emulates it."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def start(preset: Preset) -> Accelerator:
    """preset.batch counts the studies of all processes together, so that a result does not depend on how many there are."""
    dealt = DataLoaderConfiguration(split_batches=True)
    accelerator = Accelerator(mixed_precision=precision(), gradient_accumulation_steps=preset.accumulate, dataloader_config=dealt)
    if preset.mixup and preset.batch // accelerator.num_processes % 2:
        accelerator.print(
            f"mixup needs pairs: of a batch of {preset.batch} a process has {preset.batch // accelerator.num_processes}, "
            "so the odd one stays unmixed"
        )
    return accelerator


@dataclass
class Task:
    """One model to train: where it lives, what it learns from, what it minimises (losses.py says what terms are)."""

    folder: Folder
    model: nn.Module
    train: Studies
    held_out: Studies
    terms: Terms
    epochs: int
    learning_rate: float
    # Two steps: first so many epochs on other terms, then everything but the encoder on the real ones.
    first_terms: Terms | None = None
    first_epochs: int = 0


@dataclass
class Limits:
    """What a session allows: a deadline (time.monotonic()), and who is told of every epoch."""

    deadline: float = np.inf
    report: Report | None = None


def train(task: Task, preset: Preset, accelerator: Accelerator, limits: Limits) -> bool:
    """To the end, or to the deadline; True when finished. Leaves model.safetensors (the averaged weights) and history.csv."""
    finished = task.folder.path / "model.safetensors"
    if not finished.is_file():
        training = Training(task, preset, accelerator, limits)
        if not training.run():
            return False
        training.finish(finished.name)
    task.model.load_state_dict(load_file(finished))
    task.model.to(accelerator.device).eval()
    return True


class Training:
    """A task under way."""

    def __init__(self, task: Task, preset: Preset, accelerator: Accelerator, limits: Limits):
        self.task, self.preset, self.accelerator, self.limits = task, preset, accelerator, limits
        self.checkpoints = Checkpoints(task.folder)
        loaders = self._loader(task.train, drop_last=True), self._loader(task.held_out)
        self.steps = math.ceil(len(loaders[0]) / preset.accumulate)  # in an epoch
        optimizer = torch.optim.AdamW(self._groups(task.model), task.learning_rate, weight_decay=preset.weight_decay)
        self.model, self.optimizer, self.loader, self.held_out = accelerator.prepare(task.model, optimizer, *loaders)
        if preset.compile:
            self.model.compile()
        self.net = accelerator.unwrap_model(self.model)
        span = max(1.0, preset.ema * self.steps * task.epochs)
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / span))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, [self._encoder_rate, self._rate])
        self.history = self._resume()

    def _loader(self, studies: Studies, drop_last: bool = False) -> DataLoader:
        p = self.preset
        whole = {"pin_memory": torch.cuda.is_available(), "persistent_workers": p.workers > 0, "num_workers": p.workers}
        return DataLoader(studies, min(p.batch, len(studies)) if drop_last else p.batch, drop_last=drop_last, **whole)

    def _groups(self, net: nn.Module) -> list[dict]:
        """The encoder's weights, and the others: the second of two steps leaves the encoder as it is."""
        encoder = {id(w) for w in getattr(net, "encoder", nn.Identity()).parameters()}
        return [{"params": [w for w in net.parameters() if (id(w) in encoder) == inside]} for inside in (True, False)]

    def _rate(self, step: int) -> float:
        return warm_up_and_cosine(step, self.steps * self.task.epochs)

    def _encoder_rate(self, step: int) -> float:
        frozen = self.task.first_epochs and step >= self.steps * self.task.first_epochs
        return 0.0 if frozen else self._rate(step)

    # -- Epochs

    def run(self) -> bool:
        """Epoch after epoch; False if the next one would not end before the deadline."""
        task, main = self.task, self.accelerator.is_main_process
        bar = tqdm(total=task.epochs, initial=len(self.history), desc=task.folder.path.name, unit="epoch", disable=not main)
        writer = SummaryWriter(task.folder.path / "tensorboard", purge_step=len(self.history) + 1) if main else None
        for epoch in range(len(self.history), task.epochs):
            if self._too_late():
                return False
            row = self.epoch(epoch)
            self.history.append(row)
            if main:
                self._save(epoch, writer)
                bar.update()
                bar.set_postfix(loss=f"{row['loss']:.3f}", held_out=f"{row['held_out']:.3f}")
                if self.limits.report:
                    self.limits.report(task.folder.path.name, pd.DataFrame(self.history))
        return True

    def _too_late(self) -> bool:
        """Would the next epoch end after the deadline? If one process says so, all of them stop."""
        seconds = self.history[-1]["seconds"] if self.history else 0
        late = torch.tensor(float(time.monotonic() + seconds > self.limits.deadline), device=self.accelerator.device)
        return bool(self.accelerator.reduce(late) > 0)

    def epoch(self, epoch: int) -> dict:
        start = time.monotonic()
        torch.manual_seed(self.preset.seed * 1000 + epoch)
        self.task.train.epoch.fill_(epoch)
        terms = self.task.first_terms if epoch < self.task.first_epochs else self.task.terms
        rate = self.optimizer.param_groups[-1]["lr"]
        loss = self._learn(terms)
        row = {"epoch": epoch + 1, "loss": loss, "held_out": self._check(), "learning_rate": rate}
        return row | {"seconds": time.monotonic() - start}

    def _learn(self, terms_of: Terms) -> float:
        """One pass over the studies; the loss of all of them together, each as it was when its turn came."""
        self.model.train()
        total = 0.0
        for batch in self.loader:
            total = total + self.step(batch, terms_of)
        return float((total[0] / total[1].clamp(min=1e-6)).mean())

    def step(self, batch: dict[str, Tensor], terms_of: Terms) -> Tensor:
        """One batch of this process; returns the sums (2, K) of all processes."""
        with self.accelerator.accumulate(self.model):
            with self.accelerator.autocast():
                terms = terms_of(self.model, batch)
            sums = self.accelerator.reduce(terms.detach().sum(0))
            # Gradients of processes are averaged; their weights are summed: hence the division.
            self.accelerator.backward(mean_of(terms, sums[1] / self.accelerator.num_processes))
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.preset.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self.accelerator.sync_gradients:
            self.scheduler.step()
            self.average.update_parameters(self.net)
        return sums

    @torch.no_grad()
    def _check(self) -> float:
        """The averaged weights on the held-out studies, each counted once however they were dealt to processes."""
        self.average.eval()
        found = []
        for batch in self.held_out:
            with self.accelerator.autocast():
                terms = self.task.terms(self.average.module, batch)
            found.append(self.accelerator.gather_for_metrics(terms))
        return float(mean_of(torch.cat(found)))

    # -- Saving

    @property
    def parts(self) -> dict:
        parts = {"model": self.net, "average": self.average, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts | ({"scaler": self.accelerator.scaler} if self.accelerator.scaler else {})

    def _save(self, epoch: int, writer: SummaryWriter) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        self.checkpoints.save(state | {"history": self.history, "preset": self.preset.as_dict()}, epoch + 1)
        with contextlib.suppress(OSError):  # of a full disk the checkpoint has told
            self._write_history()
            for name in ("loss", "held_out", "learning_rate", "seconds"):
                writer.add_scalar(name, self.history[-1][name], epoch + 1)
            writer.flush()

    def _write_history(self) -> None:
        self.task.folder.write("history.csv", lambda path: pd.DataFrame(self.history).to_csv(path, index=False))

    def _resume(self) -> list[dict]:
        state = self.checkpoints.newest()
        if state is None:
            return []
        for name, part in self.parts.items():
            if name in state:  # a run begun in 32 bits has no scaler
                part.load_state_dict(state[name])
        return state["history"]

    def finish(self, name: str) -> None:
        """The averaged weights into their file; the checkpoints have done their work."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            weights = {k: v.detach().cpu().contiguous() for k, v in self.average.module.state_dict().items()}
            self._write_history()
            self.task.folder.write(name, lambda path: save_file(weights, path))
            self.checkpoints.clear()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # in use it answers in 32 bits, trained now or before
        self.accelerator.wait_for_everyone()
        self.accelerator.free_memory()


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Learning-rate factor: up in the first tenth, then half a cosine down to 2 %."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * (1 + math.cos(math.pi * min(1, (step - warm) / max(1, steps - warm)))) / 2
