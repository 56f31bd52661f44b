"""How big, how long, on which machine: every setting of a run in one frozen record."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from utils.errors import LumbarError
from utils.phantom import SIZES, PhantomError, PhantomSpec

INTENSITIES = ("scanner", "randomised")  # kinds of intensity augmentation
POPULATIONS = ("labels", "patients")
VIEW_SETS = ("marked", "crossed", "wide")  # what a grader may look at, see utils.views
SPACING_MM = 0.75  # mm per pixel at which images are prepared, unless a preset says otherwise
_LEAST = {"int": 1, "float": 1e-9}  # of a number, unless its name is in _RANGES
_FRACTIONS = ("truncation", "label_noise", "view_dropout", "cutmix", "dropout")
_MAY_BE_0 = (
    *("locator_epochs", "grader_epochs", "slice_shift", "workers", "seed"),
    *("mixup", "weight_decay", "ema", "attention_loss"),
    *("locator_rate", "grader_rate", "encoder_rate"),  # at 0 weights stay as they are
)
_TUPLES = ("train_folds", "views")  # lists in JSON
_RANGES = dict.fromkeys(_FRACTIONS, (0, 1)) | dict.fromkeys(_MAY_BE_0, (0, math.inf))
WORDS = {  # what a value of a type is called
    "str": "a text",
    "bool": "True or False",
    "tuple[int, ...]": "a tuple of fold numbers",
    "tuple[str, ...]": f"a tuple of some of {', '.join(VIEW_SETS)}",
}


class PresetError(LumbarError):
    """A preset that does not exist, a setting that makes no sense, or settings of another version
    of this project."""


def _fits(value: object, kind: str) -> bool:
    """Whether a value is of the type that a field is declared with."""
    if kind == "tuple[int, ...]":
        return isinstance(value, tuple) and all(type(one) is int and one >= 0 for one in value)
    if kind == "tuple[str, ...]":
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    return type(value).__name__ == kind


@dataclass(frozen=True)
class Preset:
    """Settings of one run. The defaults are those of `demo`: minutes on two CPU cores."""

    name: str
    phantom: PhantomSpec = field(default_factory=PhantomSpec)  # stands in for the real data
    spacing_mm: float = SPACING_MM  # finer images are resampled to this when they are prepared
    # cross-validation: how many folds there are, and which of them are trained
    folds: int = 4
    train_folds: tuple[int, ...] = (0,)
    # stage 1, the locator: crops of locator_px pixels and locator_mm mm
    locator_px: int = 144
    locator_mm: float = 300.0
    locator_width: int = 12
    locator_epochs: int = 13
    locator_slices: int = 3
    # stage 2, the grader: crops of crop_px pixels and crop_mm mm, `slices` of them per view
    views: tuple[str, ...] = ("marked",)  # some of VIEW_SETS
    backbone: str = "small"  # or any classification model of torchvision, or of timm if installed
    pretrained: bool = False
    crop_px: int = 64
    crop_mm: float = 48.0
    slices: int = 3
    features: int = 96
    graders: int = 1  # of other seeds per fold, whose logits are averaged
    grader_epochs: int = 8
    # augmentation of both
    intensity: str = "scanner"  # as scanners differ; or "randomised", for zero-shot use
    truncation: float = 0.0  # probability that a sagittal field of view is truncated
    label_noise: float = 0.0  # probability that a label is replaced by a random one
    view_dropout: float = 0.05  # probability that a view is hidden, and that a whole series is
    slice_shift: int = 1  # a view is now and then up to so many slices off
    mixup: float = 0.0  # alpha of the Beta distribution that lambda is drawn from; 0: no mixup
    cutmix: float = 0.0  # probability that a mixture is one of regions, not of intensities
    dropout: float = 0.0  # of the grader's features
    attention_loss: float = 0.2  # weight in the loss of attending to the annotated slice
    # optimisation
    batch: int = 4  # studies in a step, of all processes together
    accumulate: int = 1  # steps whose gradients make one update
    locator_rate: float = 2e-3
    grader_rate: float = 2e-3
    encoder_rate: float = 1.0  # of the grader's CNN, as a fraction of grader_rate
    weight_decay: float = 0.02
    clip: float = 1.0  # of the gradient's norm
    ema: float = 0.05  # the averaged weights span this fraction of all steps
    workers: int = 0
    seed: int = 0
    init_from: str = ""  # the run whose weights are the initial ones (warm start)
    # Whose grade frequencies predictions are meant for: of the "labels" trained on, or "patients".
    population: str = "labels"

    def __post_init__(self) -> None:
        """Raises PresetError for a setting that no model can be made or trained with."""
        for f in fields(self):
            if f.type in _LEAST:
                self._check_number(f.name, str(f.type))
            elif not _fits(getattr(self, f.name), str(f.type)):
                kind = WORDS.get(str(f.type), str(f.type))
                raise PresetError(f"{f.name} is {getattr(self, f.name)!r}, not {kind}")
        for name, known in (("intensity", INTENSITIES), ("population", POPULATIONS)):
            if getattr(self, name) not in known:
                raise PresetError(f"{name} is {getattr(self, name)!r}, not {' or '.join(known)}")
        self._check_views()

    def _check_number(self, name: str, kind: str) -> None:
        value = getattr(self, name)
        least, greatest = _RANGES.get(name, (_LEAST[kind], math.inf))
        is_number = type(value) is int or (kind == "float" and isinstance(value, float))
        if not is_number or not math.isfinite(value) or not least <= value <= greatest:
            raise PresetError(f"{name} is {value!r}; no model can be made or trained with that")

    def _check_views(self) -> None:
        known = all(name in VIEW_SETS for name in self.views)
        if not self.views or not known or len(set(self.views)) < len(self.views):
            there = ", ".join(VIEW_SETS)
            raise PresetError(f"views are {self.views!r}, not one or more of {there}, each once")

    @property
    def grader_folders(self) -> list[str]:
        """Those of one fold, in its folder: "grader", "grader-2" …"""
        return ["grader", *(f"grader-{k}" for k in range(2, self.graders + 1))]

    def as_dict(self) -> dict:
        """For JSON."""
        lists = {name: list(getattr(self, name)) for name in _TUPLES}
        return asdict(self) | lists | {"phantom": self.phantom.as_dict()}

    @classmethod
    def from_dict(cls, settings: dict) -> Preset:
        """The inverse of as_dict. Raises PresetError for settings of another version."""
        known = {f.name for f in fields(cls)}
        if set(settings) != known:
            odd = ", ".join(sorted(known ^ set(settings))[:4])
            raise PresetError(f"settings of another version of this project ({odd}, …)")
        try:
            phantom = PhantomSpec.from_dict(settings["phantom"])
        except (PhantomError, TypeError, KeyError) as error:
            raise PresetError(f"settings of another version of this project: {error}") from error
        tuples = {name: tuple(settings[name]) for name in _TUPLES}
        return cls(**settings | tuples | {"phantom": phantom})


_SMOKE: dict[str, Any] = {
    "phantom": PhantomSpec(studies=6, test_studies=2),
    "folds": 2,
    "locator_epochs": 1,
    "grader_epochs": 1,
    "crop_px": 32,
    "slices": 1,
    "features": 32,
}
_LONG: dict[str, Any] = {
    "phantom": PhantomSpec(studies=256, contrast="mixed"),
    "folds": 8,
    "locator_width": 16,
    "slices": 5,
    "features": 128,
}
# The released run: trained on synthetic images alone, meant for patients.
_ZERO_SHOT: dict[str, Any] = _LONG | {
    "phantom": PhantomSpec(
        studies=384,
        seed=8,  # no patient of the other presets' phantoms
        contrast="mixed",
        grading="readers",
        size=SIZES["real"],
    ),
    "intensity": "randomised",
    "truncation": 0.5,
    "label_noise": 0.08,
    "population": "patients",
    "locator_epochs": 28,
    "grader_epochs": 20,  # twice as many overfit this phantom: worse on another version of it
}
_GPU: dict[str, Any] = {
    "spacing_mm": 0.4,  # a crop of 48 mm has 120 pixels of the image, and not 64
    "train_folds": (0, 1, 2, 3),
    "locator_px": 256,
    "locator_mm": 320.0,
    "locator_width": 32,
    "locator_epochs": 20,
    "locator_slices": 12,
    "pretrained": True,
    "crop_px": 128,
    "slices": 5,
    "features": 256,
    "grader_epochs": 10,
    "locator_rate": 1e-3,
    "grader_rate": 3e-4,
    "weight_decay": 0.05,
    "workers": 2,
}
_ALL = (
    Preset("demo"),
    Preset("smoke", **_SMOKE),
    Preset("cpu_long", **_LONG, locator_epochs=30, grader_epochs=25),
    Preset("zero_shot", **_ZERO_SHOT),
    Preset("t4", **_GPU, backbone="efficientnet_v2_s", batch=2),
    Preset("l4", **_GPU | {"workers": 4}, backbone="convnext_small", batch=2, accumulate=2),
    Preset(
        "a100",
        **_GPU | {"workers": 8},
        backbone="convnext_small",
        graders=2,
        batch=4,
        accumulate=2,
    ),
)
PRESETS = {preset.name: preset for preset in _ALL}
# What decides the shape of the models, and so whether weights of another run fit.
_SHAPE = (
    *("locator_px", "locator_mm", "locator_width"),
    *("backbone", "views", "crop_px", "crop_mm", "slices", "features"),
)


def shaped_like(preset: Preset, other: Preset) -> Preset:
    """The preset with models of the other's shape, so that its weights can initialise them."""
    shape = {name: getattr(other, name) for name in _SHAPE}
    return dataclasses.replace(preset, pretrained=False, **shape)


def get_preset(preset: str | Preset) -> Preset:
    """A preset by name (or itself). Raises PresetError naming the presets there are."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise PresetError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset]
