"""What the models minimise: for the locator where the points are, for the grader the competition's own score."""

from __future__ import annotations

import torch
from torch import Tensor

from utils.models import Grader, Locator, joint_log_softmax
from utils.rsna import GRADE_WEIGHTS
from utils.views import TARGET_FAMILY


def locator_loss(model: Locator, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy between heat maps and where the points are, over all slices and cells of a search at once."""
    canal, foramen, recess = model(batch["canal_x"], batch["foramen_x"].flatten(0, 1), batch["recess_x"])
    foramen_heat = batch["foramen_heat"].flatten(0, 1)[:, :, None]
    # each axial slice is a search of its own: fold the slices into the batch
    recess, recess_heat = (t.flatten(0, 1)[:, None] for t in (recess, batch["recess_heat"]))
    pairs = ((canal, batch["canal_heat"]), (foramen, foramen_heat), (recess, recess_heat))
    return sum(_heat_loss(*pair) for pair in pairs) / len(pairs)


def _heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """logits and heat (B, N, C, h, w); searches without a point do not count."""
    per_point = -(heat * joint_log_softmax(logits)).sum((1, 3, 4))  # (B, C)
    there = heat.sum((1, 3, 4)) > 0.5
    return (per_point * there).sum() / there.sum().clamp(min=1)


def metric_loss(logits: Tensor, grades: Tensor) -> Tensor:
    """The competition's score on a batch: logits (B, 25, 3), grades (B, 25) with -1 for no label. Differentiable."""
    log_p = logits.float().log_softmax(-1)
    known = grades >= 0
    target = grades.clamp(min=0)
    weight = torch.tensor(GRADE_WEIGHTS, device=logits.device)[target] * known
    loss = -log_p.gather(-1, target[..., None])[..., 0] * weight
    family = torch.as_tensor(TARGET_FAMILY, device=logits.device)
    terms = [loss[:, family == f].sum() / weight[:, family == f].sum().clamp(min=1) for f in range(3)]
    return (sum(terms) + _any_severe_loss(log_p[:, family == 0], grades[:, family == 0], weight[:, family == 0])) / 4


def _any_severe_loss(log_p: Tensor, grades: Tensor, weight: Tensor) -> Tensor:
    severe = log_p[..., 2].masked_fill(grades < 0, -1e4).amax(1)  # log q of the surest level
    log_not = torch.log1p(-severe.exp().clamp(max=1 - 1e-6))
    any_severe = (grades == 2).any(1)
    v = weight.amax(1)
    return (v * -torch.where(any_severe, severe.clamp(min=-30), log_not)).sum() / v.sum().clamp(min=1)


def grader_loss(model: Grader, batch: dict[str, Tensor]) -> Tensor:
    return metric_loss(model(batch["crops"], batch["exists"]), batch["grades"])
