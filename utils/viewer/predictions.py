"""A table of predictions, checked, as the browser gets it: one entry per row id."""

from __future__ import annotations

import numpy as np
import pandas as pd

from utils import rsna
from utils.viewer.errors import ViewerError

POINT_COLUMNS = ["x_mm", "y_mm", "z_mm"]  # patient space, LPS
PROBABILITY_COLUMNS = list(rsna.GRADE_COLUMNS)
REQUIRED_COLUMNS = ["row_id", *PROBABILITY_COLUMNS]
TEXT_COLUMNS = ["note", "source"]


def predictions_of(study_id: int, table: pd.DataFrame | None) -> dict[str, dict]:
    """row_id -> its prediction, for the rows of one study; other rows and columns are left aside.

    A prediction is {p: [3], mm: [3] or None, note: text or None}, and `source` ("model" or "prior")
    where the table has that column. Raises ViewerError for a missing column, a row id that appears
    twice and a value that is not a probability.
    """
    if table is None:
        return {}
    _check_columns(table)
    table = table[table.row_id.isin(rsna.row_ids(study_id))]
    _check_unique(table)
    probabilities = _checked_probabilities(table)
    points = table.reindex(columns=POINT_COLUMNS).apply(pd.to_numeric, errors="coerce")
    texts = _texts(table)
    rows = zip(table.row_id, probabilities, points.to_numpy(float), texts, strict=True)
    return {row_id: {"p": p.tolist(), "mm": _point(mm)} | text for row_id, p, mm, text in rows}


def _check_columns(table: pd.DataFrame) -> None:
    absent = [name for name in REQUIRED_COLUMNS if name not in table.columns]
    if absent:
        needed = ", ".join(REQUIRED_COLUMNS)
        raise ViewerError(f"predictions: column {absent[0]!r} is missing; needed are {needed}")


def _check_unique(table: pd.DataFrame) -> None:
    repeated = table.row_id[table.row_id.duplicated()]
    if len(repeated):
        raise ViewerError(f"predictions: row_id {repeated.iloc[0]!r} appears more than once")


def _checked_probabilities(table: pd.DataFrame) -> np.ndarray:
    """(rows, 3), each a number from 0 to 1."""
    numbers = table[PROBABILITY_COLUMNS].apply(pd.to_numeric, errors="coerce")
    valid = numbers.apply(lambda column: column.between(0, 1)).all(axis=1)  # nan is not between
    if not valid.all():
        row_id = table.row_id[~valid].iloc[0]
        raise ViewerError(
            f"predictions: row_id {row_id!r} has a probability that is not a number from 0 to 1"
        )
    return numbers.to_numpy(float)


def _point(mm: np.ndarray) -> list[float] | None:
    """A point with a missing coordinate is no point."""
    return mm.tolist() if np.isfinite(mm).all() else None


def _texts(table: pd.DataFrame) -> list[dict[str, str | None]]:
    """Per row its note and, if the table has that column, its source."""
    present = [name for name in TEXT_COLUMNS if name == "note" or name in table.columns]
    rows = table.reindex(columns=present).to_dict("records")
    return [{name: _text(value) for name, value in row.items()} for row in rows]


def _text(value: object) -> str | None:
    return str(value) if pd.notna(value) and str(value) else None
