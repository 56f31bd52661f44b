"""What each of the two models is trained on, and what it minimises."""

from __future__ import annotations

from functools import partial

from utils.files import Folder
from utils.models import Grader, Locator
from utils.presets import Preset
from utils.training.grader_samples import GraderDataset
from utils.training.locator_samples import LocatorDataset
from utils.training.losses import (
    grader_shares,
    grader_terms,
    grader_weights,
    locator_terms,
    locator_weights,
)
from utils.training.trainer import Task


def locator_task(
    folder: Folder, locator: Locator, data: LocatorDataset, held_out: LocatorDataset, preset: Preset
) -> Task:
    """The locator, on heat maps of the annotated points."""
    terms, weights = partial(locator_terms, preset=preset), locator_weights(data)
    groups = [{"params": list(locator.parameters()), "lr": preset.locator_rate}]
    return Task(folder, locator, data, held_out, terms, weights, preset.locator_epochs, groups)


def grader_task(
    folder: Folder, grader: Grader, data: GraderDataset, held_out: GraderDataset, preset: Preset
) -> Task:
    """The grader, on the competition's score; its CNN may learn more slowly than the rest, because
    ImageNet's weights are no random ones."""
    named, rate = list(grader.named_parameters()), preset.grader_rate
    encoder = [weights for name, weights in named if name.startswith("encoder.")]
    rest = [weights for name, weights in named if not name.startswith("encoder.")]
    groups = [{"params": encoder, "lr": preset.encoder_rate * rate}, {"params": rest, "lr": rate}]
    terms, weights = partial(grader_terms, preset=preset), grader_weights(data)
    epochs, shares = preset.grader_epochs, grader_shares(preset)
    return Task(folder, grader, data, held_out, terms, weights, epochs, groups, shares)
