"""Parts of a recipe as they could have been: for ablation and real_foramen, by their full names."""

import torch
from torch import Tensor, nn

from utils.models import Grader
from utils.models.grader import standardised
from utils.presets import Preset
from utils.training.losses import mean_of

ATTENTION_HEADS = 4
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


class JointGrader(Grader):
    """One with a transformer over all 25 targets before the heads, so that they tell each other."""

    def __init__(self, preset: Preset):
        super().__init__(preset)
        layer = nn.TransformerEncoderLayer(
            preset.features,
            ATTENTION_HEADS,
            2 * preset.features,
            preset.dropout / 2,
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def classify(self, targets: Tensor) -> Tensor:
        """(B, T, D) -> logits (B, T, 3)."""
        return super().classify(self.transformer(targets))


ENCODE = "utils.models.grader.Grader.encode_slices"
WITHIN_STUDY = {ENCODE: within_study}
NOT_NORMALISED = {ENCODE: encoded}
NOT_STANDARDISED = {"utils.models.grader.standardised": unchanged}
NO_PRIOR = {"utils.models.grader.Grader.expect": lambda grader, prior: None}
OWN_WEIGHTS = {"utils.training.trainer.mean_of": own_weights}
JOINT = {"benchmarks.real_foramen.Grader": JointGrader}
