"""The columns, types and ranges of the competition's five CSV files, and how one file is checked.

Validation is pandera's; a failure becomes a `TableError` that names file, column and row.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from utils.errors import LumbarError
from utils.rsna.vocabulary import CONDITIONS, GRADE_COLUMNS, GRADES, LEVELS, SERIES, TARGETS

_FIRST_ROW = 2  # of the data, in an editor: the header is row 1
_LISTED_COLUMNS = 8  # of a table that lacks one


class TableError(LumbarError):
    """A table that cannot be used; the message names file, column and row."""


# Columns
_ID = pa.Column(int, pa.Check.ge(0))
_UNIQUE_ID = pa.Column(int, pa.Check.ge(0), unique=True)
_GRADE = pa.Column(str, pa.Check.isin(GRADES), nullable=True)
_CONDITION = pa.Column(str, pa.Check.isin(CONDITIONS))
_LEVEL = pa.Column(str, pa.Check.isin(LEVELS))
_PIXEL = pa.Column(float)  # px from the centre of the first pixel
_PROBABILITY = pa.Column(float, pa.Check.in_range(0, 1))
_DESCRIPTION = pa.Column(str, pa.Check.isin(SERIES))

# Tables
_LABELS = {"study_id": _UNIQUE_ID} | {target.column: _GRADE for target in TARGETS}
_POINTS = {
    "study_id": _ID,
    "series_id": _ID,
    "instance_number": _ID,
    "condition": _CONDITION,
    "level": _LEVEL,
    "x": _PIXEL,
    "y": _PIXEL,
}
_SERIES = {"study_id": _ID, "series_id": _ID, "series_description": _DESCRIPTION}
_SUBMISSION = {
    "row_id": pa.Column(str, unique=True),
    **dict.fromkeys(GRADE_COLUMNS, _PROBABILITY),
}
SCHEMAS = {
    "train.csv": pa.DataFrameSchema(_LABELS, coerce=True),
    "train_label_coordinates.csv": pa.DataFrameSchema(_POINTS, coerce=True),
    "train_series_descriptions.csv": pa.DataFrameSchema(_SERIES, coerce=True),
    "test_series_descriptions.csv": pa.DataFrameSchema(_SERIES, coerce=True),
    "sample_submission.csv": pa.DataFrameSchema(_SUBMISSION, coerce=True),
}

_UNREADABLE = (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError)


def read_table(path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """One CSV file with the schema's columns and types, checked. Raises TableError.

    CRLF line ends, a byte-order mark, blank rows and extra columns are accepted.
    """
    try:
        raw = pd.read_csv(path, dtype=str, encoding="utf-8-sig", skip_blank_lines=False)
    except _UNREADABLE as error:
        raise TableError(f"{path}: cannot be read as a table: {error}") from error
    raw.columns = raw.columns.str.strip()
    absent = [name for name in schema.columns if name not in raw.columns]
    if absent:
        present = ", ".join(raw.columns[:_LISTED_COLUMNS])
        raise TableError(f"{path}: column {absent[0]!r} is missing; it has {present}")
    table = raw[list(schema.columns)].apply(_without_blanks).dropna(how="all")
    try:
        return schema.validate(table, lazy=True).reset_index(drop=True)
    except pa.errors.SchemaErrors as error:
        raise TableError(_explain(path, error.failure_cases)) from None


def empty_table(schema: pa.DataFrameSchema) -> pd.DataFrame:
    """A table with the schema's columns and no rows, for a file that is not there."""
    return pd.DataFrame(columns=list(schema.columns))


def _without_blanks(column: pd.Series) -> pd.Series:
    """Cells stripped of blanks; an empty cell is a missing value."""
    return column.str.strip().replace("", pd.NA)


def _explain(path: Path, failures: pd.DataFrame) -> str:
    """The first failure, with the row number that an editor shows, and how many more there are."""
    in_rows = failures.dropna(subset=["index"])
    first = (in_rows if len(in_rows) else failures).iloc[0]
    row = f"row {int(first['index']) + _FIRST_ROW}" if pd.notna(first["index"]) else "some row"
    more = f" ({len(failures) - 1} more such cells)" if len(failures) > 1 else ""
    what = f"{first['failure_case']!r} fails {first['check']}{more}"
    return f"{path}: column {first['column']!r}, {row}: {what}"
