"""Intensity augmentation: how the same patient could look on another scanner.

A vector of parameters is sampled on the CPU (`sample`) and applied to whole batches on the device
(`apply`). There are two kinds: "scanner" varies contrast and noise as scanners do; "randomised"
leaves little of what is bright and what is dark, so that a model trained on synthetic images may
recognise shapes in real ones (domain randomisation, after SynthSeg: Billot 2023).

The ranges below are chosen by eye, after SynthSeg.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from utils.errors import LumbarError
from utils.models.artefacts import ARTEFACTS, KNOTS, noise, per_crop
from utils.presets import INTENSITIES

# Each parameter with the values that change nothing. u and v are the position in the crop, -1 to 1,
# to the right and down.
PARAMETERS: dict[str, tuple[float, ...]] = {
    "gamma": (1.0,),
    "mapping": tuple(np.linspace(0, 1, KNOTS)),  # new intensity at old 0, 0.2 … 1
    "bias_field": (0.0,) * 5,  # log of a smooth gain: coefficients of u, v, u², uv, v²
    "occlusion": (0.0, 0.0, 1.0, 0.0, 0.0),  # of a disc: u, v, radius, intensity, opacity
    "blur": (0.0,),  # standard deviation, px
    "ghost": (0.0, 0.0),  # strength; shift along the rows, as a fraction of the height
    "gain": (1.0,),
    "offset": (0.0,),  # of intensities in 0..1
    "noise": (0.0,),  # standard deviation, of intensities in 0..1
}
# The vector that changes nothing.
IDENTITY = np.concatenate(list(PARAMETERS.values())).astype(np.float32)

# What scanners differ in.
LOG_GAMMA_SD = 0.35
GAIN = (0.8, 1.2)
OFFSET = (-0.05, 0.05)
NOISE = (0.0, 0.05)
# Artefacts of the randomised kind: how often each occurs (never always, so that images without it
# are seen too), and how strong it is.
PROBABILITY = {"mapping": 0.5, "bias_field": 0.5, "occlusion": 0.3, "blur": 0.4, "ghost": 0.2}
MAPPING_WEIGHT = (0.2, 1.0)  # of random knots, against the identity
MONOTONE = 0.5  # probability that bright stays brighter than dark
LOG_BIAS_SD = 0.4
OCCLUSION_RADIUS = (0.1, 0.35)  # as a fraction of half the crop's width
OCCLUSION_OPACITY = (0.3, 1.0)
BLUR_PX = (0.4, 1.5)
GHOST_STRENGTH = (0.0, 0.25)
GHOST_SHIFT = (-0.4, 0.4)


def vector(**parts: object) -> np.ndarray:
    """The parameters as one float32 vector, IDENTITY but for the parts named.

    Raises LumbarError for a name that is not in PARAMETERS.
    """
    unknown = sorted(set(parts) - set(PARAMETERS))
    if unknown:
        raise LumbarError(f"no parameter {unknown[0]!r}; there are {', '.join(PARAMETERS)}")
    values = [parts.get(name, identity) for name, identity in PARAMETERS.items()]
    return np.concatenate([np.atleast_1d(np.asarray(value, np.float32)) for value in values])


def sample(rng: np.random.Generator, kind: str) -> np.ndarray:
    """One vector of random parameters, as long as IDENTITY. kind: "scanner" or "randomised"."""
    if kind not in INTENSITIES:
        raise LumbarError(f"intensity augmentation is {' or '.join(INTENSITIES)}, not {kind!r}")
    parts = {
        "gamma": np.exp(rng.normal(0, LOG_GAMMA_SD)),
        "gain": rng.uniform(*GAIN),
        "offset": rng.uniform(*OFFSET),
        "noise": rng.uniform(*NOISE),
    }
    if kind == "randomised":
        parts |= _sample_artefacts(rng)
    return vector(**parts)


def _sample_artefacts(rng: np.random.Generator) -> dict[str, object]:
    samplers = {
        "mapping": _sample_mapping,
        "bias_field": _sample_bias_field,
        "occlusion": _sample_occlusion,
        "blur": _sample_blur,
        "ghost": _sample_ghost,
    }
    parts = {}
    for name, sampler in samplers.items():
        if rng.random() < PROBABILITY[name]:
            parts[name] = sampler(rng)
    return parts


def _sample_mapping(rng: np.random.Generator) -> np.ndarray:
    knots = rng.uniform(0, 1, KNOTS)
    weight = rng.uniform(*MAPPING_WEIGHT)
    if rng.random() < MONOTONE:
        knots = np.sort(knots)
    return (1 - weight) * np.linspace(0, 1, KNOTS) + weight * knots


def _sample_bias_field(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, LOG_BIAS_SD, len(PARAMETERS["bias_field"]))


def _sample_occlusion(rng: np.random.Generator) -> tuple[float, ...]:
    u, v = rng.uniform(-1, 1, 2)
    radius = rng.uniform(*OCCLUSION_RADIUS)
    intensity = rng.uniform(0, 1)
    opacity = rng.uniform(*OCCLUSION_OPACITY)
    return u, v, radius, intensity, opacity


def _sample_blur(rng: np.random.Generator) -> float:
    return rng.uniform(*BLUR_PX)


def _sample_ghost(rng: np.random.Generator) -> tuple[float, float]:
    strength = rng.uniform(*GHOST_STRENGTH)
    return strength, rng.uniform(*GHOST_SHIFT)


def apply(x: Tensor, vectors: Tensor, seeds: list[int], kind: str) -> Tensor:
    """Crops x (n, N, H, W) in 0..1, each changed by its own vector (n, len(IDENTITY)).

    seeds  of the noise, one per study; x holds equally many crops of each study. The same seed
           gives the same noise, wherever in the batch its study is
    kind   of which the vectors were sampled: "scanner" has no artefacts, and need not be asked
    """
    lengths = [len(identity) for identity in PARAMETERS.values()]
    values = dict(zip(PARAMETERS, vectors.split(lengths, 1)))  # each (n, length)
    gamma, gain, offset = (per_crop(values[name]) for name in ("gamma", "gain", "offset"))
    x = x.clamp(min=0).pow(gamma)
    if kind == "randomised":
        for name, artefact in ARTEFACTS.items():
            x = _where_present(artefact, x, values[name], PARAMETERS[name])
    x = x * gain + offset
    return noise(x, values["noise"], seeds)


def _where_present(
    artefact: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    values: Tensor,
    identity: tuple[float, ...],
) -> Tensor:
    """Apply an artefact to the crops that have it; only those cost anything."""
    present = (values != values.new_tensor(identity)).any(1)  # (n,)
    chosen = present.nonzero()[:, 0]
    if not len(chosen):
        return x
    return x.index_copy(0, chosen, artefact(x[chosen], values[chosen]))
