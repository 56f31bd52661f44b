"""The segmenters, one for each plane: trained on slices of phantoms, whose every pixel is known, by
the same loop as the others. No patient has such masks, so they need no prepared data, and belong to
no fold."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional as F

from utils.files import Folder, write_atomic
from utils.models import Segmenter, intensity
from utils.models.spatial import UNBOUNDED, sample_affine, sample_truncation, truncate, warp
from utils.phantom import VERSION as PHANTOM
from utils.phantom.labelled import VERSION, labelled_slices
from utils.presets import Preset
from utils.structures import SAGITTAL, Plane
from utils.training.processes import make_accelerator
from utils.training.samples import Array, StudyDataset
from utils.training.trainer import Limits, Task, train

SPINES, HELD_OUT = 480, 16
EPOCHS = 34  # with 480 spines and batches of 4: 4,080 steps
SHIFT = 3 / 32  # of a slice's width, up to so much
ZOOM, TURN_DEGREES = 0.2, 12.0  # standard deviations, of the logarithm and of the angle
TRUNCATED = 0.3  # probability that the field of view ends early
# Half of the slices as scanners differ, half randomised. With all of them randomised from the
# beginning discs were not learnt at all in 1,500 steps.
RANDOMISED = 0.5
TERMS = 2  # cross-entropy, and Dice
SETTINGS = Preset(
    "segmenter", intensity="randomised", batch=4, weight_decay=1e-4, clip=5.0, locator_epochs=EPOCHS
)


class SliceSample(NamedTuple):
    """One slice (1, PX, PX) uint8 with its structures, and how it is to be augmented: see
    locator_samples.Search."""

    crops: Array
    structures: Array
    affine: Array
    bounds: Array
    intensity: Array
    seed: Array = None


class SliceDataset(StudyDataset):
    """Spines by their seeds: an epoch shows one slice of each, of one plane."""

    settings = ()

    def __init__(
        self, work: str | Path, seeds: list[int], preset: Preset, plane: Plane, augment: bool = True
    ):
        self.plane, self.name = plane, f"{plane.name}-slices-{PHANTOM}-{VERSION}"
        super().__init__(work, seeds, preset, augment=augment)

    def _cache_study(self, study_id: int) -> None:
        images, structures = labelled_slices(study_id, self.plane)
        found = save({"images": images, "structures": structures})
        write_atomic(self.path(study_id), found)

    def sample(
        self, cached: dict[str, np.ndarray], study_id: int, rng: np.random.Generator
    ) -> SliceSample:
        """One of a spine's slices; of held-out spines always the first, as it is."""
        k = int(rng.integers(len(cached["images"]))) if self.augment else 0
        most, bounds = SHIFT * self.plane.px, np.array(UNBOUNDED, np.float32)
        shift = rng.uniform(-most, most, 2)
        if self.augment and rng.random() < TRUNCATED:
            bounds, shift = sample_truncation(rng, self.plane.trained_px, shift)
        zoom, turn = (ZOOM, TURN_DEGREES) if self.augment else (0.0, 0.0)
        return SliceSample(
            cached["images"][k][None],
            cached["structures"][k],
            sample_affine(rng, shift, False, zoom, turn),
            bounds,
            self.intensity_vector(rng),
        )

    def intensity_vector(self, rng: np.random.Generator) -> np.ndarray:
        """A random intensity augmentation of either kind."""
        if not self.augment:
            return intensity.IDENTITY
        return intensity.sample(rng, "randomised" if rng.random() < RANDOMISED else "scanner")


def fit_segmenter(
    folder: str | Path, work: str | Path, plane: Plane = SAGITTAL, preset: Preset = SETTINGS
) -> bool:
    """Train a segmenter into a folder: model.safetensors, history.csv. Resumes where it was
    interrupted.

    work  where its slices are kept, 100 MB
    """
    seeds = list(range(SPINES + HELD_OUT))
    data = SliceDataset(work, seeds[HELD_OUT:], preset, plane)
    held_out = SliceDataset(work, seeds[:HELD_OUT], preset, plane, augment=False)
    for part in (data, held_out):
        part.cache_crops(os.cpu_count() or 1)
    torch.manual_seed(preset.seed)
    task = segmenter_task(Folder(Path(folder)), Segmenter(plane), data, held_out, preset)
    return train(task, preset, make_accelerator(preset), Limits())


def segmenter_task(
    folder: Folder,
    segmenter: Segmenter,
    data: StudyDataset,
    held_out: StudyDataset,
    preset: Preset,
) -> Task:
    """The segmenter, on cross-entropy and soft Dice."""
    groups = [{"params": list(segmenter.parameters()), "lr": preset.locator_rate}]
    weights, shares, epochs = torch.ones(TERMS), torch.ones(TERMS), preset.locator_epochs
    terms = partial(segmenter_terms, plane=segmenter.plane)
    return Task(folder, segmenter, data, held_out, terms, weights, epochs, groups, shares)


def segmenter_terms(segmenter: nn.Module, batch: tuple, plane: Plane) -> Tensor:
    """(B, 2, TERMS), see losses: cross-entropy, and 1 minus soft Dice (Milletari 2016) in the mean
    over structures, of each slice of a SliceSample."""
    batch = SliceSample(*batch)
    with torch.autocast(batch.crops.device.type, enabled=False):
        x, true = augmented(batch, plane)
    logits = segmenter(x).float()
    entropy = F.cross_entropy(logits, true.argmax(1), reduction="none").mean((1, 2))
    p = logits.softmax(1)
    both, sizes = (p * true).sum((2, 3)), (p + true).sum((2, 3))
    dice = (2 * both[:, 1:] + 1) / (sizes[:, 1:] + 1)
    terms = torch.stack([entropy, 1 - dice.mean(1)], 1)
    return torch.stack([terms, torch.ones_like(terms)], 1)


def augmented(batch: SliceSample, plane: Plane) -> tuple[Tensor, Tensor]:
    """Slices (B, 1, px, px) in 0..1, and which structure each pixel is (B, structures, px, px);
    px: as in training."""
    affine, px, count = batch.affine, plane.trained_px, plane.structures
    x = truncate(warp(batch.crops.float() / 255, affine, px), batch.bounds)
    one_hot = F.one_hot(batch.structures.long(), count).permute(0, 3, 1, 2).float()
    found = warp(one_hot, affine, px).argmax(1, keepdim=True)
    seen = truncate(found.float(), batch.bounds).long()[:, 0]  # outside the image there is nothing
    true = F.one_hot(seen, count).permute(0, 3, 1, 2).float()
    seeds = batch.seed.tolist()
    return intensity.apply(x, batch.intensity, seeds, "randomised"), true
