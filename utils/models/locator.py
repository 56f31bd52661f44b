"""Where is each level? U-Nets whose heat maps share one softmax over all cells of all slices.

Shapes in comments: B searches, N slices of a search, C points that are sought, h × w cells of a
heat map.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.models.blocks import ConvBlock
from utils.presets import Preset
from utils.rsna import LEVELS, SIDES

STRIDE = 2  # pixels of the input per cell of the locator's heat map
CENTRE = 0.3  # subtracted from intensities, so that they are about zero on average; chosen by eye


class UNet(nn.Module):
    """Slices -> heat-map logits, one channel per sought point, at half the input's resolution
    (U-Net: Ronneberger 2015).

    Its input also says where each pixel is in the crop (CoordConv: Liu 2018): levels look alike,
    and what distinguishes them is how far up they are.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        widths = [width, 2 * width, 3 * width, 4 * width, 4 * width]
        pairs = list(itertools.pairwise(widths))
        self.stem = ConvBlock(3, width, STRIDE)
        self.down = nn.ModuleList(ConvBlock(fine, coarse, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(ConvBlock(fine + coarse, fine) for fine, coarse in pairs)
        self.head = nn.Conv2d(width, channels, 1)
        self.absent = nn.Parameter(torch.zeros(channels))  # logit of "in none of the slices"

    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, px, px) in 0..1 -> joint_log_softmax over the N slices."""
        images = x.flatten(0, 1)[:, None]  # (B N, 1, px, px)
        logits = self(images).unflatten(0, x.shape[:2])  # (B, N, C, h, w)
        return joint_log_softmax(logits, self.absent)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in 0..1 -> logits (n, C, H/2, W/2)."""
        x = torch.cat([x - CENTRE, _coordinates(x)], 1)  # (n, 3, H, W)
        maps = [self.stem(x)]  # (n, width, H/2, W/2)
        for down in self.down:
            maps.append(down(maps[-1]))  # each of half the size of the one before
        x = maps.pop()
        for up in reversed(self.up):
            skip = maps.pop()
            larger = F.interpolate(x, skip.shape[-2:])  # of the size of skip
            x = up(torch.cat([skip, larger], 1))
        return self.head(x)


class Locator(nn.Module):
    """Three U-Nets.

    canal    the five levels, on whole sagittal slices
    foramen  one foramen, on the sagittal slices to one side of a level's canal point (left and
             right look alike; the position of the slices distinguishes them)
    recess   the left and the right recess, on the axial slices through the level
    """

    def __init__(self, preset: Preset):
        super().__init__()
        self.canal = UNet(len(LEVELS), preset.locator_width)
        self.foramen = UNet(1, preset.locator_width)
        self.recess = UNet(len(SIDES), preset.locator_width)
        # In this order in memory convolutions are fastest.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, canal: Tensor, foramen: Tensor, recess: Tensor
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """Each (B, N, px, px) in 0..1 -> log-probabilities of its cells (B, N, C, h, w) and of "in
        none of the slices" (B, C)."""
        return self.canal.search(canal), self.foramen.search(foramen), self.recess.search(recess)


def joint_log_softmax(logits: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, N, C, h, w) and (C,) -> log-probability of "the point is in this cell of this
    slice", (B, N, C, h, w), and of "it is in none", (B, C): together they sum to 1."""
    by_point = logits.float().transpose(1, 2)  # (B, C, N, h, w)
    cells = by_point.flatten(2)  # (B, C, N h w)
    none = absent.float().expand(len(cells), -1)[..., None]  # (B, C, 1)
    log_p = torch.cat([cells, none], -1).log_softmax(-1)  # (B, C, N h w + 1)
    in_cells = log_p[..., :-1].view(by_point.shape).transpose(1, 2)  # (B, N, C, h, w)
    return in_cells, log_p[..., -1]


def _coordinates(x: Tensor) -> Tensor:
    """(n, 1, H, W) -> (n, 2, H, W): the row and the column of each pixel, from -1 to 1."""
    n, _, height, width = x.shape
    rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype).view(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).view(1, 1, 1, -1)
    each = [grid.expand(n, 1, height, width) for grid in (rows, columns)]
    return torch.cat(each, 1)
