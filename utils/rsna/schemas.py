"""The columns, types and ranges of the competition's five CSV files, and how one file is checked.

Validation is pandera's. A cell that does not fit is `Rejected` with file, column and row, and the
rest is used; only a table of which nothing can be read is a `TableError`.
"""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa

from utils.errors import LumbarError
from utils.rsna.vocabulary import CONDITIONS, GRADE_COLUMNS, GRADES, LEVELS, SERIES, TARGETS

log = logging.getLogger(__name__)
_LINE_END = re.compile(r"\r\n|\r|\n")
_REPORTED = 3  # cells of a file that are left out and logged one by one
_WORDS = {word.casefold(): word for word in (*SERIES, *CONDITIONS, *LEVELS, *GRADES)}
_REPEATED = "multiple_fields_uniqueness"  # what pandera calls a row that is there before
_FIRST_ROW = 2  # of the data, in an editor: the header is row 1
_LISTED_COLUMNS = 8  # of a table that lacks one


class TableError(LumbarError):
    """A table that cannot be used; the message names file, column and row."""


# Columns
_ID = pa.Column(int, pa.Check.ge(0))
_GRADE = pa.Column(str, pa.Check.isin(GRADES), nullable=True)
_CONDITION = pa.Column(str, pa.Check.isin(CONDITIONS))
_LEVEL = pa.Column(str, pa.Check.isin(LEVELS))
_PIXEL = pa.Column(float, pa.Check(np.isfinite))  # px from the centre of the first pixel
_PROBABILITY = pa.Column(float, pa.Check.in_range(0, 1), nullable=True)  # only its id is used
_DESCRIPTION = pa.Column(str, nullable=True)  # one of SERIES, or what nobody can use
_TARGET_NAMES = "|".join(target.column for target in TARGETS)
_ROW_ID = pa.Column(str, pa.Check.str_matches(rf"^(0|[1-9]\d{{0,17}})_({_TARGET_NAMES})$"))

# Tables
_LABELS = {"study_id": _ID} | {target.column: _GRADE for target in TARGETS}
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
    "row_id": _ROW_ID,
    **dict.fromkeys(GRADE_COLUMNS, _PROBABILITY),
}


def _schema(columns: dict[str, pa.Column], key: list[str] | None = None) -> pa.DataFrameSchema:
    """A table's columns, and those that name a row: of several with the same the first counts."""
    return pa.DataFrameSchema(columns, coerce=True, unique=key, report_duplicates="exclude_first")


SCHEMAS = {
    "train.csv": _schema(_LABELS, ["study_id"]),
    "train_label_coordinates.csv": _schema(_POINTS),
    "train_series_descriptions.csv": _schema(_SERIES, ["study_id", "series_id"]),
    "test_series_descriptions.csv": _schema(_SERIES, ["study_id", "series_id"]),
    "sample_submission.csv": _schema(_SUBMISSION, ["row_id"]),
}


class Rejected(NamedTuple):
    """A cell that cannot be used, as an editor shows it; with it its row, or only its grade."""

    file: str
    row: int
    column: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}: column {self.column!r}, row {self.row}: {self.why}"


def read_table(path: Path, schema: pa.DataFrameSchema) -> tuple[pd.DataFrame, list[Rejected]]:
    """One CSV file with the schema's columns and types; and the cells that do not fit them.

    A row with such a cell is left out, of a grade only the grade: one odd cell must not cost all
    other studies. CRLF line ends, a byte-order mark, blank rows, extra columns, and words in
    another case are accepted. Raises TableError where nothing can be read.
    """
    raw = _read_cells(path)
    absent = [name for name in schema.columns if name not in raw.columns]
    if absent:
        present = ", ".join(raw.columns[:_LISTED_COLUMNS])
        raise TableError(f"{path}: column {absent[0]!r} is missing; it has {present}")
    table = raw[list(schema.columns)].apply(_in_known_words).dropna(how="all")
    table, rejected = _fitting(path, schema, table)
    if rejected and not len(table):
        raise TableError(f"{path.parent / str(rejected[0])}; no row is left")
    for line in rejected[:_REPORTED]:
        log.warning(f"{line}; left out")
    if len(rejected) > _REPORTED:
        log.warning(f"{path.name}: {len(rejected) - _REPORTED} more cells left out")
    return table.reset_index(drop=True), rejected


def _read_cells(path: Path) -> pd.DataFrame:
    """All cells as text, under the header's names; a row too long is cut, one too short filled. A
    byte that is no UTF-8 spoils its own cell only, a quote that is not closed its own line. Raises
    TableError."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        rows = [next(csv.reader([line]), []) for line in _LINE_END.split(text)]
    except (OSError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as a table: {error}") from error
    if not rows or not any(rows[0]):
        raise TableError(f"{path}: cannot be read as a table: it has no header")
    header = [name.strip() for name in rows[0]]
    width = len(header)
    cells = [[*row[:width], *[""] * (width - len(row))] for row in rows[1:]]
    table = pd.DataFrame(cells, columns=header, dtype=str)
    return table.loc[:, ~table.columns.duplicated()]


def _fitting(
    path: Path, schema: pa.DataFrameSchema, table: pd.DataFrame
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The rows that fit the schema, with its types. A cell that has no type hides the checks of its
    column, so that it takes several passes."""
    rejected: list[Rejected] = []
    while True:
        try:
            return schema.validate(table, lazy=True), rejected
        except pa.errors.SchemaErrors as error:
            cells = error.failure_cases.dropna(subset=["index"])
            cells = cells[cells["index"].isin(table.index)]
            if not len(cells):
                raise TableError(_explain(path, error.failure_cases)) from None
        is_repeat = cells.check == _REPEATED
        of_rows = cells[is_repeat].drop_duplicates("index", keep="last")
        once = pd.concat([cells[~is_repeat].drop_duplicates(["index", "column"]), of_rows])
        rejected += [_rejected(path, cell) for cell in once.itertuples()]
        table = _without(table, schema, once)


def _rejected(path: Path, cell: Any) -> Rejected:
    """A row of pandera's failure cases, in words."""
    if cell.check == _REPEATED:
        why = f"{cell.failure_case} is there more than once"
    elif pd.isna(cell.failure_case):
        why = "is empty"
    else:
        why = f"{cell.failure_case!r} fails {cell.check}"
    return Rejected(path.name, int(cell.index) + _FIRST_ROW, cell.column, why)


def _without(table: pd.DataFrame, schema: pa.DataFrameSchema, cells: pd.DataFrame) -> pd.DataFrame:
    """The table without these cells, where they may be empty; else without their rows."""
    may_be_empty = cells.column.map(lambda name: schema.columns[name].nullable)
    kept = table.drop(index=cells["index"][~may_be_empty].astype(int).unique())
    for name, same in cells[may_be_empty].groupby("column"):
        kept.loc[kept.index.isin(same["index"].astype(int)), name] = pd.NA
    return kept


def empty_table(schema: pa.DataFrameSchema) -> pd.DataFrame:
    """A table with the schema's columns and no rows, for a file that is not there."""
    return pd.DataFrame(columns=list(schema.columns))


def _in_known_words(column: pd.Series) -> pd.Series:
    """Cells stripped of blanks, and the data set's words as it writes them; an empty cell is a
    missing value."""
    stripped = column.str.strip().replace("", pd.NA)
    return stripped.map(lambda text: _WORDS.get(str(text).casefold(), text), na_action="ignore")


def _explain(path: Path, failures: pd.DataFrame) -> str:
    """The first failure of a table as a whole."""
    first = failures.iloc[0]
    return f"{path}: column {first['column']!r}: {first['failure_case']!r} fails {first['check']}"
