"""How bad is it? Crops round 25 points to three logits each: a CNN, an LSTM over slices, a head.

Shapes in comments: B studies, V views (30, see utils.views), T targets (25), S slices of a view, D
features, and n views that exist, of all studies together.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from utils.crops import OTHER_TARGET, TARGET_FAMILY, TARGET_LEVEL
from utils.models.backbone import backbone
from utils.models.blocks import FeatureNorm
from utils.presets import Preset
from utils.rsna import FAMILIES, GRADES, LEVELS, TARGETS
from utils.views import views_of

LEAST_CONTRAST = 3 / 255  # added to the standard deviation of a crop: air is not made noise
LEAST_P = 1e-3  # of a grade that no label has


class Grader(nn.Module):
    """Crops -> 25 × 3 logits, in three steps: a CNN that all slices share; a bidirectional LSTM
    over the slices of a view, and attention that pools them (the recipe of the competition's 1st
    place); a head per family. Each target is graded on its own views: with a transformer over all
    25 real foramina were graded worse (docs/measured.md).

    In training, features are dropped at random, and the data set hides whole views.
    """

    view_target: Tensor
    view_kind: Tensor
    target_family: Tensor
    target_level: Tensor

    def __init__(self, preset: Preset):
        super().__init__()
        width, looked_at = preset.features, views_of(preset)
        self.encoder = backbone(preset)
        self.norm = FeatureNorm(width)
        self.slice_embedding = nn.Parameter(torch.zeros(preset.slices, width))
        self.lstm = nn.LSTM(width, width // 2, bidirectional=True, batch_first=True)
        self.attention = nn.Linear(width, 1)
        self.series_embedding = nn.Embedding(looked_at.kinds, width)  # wide views have their own
        self.family_embedding = nn.Embedding(len(FAMILIES), width)
        self.level_embedding = nn.Embedding(len(LEVELS), width)
        self.missing = nn.Parameter(torch.zeros(width))  # in place of views, where there is none
        self.dropout = nn.Dropout(preset.dropout)
        self.heads = nn.ModuleList(_head(width) for _ in FAMILIES)
        self.bias = nn.Parameter(torch.zeros(len(TARGETS), len(GRADES)))  # see `expect`
        self._register_table("view_target", looked_at.target)  # (V,) index into TARGETS
        self._register_table("view_kind", looked_at.kind)  # (V,) kind of series and width
        self._register_table("target_family", TARGET_FAMILY)  # (T,) index into FAMILIES
        self._register_table("target_level", TARGET_LEVEL)  # (T,) index into LEVELS
        # In this order in memory convolutions are fastest.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _register_table(self, name: str, table: object) -> None:
        """A constant that moves to the device with the model, but is not saved with its weights."""
        self.register_buffer(name, torch.as_tensor(table), persistent=False)

    @torch.no_grad()
    def expect(self, prior: np.ndarray) -> None:
        """Begin near these probabilities (T, 3) for every study, so that what is learnt is how a
        study differs from them."""
        of_both_sides = (prior + prior[OTHER_TARGET]) / 2
        self.bias.copy_(torch.as_tensor(np.log(of_both_sides.clip(LEAST_P))))

    def forward(
        self, crops: Tensor, exists: Tensor, attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """crops (B, V, S, px, px) in 0..1, exists (B, V) bool -> logits (B, T, 3).

        attention  also return the scores (B, V, S) whose softmax over the slices of a view is the
                   attention to them; 0 where there is no view
        """
        there = exists.flatten().nonzero()[:, 0]  # (n,) which of B V views exist
        slices = self.encode_slices(crops, there)  # (n, S, D)
        views, scores = self.pool_slices(slices)  # (n, D), (n, S)
        targets = self.sum_views(in_place(views, exists, there), exists)  # (B, T, D)
        logits = self.classify(targets)  # (B, T, 3)
        return (logits, in_place(scores, exists, there)) if attention else logits

    def encode_slices(self, crops: Tensor, there: Tensor) -> Tensor:
        """(B, V, S, px, px) -> (n, S, D): the features of each slice."""
        present = standardised(crops.flatten(0, 1)[there])  # (n, S, px, px): only these cost
        images = present.flatten(0, 1)[:, None]  # (n S, 1, px, px)
        features = self.dropout(self.norm(self.encoder(images)))
        return features.unflatten(0, (-1, crops.shape[2]))

    def pool_slices(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """(n, S, D) -> (n, D): the slices of a view in context, weighted by attention; and its
        scores (n, S), before the softmax."""
        x = slices + self.slice_embedding  # (n, S, D)
        with torch.autocast(x.device.type, enabled=False):  # not every CPU has a 16-bit LSTM
            context, _ = self.lstm(x)  # (n, S, D)
            x = x + context
        scores = self.attention(x)  # (n, S, 1)
        return (scores.softmax(1) * x).sum(1), scores[..., 0]

    def sum_views(self, views: Tensor, exists: Tensor) -> Tensor:
        """(B, V, D) -> (B, T, D): the sum of a target's views, or `missing` where it has none."""
        views = (views + self.series_embedding(self.view_kind)) * exists[..., None]
        empty = views.new_zeros(len(views), len(self.target_level), views.shape[-1])  # (B, T, D)
        targets = empty.index_add(1, self.view_target, views)
        views_of = torch.zeros_like(targets[..., 0])  # (B, T)
        views_of = views_of.index_add(1, self.view_target, exists.to(targets.dtype))
        has_view = (views_of > 0)[..., None]  # (B, T, 1)
        targets = torch.where(has_view, targets, self.missing.to(targets.dtype))
        families = self.family_embedding(self.target_family)  # (T, D)
        levels = self.level_embedding(self.target_level)  # (T, D)
        return targets + families + levels

    def classify(self, targets: Tensor) -> Tensor:
        """(B, T, D) -> logits (B, T, 3), each target's from the head of its family, plus `bias`."""
        every = torch.stack([head(targets) for head in self.heads], 2)  # (B, T, families, 3)
        chosen = self.target_family.view(1, -1, 1, 1).expand(len(targets), -1, 1, len(GRADES))
        return every.gather(2, chosen)[:, :, 0] + self.bias


class Ensemble(nn.ModuleList):
    """Several graders as one, which gives the mean of their logits."""

    @property
    def first(self) -> Grader:
        """What is explained, and trained further, in place of all of them."""
        return cast(Grader, self[0])

    def forward(self, crops: Tensor, exists: Tensor) -> Tensor:
        return torch.stack([grader(crops, exists) for grader in self]).mean(0)


def in_place(found: Tensor, exists: Tensor, there: Tensor) -> Tensor:
    """What was found for each view that exists (n, F), as (B, V, F): 0 for those that do not.

    there  (n,) which of B V views exist
    """
    every = found.new_zeros(exists.numel(), found.shape[-1]).index_copy(0, there, found)
    return every.unflatten(0, exists.shape)


def standardised(crops: Tensor) -> Tensor:
    """Crops (n, S, px, px) in 0..1, each view minus the mean of its middle slice, divided by its
    standard deviation: brightness and contrast differ between scanners, grades do not."""
    middle = crops[:, crops.shape[1] // 2].flatten(1)  # (n, px px)
    mean = middle.mean(1, keepdim=True)  # (n, 1)
    deviation = (middle - mean).square().mean(1, keepdim=True).sqrt()
    return (crops - mean[..., None, None]) / (deviation[..., None, None] + LEAST_CONTRAST)


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(GRADES), bias=False))
