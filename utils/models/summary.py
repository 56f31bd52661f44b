"""A network as a table: its parts, what each of them gives, and how many weights it has."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn


@torch.inference_mode()
def summary(model: nn.Module, *inputs: Tensor) -> pd.DataFrame:
    """The direct parts of a model in the order in which they are used first: kind, the shape of
    what each gives, and parameters; then the weights that are in no part, and the sum."""
    shapes: dict[str, str] = {}
    parts = dict(model.named_children())
    names = {part: name for name, part in parts.items()}

    def keep(part: nn.Module, _: tuple, output: Any) -> None:
        shapes.setdefault(names[part], _shape(output))

    hooks = [part.register_forward_hook(keep) for part in parts.values()]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    order = [*shapes, *(name for name in parts if name not in shapes)]
    rows = {
        name: (type(parts[name]).__name__, shapes.get(name, ""), _size(parts[name]))
        for name in order
    }
    table = pd.DataFrame(rows, index=["kind", "gives", "parameters"]).T
    for name, own in model.named_parameters(recurse=False):
        table.loc[name] = "Parameter", _shape(own), own.numel()
    table.loc["all"] = type(model).__name__, "", _size(model)
    return table


def _shape(output: Any) -> str:
    first = output[0] if isinstance(output, tuple) else output
    return " × ".join(map(str, first.shape))


def _size(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())
