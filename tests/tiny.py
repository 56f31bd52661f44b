"""The smallest models that train: seconds on one core."""

from utils.presets import Preset

TINY = Preset(
    "test",
    folds=2,
    locator_px=64,
    locator_width=4,
    locator_epochs=2,
    locator_slices=2,
    crop_px=32,
    slices=1,
    features=32,
    grader_epochs=2,
    batch=2,
    ema=0.9,
    mixup=0.2,
)
