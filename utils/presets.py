"""How big, how long, on which machine: every setting of a run in one frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Preset:
    name: str
    # the phantom that stands in for the real data
    phantom_studies: int = 128
    phantom_test_studies: int = 8
    phantom_seed: int = 0
    phantom_contrast: str = "clinical"  # or "mixed": tissues stray in brightness; helps on pictures unlike the phantom's
    phantom_grading: str = "textbook"  # or "readers": borderline patients
    phantom_size: str = "demo"  # or "real": images as fine and as coarse as real ones
    # cross-validation: how many folds there are, and which of them this preset trains
    folds: int = 4
    train_folds: tuple[int, ...] = (0,)
    # stage 1, the locator: windows of locator_px pixels and locator_mm mm
    locator_px: int = 144
    locator_mm: float = 300.0
    locator_width: int = 12
    locator_epochs: int = 13
    locator_slices: int = 3
    # stage 2, the grader: crops of crop_px pixels and crop_mm mm, `slices` of them per view
    backbone: str = "small"  # "small", or any torchvision classification model
    pretrained: bool = False
    crop_px: int = 64
    crop_mm: float = 48.0
    slices: int = 3
    features: int = 96
    grader_epochs: int = 8
    # what chance does to both
    looks: str = "scanner"  # as scanners differ; or "any": hardly anything is left of brightness, for learning from drawings
    cut_off: float = 0.0  # how often a sagittal picture ends early, so that the locator learns to say what is not in it
    misread: float = 0.0  # how often a label has nothing to do with the picture (a phantom's always has), so that none is sure
    view_dropout: float = 0.05  # how often a view is hidden in training, and a whole series: it learns to do without
    mixup: float = 0.0  # alpha of the Beta distribution that shares are drawn from; 0: studies are not mixed
    plain_epochs: int = 0  # first so many epochs on a loss without weights, then the rest with them, the encoder at rest
    # optimisation
    batch: int = 4  # studies in a step, of all processes together
    accumulate: int = 1  # steps whose gradients make one update
    locator_rate: float = 2e-3
    grader_rate: float = 2e-3
    weight_decay: float = 0.02
    clip: float = 1.0  # of the gradient's norm
    ema: float = 0.05  # the averaged weights span this share of all steps
    compile: bool = False
    workers: int = 0
    seed: int = 0
    begin: str = ""  # the run whose weights are the first ones
    population: str = "labels"  # grades are as frequent as in the labels learnt from; or "patients": as in the real data set

    def as_dict(self) -> dict:
        return asdict(self) | {"train_folds": list(self.train_folds)}


_LONG = {
    "phantom_studies": 256,
    "phantom_contrast": "mixed",
    "folds": 8,
    "locator_width": 16,
    "slices": 5,
    "features": 128,
}
_GPU = {
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
    "mixup": 0.2,
    "weight_decay": 0.05,
    "workers": 2,
}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("demo"),
        Preset(
            "smoke",
            phantom_studies=6,
            phantom_test_studies=2,
            folds=2,
            locator_epochs=1,
            grader_epochs=1,
            crop_px=32,
            slices=1,
            features=32,
        ),
        Preset("cpu_long", **_LONG, locator_epochs=30, grader_epochs=25),
        Preset(
            "zero_shot",  # the released run: learnt from drawings, meant for patients
            **_LONG | {"phantom_studies": 384},
            phantom_seed=8,  # nobody in the other presets' phantoms
            phantom_grading="readers",
            phantom_size="real",
            looks="any",
            cut_off=0.5,
            misread=0.08,
            population="patients",
            locator_epochs=28,
            grader_epochs=20,  # twice as many fit this drawing better, and another one worse
        ),
        Preset("t4", **_GPU | {"backbone": "efficientnet_v2_s", "batch": 2}),
        Preset("l4", **_GPU | {"backbone": "convnext_small", "batch": 2, "accumulate": 2}),
        Preset("a100", **_GPU | {"backbone": "convnext_small", "batch": 4, "accumulate": 2, "workers": 8}),
    )
}


def shaped_like(preset: Preset, other: Preset) -> Preset:
    """The preset with models of the other's shape, so that they can begin with the other's weights."""
    shape = "locator_px", "locator_mm", "locator_width", "backbone", "crop_px", "crop_mm", "slices", "features"
    return replace(preset, pretrained=False, **{name: getattr(other, name) for name in shape})


def get_preset(preset: str | Preset) -> Preset:
    """A preset by name (or itself). Raises KeyError naming the presets there are."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise KeyError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset]
