"""What the models minimise: for the locator where the points are, for the grader the competition's
own score.

A loss here is terms (B, 2, K): for each study its summed loss and its summed weight in each of K
terms. The loss of any set of studies is then `mean_of(terms)`: sum over sum in each term, and the
mean of the terms, or their sum where each has a share of its own. A batch is divided by the weights
that so many studies have on average, not by its own: a severe grade would lighten its own batch,
and count for less than its weight.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utils.crops import LOCAL_CROP_MM, TARGET_FAMILY
from utils.models import Grader, Locator, intensity
from utils.models.locator import STRIDE
from utils.models.spatial import (
    heat_maps,
    in_bounds,
    mix,
    partners,
    truncate,
    warp,
    warp_points,
)
from utils.presets import Preset
from utils.rsna import FAMILIES, FAMILY, GRADE_WEIGHTS, GRADES
from utils.training.grader_samples import GraderDataset, GraderSample
from utils.training.locator_samples import SHOWN, LocatorDataset, LocatorSample, Search

NEVER = -1e4  # log-probability in place of a level without a label
FLOOR = -30.0  # no log-probability of Severe counts as less
# The rows of each family among TARGETS, one after the other: a slice costs nothing, where a mask
# would make the host wait for the device.
MEMBERS = {
    name: slice(int(rows[0]), int(rows[-1]) + 1)
    for k, name in enumerate(FAMILIES)
    for rows in [np.flatnonzero(k == TARGET_FAMILY)]
}
METRIC_TERMS = len(FAMILIES) + 1  # the families, and whether the canal is severe at any level
CERTAIN = 1 - 1e-6  # no probability of Severe counts as more, in log(1 - p)


def mean_of(terms: Tensor, weights: Tensor | None = None, shares: Tensor | None = None) -> Tensor:
    """terms (B, 2, K) -> the loss. weights (K,): what a study weighs in the whole set of which
    these are a part, on average; None: these are the whole set. shares (K,): see `together`.

    With weights the mean over all batches of a set, of equal size, is the loss of the set.
    """
    loss, weight = terms.sum(0)
    divisor = weight if weights is None else len(terms) * weights
    return together(loss / divisor.clamp(min=1e-6), shares)


def together(losses: Tensor, shares: Tensor | None) -> Tensor:
    """The losses of all terms (K,) as one: their mean, or the sum of each times its share (K,)."""
    return losses.mean() if shares is None else (losses * shares).sum()


# --- the locator ---------------------------------------------------------------------------------


def augmented_searches(
    batch: LocatorSample, preset: Preset
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """A batch after augmentation: for each kind of search the crops (B n, N, px, px) in 0..1, their
    heat maps, and which points (B n, C) augmentation has moved out of the field of view."""
    local, kind, seeds = preset.locator_px // 2, preset.intensity, batch.seed.tolist()
    where = batch.canal.crops.device.type
    with torch.autocast(where, enabled=False):  # in 16 bits points are a px off
        return {
            "canal": _augment(batch.canal, preset.locator_px, preset.locator_mm, seeds, kind),
            "foramen": _augment(batch.foramen, local, LOCAL_CROP_MM, seeds, kind),
            "recess": _augment(batch.recess, local, LOCAL_CROP_MM, seeds, kind),
        }


def locator_weights(data: LocatorDataset) -> Tensor:
    """(3,): how many points of each kind of search a study has on average, of those that one epoch
    shows."""
    points = data.points[data.points.study_id.isin(data.studies)]
    counts = points.condition.map(FAMILY).value_counts().reindex(FAMILIES, fill_value=0)
    shown = counts.to_numpy(float) * list(SHOWN.values()) / max(len(data), 1)
    return torch.as_tensor(shown, dtype=torch.float32)


def _augment(
    search: Search, px: int, mm: float, seeds: list[int], kind: str
) -> tuple[Tensor, Tensor, Tensor]:
    """One kind of search (B, n, …): warped, truncated, changed in intensity; px and mm of its
    crops."""
    crops, points, affine, bounds, vectors = (part.flatten(0, 1) for part in search)
    warped = truncate(warp(crops.float() / 255, affine, px), bounds)
    images = intensity.apply(warped, vectors, seeds, kind)
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


def augmented_crops(batch: GraderSample, preset: Preset, mixed: bool = False) -> Tensor:
    """A batch after augmentation: crops (B, V, S, px, px) in 0..1. mixed: also with each other, as
    the batch says."""
    x, affine, vectors = (
        part.flatten(0, 1) for part in (batch.crops, batch.affine, batch.intensity)
    )
    with torch.autocast(x.device.type, enabled=False):
        warped = warp(x.float() / 255, affine, preset.crop_px)
        crops = intensity.apply(warped, vectors, batch.seed.tolist(), preset.intensity)
    crops = crops.unflatten(0, batch.exists.shape)
    return mix(crops, batch.exists, batch.own, batch.region) if mixed else crops


def grader_weights(data: GraderDataset) -> Tensor:
    """(4,): what a study weighs on average in each term of the metric; (5,) with attention to
    slices, in which each weighs 1."""
    grades = torch.as_tensor(np.stack([data.grades[study] for study in data.studies]))
    weights = metric_terms(torch.zeros(*grades.shape, len(GRADES)), grades)[:, 1].mean(0)
    return torch.cat([weights, torch.ones(1)]) if data.preset.attention_loss else weights


def grader_shares(preset: Preset) -> Tensor | None:
    """(5,): what is minimised is the mean of the metric's four terms plus attention_loss times that
    of attention to slices. None where there is no such term."""
    if not preset.attention_loss:
        return None
    return torch.tensor([1 / METRIC_TERMS] * METRIC_TERMS + [preset.attention_loss])


def grader_terms(model: Grader, batch: GraderSample, preset: Preset) -> Tensor:
    """The terms of the metric (B, 2, 4); in training, if the preset wants it, also that of
    attention to slices: (B, 2, 5)."""
    mixed = preset.mixup > 0 and model.training
    crops = augmented_crops(batch, preset, mixed)
    if not (preset.attention_loss and model.training):
        return _mixture_terms(model(crops, batch.exists), batch, mixed)
    logits, scores = model(crops, batch.exists, attention=True)
    attention = attention_terms(scores, batch.exists, _to_attend(batch, mixed))
    return torch.cat([_mixture_terms(logits, batch, mixed), attention], -1)


def _mixture_terms(logits: Tensor, batch: GraderSample, mixed: bool) -> Tensor:
    """The terms of the metric; of a mixture the weighted sum of both studies' terms."""
    terms = metric_terms(logits, batch.grades)
    if not mixed:
        return terms
    own = batch.own.view(-1, 1, 1)
    return own * terms + (1 - own) * metric_terms(logits, partners(batch.grades))


def _to_attend(batch: GraderSample, mixed: bool) -> Tensor:
    """(B, V, S): the annotated slices, of a mixture those of both studies by their proportions."""
    annotated = batch.annotated.float()
    if not mixed:
        return annotated
    own = batch.own.view(-1, 1, 1)
    both = (batch.exists & partners(batch.exists))[..., None]
    return torch.where(both, own * annotated + (1 - own) * partners(annotated), annotated)


def attention_terms(scores: Tensor, exists: Tensor, to_attend: Tensor) -> Tensor:
    """Scores (B, V, S) whose softmax is the attention to the slices of a view, which views exist
    (B, V), and the slices to attend to (B, V, S), 0 throughout where none of them is shown ->
    (B, 2, 1): the mean cross-entropy over the views of a study that have such a slice, and 1; or
    twice 0 if none has.

    The idea is that of the competition's 1st place.
    """
    wanted = to_attend * exists[..., None]
    total = wanted.sum((1, 2))
    cross_entropy = -(wanted * scores.float().log_softmax(-1)).sum((1, 2))
    mean = cross_entropy / total.clamp(min=1e-6)
    return torch.stack([mean, (total > 0).float()], 1)[..., None]


def metric_terms(logits: Tensor, grades: Tensor) -> Tensor:
    """logits (B, 25, 3), grades (B, 25) with -1 for no label -> (B, 2, 4): three families and any
    severe. Differentiable."""
    log_p = logits.float().log_softmax(-1)
    target = grades.clamp(min=0)
    weight = torch.tensor(GRADE_WEIGHTS, device=logits.device)[target] * (grades >= 0)
    loss = -log_p.gather(-1, target[..., None])[..., 0] * weight
    families = [(loss[:, of].sum(1), weight[:, of].sum(1)) for of in MEMBERS.values()]
    terms = [torch.stack(sums, 1) for sums in families]
    canal = MEMBERS["spinal"]
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
