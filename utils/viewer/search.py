"""The text by which the picker's search finds a study: one line per study and target."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from utils import rsna

NOT_GRADED = "not graded"
KEYS = ["study_id", "condition", "level"]


def search_index(
    tables: rsna.Tables, studies: Sequence[int], predictions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per study and target: study_id, grade, and text, in lower case.

    text is "{study_id} {condition} {level} {grade}", and with predictions "right" or "wrong" after
    it, where both the label and the prediction are known.
    """
    rows = [(study, *target) for study, target in product(studies, rsna.TARGETS)]
    labels = tables.labels[[*KEYS, "grade"]]
    index = pd.DataFrame(rows, columns=KEYS).merge(labels, "left", KEYS)
    grade = index.grade.astype(object).fillna(NOT_GRADED)
    text = index.study_id.astype(str) + " " + index.condition + " " + index.level + " " + grade
    if predictions is not None:
        text += _verdicts(index, predictions)
    return index[["study_id", "grade"]].assign(text=text.str.lower())


def matching(index: pd.DataFrame, query: str) -> set[int]:
    """Studies in which one row of the index has all words of the query.

    >>> lines = ["7 spinal canal stenosis l4/l5 severe", "8 spinal canal stenosis l4/l5 moderate"]
    >>> matching(pd.DataFrame({"study_id": [7, 8], "text": lines}), "L4/L5 sev")
    {7}
    """
    found = pd.Series(True, index.index)
    for word in query.lower().split():
        found &= index.text.str.contains(word, regex=False)
    return set(index.study_id[found])


def grade_counts(index: pd.DataFrame, studies: Sequence[int]) -> list[dict[str, int]]:
    """Per study how many of its targets have each grade; a grade that is nowhere is left out."""
    counts = index.groupby(["study_id", "grade"]).size().unstack(fill_value=0)
    return counts.reindex(studies, fill_value=0).to_dict("records")


def _verdicts(index: pd.DataFrame, predictions: pd.DataFrame) -> pd.Series:
    """ " right", " wrong", or "" where the label or the prediction is missing."""
    targets = zip(index.study_id, index.condition, index.level)
    row_ids = [rsna.row_id(*target) for target in targets]
    columns = list(rsna.GRADE_COLUMNS)
    probabilities = predictions.set_index("row_id")[columns].reindex(row_ids)
    complete = probabilities.notna().all(axis=1).to_numpy()
    predicted = np.array(rsna.GRADES)[probabilities.fillna(-1).to_numpy(float).argmax(1)]
    verdict = np.where(index.grade.astype(object) == predicted, " right", " wrong")
    return pd.Series(verdict, index.index).where(index.grade.notna() & complete, "")
