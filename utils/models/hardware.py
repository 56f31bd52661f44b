"""Which device models run on, and with how many bits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import Tensor

from utils.files import reason

log = logging.getLogger(__name__)

CACHED_PIXELS = (
    2**19
)  # what a U-Net makes of so many stays in a CPU's cache; the best of powers of 2


@cache
def device() -> str:
    """'cuda' or 'cpu'. A GPU that is there but has no kernels in this torch (too old, as Kaggle's
    P100 is for newer versions, or a driver that does not fit) is named and not used."""
    if not torch.cuda.is_available():
        return "cpu"
    try:
        probe = torch.ones(8, 8, device="cuda")
        torch.nn.functional.conv2d(probe[None, None], probe[None, None]).sum().item()
    except (RuntimeError, AssertionError) as error:
        log.warning(f"The GPU cannot be used ({reason(error)}); models run on the CPU.")
        return "cpu"
    return "cuda"


@cache
def precision() -> str:
    """'bf16', 'fp16' or 'no': the 16 bits in which this device computes faster than in 32. A T4
    says that it supports bf16, but only emulates it. Where a CPU multiplies in bf16 the grader
    gains half, the locator with its few channels nothing (docs/measured.md)."""
    if device() == "cpu":
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def mixed_precision() -> AbstractContextManager:
    """Inside, matrix products and convolutions take the device's 16 bits, in training (where
    Accelerate opens it) as in inference."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision())
    return torch.autocast(device(), half, enabled=half is not None)


def in_parts(net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """net(images) for images (n, 1, H, W) that do not depend on each other, without gradients.

    On a CPU a few at a time, so that what lies between a U-Net's layers stays in the cache: a study
    is graded in nine tenths of the time and two thirds of the memory. A GPU is given all of them.
    """
    if images.device.type != "cpu":
        return net(images)
    at_once = max(1, CACHED_PIXELS // images.shape[1:].numel())
    return torch.cat([net(part) for part in images.split(at_once)])
