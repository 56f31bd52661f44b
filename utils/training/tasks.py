"""What each of the two models is trained on, and what it minimises."""

from __future__ import annotations

from functools import partial

from utils.files import Folder
from utils.models import Grader, Locator
from utils.presets import Preset
from utils.training.grader_samples import GraderDataset
from utils.training.locator_samples import LocatorDataset
from utils.training.losses import grader_terms, grader_weights, locator_terms, locator_weights
from utils.training.trainer import Task


def locator_task(
    folder: Folder, locator: Locator, data: LocatorDataset, held_out: LocatorDataset, preset: Preset
) -> Task:
    """The locator, on heat maps of the annotated points."""
    return Task(
        folder=folder,
        model=locator,
        train=data,
        held_out=held_out,
        terms=partial(locator_terms, preset=preset),
        weights=locator_weights(data),
        epochs=preset.locator_epochs,
        groups=[{"params": list(locator.parameters()), "lr": preset.locator_rate}],
    )


def grader_task(
    folder: Folder, grader: Grader, data: GraderDataset, held_out: GraderDataset, preset: Preset
) -> Task:
    """The grader, on the competition's score; its CNN may learn more slowly than the rest, because
    ImageNet's weights are no random ones."""
    encoder = list(grader.encoder.parameters())
    slow = set(map(id, encoder))
    rest = [weights for weights in grader.parameters() if id(weights) not in slow]
    return Task(
        folder=folder,
        model=grader,
        train=data,
        held_out=held_out,
        terms=partial(grader_terms, preset=preset),
        weights=grader_weights(data),
        epochs=preset.grader_epochs,
        groups=[
            {"params": encoder, "lr": preset.encoder_rate * preset.grader_rate},
            {"params": rest, "lr": preset.grader_rate},
        ],
    )
