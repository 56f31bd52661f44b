"""How the same patient could have looked: another contrast, a coil elsewhere, a blurred or restless picture.

A look is a vector, drawn on the CPU (draw) and carried out on whole batches on the device (change). Two kinds are drawn:
"scanner" as scanners differ, and "any", with which little is left of what is bright and what is dark, so that a model that
learns from drawings may recognise shapes in photographs (domain randomisation; after SynthSeg, Billot 2023).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

KNOTS = 6  # of the curve from old brightness to new
PARTS = {
    "gamma": (1.0,),
    "curve": tuple(np.linspace(0, 1, KNOTS)),  # new brightness at old 0, 0.2 … 1
    "field": (0.0,) * 5,  # log of a smooth gain: coefficients of u, v, u², uv, v², with u, v from -1 to 1 across the window
    "blob": (0.0, 0.0, 1.0, 0.0, 0.0),  # something else in the picture: place u, v, radius, brightness, how opaque
    "blur": (0.0,),  # px, deviation
    "ghost": (0.0, 0.0),  # share of the picture that is seen again, and how far along the rows, in heights
    "gain": (1.0,),
    "brightness": (0.0,),
    "noise": (0.0,),
}
PLAIN = np.float32(np.concatenate(list(PARTS.values())))  # the look that changes nothing


def look(**parts) -> np.ndarray:
    """The plain look but for these parts, by name."""
    return np.concatenate([np.atleast_1d(np.asarray(parts.get(name, plain), np.float32)) for name, plain in PARTS.items()])


def draw(rng: np.random.Generator, kind: str) -> np.ndarray:
    """One look, a vector as long as PLAIN. kind: "scanner" or "any"."""
    usual = {"gamma": np.exp(rng.normal(0, 0.35)), "gain": rng.uniform(0.8, 1.2)}
    usual |= {"brightness": rng.uniform(-0.05, 0.05), "noise": rng.uniform(0, 0.05)}
    return look(**usual) if kind == "scanner" else look(**usual, **_anything(rng))


def _anything(rng: np.random.Generator) -> dict:
    """Each fault in some of the looks only: what is always spoiled teaches less."""
    parts = {}
    if rng.random() < 0.5:
        values, share = rng.uniform(0, 1, KNOTS), rng.uniform(0.2, 1)
        parts["curve"] = (1 - share) * np.linspace(0, 1, KNOTS) + share * (np.sort(values) if rng.random() < 0.5 else values)
    if rng.random() < 0.5:
        parts["field"] = rng.normal(0, 0.4, 5)
    if rng.random() < 0.3:
        parts["blob"] = (*rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.35), rng.uniform(0, 1), rng.uniform(0.3, 1))
    if rng.random() < 0.4:
        parts["blur"] = rng.uniform(0.4, 1.5)
    if rng.random() < 0.2:
        parts["ghost"] = rng.uniform(0, 0.25), rng.uniform(-0.4, 0.4)
    return parts


def change(x: Tensor, looks: Tensor, seeds: Tensor) -> Tensor:
    """x (n, N, H, W) in 0..1, each window with its own look (n, len(PLAIN)); the same seed (one per study, of which there may be
    several windows) gives the same noise."""
    part = dict(zip(PARTS, looks.split([len(plain) for plain in PARTS.values()], 1)))
    gamma, gain, brightness, noise = (part[name].view(-1, 1, 1, 1) for name in ("gamma", "gain", "brightness", "noise"))
    x = x.clamp(min=0).pow(gamma)
    for name, act in (("curve", _curve), ("field", _field), ("blob", _blob), ("blur", _blur), ("ghost", _ghost)):
        x = _where_asked(act, x, part[name], PARTS[name])
    x = x * gain + brightness
    return x + noise * torch.cat([_noise(p, seed) for p, seed in zip(x.chunk(len(seeds)), seeds.tolist())]) if noise.any() else x


def _where_asked(act, x: Tensor, values: Tensor, plain: tuple[float, ...]) -> Tensor:
    """Only the windows whose look has this part cost anything."""
    asked = (values != values.new_tensor(plain)).any(1).nonzero()[:, 0]
    return x.index_copy(0, asked, act(x[asked], values[asked])) if len(asked) else x


def _curve(x: Tensor, values: Tensor) -> Tensor:
    place = x.flatten(1).clamp(0, 1) * (KNOTS - 1)
    left = place.long().clamp(max=KNOTS - 2)
    low, high = values.gather(1, left), values.gather(1, left + 1)
    return (low + (high - low) * (place - left)).view_as(x)


def _field(x: Tensor, values: Tensor) -> Tensor:
    u, v = _across(x)
    terms = torch.stack([u, v, u * u, u * v, v * v])  # (5, H, W)
    return x * torch.einsum("nk,khw->nhw", values, terms).clamp(-2, 1).exp()[:, None]


def _blob(x: Tensor, values: Tensor) -> Tensor:
    u, v = _across(x)
    at_u, at_v, radius, brightness, opaque = (one.view(-1, 1, 1, 1) for one in values.unbind(1))
    away = ((u - at_u) ** 2 + (v - at_v) ** 2).sqrt() / radius
    mask = opaque * torch.sigmoid(8 * (1 - away))
    return x + mask * (brightness - x)


def _blur(x: Tensor, values: Tensor) -> Tensor:
    taps = torch.arange(-3, 4, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(taps**2) / (2 * values**2)).repeat_interleave(x.shape[1], 0)  # (n N, 7)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None, None]
    flat = F.pad(x.flatten(0, 1)[None], (3, 3, 3, 3), mode="replicate")
    across = F.conv2d(flat, kernel, groups=len(kernel))
    return F.conv2d(across, kernel.transpose(2, 3), groups=len(kernel))[0].view_as(x)


def _ghost(x: Tensor, values: Tensor) -> Tensor:
    height = x.shape[-2]
    rows = (torch.arange(height, device=x.device) + (values[:, 1:] * height).long()) % height  # (n, H)
    return x + values[:, 0].view(-1, 1, 1, 1) * x.gather(2, rows[:, None, :, None].expand_as(x))


def _across(x: Tensor) -> tuple[Tensor, Tensor]:
    """u (1, W) and v (H, 1), from -1 to 1."""
    height, width = x.shape[-2:]
    u, v = (torch.linspace(-1, 1, size, device=x.device, dtype=x.dtype) for size in (width, height))
    return u[None].expand(height, width), v[:, None].expand(height, width)


def _noise(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
