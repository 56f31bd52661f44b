"""The convolution block that both networks are made of."""

from __future__ import annotations

import math

from torch import nn

KERNEL = 3
MAX_GROUPS = 8  # of group normalisation; fewer where the number of channels asks for it


class ConvBlock(nn.Sequential):
    """Two convolutions, the first with a stride: (n, inputs, H, W) -> (n, outputs, H/stride,
    W/stride).

    Group normalisation (Wu and He 2018), because batch normalisation would make a prediction depend
    on which studies are in the batch, and on how a batch is split between processes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        first, second = _convolution(inputs, outputs, stride), _convolution(outputs, outputs)
        super().__init__(*first, *second)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, KERNEL, stride, KERNEL // 2, bias=False)
    return [convolution, normalisation(outputs), nn.ReLU(inplace=True)]


def normalisation(channels: int) -> nn.Module:
    """Of so many channels."""
    return nn.GroupNorm(math.gcd(channels, MAX_GROUPS), channels)
