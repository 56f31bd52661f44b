"""Parts of a recipe as they could have been: for ablation and real_foramen, by their full names."""

import torch
from torch import Tensor, nn

from utils.models import Grader
from utils.models.grader import _transformer as grader_transformer
from utils.models.grader import in_place, standardised
from utils.training.losses import mean_of

EPSILON = 1e-5  # keeps a division finite


def encoded(grader: Grader, crops: Tensor, there: Tensor) -> Tensor:
    """(B, V, S, px, px) -> (n, S, D): the features of slices as the encoder gives them."""
    present = standardised(crops.flatten(0, 1)[there])
    features = grader.encoder(present.flatten(0, 1)[:, None]).float()
    return features.unflatten(0, (-1, crops.shape[2]))


def within_study(grader: Grader, crops: Tensor, there: Tensor) -> Tensor:
    """The features of each study minus their mean, divided by their standard deviation: patients
    are their own reference. This hides how ill a patient is as a whole."""
    features, study = encoded(grader, crops, there), there // crops.shape[1]
    count = torch.bincount(study, minlength=len(crops)).clamp(min=1)[:, None] * crops.shape[2]

    def mean(x: Tensor) -> Tensor:
        sums = x.new_zeros(len(crops), x.shape[-1]).index_add(0, study, x.sum(1))
        return (sums / count)[study][:, None]

    centred = features - mean(features)
    return centred / (mean(centred.square()) + EPSILON).sqrt()


def own_weights(
    terms: Tensor, weights: Tensor | None = None, shares: Tensor | None = None
) -> Tensor:
    """The loss divided by the weights of the batch itself, so that small batches learn another
    metric."""
    return mean_of(terms, shares=shares)


def unchanged(x: Tensor) -> Tensor:
    """In place of what changes it."""
    return x


def attending_to_what_is_seen(grader: Grader, crops: Tensor, exists: Tensor) -> Tensor:
    """Logits where no target attends to one that has no view at all."""
    there = exists.flatten().nonzero()[:, 0]
    views, _ = grader.pool_slices(grader.encode_slices(crops, there))
    tokens = grader.target_tokens(in_place(views, exists, there), exists)
    seen = torch.zeros_like(tokens[..., 0], dtype=torch.bool)
    seen = seen.index_add(1, grader.view_target, exists)  # (B, T), of booleans: any
    unseen = ~seen & seen.any(1, keepdim=True)  # all are, where none is seen
    return grader.classify(grader.transformer(tokens, src_key_padding_mask=unseen))


def silent_transformer(width: int, dropout: float) -> nn.TransformerEncoder:
    """One that adds nothing at first, so that targets are graded one by one until it has learnt
    what the others tell."""
    transformer = grader_transformer(width, dropout)
    for layer in transformer.layers:
        for last in (layer.self_attn.out_proj, layer.linear2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return transformer


ENCODE = "utils.models.grader.Grader.encode_slices"
WITHIN_STUDY = {ENCODE: within_study}
NOT_NORMALISED = {ENCODE: encoded}
NOT_STANDARDISED = {"utils.models.grader.standardised": unchanged}
NO_PRIOR = {"utils.models.grader.Grader.expect": lambda grader, prior: None}
OWN_WEIGHTS = {"utils.training.trainer.mean_of": own_weights}
SILENT = {"utils.models.grader._transformer": silent_transformer}
SEEN = {"utils.models.grader.Grader.forward": attending_to_what_is_seen}
ALONE = {"torch.nn.TransformerEncoder.forward": lambda transformer, tokens: tokens}
