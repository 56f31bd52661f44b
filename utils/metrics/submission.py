"""The form of a submission: one row per study, condition and level; three probabilities that sum to
1."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from utils.errors import LumbarError
from utils.rsna import GRADE_COLUMNS, row_ids

SUM_TOLERANCE = 1e-5  # a row written with six decimals still sums to 1 within this


class SubmissionError(LumbarError):
    """A submission that must not be scored; the message names the row."""


def check_submission(
    submission: pd.DataFrame, required: Iterable[str], allowed: Iterable[str] | None = None
) -> pd.DataFrame:
    """The submission as float64, indexed by row_id. Raises SubmissionError naming the first wrong
    row.

    required  row ids that must be there
    allowed   row ids that may be there (default: only the required ones)
    """
    columns = ["row_id", *GRADE_COLUMNS]
    absent = [name for name in columns if name not in submission.columns]
    if absent:
        listed = ", ".join(columns)
        raise SubmissionError(f"column {absent[0]!r} is missing; a submission has {listed}")
    wanted = pd.Index(required)
    permitted = wanted if allowed is None else list(allowed)
    table = submission[columns].set_index("row_id")
    _refuse(table.index.duplicated(), table.index, "appears twice")
    _refuse(~wanted.isin(table.index), wanted, "is missing")
    _refuse(~table.index.isin(permitted), table.index, "is not expected (an extra row)")
    return _probabilities(table)


def as_submission(predictions: pd.DataFrame, sample: pd.DataFrame | None = None) -> pd.DataFrame:
    """Exactly the rows of sample_submission.csv in its order, checked; without a sample the studies
    ascending, 25 rows each."""
    if sample is None:
        order = [row for study in sorted(predictions.study_id.unique()) for row in row_ids(study)]
    else:
        order = sample.row_id.tolist()
    chosen = predictions[predictions.row_id.isin(order)]
    check_submission(chosen, order)
    return chosen.set_index("row_id").loc[order, list(GRADE_COLUMNS)].reset_index()


def _probabilities(table: pd.DataFrame) -> pd.DataFrame:
    """The columns as numbers; finite, not negative, each row with the sum 1."""
    values = table.apply(pd.to_numeric, errors="coerce").astype(float)
    unusable = ~np.isfinite(values).all(axis=1)
    _refuse(unusable, values.index, "has an empty or non-numeric probability")
    _refuse((values < 0).any(axis=1), values.index, "has a negative probability")
    off = (values.sum(axis=1) - 1).abs()
    _refuse(off > SUM_TOLERANCE, values.index, "does not sum to 1")
    return values


def _refuse(bad, rows: pd.Index, what: str) -> None:
    """Raise SubmissionError for the first of the rows marked as bad, if there is one."""
    bad = np.asarray(bad)
    if bad.any():
        more = f" (and {bad.sum() - 1} more)" if bad.sum() > 1 else ""
        raise SubmissionError(f"row {rows[int(bad.argmax())]!r} {what}{more}")
