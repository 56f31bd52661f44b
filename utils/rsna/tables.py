"""The tables of one data folder as one object, and its labels in long and in wide form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from os.path import isdir  # unlike Path.is_dir, False where a mount has gone
from pathlib import Path
from zipfile import Path as ZipPath

import pandas as pd

from utils.files import number_named, reason
from utils.rsna.schemas import SCHEMAS, Rejected, TableError, empty_table, read_table
from utils.rsna.vocabulary import SERIES, TARGETS, slug

SPLITS = ("train", "test")
_LABEL_COLUMNS = ["study_id", "condition", "level", "grade"]


@dataclass(frozen=True)
class Tables:
    """The five CSV files of one data folder, validated.

    root        the folder, or one in an archive (zipfile.Path)
    labels      study_id, condition, level, grade (missing where the reader gave none)
    points      study_id, series_id, instance_number, condition, level, x, y (px: column, row)
    series      study_id, series_id, series_description, split ("train" or "test")
    submission  row_id, normal_mild, moderate, severe as in sample_submission.csv
    missing     names of the files that were not there
    rejected    cells that could not be used, each with its file, row and column
    """

    root: Path
    labels: pd.DataFrame
    points: pd.DataFrame
    series: pd.DataFrame
    submission: pd.DataFrame
    missing: tuple[str, ...] = field(default=())
    rejected: tuple[Rejected, ...] = field(default=())

    def folder(self, study_id: int, series_id: int | None = None) -> Path:
        """The image folder of a study, or of one series of it; the folder need not exist."""
        for split in SPLITS:
            study = self.root / f"{split}_images" / str(int(study_id))
            if is_folder(study):
                break
        return study if series_id is None else study / str(int(series_id))

    def studies(self, split: str = "train") -> list[int]:
        """Ids of the studies of a split whose images are on this disk, ascending.

        Part of the download is enough.
        """
        return numbered_folders(self.root / f"{split}_images")

    @property
    def name(self) -> str:
        """Of the data, for titles."""
        return self.root.name

    def series_on_disk(self, study_id: int) -> list[int]:
        """Ids of the series of a study whose folders are here, ascending, described or not."""
        return numbered_folders(self.folder(study_id))

    def whole_studies(self, split: str = "train") -> list[int]:
        """The studies of a split that can be shown in full: those of `studies(split)` whose images
        of all three kinds of series (Sagittal T1, Sagittal T2/STIR, Axial T2) are on this disk.

        If there is none, all of `studies(split)`, so that there is something to show.
        """
        rows = list(self.series.itertuples())
        here = {study: set(self.series_on_disk(study)) for study in self.series.study_id.unique()}
        on_disk = self.series[[r.series_id in here[r.study_id] for r in rows]]
        on_disk = on_disk[on_disk.series_description.isin(SERIES)]
        kinds = on_disk.groupby("study_id").series_description.nunique()
        studies = self.studies(split)
        return [study for study in studies if kinds.get(study) == len(SERIES)] or studies

    def series_of(self, study_id: int) -> pd.DataFrame:
        """The rows of `series` of one study."""
        return self.series[self.series.study_id == study_id]

    def only(self, study_id: int) -> Tables:
        """The rows of one study, small enough to be sent to a worker process with each task."""
        return replace(
            self,
            labels=self.labels[self.labels.study_id == study_id],
            points=self.points[self.points.study_id == study_id],
            series=self.series_of(study_id),
            submission=self.submission.iloc[:0],
            rejected=(),
        )

    def __repr__(self) -> str:
        rows = (
            f"{self.labels.study_id.nunique()} labelled studies, {len(self.points)} points, "
            f"{len(self.series)} series"
        )
        train, test = (len(self.studies(split)) for split in SPLITS)
        parts = [rows, f"images of {train} train and {test} test studies"]
        if self.missing:
            parts.append(f"not there: {', '.join(self.missing)}")
        return f"Tables({self.root}: {'; '.join(parts)})"


def is_folder(path: Path) -> bool:
    """On the disk or in an archive."""
    return path.is_dir() if isinstance(path, ZipPath) else isdir(path)


def numbered_folders(folder: Path) -> list[int]:
    """The names of the folders in a folder that are numbers, ascending; none if there is no such
    folder. Raises TableError if it cannot be listed."""
    if not isdir(folder):
        return []
    try:
        numbers = [number_named(path.name) for path in folder.iterdir() if isdir(path)]
    except OSError as error:
        raise TableError(
            f"{folder} cannot be read ({reason(error)}); mount it again, or set SOURCE"
        ) from error
    return sorted(number for number in numbers if number is not None)


def load_tables(root: str | Path) -> Tables:
    """Read and check the tables of a data folder. Raises TableError where nothing can be read.

    Rows that cannot be used are left out and reported, with file, column and row. Any file may be
    absent (a test-only or partial download), except that one of the two series descriptions must
    exist.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        advice = "Set SOURCE to 'phantom', 'kaggle', or the folder that holds train.csv"
        raise TableError(f"{root}: no such folder. {advice}")
    missing = tuple(name for name in SCHEMAS if not (root / name).is_file())
    descriptions = {split: f"{split}_series_descriptions.csv" for split in SPLITS}
    if set(descriptions.values()) <= set(missing):
        absent = "neither train_ nor test_series_descriptions.csv is here"
        raise TableError(f"{root}: {absent}. Is it the competition's folder?")
    tables, rejected = _read_all(root, missing)
    return Tables(
        root=root,
        labels=long_labels(tables["train.csv"]),
        points=tables["train_label_coordinates.csv"],
        series=_all_series(root, {split: tables[name] for split, name in descriptions.items()}),
        submission=tables["sample_submission.csv"],
        missing=missing,
        rejected=tuple(rejected),
    )


def is_data_folder(path: str | Path) -> bool:
    """Whether a path is a folder in the competition's layout: one with any of its tables."""
    return any((Path(path).expanduser() / name).is_file() for name in SCHEMAS)


def no_rows() -> dict[str, pd.DataFrame]:
    """The tables that Tables has, without a row."""
    train, points, submission = (
        empty_table(SCHEMAS[name])
        for name in ("train.csv", "train_label_coordinates.csv", "sample_submission.csv")
    )
    series = pd.DataFrame(columns=["study_id", "series_id", "series_description", "split"])
    return {
        "labels": long_labels(train),
        "points": points,
        "series": series,
        "submission": submission,
    }


def _read_all(
    root: Path, missing: tuple[str, ...]
) -> tuple[dict[str, pd.DataFrame], list[Rejected]]:
    """Every table by its file's name, and the cells that could not be used."""
    tables, rejected = {}, []
    for name, schema in SCHEMAS.items():
        if name in missing:
            tables[name] = empty_table(schema)
            continue
        tables[name], cells = read_table(root / name, schema)
        rejected += cells
    return tables, rejected


def _all_series(root: Path, by_split: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The series of both splits in one table. Raises TableError if there is none."""
    parts = [part.assign(split=split) for split, part in by_split.items() if len(part)]
    if not parts:
        raise TableError(f"{root}: the tables of series descriptions have no rows")
    return pd.concat(parts, ignore_index=True).fillna({"series_description": ""})


def long_labels(wide: pd.DataFrame) -> pd.DataFrame:
    """train.csv (one row per study, 25 columns) -> one row per study, condition and level.

    >>> columns = [target.column for target in TARGETS]
    >>> wide = pd.DataFrame([[7, *["Moderate"] * 25]], columns=["study_id", *columns])
    >>> print(*long_labels(wide).iloc[0], sep=", ")
    7, Spinal Canal Stenosis, L1/L2, Moderate
    >>> wide_labels(long_labels(wide)).equals(wide)
    True
    """
    targets = pd.DataFrame(
        [(target.column, target.condition, target.level) for target in TARGETS],
        columns=["column", "condition", "level"],
    )
    molten = wide.melt("study_id", targets["column"].tolist(), "column", "grade")
    long = molten.merge(targets, on="column")
    return long.sort_values("study_id", kind="stable", ignore_index=True)[_LABEL_COLUMNS]


def wide_labels(long: pd.DataFrame) -> pd.DataFrame:
    """The inverse of long_labels: one row per study, with train.csv's columns in their order."""
    names = long.condition.map(slug) + "_" + long.level.map(slug)
    wide = long.assign(column=names).pivot(index="study_id", columns="column", values="grade")
    columns = [target.column for target in TARGETS]
    return wide.reindex(columns=columns).rename_axis(columns=None).reset_index()
