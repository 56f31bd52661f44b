"""Several processes, each with a GPU, that train as one."""

from __future__ import annotations

import logging

from accelerate import Accelerator, PartialState
from accelerate.utils import DataLoaderConfiguration

from utils.models import device, precision
from utils.presets import Preset

log = logging.getLogger(__name__)


def make_accelerator(preset: Preset) -> Accelerator:
    """A batch is of all processes together (global_batch), so that a result does not depend on how
    many there are."""
    processes = PartialState(cpu=device() == "cpu").num_processes
    batch, accumulate = global_batch(preset, processes)
    accelerator = Accelerator(
        cpu=device() == "cpu",
        mixed_precision=precision(),
        gradient_accumulation_steps=accumulate,
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )
    if preset.mixup and batch % 2 and accelerator.is_main_process:
        log.warning(f"mixup needs pairs: the odd study of a batch of {batch} stays unmixed")
    if batch != preset.batch and accelerator.is_main_process:
        log.warning(
            f"{processes} processes share a batch of {batch} studies, not of {preset.batch}, "
            f"with {accumulate} of them in an update, not {preset.accumulate}"
        )
    return accelerator


def global_batch(preset: Preset, processes: int) -> tuple[int, int]:
    """The studies in a step of so many processes together, and the steps in an update: as the
    preset has them, or as many more as give each process a study, and with mixup a pair; then
    fewer steps, so that an update is of about as many studies.

    >>> from utils.presets import get_preset
    >>> [global_batch(get_preset("l4"), processes) for processes in (1, 2, 4)]
    [(2, 2), (2, 2), (4, 1)]
    """
    share = -(-preset.batch // processes)
    if preset.mixup and processes > 1:
        share += share % 2
    batch = preset.batch if processes == 1 else share * processes
    return batch, max(1, round(preset.batch * preset.accumulate / batch))
