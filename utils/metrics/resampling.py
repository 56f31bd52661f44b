"""How far a score would differ with other patients: the bootstrap over whole studies.

Whole studies are resampled with replacement (Efron's percentile bootstrap): the 25 rows of one
patient are not independent, so rows must not be resampled. Every function takes `truth, submission`
as `score.match` does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from utils.metrics.score import TERMS, any_severe, match


def bootstrap(
    truth: pd.DataFrame,
    submission: pd.DataFrame,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Each term and the total with its confidence interval: columns score, low, high.

    draws  resampled sets of studies; level: the fraction of them within the interval
    A set without a single row of a term does not count for that term, nor for the total. One study
    has no variance: its interval is a point, and says nothing.
    """
    values = _resampled_scores(truth, submission, draws, seed)
    return intervals(values, level, "score", [*TERMS, "total"]).rename_axis("term")


def better(
    truth: pd.DataFrame,
    submission: pd.DataFrame,
    other: pd.DataFrame,
    draws: int = 1000,
    seed: int = 0,
    term: str = "total",
) -> float:
    """The fraction of resampled sets in which a submission scores lower than another, in total or
    in one term.

    Both are scored on the same sets, so that a gain too small to separate two intervals can still
    be detected, or be seen to be luck.
    """
    column = [*TERMS, "total"].index(term)
    pair = (_resampled_scores(truth, one, draws, seed)[1:, column] for one in (submission, other))
    mine, theirs = pair
    known = np.isfinite(mine) & np.isfinite(theirs)
    return float((mine < theirs)[known].mean()) if known.any() else 0.0


def resample(studies: int, draws: int, seed: int) -> np.ndarray:
    """How often each study counts, (1 + draws, studies). The first row is the data themselves: each
    study once.

    >>> times = resample(studies=5, draws=3, seed=0)
    >>> times[0].tolist(), times.sum(axis=1).tolist()
    ([1.0, 1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0])
    """
    picks = np.random.default_rng(seed).integers(studies, size=(draws, studies))
    counts = (np.bincount(pick, minlength=studies) for pick in picks)
    return np.vstack([np.ones(studies), *counts])


def intervals(values: np.ndarray, level: float, name: str, index) -> pd.DataFrame:
    """Values (1 + draws, columns) -> one row per column: that of the data (the first row), low,
    high.

    >>> draws = np.arange(101.0)  # of 0 to 100, the middle nine tenths
    >>> intervals(np.r_[42, draws][:, None], 0.9, "score", ["total"]).round(9).iloc[0].tolist()
    [42.0, 5.0, 95.0]
    """
    limits = [(1 - level) / 2, (1 + level) / 2]
    low, high = pd.DataFrame(values[1:]).quantile(limits).to_numpy()  # pandas leaves nan out
    return pd.DataFrame({name: values[0], "low": low, "high": high}, index=index)


def _resampled_scores(
    truth: pd.DataFrame, submission: pd.DataFrame, draws: int, seed: int
) -> np.ndarray:
    """Terms and total of the data, then of each resampled set: (1 + draws, 5)."""
    loss, weight = _sums_by_study(match(truth, submission))
    times = resample(len(loss), draws, seed)
    with np.errstate(invalid="ignore"):  # 0 / 0, no row of this term in this set, is nan
        terms = times @ loss / (times @ weight)
    return np.column_stack([terms, terms.mean(axis=1)])


def _sums_by_study(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Summed loss and weight of each study, (studies, 4 terms) each: all that is needed of it."""
    severe = any_severe(table).reset_index().assign(family="any_severe")
    columns = ["study_id", "family", "loss", "weight"]
    sums = pd.concat([table[columns], severe[columns]]).groupby(["study_id", "family"]).sum()
    loss, weight = (_by_term(sums[name]) for name in ("loss", "weight"))
    return loss, weight


def _by_term(sums: pd.Series) -> np.ndarray:
    return sums.unstack(fill_value=0).reindex(columns=TERMS, fill_value=0).to_numpy()
