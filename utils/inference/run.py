"""A trained run as it is read back from its folder, and the prior-shift correction it applies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from utils.crops import OTHER_TARGET
from utils.errors import LumbarError
from utils.files import digest, read_json, reason
from utils.models import (
    WEIGHTS,
    Ensemble,
    Grader,
    Locator,
    Segmenter,
    WeightsError,
    device,
    load_weights,
)
from utils.presets import Preset, PresetError
from utils.rsna import GRADE_COLUMNS, TARGETS
from utils.structures import AXIAL, SAGITTAL, Plane

FITTED = {"temperature": (0.01, 100.0), "severe_factor": (0.1, 10.0)}  # least and greatest
MOST_FOLDS = 1000
# The folders of segmenters in that of a run; only runs that learnt from phantoms have them.
SEGMENTERS = {SAGITTAL: "segmenter", AXIAL: "axial_segmenter"}


_AGAIN = "delete it and run 03_train again: nothing is trained twice"


class RunError(LumbarError):
    """A run folder that cannot be used; the message says which part is missing and what makes
    it."""


@dataclass(frozen=True)
class Run:
    """A trained run: its preset, a locator and its graders per trained fold, prior, and what was
    fitted out of fold: temperature and the factor of Severe (metrics.with_severe_factor).

    name            the folder's name, and the first digits of a fingerprint of all weights
    prior           (25, 3) the weighted prior of the population that predictions are meant for
    training_prior  that of the labels trained on, if they are of another population: phantoms have
                    more severe grades than patients
    segmenter       finds vertebrae, discs and sac on sagittal slices, so that levels can be
                    counted, too, and measured
    axial_segmenter  the same on axial slices, for areas and recesses
    others          runs whose predictions are averaged with this one's: see load_runs
    """

    folder: Path
    name: str
    preset: Preset
    folds: tuple[tuple[Locator, Ensemble], ...]
    prior: pd.DataFrame
    temperature: float
    severe_factor: float = 1.0
    training_prior: pd.DataFrame | None = None
    segmenter: Segmenter | None = None
    axial_segmenter: Segmenter | None = None
    others: tuple[Run, ...] = ()

    @property
    def prior_shift(self) -> np.ndarray:
        """(25, 3) to be added to logits: the logarithm of how much more frequent each grade is than
        in training (prior-shift or label-shift correction; Saerens 2002).

        The same for both sides, because a grader is trained on every study mirrored, too.
        """
        if self.training_prior is None:
            return np.zeros((len(TARGETS), len(GRADE_COLUMNS)))
        order = list(TARGETS), list(GRADE_COLUMNS)
        log_ratio = np.log(self.prior.loc[order] / self.training_prior.loc[order]).to_numpy()
        return (log_ratio + log_ratio[OTHER_TARGET]) / 2

    @property
    def measures(self) -> bool:
        """Whether what can be measured counts beside what the grader sees: where the grader has
        seen no patient."""
        return self.preset.population == "patients"

    @property
    def without_prior_shift(self) -> Run:
        """The same run for the population of its training labels, and so are the others."""
        others = tuple(one.without_prior_shift for one in self.others)
        prior = self.prior if self.training_prior is None else self.training_prior
        return replace(self, prior=prior, training_prior=None, others=others)

    @property
    def signature(self) -> str:
        """Everything that a prediction depends on besides the study."""
        population = " for patients" if self.training_prior is not None else ""
        own = f"{self.name} T={self.temperature:g}{population}"
        return " + ".join([own, *(one.signature for one in self.others)])


def load_run(folder: str | Path) -> Run:
    """Read a run that `training.fit` has finished. Weights are safetensors, the rest JSON and CSV.

    Raises RunError naming the part that is missing, damaged, or of another version.
    """
    folder = Path(folder)
    content, preset = read_settings(folder)
    folds = tuple(_models(folder / f"fold{fold}", preset) for fold in content["folds"])
    names = ["prior.csv"]
    if preset.population == "patients":
        names.append("training_prior.csv")
    priors = [_read_prior(_part(folder, name), above_zero=len(names) > 1) for name in names]
    return Run(
        folder=folder,
        name=f"{folder.resolve().name} {_fingerprint(folder, preset, content['folds'], names)}",
        preset=preset,
        folds=folds,
        prior=priors[0],
        temperature=float(content["temperature"]),
        severe_factor=float(content["severe_factor"]),
        training_prior=priors[1] if len(priors) > 1 else None,
        segmenter=_segmenter(folder, SAGITTAL),
        axial_segmenter=_segmenter(folder, AXIAL),
    )


def load_runs(folders: Iterable[str | Path]) -> Run:
    """Several runs as one, whose predictions are averaged: the first, with the others beside it.
    The first one's points are shown, and it is what is explained.

    Raises RunError as load_run does, for runs that need images prepared at different spacings, and
    for one that is named twice.
    """
    first, *others = [load_run(folder) for folder in folders]
    names = [first.name]
    for one in others:
        if one.preset.spacing_mm != first.preset.spacing_mm:
            raise RunError(
                f"{first.name} grades images of {first.preset.spacing_mm:g} mm per pixel, "
                f"{one.name} of {one.preset.spacing_mm:g}; a study is prepared once, so only runs "
                "of one spacing_mm can be averaged"
            )
        if one.name in names:
            raise RunError(f"{one.name} is named twice; name each run once")
        names.append(one.name)
    return replace(first, others=tuple(others))


def read_settings(folder: Path) -> tuple[dict, Preset]:
    """What run.json holds, and the preset in it. Raises RunError."""
    path = _part(folder, "run.json")
    content = read_json(path, RunError, _AGAIN)
    try:
        preset = Preset.from_dict(content["preset"])
        _check_settings(content)
    except PresetError as error:
        raise RunError(f"{path}: {error}. Train the run again with 03_train") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({reason(error)}); {_AGAIN}") from error
    return content, preset


def _check_settings(content: dict) -> None:
    """Raise ValueError where folds are no numbers (a name could lead out of the run's folder), or
    what was fitted none to divide or multiply by."""
    folds = content["folds"]
    if not folds or not all(type(fold) is int and 0 <= fold < MOST_FOLDS for fold in folds):
        raise ValueError(f"folds are {folds!r}, not the numbers of folds")
    for name, (least, greatest) in FITTED.items():
        value = content[name]
        if type(value) not in (int, float) or not least <= value <= greatest:
            told = name.replace("_", " ")
            raise ValueError(f"the {told} is {value!r}, not from {least} to {greatest}")


def _read_prior(path: Path, above_zero: bool) -> pd.DataFrame:
    """(25, 3) probabilities by condition and level. Raises RunError.

    above_zero  none may be 0, because their ratio is needed
    """
    try:
        table = pd.read_csv(path).set_index(["condition", "level"])
        values = table.loc[list(TARGETS), list(GRADE_COLUMNS)].to_numpy(float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({reason(error)}); run 03_train again") from error
    sums_to_1 = values.shape == (len(TARGETS), 3) and np.allclose(values.sum(1), 1, atol=1e-3)
    if not sums_to_1 or (values < 0).any() or (above_zero and (values == 0).any()):
        raise RunError(
            f"{path}: these are not three probabilities for each of 25 targets; run 03_train again"
        )
    return table


def _models(folder: Path, preset: Preset) -> tuple[Locator, Ensemble]:
    """Locator and graders of one fold, on the GPU if there is one, ready for inference."""
    plain = replace(preset, pretrained=False)  # the weights come from the run
    try:
        locator = Locator(plain)
        graders = {name: Grader(plain) for name in preset.grader_folders}
    except Exception as error:  # torchvision and torch raise all kinds
        raise RunError(f"{folder.parent}: its preset makes no model ({reason(error)})") from error
    for name, model in ({"locator": locator} | graders).items():
        try:
            load_weights(model, folder / name / WEIGHTS)
        except WeightsError as error:
            raise RunError(f"{error}; train {folder.name} again with 03_train") from error
        model.to(device()).eval()
    return locator, Ensemble(graders.values()).eval()


def _segmenter(folder: Path, plane: Plane) -> Segmenter | None:
    """That of a run, if it has one. Raises RunError."""
    path = folder / SEGMENTERS[plane] / WEIGHTS
    if not path.is_file():
        return None
    segmenter = Segmenter(plane)
    try:
        load_weights(segmenter, path)
    except WeightsError as error:
        raise RunError(f"{error}; fetch the run again, or delete {path.parent}") from error
    return segmenter.to(device()).eval()


def _fingerprint(folder: Path, preset: Preset, folds: list[int], priors: list[str]) -> str:
    """Eight hexadecimal digits that change with any file of the run."""
    models = ["locator", *preset.grader_folders]
    weights = [f"fold{k}/{name}/{WEIGHTS}" for k in folds for name in models]
    segmenters = [f"{name}/{WEIGHTS}" for name in SEGMENTERS.values()]
    weights += [name for name in segmenters if (folder / name).is_file()]
    digests = [digest(folder / name) for name in ("run.json", *weights, *priors)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:8]


def _part(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise RunError(
            f"{folder}: no finished run here ({name} is missing). "
            "Run 03_train, or `python -m utils.training`"
        )
    return folder / name
