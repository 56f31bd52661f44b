"""Points to 25 × 3 probabilities: the graders' logits, the population's prior, and what was
measured."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax

from utils.inference.fat import fat_shares, log_likelihoods
from utils.inference.grading import grade
from utils.inference.run import Run
from utils.prepare import PreparedStudy
from utils.rsna import GRADE_COLUMNS, TARGETS

# Of the measured fat in a foramen's probabilities, against the grader's: of 0.3 to 1 the best for
# the same patients as fat.DEVIATION is 0.8; at 0.7 phantoms whose fat is dark lose less.
FAT_WEIGHT = 0.7
TINY = 1e-12


class Graded(NamedTuple):
    """Probabilities (25, 3), which targets a grader saw (25,), and the share of fat (25,) that was
    measured, nan where none was."""

    p: np.ndarray
    visible: np.ndarray
    shares: np.ndarray


def graded(
    run: Run, study: PreparedStudy, of_folds: list[np.ndarray], points: np.ndarray
) -> Graded:
    """A study at the points (25, 3) mm of each fold, measured at the points that are shown."""
    p, visible = _mean_probabilities(run, study, of_folds)
    shares = fat_shares(study, points) if run.measures else np.full(len(TARGETS), np.nan)
    return Graded(with_fat(run, p, shares), visible, shares)


def _mean_probabilities(
    run: Run, study: PreparedStudy, of_folds: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the graders (25, 3), and which targets were visible in any fold (25,)."""
    graders = [grader for _, grader in run.folds]
    each = [grade(grader, study, at, run.preset) for grader, at in zip(graders, of_folds)]
    weight = np.array([visible for _, visible in each], float)[..., None]  # (folds, 25, 1)
    shifted = [logits / run.temperature + run.prior_shift for logits, _ in each]
    p = softmax(np.array(shifted, float), axis=-1)  # (folds, 25, 3)
    visible = np.any(weight, axis=(0, 2))
    mean = (weight * p).sum(0) / weight.sum(0).clip(1)
    mean = np.where(visible[:, None], mean, prior_of(run))
    return mean / mean.sum(1, keepdims=True), visible


def with_fat(run: Run, p: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Probabilities (25, 3) of the graders, with those by the measured fat (25,) where there are
    any: a weighted mean of their logarithms."""
    by_fat = log_softmax(np.log(prior_of(run).clip(TINY)) + log_likelihoods(shares), axis=1)
    log_p = (1 - FAT_WEIGHT) * np.log(p.clip(TINY)) + FAT_WEIGHT * by_fat
    return np.where(np.isfinite(shares)[:, None], softmax(log_p, axis=1), p)


def prior_of(run: Run) -> np.ndarray:
    """(25, 3), in the order of TARGETS."""
    return run.prior.loc[list(TARGETS), list(GRADE_COLUMNS)].to_numpy()
