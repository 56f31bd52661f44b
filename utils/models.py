"""The two models. Locator: where is each level? Grader: how bad is it there?

Shapes: B studies, N slices of a series, V = 30 views, S slices per view, T = 25 targets, D features.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.presets import Preset
from utils.views import TARGET_FAMILY, TARGET_LEVEL, VIEW_SERIES, VIEW_TARGET
from utils.vision import torchvision

STRIDE = 2  # pixels of the input per cell of the locator's heat map


class Block(nn.Sequential):
    """Two convolutions. Group norm, because batch norm makes an answer depend on how the batch was dealt to processes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        groups = math.gcd(outputs, 8)
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(groups, outputs), nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(groups, outputs), nn.ReLU(inplace=True),
        )  # fmt: skip


class UNet(nn.Module):
    """Slices -> heat-map logits, one channel per sought point, at half the input's resolution.

    It also sees where each pixel is in the window: levels look alike, and what tells them apart is how far up they are.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        widths = [width, 2 * width, 3 * width, 4 * width, 4 * width]
        self.stem = Block(3, width, STRIDE)
        self.down = nn.ModuleList(Block(a, b, 2) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(Block(a + b, a) for a, b in itertools.pairwise(widths))
        self.head = nn.Conv2d(width, channels, 1)
        self.absent = nn.Parameter(torch.zeros(channels))  # what a peak must exceed, or the point is not in the picture

    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, px, px) in 0..1 -> joint_log_softmax over the N slices."""
        return joint_log_softmax(self(x.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2]), self.absent)

    def forward(self, x: Tensor) -> Tensor:  # (n, 1, H, W) in 0..1 -> (n, channels, H/2, W/2)
        n, _, height, width = x.shape
        rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype).view(1, 1, -1, 1).expand(n, 1, height, width)
        columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).view(1, 1, 1, -1).expand(n, 1, height, width)
        maps = [self.stem(torch.cat([x - 0.3, rows, columns], 1))]
        for down in self.down:
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in reversed(self.up):
            skip = maps.pop()
            x = up(torch.cat([skip, F.interpolate(x, skip.shape[-2:])], 1))
        return self.head(x)


class Locator(nn.Module):
    """Three nets. canal: the five levels on a whole sagittal slice. Then, in a window round one level's canal point,
    foramen: where it is on sagittal slices beside the canal (left and right look alike; the slice's place tells them
    apart); recess: the left and the right one on the axial slices through the level."""

    def __init__(self, preset: Preset):
        super().__init__()
        self.canal = UNet(5, preset.locator_width)
        self.foramen = UNet(1, preset.locator_width)
        self.recess = UNet(2, preset.locator_width)
        self.to(memory_format=torch.channels_last)  # the order in memory that convolutions are fastest in

    def forward(self, canal: Tensor, foramen: Tensor, recess: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Each (B, N, px, px) in 0..1 -> log-probabilities of its cells (B, N, C, h, w) and of "not in the picture" (B, C)."""
        return self.canal.search(canal), self.foramen.search(foramen), self.recess.search(recess)


def joint_log_softmax(logits: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, N, C, h, w) and (C,) -> log-probability of "the point is in this cell of this slice", (B, N, C, h, w), and of
    "it is in none", (B, C): together they sum to 1."""
    moved = logits.float().transpose(1, 2)
    all_of = torch.cat([moved.flatten(2), absent.float().expand(len(moved), -1)[..., None]], -1).log_softmax(-1)
    return all_of[..., :-1].view(moved.shape).transpose(1, 2), all_of[..., -1]


class Grader(nn.Module):
    """Crops -> 25 × 3 logits: a shared CNN on every slice, an LSTM along the slices of a view both ways and attention over
    them (1st place's recipe), then a transformer across all 25 targets, because levels and sides inform each other.

    No dropout of its own (torchvision's backbones bring theirs): whole views are dropped instead, by a draw that does not
    depend on how many processes train.
    """

    def __init__(self, preset: Preset):
        super().__init__()
        d = preset.features
        self.encoder = backbone(preset)
        self.slice_place = nn.Parameter(torch.zeros(preset.slices, d))
        self.along = nn.LSTM(d, d // 2, bidirectional=True, batch_first=True)
        self.attention = nn.Linear(d, 1)
        self.series, self.family, self.level = nn.Embedding(3, d), nn.Embedding(3, d), nn.Embedding(5, d)
        self.unseen = nn.Parameter(torch.zeros(d))
        layer = nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, batch_first=True, norm_first=True)
        self.across = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.heads = nn.ModuleList(nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 3)) for _ in range(3))
        for name, table in (
            ("target", VIEW_TARGET),
            ("kind", VIEW_SERIES),
            ("of_family", TARGET_FAMILY),
            ("of_level", TARGET_LEVEL),
        ):
            self.register_buffer(name, torch.as_tensor(table), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, crops: Tensor, exists: Tensor) -> Tensor:
        """crops (B, V, S, px, px) in 0..1, exists (B, V) bool -> logits (B, T, 3)."""
        batch, views, slices = crops.shape[:3]
        present = crops[exists]  # (n, S, px, px): only views that are there cost anything
        seen = self.encoder(present.flatten(0, 1)[:, None]).unflatten(0, (-1, slices))  # (n, S, D)
        seen = within_study(seen, exists)
        seen = seen + self.slice_place
        with torch.autocast(seen.device.type, enabled=False):  # not every CPU has an LSTM in 16 bits
            seen = seen + self.along(seen)[0]
        pooled = (self.attention(seen).softmax(1) * seen).sum(1)  # (n, D)
        per_view = pooled.new_zeros(batch, views, pooled.shape[-1])
        per_view[exists] = pooled
        per_view = (per_view + self.series(self.kind)) * exists[..., None]
        tokens = per_view.new_zeros(batch, len(self.of_level), per_view.shape[-1]).index_add(1, self.target, per_view)
        seen_at_all = torch.zeros_like(tokens[..., 0]).index_add(1, self.target, exists.to(tokens.dtype)) > 0
        tokens = torch.where(seen_at_all[..., None], tokens, self.unseen.to(tokens.dtype))
        tokens = self.across(tokens + self.family(self.of_family) + self.level(self.of_level))
        return torch.stack([head(tokens) for head in self.heads], 2)[:, torch.arange(tokens.shape[1]), self.of_family]


def within_study(seen: Tensor, exists: Tensor) -> Tensor:
    """Features (n, S, D) of the views that exist, (B, V) bool, less their study's mean and over its spread: a patient is his
    own reference. Crops look so alike that without this what they have in common drowns what they differ in. (Batch norm does
    the same, but with whichever other patients happen to be in the batch.)"""
    study = exists.nonzero()[:, 0]
    count = exists.sum(1).clamp(min=1)[:, None] * seen.shape[1]

    def mean(x: Tensor) -> Tensor:
        return (x.new_zeros(len(exists), x.shape[-1]).index_add(0, study, x.sum(1)) / count)[study][:, None]

    seen = seen.float()
    centred = seen - mean(seen)
    return centred / (mean(centred.square()) + 1e-5).sqrt()


def backbone(preset: Preset) -> nn.Module:
    """A CNN from one grey slice (n, 1, px, px) to features (n, D)."""
    if preset.backbone == "small":
        widths = (16, 32, 64, preset.features)
        stages = [Block(a, b, 2) for a, b in zip((1, *widths), widths)]
        return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = _torchvision_model(preset)
    name, classifier = [m for m in net.named_modules() if isinstance(m[1], nn.Linear)][-1]
    net.set_submodule(name, nn.Linear(classifier.in_features, preset.features))  # in place of ImageNet's thousand classes
    return nn.Sequential(_GreyToColour(), net)


def _torchvision_model(preset: Preset) -> nn.Module:
    """With ImageNet weights if asked and they can be had; the line printed says which."""
    if preset.pretrained:
        try:
            return torchvision.models.get_model(preset.backbone, weights="DEFAULT")
        except OSError as error:  # no network: URLError is an OSError
            print(f"ImageNet weights for {preset.backbone} cannot be downloaded ({error}); starting from random ones")
    return torchvision.models.get_model(preset.backbone, weights=None)


class _GreyToColour(nn.Module):
    """0..1 grey to the three normalised channels ImageNet models expect."""

    def forward(self, x: Tensor) -> Tensor:
        return ((x - 0.45) / 0.225).expand(-1, 3, -1, -1)
