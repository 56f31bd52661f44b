"""What a prediction is based on: which slices the grader attended to, where in them (Grad-CAM,
Selvaraju 2017; occlusion, Zeiler 2014), and whether it depends on shape or on contrast.

These show what moved the number, not whether it moved for a good reason: a map on the right
structure is no proof.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.crops import as_uint8
from utils.dicom import Series, Slice
from utils.models import Grader, intensity
from utils.models.vision import torchvision  # noqa: F401  first: grad-cam imports torchvision
from utils.prepare import PreparedStudy

# isort: split
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

CELLS = 8  # on a side: coarser features cannot separate a recess from the canal
PATCHES = 4  # side by side, as wide as a crop
_TINY = 1e-9


class _OneTarget(nn.Module):
    """Slices of all views (V S, 1, px, px) -> the three logits of one target (1, 3): the form that
    grad-cam needs."""

    def __init__(self, grader: Grader, exists: Tensor, target: int):
        super().__init__()
        self.grader, self.exists, self.target = grader, exists, target

    def forward(self, slices: Tensor) -> Tensor:
        crops = slices.unflatten(0, (self.exists.shape[1], -1))[None, :, :, 0]
        return self.grader(crops, self.exists)[:, self.target]


def grad_cam(
    grader: Grader, crops: np.ndarray, exists: np.ndarray, target: int, grade: int
) -> np.ndarray:
    """Where the evidence for one grade of one target is: (V, S, px, px) from 0 to 1 of the
    strongest pixel, nan where there is no view.

    crops, exists  as grader_crops returns them; target and grade: indices into TARGETS and GRADES
    Evidence is that of the last convolution that still has CELLS cells on a side.
    """
    maps = np.full(crops.shape, np.nan, np.float32)
    if not exists.any():
        return maps
    device = next(grader.parameters()).device
    slices = torch.from_numpy(crops).to(device).float().flatten(0, 1)[:, None] / 255
    model = _OneTarget(grader, torch.from_numpy(exists)[None].to(device), target)
    layer = _layer(grader.encoder, slices[:1])
    small = torch.from_numpy(_evidence(model, layer, slices, grade))[:, None]
    large = F.interpolate(small, crops.shape[-1], mode="bilinear")[:, 0]
    maps[exists] = large.unflatten(0, (-1, crops.shape[1])).numpy()
    return maps / max(float(np.nanmax(maps)), _TINY)


@torch.inference_mode()
def attention(grader: Grader, crops: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """The attention weight of each slice of a view: (V, S), summing to 1 over the slices; nan where
    there is no view."""
    device = next(grader.parameters()).device
    x = torch.from_numpy(crops)[None].to(device).float() / 255
    _, scores = grader(x, torch.from_numpy(exists)[None].to(device), attention=True)
    weights = scores[0].float().softmax(-1).cpu().numpy()
    weights[~exists] = np.nan
    return weights


def occlusion(
    grader: Grader, crops: np.ndarray, exists: np.ndarray, target: int, grade: int
) -> dict[int, np.ndarray]:
    """What covering a patch changes (Zeiler 2014), in log-odds of a grade of a target: for each of
    its views (steps, steps), from the upper left corner. A probability near 1 would hardly move.

    The patch, as grey as the mean of its view, is a quarter of a crop wide and moves by half of
    that; it covers all slices.
    """
    before, patch = _log_odds(grader, crops, exists, target, grade), crops.shape[-1] // PATCHES
    corners = range(0, crops.shape[-1] - patch + 1, patch // 2)
    own = np.flatnonzero((grader.view_target.cpu().numpy() == target) & exists)
    change = {int(view): np.zeros((len(corners), len(corners))) for view in own}
    for view, found in change.items():
        for (i, top), (j, left) in itertools.product(enumerate(corners), repeat=2):
            covered = crops.copy()
            covered[view, :, top : top + patch, left : left + patch] = crops[view].mean()
            found[i, j] = _log_odds(grader, covered, exists, target, grade) - before
    return change


@torch.inference_mode()
def _log_odds(
    grader: Grader, crops: np.ndarray, exists: np.ndarray, target: int, grade: int
) -> float:
    device = next(grader.parameters()).device
    x = torch.from_numpy(crops)[None].to(device).float() / 255
    logits = grader(x, torch.from_numpy(exists)[None].to(device))[0, target].double()
    return float(torch.logit(logits.softmax(-1)[grade], eps=_TINY))


def with_intensity(study: PreparedStudy, vector: np.ndarray) -> PreparedStudy:
    """The same patient with another contrast (models.intensity) in every slice: a prediction that
    is based on shapes stays, one that is based on intensity does not."""
    series = [replace(part, series=_changed(part.series, vector)) for part in study.series]
    return replace(study, series=tuple(series))


def _evidence(model: nn.Module, layer: nn.Module, slices: Tensor, grade: int) -> np.ndarray:
    """Grad-CAM of each slice, (slices, cells, cells), on one scale for all of them."""
    outputs = [ClassifierOutputTarget(grade)]
    # In evaluation mode cuDNN's LSTM has no backward pass.
    with GradCAM(model, [layer]) as cam, torch.backends.cudnn.flags(enabled=False):
        cam(slices, outputs)  # its result is scaled per slice: even one without weight would shine
        seen = cam.activations_and_grads
        activations, gradients = seen.activations[0].cpu().numpy(), seen.gradients[0].cpu().numpy()
        return cam.get_cam_image(slices, layer, outputs, activations, gradients).clip(min=0)


@torch.no_grad()
def _layer(encoder: nn.Module, one: Tensor) -> nn.Module:
    """The last convolution whose output for one slice (1, 1, px, px) has CELLS cells on a side."""
    fine: list[nn.Module] = []

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if output.shape[-1] >= CELLS:
            fine.append(module)

    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(keep) for module in convolutions]
    encoder(one)
    for hook in hooks:
        hook.remove()
    return fine[-1]


def _changed(series: Series, vector: np.ndarray) -> Series:
    """Every slice of a series with this intensity vector applied; the same noise in all of them."""
    vectors = torch.from_numpy(vector)[None]

    def changed(one: Slice) -> Slice:
        x = torch.from_numpy(np.float32(one.pixels) / 255)[None, None]
        x = intensity.apply(x, vectors, [0], "randomised")[0, 0]
        return replace(one, pixels=as_uint8(255 * x.clamp(0, 1).numpy()))

    return replace(series, slices=tuple(map(changed, series.slices)))
