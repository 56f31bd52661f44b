"""How bad is it? Crops round 25 points to three logits each: CNN, LSTM over slices, transformer
over targets.

Shapes in comments: B studies, V views (30), T targets (25), S slices of a view, D features, and n
views that exist, of all studies together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.crops import TARGET_FAMILY, TARGET_LEVEL, VIEW_SERIES, VIEW_TARGET
from utils.models.backbone import backbone
from utils.presets import Preset
from utils.rsna import FAMILIES, GRADES, LEVELS, SERIES

ATTENTION_HEADS = 4
EPSILON = 1e-5  # keeps a division finite; the value of torch's own normalisation layers


class Grader(nn.Module):
    """Crops -> 25 × 3 logits, in four steps: a CNN that all slices share; a bidirectional LSTM over
    the slices of a view, and attention that pools them (the recipe of the competition's 1st place);
    a transformer over all 25 targets, because levels and sides inform each other; a head per
    family.

    No dropout of its own (torchvision's backbones have theirs): instead, whole views are hidden by
    the data set, at random, but independently of how many processes train.
    """

    view_target: Tensor
    view_series: Tensor
    target_family: Tensor
    target_level: Tensor

    def __init__(self, preset: Preset):
        super().__init__()
        width = preset.features
        self.encoder = backbone(preset)
        self.slice_embedding = nn.Parameter(torch.zeros(preset.slices, width))
        self.lstm = nn.LSTM(width, width // 2, bidirectional=True, batch_first=True)
        self.attention = nn.Linear(width, 1)
        self.series_embedding = nn.Embedding(len(SERIES), width)
        self.family_embedding = nn.Embedding(len(FAMILIES), width)
        self.level_embedding = nn.Embedding(len(LEVELS), width)
        self.missing = nn.Parameter(torch.zeros(width))  # the token of a target without any view
        self.transformer = _transformer(width)
        self.heads = nn.ModuleList(_head(width) for _ in FAMILIES)
        self._register_table("view_target", VIEW_TARGET)  # (V,) index into TARGETS
        self._register_table("view_series", VIEW_SERIES)  # (V,) index into SERIES
        self._register_table("target_family", TARGET_FAMILY)  # (T,) index into FAMILIES
        self._register_table("target_level", TARGET_LEVEL)  # (T,) index into LEVELS
        # In this order in memory convolutions are fastest.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _register_table(self, name: str, table: object) -> None:
        """A constant that moves to the device with the model, but is not saved with its weights."""
        self.register_buffer(name, torch.as_tensor(table), persistent=False)

    def forward(self, crops: Tensor, exists: Tensor) -> Tensor:
        """crops (B, V, S, px, px) in 0..1, exists (B, V) bool -> logits (B, T, 3)."""
        there = exists.flatten().nonzero()[:, 0]  # (n,) which of B V views exist
        slices = self.encode_slices(crops, exists, there)  # (n, S, D)
        views = self.pool_slices(slices)  # (n, D)
        tokens = self.target_tokens(views, exists, there)  # (B, T, D)
        tokens = self.transformer(tokens)  # (B, T, D)
        return self.classify(tokens)  # (B, T, 3)

    def encode_slices(self, crops: Tensor, exists: Tensor, there: Tensor) -> Tensor:
        """(B, V, S, px, px) -> (n, S, D): each slice's features, relative to those of its study."""
        present = crops.flatten(0, 1)[there]  # (n, S, px, px): only these cost anything
        images = present.flatten(0, 1)[:, None]  # (n S, 1, px, px)
        features = self.encoder(images).unflatten(0, (-1, crops.shape[2]))  # (n, S, D)
        return within_study(features, exists, there // exists.shape[1])

    def pool_slices(self, slices: Tensor) -> Tensor:
        """(n, S, D) -> (n, D): the slices of a view in context, weighted by attention."""
        x = slices + self.slice_embedding  # (n, S, D)
        with torch.autocast(x.device.type, enabled=False):  # not every CPU has a 16-bit LSTM
            context, _ = self.lstm(x)  # (n, S, D)
            x = x + context
        weights = self.attention(x).softmax(1)  # (n, S, 1)
        return (weights * x).sum(1)

    def target_tokens(self, views: Tensor, exists: Tensor, there: Tensor) -> Tensor:
        """(n, D) -> (B, T, D): the sum of a target's views, or `missing` where it has none."""
        studies, width = len(exists), views.shape[-1]
        dense = views.new_zeros(exists.numel(), width).index_copy(0, there, views)
        dense = dense.unflatten(0, exists.shape)  # (B, V, D)
        dense = (dense + self.series_embedding(self.view_series)) * exists[..., None]
        empty = dense.new_zeros(studies, len(self.target_level), width)  # (B, T, D)
        tokens = empty.index_add(1, self.view_target, dense)
        views_of = torch.zeros_like(tokens[..., 0])  # (B, T)
        views_of = views_of.index_add(1, self.view_target, exists.to(tokens.dtype))
        has_view = (views_of > 0)[..., None]  # (B, T, 1)
        tokens = torch.where(has_view, tokens, self.missing.to(tokens.dtype))
        families = self.family_embedding(self.target_family)  # (T, D)
        levels = self.level_embedding(self.target_level)  # (T, D)
        return tokens + families + levels

    def classify(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> logits (B, T, 3), each target's from the head of its family."""
        every = torch.stack([head(tokens) for head in self.heads], 2)  # (B, T, families, 3)
        chosen = self.target_family.view(1, -1, 1, 1).expand(len(tokens), -1, 1, len(GRADES))
        return every.gather(2, chosen)[:, :, 0]


def within_study(features: Tensor, exists: Tensor, study: Tensor) -> Tensor:
    """Features (n, S, D) of the views that exist, (B, V) bool, standardised within each study:
    minus its mean, divided by its standard deviation, in each of the D features. study (n,): which
    of the B studies each view is of.

    So patients are their own reference. Crops resemble each other so much that without this what
    they have in common drowns what they differ in. (Batch normalisation does the same, but with
    whichever other patients are in the batch.)
    """
    count = exists.sum(1).clamp(min=1)[:, None] * features.shape[1]  # (B, 1) slices in a study

    def mean(x: Tensor) -> Tensor:
        """(n, S, D) -> (n, 1, D)"""
        sums = x.new_zeros(len(exists), x.shape[-1]).index_add(0, study, x.sum(1))  # (B, D)
        return (sums / count)[study][:, None]

    features = features.float()
    centred = features - mean(features)
    variance = mean(centred.square())  # (n, 1, D)
    return centred / (variance + EPSILON).sqrt()


def _transformer(width: int) -> nn.TransformerEncoder:
    """One layer, normalised first: (B, T, D) -> (B, T, D)."""
    layer = nn.TransformerEncoderLayer(
        width, ATTENTION_HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(GRADES)))
