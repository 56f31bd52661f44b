"""The RSNA 2024 lumbar-spine data set as tables: its vocabulary, its files, its row ids, its known faults.

Layout of a data folder (the competition's own)::

    train.csv                       study_id + 25 grade columns
    train_label_coordinates.csv     one row per annotated point, in pixels of one image
    {train,test}_series_descriptions.csv
    sample_submission.csv
    {train,test}_images/{study_id}/{series_id}/{instance_number}.dcm
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

LEVELS = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")
GRADES = ("Normal/Mild", "Moderate", "Severe")
GRADE_COLUMNS = ("normal_mild", "moderate", "severe")
GRADE_COLOURS = ("#56B4E9", "#E69F00", "#D55E00")  # Okabe and Ito's colour-blind-safe palette, the same in every figure
GRADE_WEIGHTS = (1.0, 2.0, 4.0)  # the competition's weight of a row, by its true grade
CANAL = "Spinal Canal Stenosis"
CONDITIONS = (
    CANAL,
    "Left Neural Foraminal Narrowing",
    "Right Neural Foraminal Narrowing",
    "Left Subarticular Stenosis",
    "Right Subarticular Stenosis",
)
SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = SERIES = ("Sagittal T1", "Sagittal T2/STIR", "Axial T2")
FAMILIES = ("spinal", "foraminal", "subarticular")
FAMILY = dict(zip(CONDITIONS, ("spinal", "foraminal", "foraminal", "subarticular", "subarticular"), strict=True))
SERIES_OF = dict(zip(CONDITIONS, (SAGITTAL_T2, SAGITTAL_T1, SAGITTAL_T1, AXIAL_T2, AXIAL_T2), strict=True))
TARGETS = tuple(product(CONDITIONS, LEVELS))  # the 25 questions, in the order of train.csv
_SUBMISSION_ORDER = tuple(CONDITIONS[i] for i in (1, 3, 2, 4, 0))  # not that of train.csv


class TableError(ValueError):
    """A table that cannot be used; the message names file, column and row."""


def slug(name: str) -> str:
    """'Left Subarticular Stenosis' -> 'left_subarticular_stenosis', 'L4/L5' -> 'l4_l5'."""
    return name.lower().replace("/", "_").replace(" ", "_")


def mirror(condition: str) -> str:
    """The same condition on the other side; the canal is its own mirror."""
    swap = {"Left": "Right", "Right": "Left"}
    side, _, rest = condition.partition(" ")
    return f"{swap[side]} {rest}" if side in swap else condition


def row_id(study_id: int, condition: str, level: str) -> str:
    return f"{study_id}_{slug(condition)}_{slug(level)}"


def row_ids(study_id: int) -> list[str]:
    """The 25 row ids of one study, in the order of sample_submission.csv."""
    return [row_id(study_id, condition, level) for condition in _SUBMISSION_ORDER for level in LEVELS]


def studies_of(row_ids: pd.Series) -> pd.Series:
    """The study that each row id begins with."""
    return row_ids.str.split("_").str[0].astype("int64")


@dataclass(frozen=True)
class Tables:
    """The five CSV files of one data folder, validated.

    labels      study_id, condition, level, grade (missing where the reader gave none)
    points      study_id, series_id, instance_number, condition, level, x, y (px: column, row)
    series      study_id, series_id, series_description, split ("train" or "test")
    submission  row_id, normal_mild, moderate, severe as in sample_submission.csv
    missing     names of the files that were not there
    """

    root: Path
    labels: pd.DataFrame
    points: pd.DataFrame
    series: pd.DataFrame
    submission: pd.DataFrame
    missing: tuple[str, ...] = field(default=())

    def folder(self, study_id: int, series_id: int | None = None) -> Path:
        """Where the images of a study (or of one series of it) lie; the folder need not exist."""
        for split in ("train", "test"):
            study = self.root / f"{split}_images" / str(int(study_id))
            if study.is_dir():
                break
        return study if series_id is None else study / str(int(series_id))

    def studies(self, split: str = "train") -> list[int]:
        """Ids of the studies of a split whose images are on this disk, ascending. A part of the download is fine."""
        root = self.root / f"{split}_images"
        return sorted(int(p.name) for p in root.iterdir() if p.is_dir() and p.name.isdecimal()) if root.is_dir() else []

    def whole_studies(self, split: str = "train") -> list[int]:
        """Those of studies(split) that have images of all three kinds of series; all of them if none has."""
        there = self.series[[self.folder(r.study_id, r.series_id).is_dir() for r in self.series.itertuples()]]
        kinds = there.groupby("study_id").series_description.nunique()
        studies = self.studies(split)
        return [study for study in studies if kinds.get(study) == len(SERIES)] or studies

    def series_of(self, study_id: int) -> pd.DataFrame:
        return self.series[self.series.study_id == study_id]

    def only(self, study_id: int) -> Tables:
        """The rows of one study, small enough to hand to a worker with each task."""
        labels, points, series = (t[t.study_id == study_id] for t in (self.labels, self.points, self.series))
        return replace(self, labels=labels, points=points, series=series, submission=self.submission.iloc[:0])

    def __repr__(self) -> str:
        counts = {split: len(self.studies(split)) for split in ("train", "test")}
        return (
            f"Tables({self.root}: {self.labels.study_id.nunique()} labelled studies, {len(self.points)} points, "
            f"{len(self.series)} series; images of {counts['train']} train and {counts['test']} test studies"
            + (f"; not there: {', '.join(self.missing)}" if self.missing else "")
            + ")"
        )


_ID = pa.Column(int, pa.Check.ge(0))
_GRADE = pa.Column(str, pa.Check.isin(GRADES), nullable=True)
_SERIES = pa.DataFrameSchema(
    {"study_id": _ID, "series_id": _ID, "series_description": pa.Column(str, pa.Check.isin(SERIES))}, coerce=True
)
_SHARE = pa.Column(float, pa.Check.in_range(0, 1))
SCHEMAS = {
    "train.csv": pa.DataFrameSchema(
        {"study_id": pa.Column(int, pa.Check.ge(0), unique=True)} | {f"{slug(c)}_{slug(lv)}": _GRADE for c, lv in TARGETS},
        coerce=True,
    ),
    "train_label_coordinates.csv": pa.DataFrameSchema(
        {
            **dict.fromkeys(("study_id", "series_id", "instance_number"), _ID),
            "condition": pa.Column(str, pa.Check.isin(CONDITIONS)),
            "level": pa.Column(str, pa.Check.isin(LEVELS)),
            **dict.fromkeys(("x", "y"), pa.Column(float)),
        },
        coerce=True,
    ),
    "train_series_descriptions.csv": _SERIES,
    "test_series_descriptions.csv": _SERIES,
    "sample_submission.csv": pa.DataFrameSchema(
        {"row_id": pa.Column(str, unique=True), **dict.fromkeys(GRADE_COLUMNS, _SHARE)}, coerce=True
    ),
}


def read_table(path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """One CSV, checked. Survives CRLF, a byte-order mark, blank rows and extra columns; raises TableError otherwise."""
    try:
        raw = pd.read_csv(path, dtype=str, encoding="utf-8-sig", skip_blank_lines=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(f"{path}: cannot be read as a table: {error}") from error
    raw.columns = raw.columns.str.strip()
    absent = [name for name in schema.columns if name not in raw.columns]
    if absent:
        raise TableError(f"{path}: column {absent[0]!r} is missing; it has {', '.join(raw.columns[:8])}")
    table = raw[list(schema.columns)].apply(lambda column: column.str.strip().replace("", pd.NA))
    table = table.dropna(how="all")
    try:
        return schema.validate(table, lazy=True).reset_index(drop=True)
    except pa.errors.SchemaErrors as error:
        raise TableError(_explain(path, error.failure_cases)) from None


def _explain(path: Path, failures: pd.DataFrame) -> str:
    """The first failure, with the row number an editor would show (the header is row 1)."""
    rows = failures.dropna(subset=["index"])
    first = (rows if len(rows) else failures).iloc[0]
    row = f"row {int(first['index']) + 2}" if pd.notna(first["index"]) else "some row"
    more = f" ({len(failures) - 1} more such cells)" if len(failures) > 1 else ""
    return f"{path}: column {first['column']!r}, {row}: {first['failure_case']!r} fails {first['check']}{more}"


def load_tables(root: str | Path) -> Tables:
    """Read and check the tables of a data folder. Raises TableError naming file, column and row.

    Any file may be absent (a test-only or partial download) but for the series descriptions, of which one must exist.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise TableError(f"{root}: no such folder. Set SOURCE to 'phantom', 'kaggle', or the folder that holds train.csv")
    missing = tuple(name for name in SCHEMAS if not (root / name).is_file())
    if {"train_series_descriptions.csv", "test_series_descriptions.csv"} <= set(missing):
        raise TableError(f"{root}: neither train_ nor test_series_descriptions.csv is here. Is it the competition's folder?")
    tables = {
        name: pd.DataFrame(columns=list(schema.columns)) if name in missing else read_table(root / name, schema)
        for name, schema in SCHEMAS.items()
    }
    series = [tables[f"{split}_series_descriptions.csv"].assign(split=split) for split in ("train", "test")]
    return Tables(
        root=root,
        labels=long_labels(tables["train.csv"]),
        points=tables["train_label_coordinates.csv"],
        series=pd.concat([part for part in series if len(part)], ignore_index=True),
        submission=tables["sample_submission.csv"],
        missing=missing,
    )


def is_placeholder(point):
    """Whether a point (or each of a table's points) is one of those that stand in the picture's corner for no point."""
    return (point.x < 6) & (point.y < 6)


def long_labels(wide: pd.DataFrame) -> pd.DataFrame:
    """train.csv (one row per study, 25 columns) -> one row per study, condition and level."""
    names = pd.DataFrame([(f"{slug(c)}_{slug(lv)}", c, lv) for c, lv in TARGETS], columns=["column", "condition", "level"])
    long = wide.melt("study_id", names["column"].tolist(), "column", "grade").merge(names, on="column")
    return long.sort_values("study_id", kind="stable", ignore_index=True)[["study_id", "condition", "level", "grade"]]


def wide_labels(long: pd.DataFrame) -> pd.DataFrame:
    """The inverse of long_labels: one row per study with train.csv's columns in train.csv's order."""
    columns = [f"{slug(c)}_{slug(lv)}" for c, lv in TARGETS]
    names = long.condition.map(slug) + "_" + long.level.map(slug)
    wide = long.assign(column=names).pivot(index="study_id", columns="column", values="grade")
    return wide.reindex(columns=columns).rename_axis(columns=None).reset_index()


@cache
def known_faults() -> pd.DataFrame:
    """The register of published faults of the real data: kind, study_id, series_id, level, action, source."""
    ids = dict.fromkeys(("study_id", "series_id"), "Int64")
    return pd.read_csv(Path(__file__).with_name("known_faults.csv"), dtype=ids)


def faults_in(tables: Tables) -> pd.DataFrame:
    """The rows of the register that speak of studies or series of this data folder."""
    faults = known_faults()
    return faults[faults.study_id.isin(tables.series.study_id) | faults.series_id.isin(tables.series.series_id)]
