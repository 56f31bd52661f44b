"""Where models run: on the GPU, if there is one that can run this torch, else on the CPU."""

from __future__ import annotations

import logging
from functools import cache

import torch

from utils.files import reason

log = logging.getLogger(__name__)


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
