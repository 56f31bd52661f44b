"""A trained run as it is read back from its folder, and the prior-shift correction it applies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from utils.errors import LumbarError
from utils.files import digest
from utils.models import Grader, Locator
from utils.presets import Preset, PresetError
from utils.rsna import GRADE_COLUMNS, TARGETS, target_index

# Of Bayes' prior-shift correction; see Run.prior_shift for how it was chosen.
PRIOR_SHIFT_STRENGTH = 0.7
_MIRRORED = [target_index(*target.mirrored) for target in TARGETS]


class RunError(LumbarError):
    """A run folder that cannot be used; the message says which part is missing and what makes
    it."""


@dataclass(frozen=True)
class Run:
    """A trained run: its preset, one (locator, grader) pair per trained fold, prior and
    temperature.

    name            the folder's name, and the first digits of a fingerprint of all weights
    prior           (25, 3) the weighted prior of the population that predictions are meant for
    training_prior  that of the labels trained on, if they are of another population: phantoms have
                    more severe grades than patients
    """

    folder: Path
    name: str
    preset: Preset
    folds: tuple[tuple[Locator, Grader], ...]
    prior: pd.DataFrame
    temperature: float
    training_prior: pd.DataFrame | None = None

    @property
    def prior_shift(self) -> np.ndarray:
        """(25, 3) to be added to logits: the logarithm of how much more frequent each grade is than
        in training (prior-shift or label-shift correction; Saerens 2002), times its strength.

        The same for both sides, because a grader is trained on every study mirrored, too. In full
        the correction is right for targets graded one by one. A grader that sees all 25 makes a
        part of it by itself, because a patient with one narrowed level has others. A strength of
        0.5 to 0.8 was best for two graders, each on four sets of 60 phantoms with the grade
        frequencies of patients (two versions of the phantom, two kinds of contrast); up to 1 on
        phantoms whose grades were sampled independently, and for runs of few phantoms
        (docs/transfer.csv).
        """
        if self.training_prior is None:
            return np.zeros((len(TARGETS), len(GRADE_COLUMNS)))
        order = list(TARGETS), list(GRADE_COLUMNS)
        log_ratio = np.log(self.prior.loc[order] / self.training_prior.loc[order]).to_numpy()
        return PRIOR_SHIFT_STRENGTH * (log_ratio + log_ratio[_MIRRORED]) / 2

    @property
    def without_prior_shift(self) -> Run:
        """The same run for the population of its training labels."""
        if self.training_prior is None:
            return self
        return replace(self, prior=self.training_prior, training_prior=None)

    @property
    def signature(self) -> str:
        """Everything that a prediction depends on besides the study."""
        population = " for patients" if self.training_prior is not None else ""
        return f"{self.name} T={self.temperature:g}{population}"


def load_run(folder: str | Path) -> Run:
    """Read a run that `training.fit` has finished. Weights are safetensors, the rest JSON and CSV.

    Raises RunError naming the part that is missing, damaged, or of another version.
    """
    folder = Path(folder)
    content, preset = _settings(folder)
    folds = tuple(_models(folder / f"fold{fold}", preset) for fold in content["folds"])
    names = ["prior.csv"]
    if preset.population == "patients":
        names.append("training_prior.csv")
    priors = [pd.read_csv(_part(folder, name)).set_index(["condition", "level"]) for name in names]
    return Run(
        folder=folder,
        name=f"{folder.resolve().name} {_fingerprint(folder, content['folds'], names)}",
        preset=preset,
        folds=folds,
        prior=priors[0],
        temperature=float(content["temperature"]),
        training_prior=priors[1] if len(priors) > 1 else None,
    )


def _settings(folder: Path) -> tuple[dict, Preset]:
    """What run.json holds, and the preset in it."""
    path = _part(folder, "run.json")
    try:
        content = json.loads(path.read_text())
        return content, Preset.from_dict(content["preset"])
    except PresetError as error:
        raise RunError(f"{path}: {error}. Train the run again with 03_train") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} is damaged; delete it and run 03_train again: nothing is trained twice"
        ) from error


def _models(folder: Path, preset: Preset) -> tuple[Locator, Grader]:
    """Locator and grader of one fold, on the GPU if there is one, ready for inference."""
    plain = replace(preset, pretrained=False)  # the weights come from the run
    locator, grader = Locator(preset), Grader(plain)
    _load(locator, folder / "locator" / "model.safetensors")
    _load(grader, folder / "grader" / "model.safetensors")
    return locator, grader


def _load(model: nn.Module, path: Path) -> None:
    fold = path.parent.parent.name
    if not path.is_file():
        raise RunError(f"{path}: the weights are missing; train {fold} again with 03_train")
    try:
        model.load_state_dict(load_file(path))  # of 16 bits or 32; used in 32
    except (SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{path}: these weights do not fit or are damaged ({error}); train {fold} again"
        ) from error
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _fingerprint(folder: Path, folds: list[int], priors: list[str]) -> str:
    """Eight hexadecimal digits that change with any file of the run."""
    weights = [f"fold{k}/{name}/model.safetensors" for k in folds for name in ("locator", "grader")]
    digests = [digest(folder / name) for name in ("run.json", *weights, *priors)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:8]


def _part(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise RunError(
            f"{folder}: no finished run here ({name} is missing). "
            "Run 03_train, or `python -m utils.training`"
        )
    return folder / name
