"""A table of predictions, checked, as the browser gets it: one entry per row id."""

from __future__ import annotations

import numpy as np
import pandas as pd

from utils import rsna
from utils.viewer.errors import ViewerError

POINT_COLUMNS = ["x_mm", "y_mm", "z_mm"]  # patient space, LPS
PROBABILITY_COLUMNS = list(rsna.GRADE_COLUMNS)
REQUIRED_COLUMNS = ["row_id", *PROBABILITY_COLUMNS]
# What may have been measured of a row's structure, in words.
MEASURED = {
    "sac_mm": "sac {:.1f} mm deep",
    "sac_mm2": "sac {:.0f} mm² large",
    "fat_mm2": "{:.0f} mm² of fat round the root",
    "recess_mm": "recess {:.1f} mm deep",
    "disc_mm": "disc {:.1f} mm high",
    "bulge_mm": "disc bulges {:.0f} mm",
    "slip_mm": "vertebra above {:.0f} mm {}",
}
# Told as a share of the patient's own widest level, too: patients differ in size.
RELATIVE, WIDEST = ("sac_mm", "sac_mm2", "fat_mm2"), ", the widest level"
LEAST_MM = (
    3.0  # of a slip or bulge: less is within what a measurement is off, and no news to a reader
)
TEXT_COLUMNS = ["note", "measure", "source"]


def predictions_of(study_id: int, table: pd.DataFrame | None) -> dict[str, dict]:
    """row_id -> its prediction, for the rows of one study; other rows and columns are left aside.

    A prediction is {p: [3], mm: [3] or None, note: text or None}, and, where the table has columns
    for them, `measure` (text or None) and `source` ("model" or "prior"). Raises ViewerError for a
    missing column, a row id that appears twice and a value that is not a probability.
    """
    if table is None:
        return {}
    _check_columns(table)
    table = table[table.row_id.isin(rsna.row_ids(study_id))]
    _check_unique(table)
    probabilities = _checked_probabilities(table)
    points = table.reindex(columns=POINT_COLUMNS).apply(pd.to_numeric, errors="coerce")
    measured = not set(MEASURED).isdisjoint(table.columns)
    texts = _texts(table.assign(measure=measures(table)) if measured else table)
    rows = zip(table.row_id, probabilities, points.to_numpy(float), texts, strict=True)
    return {row_id: {"p": p.tolist(), "mm": _point(mm)} | text for row_id, p, mm, text in rows}


def measures(table: pd.DataFrame) -> pd.Series:
    """What was measured of each row's structure, in words, for the rows of one study; None where
    there is no measure."""
    numbers = table.reindex(columns=list(MEASURED)).apply(pd.to_numeric, errors="coerce")
    parts = [_in_words(name, numbers[name].to_numpy(float), table.row_id) for name in MEASURED]
    texts = ["; ".join(filter(None, of_row)) or None for of_row in zip(*parts)]
    return pd.Series(texts, table.index, object)


def _in_words(name: str, values: np.ndarray, row_ids: pd.Series) -> list[str]:
    """One measure of each row; "" where it was not taken, or is not worth a word."""
    if name in ("slip_mm", "bulge_mm"):
        return [_if_much(name, mm) for mm in values]
    widest = np.nanmax(values, initial=0)
    if name not in RELATIVE or not widest:
        shares = [""] * len(values)
    else:
        *_, upper, lower = row_ids.iloc[np.nanargmax(values)].upper().split("_")
        shares = [f", {value / widest:.0%} of {upper}/{lower}" for value in values]
    return [
        MEASURED[name].format(value) + (share if value < widest else share and WIDEST)
        if np.isfinite(value)
        else ""
        for value, share in zip(values, shares)
    ]


def _if_much(name: str, mm: float) -> str:
    if not abs(mm) >= LEAST_MM or (name == "bulge_mm" and mm < 0):
        return ""
    return MEASURED[name].format(abs(mm), "forward" if mm > 0 else "backward")


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
