"""What the models minimise: for the locator where the points are, for the grader the competition's own score.

A loss here is terms (B, 2, K): for each study its summed loss and its summed weight in each of K terms. The loss of any set
of studies is then `mean_of(terms)`: sum over sum in each term, and the mean of the terms, however the set was dealt out to
batches or to processes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from utils import looks
from utils.augment import cut_off, heat_maps, inside, mix, move_points, move_windows, partners
from utils.models import STRIDE, Grader, Locator
from utils.presets import Preset
from utils.rsna import FAMILIES, GRADE_WEIGHTS
from utils.views import LOCAL_MM, TARGET_FAMILY

SEARCHES = ("canal", "foramen", "recess")


def mean_of(terms: Tensor, weights: Tensor | None = None) -> Tensor:
    """terms (B, 2, K) -> the loss. weights (K,): the sums to divide by, if the studies are only a part of a batch."""
    sums = terms.sum(0)
    return (sums[0] / (sums[1] if weights is None else weights).clamp(min=1)).mean()


# --- the locator ----------------------------------------------------------------------------------------------------


def searches(batch: dict[str, Tensor], preset: Preset) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """What chance makes of a batch of LocatorData: for each kind windows (B n, N, px, px) in 0..1, their heat maps, and which
    points (B n, C) chance has put outside the picture."""
    sizes = {"canal": (preset.locator_px, preset.locator_mm)}
    with torch.autocast(batch["seed"].device.type, enabled=False):  # in 16 bits a place is a pixel off
        return {kind: _search(batch, kind, *sizes.get(kind, (preset.locator_px // 2, LOCAL_MM))) for kind in SEARCHES}


def _search(batch: dict[str, Tensor], kind: str, px: int, mm: float) -> tuple[Tensor, Tensor, Tensor]:
    parts = ("x", "at", "move", "frame", "look")
    x, at, move, frame, look = (batch[f"{kind}_{part}"].flatten(0, 1) for part in parts)
    windows = looks.change(cut_off(move_windows(x.float() / 255, move, px), frame), look, batch["seed"])
    moved = move_points(at[..., :2], move)
    known, shown = moved.isfinite().all(-1), inside(moved, frame, px)
    heat = heat_maps(moved, at[..., 2], px // STRIDE, mm / px * STRIDE, STRIDE) * shown.any(1)[:, None, :, None, None]
    return windows, heat, known.any(1) & ~shown.any(1)


def locator_terms(model: Locator, batch: dict[str, Tensor], preset: Preset) -> Tensor:
    """Cross-entropy between heat maps and where the points are, over all slices and cells of a search at once."""
    sought = searches(batch, preset)
    answers = model(*(windows for windows, *_ in sought.values()))
    terms = [_heat_terms(*one, heat, gone) for one, (_, heat, gone) in zip(answers, sought.values())]
    return torch.stack([t.unflatten(0, (len(batch["seed"]), -1)).sum(1) for t in terms], -1)  # (B, 2, 3)


def _heat_terms(log_p: Tensor, log_absent: Tensor, heat: Tensor, gone: Tensor) -> Tensor:
    """log_p and heat (n, N, C, h, w), log_absent and gone (n, C) -> (n, 2): summed loss and how many answers were asked for."""
    there = heat.sum((1, 3, 4)) > 0.5
    per_point = torch.where(gone, -log_absent, -(heat * log_p).sum((1, 3, 4)))
    asked = there | gone
    return torch.stack([(per_point * asked).sum(1), asked.sum(1).float()], 1)


# --- the grader -----------------------------------------------------------------------------------------------------


def seen(batch: dict[str, Tensor], preset: Preset) -> Tensor:
    """What chance makes of a batch of GraderData: crops (B, 30, S, px, px) in 0..1."""
    x, move, look = (batch[name].flatten(0, 1) for name in ("crops", "move", "look"))
    with torch.autocast(x.device.type, enabled=False):
        crops = looks.change(move_windows(x.float() / 255, move, preset.crop_px), look, batch["seed"])
    crops = crops.unflatten(0, batch["exists"].shape)
    return mix(crops, batch["exists"], batch["share"]) if (batch["share"] < 1).any() else crops


def grader_terms(model: Grader, batch: dict[str, Tensor], preset: Preset) -> Tensor:
    """The terms of the metric; of a mixture, each study's own share of both."""
    logits, grades, share = model(seen(batch, preset), batch["exists"]), batch["grades"], batch["share"].view(-1, 1, 1)
    own = metric_terms(logits, grades)
    return own if (share == 1).all() else share * own + (1 - share) * metric_terms(logits, grades[partners(len(grades))])


def metric_terms(logits: Tensor, grades: Tensor) -> Tensor:
    """logits (B, 25, 3), grades (B, 25) with -1 for no label -> (B, 2, 4): three families and any severe. Differentiable."""
    log_p = logits.float().log_softmax(-1)
    target = grades.clamp(min=0)
    weight = torch.tensor(GRADE_WEIGHTS, device=logits.device)[target] * (grades >= 0)
    loss = -log_p.gather(-1, target[..., None])[..., 0] * weight
    family = torch.as_tensor(TARGET_FAMILY, device=logits.device)
    of = [family == k for k in range(len(FAMILIES))]
    terms = [torch.stack([loss[:, one].sum(1), weight[:, one].sum(1)], 1) for one in of]
    return torch.stack([*terms, _any_severe(log_p[:, of[0]], grades[:, of[0]], weight[:, of[0]])], -1)


def _any_severe(log_p: Tensor, grades: Tensor, weight: Tensor) -> Tensor:
    """Is any canal level severe? (B, 2): cross-entropy of the surest level's answer, times the study's greatest weight."""
    severe = log_p[..., 2].masked_fill(grades < 0, -1e4).amax(1)
    log_not = torch.log1p(-severe.exp().clamp(max=1 - 1e-6))
    v = weight.amax(1)
    return torch.stack([v * -torch.where((grades == 2).any(1), severe.clamp(min=-30), log_not), v], 1)


def plain_grader_terms(model: Grader, batch: dict[str, Tensor], preset: Preset) -> Tensor:
    """Cross-entropy without weights (B, 2, 1): the first of two steps, in which the encoder learns (5th place's order)."""
    logits = model(seen(batch | {"share": torch.ones_like(batch["share"])}, preset), batch["exists"])
    loss = cross_entropy(logits.float().transpose(1, 2), batch["grades"], ignore_index=-1, reduction="none")
    return torch.stack([loss.sum(1), (batch["grades"] >= 0).sum(1).float()], 1)[..., None]
