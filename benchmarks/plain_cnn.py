"""What sixty lines of PyTorch do with the same crops: the peer that our recipe has to beat.

A small residual CNN on each foramen's crop, a transformer layer over the ten foramina of a patient,
the weighted log loss. It has batch normalisation, and starts from the grades' frequencies.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.rsna import GRADE_WEIGHTS

WIDTH, FORAMINA, BATCH, RATE, DECAY, SEED = 128, 10, 8, 2e-3, 0.05, 0
PX = 48


class Foramina(NamedTuple):
    """crops (n, 10, 3, 60, 60) uint8 of n studies, which exist (n, 10), grades (n, 10), -1: none"""

    crops: Tensor
    exist: Tensor
    grades: Tensor

    def of(self, indices) -> Foramina:
        return Foramina(*(part[indices] for part in self))


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.main = nn.Sequential(*first, nn.ReLU(), *second)
        self.skip = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.skip(x))


class PlainCnn(nn.Module):
    def __init__(self, prior: Tensor):
        super().__init__()
        stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        widths = ((16, 24, 1), (24, 48, 2), (48, 96, 2), (96, WIDTH, 2))
        self.encoder = nn.Sequential(
            *stem, *(Residual(*of) for of in widths), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.project = nn.Sequential(nn.Dropout(0.2), nn.Linear(WIDTH, WIDTH))
        self.place = nn.Parameter(torch.randn(FORAMINA, WIDTH) * 0.02)
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, 0.1, batch_first=True, norm_first=True
        )
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3))
        nn.init.zeros_(self.head[1].weight)
        self.prior = nn.Parameter(prior)  # (10, 3) log frequencies

    def forward(self, x: Tensor, exist: Tensor) -> Tensor:
        """(B, 10, 3, px, px) -> logits (B, 10, 3)"""
        features = self.project(self.encoder(x.flatten(0, 1))).view(len(x), FORAMINA, -1)
        hidden = ~exist & exist.any(1, keepdim=True)  # of a study without any, attention is to all
        tokens = self.layer(features + self.place, src_key_padding_mask=hidden)
        return self.head(tokens) + self.prior


def views(crops: Tensor, augment: bool) -> Tensor:
    """uint8 crops with a margin -> (B, 10, 3, PX, PX), each standardised by its middle slice."""
    x = crops.flatten(0, 1).float()
    random = (lambda *size: 2 * torch.rand(*size) - 1) if augment else torch.zeros
    angle, shift = 0.2 * random(len(x)), random(len(x), 2) * 4 / 35
    scale = PX / crops.shape[-1] * (1 + 0.12 * random(len(x)))
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack(rows, 1), [len(x), 3, PX, PX], align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False)
    mean, sd = x[:, 1].mean((1, 2)), x[:, 1].std((1, 2))
    x = (x - mean[:, None, None, None]) / (sd[:, None, None, None] + 3)
    x = x * (1 + 0.2 * random(len(x), 1, 1, 1)) + 0.2 * random(len(x), 1, 1, 1)
    return x.unflatten(0, crops.shape[:2])


def weighted_loss(logits: Tensor, grades: Tensor) -> Tensor:
    weight = torch.tensor(GRADE_WEIGHTS)[grades.clamp(min=0)] * (grades >= 0)
    each = F.cross_entropy(logits.flatten(0, 1), grades.clamp(min=0).flatten(), reduction="none")
    return (each.view(weight.shape) * weight).sum() / weight.sum()


def log_prior(grades: Tensor) -> Tensor:
    """(10, 3): the logarithm of how frequent each grade is at each level, by weight."""
    counts = torch.stack([(grades == k).sum(0) * w for k, w in enumerate(GRADE_WEIGHTS)], 1)
    by_level = counts.view(2, 5, 3).sum(0) + 1
    return (by_level / by_level.sum(1, keepdim=True)).log().repeat(2, 1).float()


def train_plain(data: Foramina, epochs: int) -> PlainCnn:
    """Trained from random weights; returns the averaged weights."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = PlainCnn(log_prior(data.grades))
    average = copy.deepcopy(net)
    per_epoch = len(data.crops) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    steps = epochs * per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.2)
    orders = [rng.permutation(len(data.crops))[: per_epoch * BATCH] for _ in range(epochs)]
    for step, batch in enumerate(np.concatenate(orders).reshape(-1, BATCH), start=1):
        some = data.of(batch)
        loss = weighted_loss(net(views(some.crops, True), some.exist), some.grades)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        _follow(average, net, min(0.99, step / (step + 20)))
    return average.eval()


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    for mean, new in zip(average.state_dict().values(), net.state_dict().values()):
        if mean.is_floating_point():
            mean.lerp_(new, 1 - keep)
        else:
            mean.copy_(new)


@torch.inference_mode()
def predict_plain(net: PlainCnn, data: Foramina) -> np.ndarray:
    """Logits (n, 10, 3)."""
    parts = np.array_split(np.arange(len(data.crops)), max(1, len(data.crops) // 16))
    some = (data.of(part) for part in parts)
    return torch.cat([net(views(of.crops, False), of.exist) for of in some]).numpy()
