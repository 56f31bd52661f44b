"""Weights from safetensors files: no pickle, and never a weight that is not a number."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from utils.errors import LumbarError
from utils.files import reason

WEIGHTS = "model.safetensors"  # the file's name in the folder of a model


class WeightsError(LumbarError):
    """A weights file that is missing, damaged, not finite, or of another model."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Weights of 16 or 32 bits into a model, which keeps its own precision. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"{path}: the weights are missing")
    try:
        weights = load_file(path)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        why = reason(error)
        raise WeightsError(f"{path}: these weights do not fit or are damaged ({why})") from error
    not_finite = [name for name, values in weights.items() if not torch.isfinite(values).all()]
    if not_finite:
        raise WeightsError(
            f"{path}: {len(not_finite)} of {len(weights)} weights are not finite ({not_finite[0]})"
        )
