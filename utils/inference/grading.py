"""Stage 2 in use: crops round 25 points to 25 × 3 logits, averaged over test-time augmentations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from utils.crops import MARGIN, grader_crops, mirror_views
from utils.inference.localisation import TTA_STEP, ModelError
from utils.models import mixed_precision
from utils.models.spatial import tta_affines, warp
from utils.prepare import PreparedStudy
from utils.presets import Preset
from utils.rsna import GRADES, TARGETS
from utils.views import views_of


@torch.inference_mode()
def grade(
    grader: nn.Module, study: PreparedStudy, points: np.ndarray, preset: Preset
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (25, 3) at points (25, 3) mm, and which targets were visible in at least one view
    (25,).

    grader  a Grader, or an Ensemble of several

    The mean over test-time augmentations: slightly moved and zoomed crops, each also mirrored, left
    and right exchanged, so that a mirrored patient gets mirrored predictions. Wide crops are moved
    by as many mm as the others.
    """
    views = views_of(preset)
    crops, exists = grader_crops(study, points, preset, MARGIN)
    visible = np.zeros(len(TARGETS), bool)
    visible[views.target[exists]] = True
    if not exists.any():
        return np.zeros((len(TARGETS), len(GRADES))), visible
    original = np.arange(len(TARGETS))
    other, other_exists, position, flip = mirror_views(crops, exists, original, views)
    other[flip] = other[flip][..., ::-1]
    pair, pair_exists = np.stack([crops, other]), np.stack([exists, other_exists])
    steps = TTA_STEP * preset.crop_px / views.width
    affines = torch.stack([tta_affines(step) for step in steps], 1)  # (5, V, 2, 3)
    each = [_tta_logits(grader, pair, pair_exists, affine, preset) for affine in affines]
    plain, mirrored = np.mean(each, 0)
    logits = (plain + mirrored[position]) / 2
    if not np.isfinite(logits[visible]).all():
        raise ModelError("the grader's output is not finite: the fault is the model's")
    return np.nan_to_num(logits), visible


def _tta_logits(
    grader: nn.Module, crops: np.ndarray, exists: np.ndarray, affine: Tensor, preset: Preset
) -> np.ndarray:
    """Logits (B, 25, 3) of crops with a margin (B, V, S, P, P), warped by an affine per view
    (V, 2, 3)."""
    device = next(grader.parameters()).device
    x = torch.from_numpy(crops).to(device).flatten(0, 1) / 255
    warped = warp(x, affine.to(device).repeat(len(exists), 1, 1), preset.crop_px)
    views = warped.unflatten(0, exists.shape)
    with mixed_precision():
        logits = grader(views, torch.from_numpy(exists).to(device))
    return logits.float().cpu().numpy()
