"""What the training loop costs: its step beside the same on batches in memory, and beside a loop
of plain PyTorch on the same model, loss and batches."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.learning import make_trainer, seconds_of_steps
from utils.presets import Preset
from utils.training.losses import mean_of
from utils.training.trainer import Trainer

OURS, IN_MEMORY, PLAIN = "with the loader", "batches in memory", "plain PyTorch"
ROUNDS, STEPS = 9, 6


def plain_step(timed: Trainer) -> Callable[[tuple], None]:
    """A step on a copy of the trainer's model as PyTorch's tutorial writes it: no Accelerate, no
    schedule, no average of the weights."""
    task, net = timed.task, copy.deepcopy(timed.net)
    groups = [{"params": group["params"], "lr": group["lr"]} for group in task.groups]
    copied = dict(zip(timed.net.parameters(), net.parameters()))
    for group in groups:
        group["params"] = [copied[weight] for weight in group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=timed.preset.weight_decay)

    def step(batch: tuple) -> None:
        optimizer.zero_grad()
        loss = mean_of(task.terms(net, batch), timed.weights, task.shares)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), timed.preset.clip)
        optimizer.step()

    return step


def step_seconds(preset: Preset, prepared: Path, model: str) -> dict[str, list[float]]:
    """Seconds of a step in every round, by kind of loop, which take turns."""
    timed = make_trainer(preset, prepared, model, STEPS)
    timed.model.train()
    in_memory = list(itertools.islice(timed.loader, STEPS))
    plain = plain_step(timed)
    kinds: dict[str, Callable[[], float]] = {
        OURS: lambda: seconds_of_steps(timed.step, itertools.islice(timed.loader, STEPS)),
        IN_MEMORY: lambda: seconds_of_steps(timed.step, in_memory),
        PLAIN: lambda: seconds_of_steps(plain, in_memory),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for k in range(ROUNDS + 1):
        for kind, measure in kinds.items():
            seconds = measure()
            found[kind] += [seconds] if k else []  # the first round warms up
    return found
