"""What the networks are made of: a convolution block, and the normalisation of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributed import is_initialized
from torch.distributed.nn.functional import all_reduce

KERNEL = 3
MOMENTUM = 0.1  # of running averages, as in torch's own layers
EPSILON = 1e-5  # keeps a division finite, as there
MAX_GROUPS = 8  # of group normalisation; fewer where the number of channels asks for it


class ConvBlock(nn.Sequential):
    """Two convolutions, the first with a stride: (n, inputs, H, W) -> (n, outputs, H/stride,
    W/stride).

    Group normalisation (Wu and He 2018): of each image alone, so it does not matter which others
    are in the batch, or how a batch is split between processes.
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


class FeatureNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) of features (n, D): minus their mean, divided by
    their standard deviation, of all studies of a batch in training, of training's running average
    in use.

    Crops resemble each other so much that without this what they have in common drowns what they
    differ in. The statistics are those of all processes together, so that it does not matter how a
    batch is dealt to them; torch's SyncBatchNorm does the same on GPUs alone.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """(n, D) -> (n, D) float32; n may be 0."""
        x = features.float()
        mean, variance = self._measured(x) if self.training else (self.mean, self.variance)
        return (x - mean) * (variance + EPSILON).rsqrt() * self.weight + self.bias

    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (D,) of the batch, which move the running averages."""
        count = _of_all_processes(x.new_tensor(len(x))).clamp(min=1)
        mean = _of_all_processes(x.sum(0)) / count
        variance = _of_all_processes((x - mean).square().sum(0)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, MOMENTUM)
            self.variance.lerp_(variance, MOMENTUM)
        return mean, variance


def _of_all_processes(part: Tensor) -> Tensor:
    """The sum over the processes that train together; differentiable."""
    return all_reduce(part) if is_initialized() else part
