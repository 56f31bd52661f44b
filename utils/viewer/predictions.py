"""A table of predictions, checked, as the browser gets it: one entry per row id."""

from __future__ import annotations

import numpy as np
import pandas as pd

from utils import rsna
from utils.viewer.errors import ViewerError

POINT_COLUMNS = ["x_mm", "y_mm", "z_mm"]  # patient space, LPS
PROBABILITY_COLUMNS = list(rsna.GRADE_COLUMNS)
REQUIRED_COLUMNS = ["row_id", *PROBABILITY_COLUMNS]
MEASURE_COLUMN = "measure"  # of the canal: depth of the sac, mm; of a foramen: its fat, mm²
MEASURED = {
    "spinal": lambda mm: f"sac {mm:.1f} mm deep" if mm >= 1 else "sac less than 1 mm deep",
    "foraminal": "{:.0f} mm² of fat round the root".format,
    "subarticular": "{:.1f} mm deep".format,
}
TEXT_COLUMNS = ["note", "measure", "source"]


def predictions_of(study_id: int, table: pd.DataFrame | None) -> dict[str, dict]:
    """row_id -> its prediction, for the rows of one study; other rows and columns are left aside.

    A prediction is {p: [3], mm: [3] or None, note: text or None}, and, where the table has these
    columns, `measure` (text or None) and `source` ("model" or "prior"). Raises ViewerError for a
    missing column, a row id that appears twice and a value that is not a probability.
    """
    if table is None:
        return {}
    _check_columns(table)
    table = table[table.row_id.isin(rsna.row_ids(study_id))]
    _check_unique(table)
    probabilities = _checked_probabilities(table)
    points = table.reindex(columns=POINT_COLUMNS).apply(pd.to_numeric, errors="coerce")
    measured = MEASURE_COLUMN in table.columns
    texts = _texts(table.assign(measure=measures(table)) if measured else table)
    rows = zip(table.row_id, probabilities, points.to_numpy(float), texts, strict=True)
    return {row_id: {"p": p.tolist(), "mm": _point(mm)} | text for row_id, p, mm, text in rows}


def measures(table: pd.DataFrame) -> pd.Series:
    """What was measured of each row's structure, in words; nothing where there is no measure.

    The patient's own widest level says more than the number: patients differ in size.
    """
    family = table.row_id.map(lambda row_id: next(of for of in rsna.FAMILIES if of in row_id))
    values = pd.to_numeric(table[MEASURE_COLUMN], errors="coerce")
    widest = values.groupby(family).transform("max")
    rows = zip(family, values, widest)
    texts = [
        MEASURED[of](value) + _share(value, most) if value == value else None
        for of, value, most in rows
    ]
    return pd.Series(texts, table.index, object)


def _share(value: float, widest: float) -> str:
    return f", {value / widest:.0%} of the widest level" if value < widest else ", the widest level"


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
    """Per row its note and, if the table has those columns, its measure and its source."""
    present = [name for name in TEXT_COLUMNS if name == "note" or name in table.columns]
    rows = table.reindex(columns=present).to_dict("records")
    return [{name: _text(value) for name, value in row.items()} for row in rows]


def _text(value: object) -> str | None:
    return str(value) if pd.notna(value) and str(value) else None
