"""The competition's score, and how far to trust it.

In: true grades (`Tables.labels` or train.csv) and a submission (row_id and three probabilities).
Out: the score term by term, its interval, and what is behind it. Read `score` first, then
`submission`, `priors` (predictions that use no image), `resampling` (intervals), `evaluation`
(where it is wrong) and `calibration` (whether 0.7 means seven out of ten).
"""

from utils.metrics.calibration import (
    fit_severe_factor,
    fit_temperature,
    reliability,
    temperature_scaled,
    unweighted,
    with_severe_factor,
)
from utils.metrics.evaluation import (
    HUMAN_KAPPA,
    agreement,
    auroc,
    by_fold,
    confusion,
    decisions,
    worst_rows,
)
from utils.metrics.priors import SMOOTHING, constant_submission, prior, weighted_prior
from utils.metrics.resampling import better, bootstrap
from utils.metrics.score import TERMS, Score, any_severe, match, rsna_score, score_rows, score_table
from utils.metrics.submission import SubmissionError, as_submission, check_submission

__all__ = [
    "HUMAN_KAPPA",
    "SMOOTHING",
    "TERMS",
    "Score",
    "SubmissionError",
    "agreement",
    "any_severe",
    "as_submission",
    "auroc",
    "better",
    "bootstrap",
    "by_fold",
    "check_submission",
    "confusion",
    "constant_submission",
    "decisions",
    "fit_severe_factor",
    "fit_temperature",
    "match",
    "prior",
    "reliability",
    "rsna_score",
    "score_rows",
    "score_table",
    "temperature_scaled",
    "unweighted",
    "weighted_prior",
    "with_severe_factor",
    "worst_rows",
]
