"""Does 0.7 mean seven out of ten? Reliability, the metric's bias, temperature scaling, and what the
any-severe term wants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import binomtest

from utils.metrics.resampling import better
from utils.metrics.score import match, rsna_score
from utils.metrics.submission import as_submission
from utils.rsna import CANAL, GRADE_COLUMNS, GRADE_WEIGHTS, GRADES, LEVELS, Target, studies_of

HOTTEST = 3.0  # the highest temperature that is tried
HIGHEST = 3.0  # the highest factor of Severe that is tried
FEWEST_STUDIES = 10  # with fewer nothing is fitted
_CANAL = tuple(f"_{Target(CANAL, level).column}" for level in LEVELS)  # ends of row ids
CONFIDENT = 0.95  # what is fitted must be better in this fraction of resampled sets


def reliability(truth: pd.DataFrame, submission: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Per grade and bin of predicted probability: mean prediction, observed frequency with its 95 %
    interval (low, high; Wilson 1927, as if rows were independent), and count."""
    table = match(truth, submission)
    parts = [
        pd.DataFrame({"grade": name, "p": table[column], "hit": table.grade == k})
        for k, (name, column) in enumerate(zip(GRADES, GRADE_COLUMNS))
    ]
    long = pd.concat(parts, ignore_index=True)
    long["bin"] = np.minimum((long.p * bins).astype(int), bins - 1)
    grouped = long.groupby(["grade", "bin"], as_index=False)
    seen = grouped.agg(
        predicted=("p", "mean"), observed=("hit", "mean"), hits=("hit", "sum"), count=("p", "size")
    )
    intervals = [_wilson(*row) for row in seen[["hits", "count"]].itertuples(index=False)]
    seen[["low", "high"]] = np.reshape(intervals, (-1, 2))
    return seen.drop(columns="hits")


def _wilson(hits: int, count: int) -> tuple[float, float]:
    interval = binomtest(int(hits), int(count)).proportion_ci(method="wilson")
    return interval.low, interval.high


def unweighted(submission: pd.DataFrame) -> pd.DataFrame:
    """The submission with the metric's weights taken out again: p over weight, scaled to sum to 1.

    The metric counts a severe row four times, so the prediction that scores best calls Severe more
    often than it is. Whether the model is right seven times of ten when it says 0.7 is a question
    for reliability(truth, unweighted(submission)).

    >>> weighted = pd.DataFrame([[0.2, 0.4, 0.4]], columns=GRADE_COLUMNS)
    >>> unweighted(weighted).loc[0].round(3).tolist()  # 0.2, 0.2 and 0.1 of 0.5
    [0.4, 0.4, 0.2]
    """
    p = submission[list(GRADE_COLUMNS)] / list(GRADE_WEIGHTS)
    return submission.assign(**p.div(p.sum(axis=1), axis=0))


def temperature_scaled(logits: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Logits (study_id, row_id, three columns) as a submission, divided by the temperature
    (Guo 2017)."""
    columns = list(GRADE_COLUMNS)
    p = softmax(logits[columns].to_numpy(float) / temperature, axis=-1)
    return as_submission(logits.assign(**dict(zip(columns, p.T))))


def fit_temperature(labels: pd.DataFrame, logits: pd.DataFrame) -> float:
    """The temperature, from 1 to 3, that scores best out of fold.

    1 if the gain may be luck (better in fewer than 95 % of resampled sets of studies, or fewer than
    ten studies). Never below 1: a few dozen studies do not hold the rare errors that make more
    confident predictions costly on others.
    """
    return _best(labels, HOTTEST, lambda value: temperature_scaled(logits, value))


def with_severe_factor(submission: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The submission with the odds of Severe times the factor at one canal level of each study, the
    one at which Severe is most probable.

    Of five probabilities the highest is too low as often as each is uncertain: any of the other
    levels may be the severe one. The any-severe term looks at that one alone (a winner took 1.25).

    >>> one = pd.DataFrame([["7_spinal_canal_stenosis_l4_l5", 0.5, 0.25, 0.25]])
    >>> one.columns = ["row_id", *GRADE_COLUMNS]
    >>> with_severe_factor(one, 2)[[*GRADE_COLUMNS]].values.tolist()  # odds of 1 : 3 become 2 : 3
    [[0.4, 0.2, 0.4]]
    """
    if factor == 1:
        return submission
    canal = submission[submission.row_id.str.endswith(_CANAL)]
    chosen = canal.groupby(studies_of(canal.row_id)).severe.idxmax()
    p = submission.loc[chosen, list(GRADE_COLUMNS)] * [1.0, 1.0, factor]
    changed = submission.copy()
    changed.loc[chosen, list(GRADE_COLUMNS)] = p.div(p.sum(axis=1), axis=0)
    return changed


def fit_severe_factor(labels: pd.DataFrame, submission: pd.DataFrame) -> float:
    """The factor of with_severe_factor, from 1 to 3, that scores best out of fold; 1 where the gain
    may be luck, as in fit_temperature."""
    return _best(labels, HIGHEST, lambda value: with_severe_factor(submission, value))


def _best(
    labels: pd.DataFrame, greatest: float, submission: Callable[[float], pd.DataFrame]
) -> float:
    """The value from 1 to the greatest whose submission scores best, or 1."""
    first = submission(1.0)
    if studies_of(first.row_id).nunique() < FEWEST_STUDIES:
        return 1.0
    grid = np.round(np.exp(np.linspace(0, np.log(greatest), 25)), 3)
    tried = [submission(value) for value in grid]
    best = int(np.argmin([rsna_score(labels, one).total for one in tried]))
    return float(grid[best]) if better(labels, tried[best], first) >= CONFIDENT else 1.0
