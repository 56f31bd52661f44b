"""What an answer rests on: which slices the grader attended to, where in them (Grad-CAM, Selvaraju 2017), on shape or on
brightness.

They say what moved the number, not whether it moved for a good reason: a map on the right structure is no proof.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils import looks
from utils.geometry import Series, Slice
from utils.models import Grader
from utils.prepare import PreparedStudy
from utils.views import as_bytes
from utils.vision import torchvision  # noqa: F401  first, so that grad-cam finds a torchvision that loads

# isort: split
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


class _OneTarget(nn.Module):
    """Slices of all views (V S, 1, px, px) -> the three logits of one target (1, 3): the form in which grad-cam asks."""

    def __init__(self, grader: Grader, exists: Tensor, target: int):
        super().__init__()
        self.grader, self.exists, self.target = grader, exists, target

    def forward(self, slices: Tensor) -> Tensor:
        crops = slices.unflatten(0, (self.exists.shape[1], -1))[None, :, :, 0]
        return self.grader(crops, self.exists)[:, self.target]


def grad_cam(grader: Grader, crops: np.ndarray, exists: np.ndarray, target: int, grade: int) -> np.ndarray:
    """Where the evidence for one grade of one target lies: (V, S, px, px) from 0 to 1 of the strongest place, nan where there
    is no view.

    crops, exists  as grader_views gives them; target and grade: indices into TARGETS and GRADES
    Evidence is that of the last convolution that still has eight cells on a side: later ones cannot tell a recess from a canal.
    """
    maps = np.full(crops.shape, np.nan, np.float32)
    if not exists.any():
        return maps
    device = next(grader.parameters()).device
    slices = torch.from_numpy(crops).to(device).float().flatten(0, 1)[:, None] / 255
    model = _OneTarget(grader, torch.from_numpy(exists)[None].to(device), target)
    layer = _layer(grader.encoder, slices[:1])
    asked = [ClassifierOutputTarget(grade)]
    with GradCAM(model, [layer]) as cam, torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM in use has no way back
        cam(slices, asked)  # what it returns is scaled for each slice on its own: even a slice of no weight would shine
        seen = cam.activations_and_grads
        parts = seen.activations[0].cpu().numpy(), seen.gradients[0].cpu().numpy()
        evidence = cam.get_cam_image(slices, layer, asked, *parts).clip(min=0)
    small = torch.from_numpy(evidence)[:, None]
    maps[exists] = F.interpolate(small, crops.shape[-1], mode="bilinear")[:, 0].unflatten(0, (-1, crops.shape[1])).numpy()
    return maps / max(float(np.nanmax(maps)), 1e-9)


@torch.no_grad()
def _layer(encoder: nn.Module, one: Tensor, cells: int = 8) -> nn.Conv2d:
    """The last convolution whose output for one slice (1, 1, px, px) has so many cells on a side."""
    fine = []

    def keep(module, given, found):
        if found.shape[-1] >= cells:
            fine.append(module)

    hooks = [m.register_forward_hook(keep) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    encoder(one)
    for hook in hooks:
        hook.remove()
    return fine[-1]


@torch.inference_mode()
def attention(grader: Grader, crops: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """How much each slice of a view counts in its answer: (V, S), summing to 1 over the slices; nan where there is no view."""
    scores, device = [], next(grader.parameters()).device
    hook = grader.attention.register_forward_hook(lambda module, given, found: scores.append(found))
    try:
        grader(torch.from_numpy(crops)[None].to(device).float() / 255, torch.from_numpy(exists)[None].to(device))
    finally:
        hook.remove()
    weights = np.full(crops.shape[:2], np.nan, np.float32)
    weights[exists] = scores[0].float().softmax(1)[..., 0].cpu().numpy()
    return weights


def disguised(study: PreparedStudy, look: np.ndarray) -> PreparedStudy:
    """The same patient with another look (utils.looks) in every slice: an answer that rests on shapes stays, one that rests on
    what is bright and dark does not."""
    return replace(study, series=tuple(replace(part, series=_disguised(part.series, look)) for part in study.series))


def _disguised(series: Series, look: np.ndarray) -> Series:
    def changed(one: Slice) -> Slice:
        x = torch.from_numpy(np.float32(one.pixels) / 255)[None, None]
        x = looks.change(x, torch.from_numpy(look)[None], torch.zeros(1, dtype=torch.int64))[0, 0]
        return replace(one, pixels=as_bytes(255 * x.clamp(0, 1).numpy()))

    return replace(series, slices=tuple(map(changed, series.slices)))
