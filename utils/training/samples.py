"""Datasets of studies: crops are cut once and cached, augmentation is sampled anew for every epoch.

Crops are cut somewhat too large and kept as one file per study, so that a training step never waits
for them; or they are cut anew each time, where loader workers have the time and the disk has not
the room. What is sampled at random (an affine, an intensity vector, …) goes with the crops and is
applied on the device, by `losses`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import delayed
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from utils.files import make_folder, write_atomic
from utils.models import intensity
from utils.parallel import in_processes
from utils.prepare import PreparedDataError, PreparedStudy, load_study
from utils.presets import Preset

Array = Any  # a numpy array in a sample that is being made, a tensor in a batch
VERSION = 3  # raise when the same prepared data give other crops, or the same crops another file
FULL = 0.95  # of the free disk; crops that need more are not started


class StudyDataset(Dataset):
    """Studies of a prepared data set, cut into crops.

    Randomness comes from (seed, epoch, study) alone: a resumed run sees the same samples.

    augment  False: nothing is random, every crop is as in inference (for held-out studies)
    """

    name: str
    settings: tuple[str, ...]  # of the preset, those that change the crops

    def __init__(
        self, prepared: str | Path, studies: list[int], preset: Preset, augment: bool = True
    ):
        self.prepared, self.preset = Path(prepared), preset
        self.studies, self.augment = list(studies), augment
        # in shared memory, for loader workers that stay alive between epochs
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        words = [_word(getattr(preset, setting)) for setting in self.settings]
        self.folder = self.prepared / "crops" / "-".join([self.name, str(VERSION), *words])

    @property
    def keeps_crops(self) -> bool:
        """Whether crops are cut once, and kept on the disk."""
        return True

    def __len__(self) -> int:
        return len(self.studies)

    def make_crops(self, study: PreparedStudy) -> dict[str, np.ndarray]:
        """Everything that any epoch may need of a study."""
        raise NotImplementedError

    def sample(self, cached: dict[str, np.ndarray], study_id: int, rng: np.random.Generator) -> Any:
        """What one epoch shows of a study: a NamedTuple of arrays, its seed still None."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple:
        seed = [self.preset.seed, int(self.epoch)]
        if self.augment:  # every epoch has its own order
            index = int(np.random.default_rng(seed).permutation(len(self))[index])
        study_id = self.studies[index]
        rng = np.random.default_rng([*seed, study_id])
        sample = self.sample(self._cached(study_id), study_id, rng)
        return as_tensors(sample._replace(seed=rng.integers(2**31)))

    def path(self, study_id: int) -> Path:
        """The file of a study's crops."""
        return self.folder / f"{study_id}.safetensors"

    def cache_crops(self, jobs: int = 1) -> None:
        """Cut the studies that have not been cut, if crops are kept; resumes where it was
        interrupted.

        Raises PreparedDataError where the crops would not fit on the disk, OutputError where it
        cannot be written.
        """
        if not self.keeps_crops:
            return
        make_folder(self.folder)
        studies = list(dict.fromkeys(self.studies))
        todo = [study for study in studies if not self.path(study).is_file()]
        if todo:
            self._cache_study(todo[0])
            self._check_disk(todo)
        rest = todo[1:]
        work = (delayed(self._cache_study)(study) for study in rest)
        title = f"cutting crops for the {self.name}"
        for _ in in_processes(work, jobs, len(studies), title, len(studies) - len(rest)):
            pass

    def intensity_vector(self, rng: np.random.Generator) -> np.ndarray:
        """A random intensity augmentation; the one that changes nothing for held-out studies."""
        return intensity.sample(rng, self.preset.intensity) if self.augment else intensity.IDENTITY

    def _check_disk(self, todo: list[int]) -> None:
        """All studies' crops are about as large as the first one's, which are there."""
        need = self.path(todo[0]).stat().st_size * (len(todo) - 1)
        free = shutil.disk_usage(self.folder).free
        if need > FULL * free:
            raise PreparedDataError(
                f"{self.folder}: the crops of {len(todo)} studies need {need / 1e9:.1f} GB and "
                f"{free / 1e9:.1f} are free; free some space, or use a preset with smaller crops"
            )

    def _cached(self, study_id: int) -> dict[str, np.ndarray]:
        """A study's crops; cut again if their file is damaged."""
        if not self.keeps_crops:
            return self.make_crops(load_study(self.prepared, study_id))
        try:
            return load_file(self.path(study_id))
        except (SafetensorError, FileNotFoundError):
            self._cache_study(study_id)
            return load_file(self.path(study_id))

    def _cache_study(self, study_id: int) -> None:
        crops = self.make_crops(load_study(self.prepared, study_id))
        write_atomic(self.path(study_id), save(crops))


def _word(setting: Any) -> str:
    """A setting in the name of a folder."""
    return "+".join(setting) if isinstance(setting, tuple) else str(setting)


def as_tensors(sample: Any) -> Any:
    """The arrays in a (nested) NamedTuple as tensors."""
    if isinstance(sample, tuple):
        return type(sample)(*map(as_tensors, sample))
    return torch.as_tensor(sample)


def to_device(batch: Any, device: str | torch.device) -> Any:
    """A batch (nested NamedTuples of tensors) on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    return type(batch)(*(to_device(part, device) for part in batch))
