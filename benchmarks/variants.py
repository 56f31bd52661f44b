"""A recipe with one thing changed: settings, functions in training, functions in inference.

Used by ablation and transfer. A function or constant is named by the module that looks it up:
"utils.training.grader_samples.grade_table".
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from utils.files import write_atomic
from utils.presets import Preset


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe.

    settings   fields of the preset
    phantom    fields of the preset's phantom
    training   functions and constants while models are trained, by their full names
    inference  the same while the run is used
    models     which models are trained anew; the others are those of the recipe (ablation trains
               the grader alone)
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    phantom: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def preset(self, recipe: Preset) -> Preset:
        """The recipe's preset with this variant's settings."""
        phantom = replace(recipe.phantom, **self.phantom)
        return replace(recipe, phantom=phantom, **self.settings)


@contextmanager
def patched(functions: Mapping[str, object]) -> Iterator[None]:
    """While it lasts, these functions and constants (by their full names) are others."""
    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(patch(name, function))
        yield


def write_table(rows: Mapping, index: str | list[str], path: Path) -> None:
    """Write and print figures by row: after every row, so that an interrupted run leaves some."""
    table = pd.DataFrame(rows).T.rename_axis(index).round(3)
    write_atomic(path, table.to_csv())
    print(table.to_string(), flush=True)
