"""Does 0.7 mean seven out of ten? Reliability, the metric's bias, temperature scaling."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import softmax

from utils.metrics.resampling import better
from utils.metrics.score import match, rsna_score
from utils.metrics.submission import as_submission
from utils.rsna import GRADE_COLUMNS, GRADE_WEIGHTS, GRADES

HOTTEST = 3.0  # the highest temperature that is tried
FEWEST_STUDIES = 10  # with fewer no temperature is fitted
CONFIDENT = 0.95  # a temperature must be better in this fraction of resampled sets


def reliability(truth: pd.DataFrame, submission: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Per grade and bin of predicted probability: mean prediction, observed frequency, and
    count."""
    table = match(truth, submission)
    parts = [
        pd.DataFrame({"grade": name, "p": table[column], "hit": table.grade == k})
        for k, (name, column) in enumerate(zip(GRADES, GRADE_COLUMNS))
    ]
    long = pd.concat(parts, ignore_index=True)
    long["bin"] = np.minimum((long.p * bins).astype(int), bins - 1)
    grouped = long.groupby(["grade", "bin"], as_index=False)
    return grouped.agg(predicted=("p", "mean"), observed=("hit", "mean"), count=("p", "size"))


def unweighted(submission: pd.DataFrame) -> pd.DataFrame:
    """The submission with the metric's weights taken out again: p over weight, scaled to sum to 1.

    The metric counts a severe row four times, so the prediction that scores best calls Severe more
    often than it is. Whether the model is right seven times of ten when it says 0.7 is a question
    for reliability(truth, unweighted(submission)).
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
    if logits.study_id.nunique() < FEWEST_STUDIES:
        return 1.0
    grid = np.round(np.exp(np.linspace(0, np.log(HOTTEST), 25)), 3)
    scaled = [temperature_scaled(logits, temperature) for temperature in grid]
    best = int(np.argmin([rsna_score(labels, one).total for one in scaled]))
    return float(grid[best]) if better(labels, scaled[best], scaled[0]) >= CONFIDENT else 1.0
