"""Cross-validation folds: whole studies, about as much disease in each fold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

# What a graded level adds to a study's burden of disease; chosen, not measured: Severe is rare and
# decides the score, so it counts most.
BURDEN = {"Moderate": 1, "Severe": 3}


def make_folds(labels: pd.DataFrame, folds: int = 4, seed: int = 0) -> pd.DataFrame:
    """Assign whole studies to folds, so that no patient is in training and validation at once.

    labels   study_id, condition, level, grade (the long form of Tables.labels)
    returns  study_id and fold, sorted by study_id

    Studies are ranked by their burden of disease (ties in random order), and each `folds`
    neighbours in rank go to different folds, so every fold has about as many severe grades. With
    fewer studies than folds, each study is a fold of its own; without labels there are none.

    >>> grades = ["Severe", "Normal/Mild", "Severe", "Normal/Mild"]
    >>> folds = make_folds(pd.DataFrame({"study_id": [1, 2, 3, 4], "grade": grades}), folds=2)
    >>> folds[folds.study_id.isin([1, 3])].fold.sort_values().tolist()  # one severe study in each
    [0, 1]
    """
    if not labels.grade.notna().any():
        return pd.DataFrame({"study_id": [], "fold": []}, dtype=int)
    rng = np.random.default_rng(seed)
    graded = labels.assign(burden=labels.grade.map(BURDEN).fillna(0))
    burden = graded.groupby("study_id").burden.sum()
    ranked = burden.sample(frac=1, random_state=seed).sort_values(kind="stable").index
    folds = min(folds, len(ranked))
    groups = math.ceil(len(ranked) / folds)
    assigned = np.concatenate([rng.permutation(folds) for _ in range(groups)])
    table = pd.DataFrame({"study_id": ranked, "fold": assigned[: len(ranked)]})
    return table.sort_values("study_id", ignore_index=True)
