"""The two networks and the augmentation of what they see.

In: crops (pixels in 0..1) as `utils.crops` cuts them. Out: heat maps of 25 points (`Locator`), then
25 × 3 logits (`Grader`). Everything here runs on batches of tensors, on any device; only
`weights` reads files.

Read `locator` and `grader` first; both are made of `blocks`, and `backbone` holds the grader's CNN.
Then the augmentations: `spatial` (affines, truncation, heat maps, mixup, cutmix) and `intensity`
(contrast and noise), whose bias fields, occlusions, blurs and ghosts are in `artefacts`. `weights`
reads what training has saved, `hardware` says where models run and in how many bits, `summary`
shows one as a table, `vision` only imports torchvision where its compiled part cannot be loaded.
"""

from utils.models.backbone import BackboneError, backbone
from utils.models.grader import Ensemble, Grader
from utils.models.hardware import device, in_parts, mixed_precision, precision
from utils.models.locator import Locator
from utils.models.segmenter import Segmenter
from utils.models.summary import summary
from utils.models.weights import WEIGHTS, WeightsError, load_weights

__all__ = [
    "WEIGHTS",
    "BackboneError",
    "Ensemble",
    "Grader",
    "Locator",
    "Segmenter",
    "WeightsError",
    "backbone",
    "device",
    "in_parts",
    "load_weights",
    "mixed_precision",
    "precision",
    "summary",
]
