"""Predictions that use no image: how frequent each grade is, as a submission for every study."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from utils.rsna import GRADE_COLUMNS, GRADE_WEIGHTS, GRADES, TARGETS, Target

SMOOTHING = 4  # labels of the overall mix, added to every target of a prior that models begin with
_NAMES = ["condition", "level"]


def prior(labels: pd.DataFrame, weighted: bool = True, smoothing: float = 0.0) -> pd.DataFrame:
    """Proportion of each grade per condition and level, (25, 3).

    weighted   each label counts 1, 2 or 4 times, as in the metric. Among predictions that use no
               image the weighted prior minimises the three families' terms; the any-severe term,
               and so the score, only nearly
    smoothing  adds so many labels of the overall mix to every target, so that a grade not seen in a
               small set is not called impossible
    A target without any label gets 1/3 for each grade.

    Three studies are Normal/Mild and one is Severe, which counts four times: 3 and 4 of 7.

    >>> from utils.rsna import CANAL
    >>> grades = ["Normal/Mild"] * 3 + ["Severe"]
    >>> labels = pd.DataFrame({"condition": CANAL, "level": "L4/L5", "grade": grades})
    >>> prior(labels).loc[(CANAL, "L4/L5")].round(3).tolist()
    [0.429, 0.0, 0.571]
    """
    graded = labels.dropna(subset=["grade"])
    counts = graded.groupby([*_NAMES, "grade"]).size().unstack(fill_value=0)
    index = pd.MultiIndex.from_tuples(TARGETS)
    counts = counts.reindex(index=index, columns=list(GRADES), fill_value=0).astype(float)
    overall = counts.sum() / max(counts.to_numpy().sum(), 1)
    weights = np.array(GRADE_WEIGHTS) if weighted else 1
    counts = (counts + smoothing * overall) * weights
    proportions = counts.div(counts.sum(axis=1), axis=0).fillna(1 / 3)
    return proportions.set_axis(list(GRADE_COLUMNS), axis=1).rename_axis(_NAMES)


def weighted_prior(frequencies: np.ndarray) -> pd.DataFrame:
    """Grade frequencies (25, 3) of a population -> its weighted prior, in the form of `prior`.

    >>> weighted_prior([[0.7, 0.1, 0.2]] * 25).iloc[0].round(3).tolist()  # 0.7, 0.2, 0.8 of 1.7
    [0.412, 0.118, 0.471]
    """
    counted = np.asarray(frequencies) * GRADE_WEIGHTS
    proportions = counted / counted.sum(1, keepdims=True)
    index = pd.MultiIndex.from_tuples(TARGETS, names=_NAMES)
    return pd.DataFrame(proportions, index, list(GRADE_COLUMNS))


def constant_submission(probabilities: pd.DataFrame, study_ids: Iterable[int]) -> pd.DataFrame:
    """The same (25, 3) probabilities for every study, as a submission."""
    columns = [Target(*of).column for of in probabilities.index]
    values = dict(zip(columns, probabilities.to_numpy().tolist()))
    rows = [(f"{study}_{name}", *p) for study in study_ids for name, p in values.items()]
    return pd.DataFrame(rows, columns=["row_id", *GRADE_COLUMNS])
