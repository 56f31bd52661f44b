"""The artefacts of intensity augmentation, each a function of a batch of crops and its parameters.

x (n, N, H, W) in 0..1: n crops of N slices. values (n, k): the parameters of each crop, as
`utils.models.intensity.PARAMETERS` lists them. u and v are the position in the crop, from -1 to 1,
to the right and down. The constants are chosen by eye.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KNOTS = 6  # of the mapping from old intensities to new ones
OCCLUSION_EDGE = 8.0  # steepness of the disc's soft edge
LOG_BIAS_LIMITS = (-2.0, 1.0)  # so that no corner becomes black or white
BLUR_TAPS = 3  # px on either side: twice the widest standard deviation


def per_crop(value: Tensor) -> Tensor:
    """(n,) or (n, 1) -> (n, 1, 1, 1), to go with crops (n, N, H, W)."""
    return value.view(-1, 1, 1, 1)


def mapping(x: Tensor, values: Tensor) -> Tensor:
    """New intensities, interpolated between the knots."""
    position = x.flatten(1).clamp(0, 1) * (KNOTS - 1)  # (n, N H W)
    left = position.long().clamp(max=KNOTS - 2)
    low, high = values.gather(1, left), values.gather(1, left + 1)
    return (low + (high - low) * (position - left)).view_as(x)


def bias_field(x: Tensor, values: Tensor) -> Tensor:
    """A gain that varies smoothly across the crop, as a surface coil's does."""
    u, v = _position(x)
    terms = torch.stack([u, v, u * u, u * v, v * v])  # (5, H, W)
    log_gain = torch.einsum("nk,khw->nhw", values, terms).clamp(*LOG_BIAS_LIMITS)
    return x * log_gain.exp()[:, None]


def occlusion(x: Tensor, values: Tensor) -> Tensor:
    """A disc of one intensity with a soft edge."""
    u, v = _position(x)
    at_u, at_v, radius, intensity, opacity = map(per_crop, values.unbind(1))
    distance = ((u - at_u) ** 2 + (v - at_v) ** 2).sqrt() / radius  # (n, 1, H, W), in radii
    mask = opacity * torch.sigmoid(OCCLUSION_EDGE * (1 - distance))
    return x + mask * (intensity - x)


def blur(x: Tensor, values: Tensor) -> Tensor:
    """A Gaussian, along the rows and then along the columns, slice by slice."""
    taps = torch.arange(-BLUR_TAPS, BLUR_TAPS + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(taps**2) / (2 * values**2))  # (n, 7)
    kernel = kernel.repeat_interleave(x.shape[1], 0)  # (n N, 7)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None, None]  # (n N, 1, 1, 7)
    channels = x.flatten(0, 1)[None]  # (1, n N, H, W)
    padded = F.pad(channels, (BLUR_TAPS,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel, groups=len(kernel))
    both = F.conv2d(rows, kernel.transpose(2, 3), groups=len(kernel))
    return both[0].view_as(x)


def ghost(x: Tensor, values: Tensor) -> Tensor:
    """The image again, weaker and shifted along its rows, as a patient who moves leaves it."""
    strength, shift = values[:, :1], values[:, 1:]  # (n, 1)
    height = x.shape[-2]
    rows = torch.arange(height, device=x.device) + (shift * height).long()  # (n, H)
    index = (rows % height)[:, None, :, None].expand_as(x)
    return x + per_crop(strength) * x.gather(2, index)


def noise(x: Tensor, values: Tensor, seeds: list[int]) -> Tensor:
    """White noise. The crops of a study, which are consecutive, share a generator of its seed."""
    studies = zip(x.chunk(len(seeds)), seeds)
    standard = torch.cat([_standard_normal(crops, seed) for crops, seed in studies])
    return x + per_crop(values) * standard


def _standard_normal(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _position(x: Tensor) -> tuple[Tensor, Tensor]:
    """u and v of each pixel, both (H, W), from -1 to 1."""
    height, width = x.shape[-2:]
    u = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
    v = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)
    return u[None].expand(height, width), v[:, None].expand(height, width)


# Those that few crops have, in the order in which they are applied.
ARTEFACTS = {
    "mapping": mapping,
    "bias_field": bias_field,
    "occlusion": occlusion,
    "blur": blur,
    "ghost": ghost,
}
