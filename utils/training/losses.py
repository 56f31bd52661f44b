"""What the models minimise: for the locator where the points are, for the grader the competition's
own score.

A loss here is terms (B, 2, K): for each study its summed loss and its summed weight in each of K
terms. The loss of any set of studies is then `mean_of(terms)`: sum over sum in each term, and the
mean of the terms, however the set was split into batches or among processes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.crops import LOCAL_CROP_MM, TARGET_FAMILY
from utils.models import Grader, Locator, intensity
from utils.models.locator import STRIDE
from utils.models.spatial import (
    heat_maps,
    in_bounds,
    mixup,
    mixup_partners,
    truncate,
    warp,
    warp_points,
)
from utils.presets import Preset
from utils.rsna import FAMILIES, GRADE_WEIGHTS
from utils.training.grader_samples import GraderSample
from utils.training.locator_samples import LocatorSample, Search

NEVER = -1e4  # log-probability in place of a level without a label
FLOOR = -30.0  # no log-probability of Severe counts as less
CERTAIN = 1 - 1e-6  # no probability of Severe counts as more, in log(1 - p)


def mean_of(terms: Tensor, weights: Tensor | None = None) -> Tensor:
    """terms (B, 2, K) -> the loss. weights (K,): the sums to divide by, if the studies are only a
    part of a batch."""
    loss, weight = terms.sum(0)
    divisor = weight if weights is None else weights
    return (loss / divisor.clamp(min=1)).mean()


# --- the locator ---------------------------------------------------------------------------------


def augmented_searches(
    batch: LocatorSample, preset: Preset
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """A batch after augmentation: for each kind of search the crops (B n, N, px, px) in 0..1, their
    heat maps, and which points (B n, C) augmentation has moved out of the field of view."""
    local = preset.locator_px // 2
    with torch.autocast(batch.seed.device.type, enabled=False):  # in 16 bits points are a px off
        return {
            "canal": _augment(batch.canal, preset.locator_px, preset.locator_mm, batch.seed),
            "foramen": _augment(batch.foramen, local, LOCAL_CROP_MM, batch.seed),
            "recess": _augment(batch.recess, local, LOCAL_CROP_MM, batch.seed),
        }


def _augment(search: Search, px: int, mm: float, seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One kind of search (B, n, …): warped, truncated, changed in intensity; px and mm of its
    crops."""
    crops, points, affine, bounds, vectors = (part.flatten(0, 1) for part in search)
    warped = truncate(warp(crops.float() / 255, affine, px), bounds)
    images = intensity.apply(warped, vectors, seed)
    moved = warp_points(points[..., :2], affine)
    known = moved.isfinite().all(-1)  # (B n, N, C)
    visible = in_bounds(moved, bounds, px).any(1)  # (B n, C)
    heat = heat_maps(moved, points[..., 2], px // STRIDE, mm / px * STRIDE, STRIDE)
    heat = heat * visible[:, None, :, None, None]
    return images, heat, known.any(1) & ~visible


def locator_terms(model: Locator, batch: LocatorSample, preset: Preset) -> Tensor:
    """Cross-entropy between heat maps and the points' positions, over all slices and cells of a
    search at once: (B, 2, 3 kinds of searches)."""
    searches = augmented_searches(batch, preset)
    outputs = model(*(images for images, _, _ in searches.values()))
    terms = []
    for (log_p, log_absent), (_, heat, absent) in zip(outputs, searches.values()):
        per_search = _heat_terms(log_p, log_absent, heat, absent)  # (B n, 2)
        terms.append(per_search.unflatten(0, (len(batch.seed), -1)).sum(1))
    return torch.stack(terms, -1)


def _heat_terms(log_p: Tensor, log_absent: Tensor, heat: Tensor, absent: Tensor) -> Tensor:
    """log_p and heat (n, N, C, h, w), log_absent and absent (n, C) -> (n, 2): summed loss and how
    many points it is of."""
    present = heat.sum((1, 3, 4)) > 0.5
    cross_entropy = -(heat * log_p).sum((1, 3, 4))
    per_point = torch.where(absent, -log_absent, cross_entropy)
    counted = present | absent
    return torch.stack([(per_point * counted).sum(1), counted.sum(1).float()], 1)


# --- the grader ----------------------------------------------------------------------------------


def augmented_crops(batch: GraderSample, preset: Preset) -> Tensor:
    """A batch after augmentation: crops (B, 30, S, px, px) in 0..1."""
    x, affine, vectors = (
        part.flatten(0, 1) for part in (batch.crops, batch.affine, batch.intensity)
    )
    with torch.autocast(x.device.type, enabled=False):
        warped = warp(x.float() / 255, affine, preset.crop_px)
        crops = intensity.apply(warped, vectors, batch.seed)
    crops = crops.unflatten(0, batch.exists.shape)
    return mixup(crops, batch.exists, batch.own) if (batch.own < 1).any() else crops


def grader_terms(model: Grader, batch: GraderSample, preset: Preset) -> Tensor:
    """The terms of the metric (B, 2, 4); of a mixture the weighted sum of both studies' terms."""
    logits = model(augmented_crops(batch, preset), batch.exists)
    terms = metric_terms(logits, batch.grades)
    own = batch.own.view(-1, 1, 1)
    if (own == 1).all():
        return terms
    partners = batch.grades[mixup_partners(len(batch.grades))]
    return own * terms + (1 - own) * metric_terms(logits, partners)


def metric_terms(logits: Tensor, grades: Tensor) -> Tensor:
    """logits (B, 25, 3), grades (B, 25) with -1 for no label -> (B, 2, 4): three families and any
    severe. Differentiable."""
    log_p = logits.float().log_softmax(-1)
    target = grades.clamp(min=0)
    weight = torch.tensor(GRADE_WEIGHTS, device=logits.device)[target] * (grades >= 0)
    loss = -log_p.gather(-1, target[..., None])[..., 0] * weight
    family = torch.as_tensor(TARGET_FAMILY, device=logits.device)
    members = [family == k for k in range(len(FAMILIES))]
    terms = [torch.stack([loss[:, of].sum(1), weight[:, of].sum(1)], 1) for of in members]
    canal = members[FAMILIES.index("spinal")]
    terms.append(_any_severe(log_p[:, canal], grades[:, canal], weight[:, canal]))
    return torch.stack(terms, -1)


def _any_severe(log_p: Tensor, grades: Tensor, weight: Tensor) -> Tensor:
    """Is any canal level severe? (B, 2): the cross-entropy of the highest probability of Severe,
    times the study's greatest weight."""
    log_severe = log_p[..., 2].masked_fill(grades < 0, NEVER).amax(1)
    log_not = torch.log1p(-log_severe.exp().clamp(max=CERTAIN))
    truth = (grades == 2).any(1)
    heaviest = weight.amax(1)
    cross_entropy = -torch.where(truth, log_severe.clamp(min=FLOOR), log_not)
    return torch.stack([heaviest * cross_entropy, heaviest], 1)
