"""Points to 25 × 3 probabilities: the graders' logits, the population's prior, and what was
measured."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax

from utils.inference.grading import grade
from utils.inference.measures import Measures
from utils.inference.openness import WEIGHT, log_likelihoods, openness
from utils.inference.run import Run
from utils.prepare import PreparedStudy
from utils.rsna import GRADE_COLUMNS, TARGETS

TINY = 1e-12


class Graded(NamedTuple):
    """Probabilities (25, 3), and which targets a grader saw (25,)."""

    p: np.ndarray
    visible: np.ndarray


def graded(
    run: Run, study: PreparedStudy, of_folds: list[np.ndarray], measures: Measures
) -> Graded:
    """A study at the points (25, 3) mm of each fold, with what was measured in it."""
    p, visible = _mean_probabilities(run, study, of_folds)
    if run.measures:
        p = with_measures(run, p, openness(measures))
    return Graded(p, visible)


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


def with_measures(run: Run, p: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Probabilities (25, 3) of the graders, with those by the measured openness (25,) where there
    is one: a weighted mean of their logarithms."""
    by_measure = log_softmax(np.log(prior_of(run).clip(TINY)) + log_likelihoods(measured), axis=1)
    weight = WEIGHT[:, None]
    log_p = (1 - weight) * np.log(p.clip(TINY)) + weight * by_measure
    return np.where(np.isfinite(measured)[:, None], softmax(log_p, axis=1), p)


def prior_of(run: Run) -> np.ndarray:
    """(25, 3), in the order of TARGETS."""
    return run.prior.loc[list(TARGETS), list(GRADE_COLUMNS)].to_numpy()
