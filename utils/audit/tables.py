"""Checks that need no image: what the tables of a data folder say, and which folders are there.

To add a check, write a function that takes `Tables` and yields a `Finding` for each thing it sees,
list it in `in_tables`, and name its kind in `findings.KINDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pandas as pd

from utils.audit.findings import Finding
from utils.rsna import (
    AXIAL_T2,
    FAMILY,
    SERIES,
    SPLITS,
    Tables,
    faults_in,
    is_placeholder,
)


def in_tables(tables: Tables) -> Iterator[Finding]:
    """Findings that need no image."""
    checks = (
        _unusable_cells,
        _unknown_descriptions,
        _missing_studies,
        _missing_folders,
        _unlisted_folders,
        _numbers_of_series,
        _sides_apart,
        _unpaired_labels,
        _placeholders,
        _known_faults,
    )
    return chain.from_iterable(check(tables) for check in checks)


def _unusable_cells(tables: Tables) -> Iterator[Finding]:
    """Cells that do not fit their column, and rows that are there more than once."""
    for cell in tables.rejected:
        yield Finding("unusable cell", seen=str(cell))


def _unknown_descriptions(tables: Tables) -> Iterator[Finding]:
    """Series whose description is none of the three that the data set has."""
    for row in tables.series[~tables.series.series_description.isin(SERIES)].itertuples():
        seen = f"described as {row.series_description!r}"
        yield Finding("unknown description", row.study_id, row.series_id, seen=seen)


def _missing_studies(tables: Tables) -> Iterator[Finding]:
    """Studies without a folder: one finding each, or one for all if most are missing (a partial
    download)."""
    for split, part in tables.series.groupby("split"):
        listed = set(part.study_id)
        missing = sorted(listed - set(tables.studies(str(split))))
        if 2 * len(missing) > len(listed):
            seen = f"{len(missing)} of {len(listed)} {split} studies: a partial download"
            yield Finding("study without images", seen=seen)
            continue
        for study in missing:
            seen = f"no folder {split}_images/{study}"
            yield Finding("study without images", study, seen=seen)


def _missing_folders(tables: Tables) -> Iterator[Finding]:
    """Series without a folder, in studies that have one."""
    for split, part in tables.series.groupby("split"):
        here = part.study_id.isin(tables.studies(str(split)))
        for row in part[here].itertuples():
            if not tables.folder(row.study_id, row.series_id).is_dir():
                seen = f"no folder for this {row.series_description}"
                yield Finding("series without images", row.study_id, row.series_id, seen=seen)


def _unlisted_folders(tables: Tables) -> Iterator[Finding]:
    """Folders of studies, and of series within listed studies, that no table lists."""
    listed = tables.series.groupby("study_id").series_id.agg(set)
    for split in SPLITS:
        for study in tables.studies(split):
            if study not in listed.index:
                yield Finding("folder in no table", study, seen=f"{split}_images/{study}")
                continue
            there = set(tables.series_on_disk(study))
            for series_id in sorted(there - listed[study]):
                seen = f"{split}_images/{study}/{series_id}"
                yield Finding("folder in no table", study, series_id, seen=seen)


def _numbers_of_series(tables: Tables) -> Iterator[Finding]:
    """Studies with no series of a kind, or with several."""
    for study, part in tables.series.groupby("study_id"):
        counts = part.series_description.value_counts()
        for name in SERIES:
            if name not in counts:
                yield Finding("missing series", study, seen=f"no {name}")
            elif counts[name] > 1:
                plane = "axial" if name == AXIAL_T2 else "sagittal"
                yield Finding(f"several {plane} series", study, seen=f"{counts[name]} of {name}")


def _sides_apart(tables: Tables) -> Iterator[Finding]:
    """Levels whose left and right subarticular points are on different series."""
    points = tables.points[tables.points.condition.map(FAMILY) == "subarticular"]
    for (study, level), pair in points.groupby(["study_id", "level"]):
        series = sorted(pair.series_id.unique())
        if len(series) > 1:
            seen = " and ".join(map(str, series))
            yield Finding("sides on different series", study, level=level, seen=seen)


def _unpaired_labels(tables: Tables) -> Iterator[Finding]:
    """Targets without label, without point, or with neither."""
    key = ["study_id", "condition", "level"]
    points = tables.points[[*key, "series_id"]].drop_duplicates(key)
    targets = tables.labels.merge(points, "outer", on=key)
    if not len(points):  # a folder without coordinates has nothing to compare with
        targets = targets[targets.grade.isna()]
    for row in targets.itertuples():
        graded, pointed = pd.notna(row.grade), pd.notna(row.series_id)
        if not graded and not pointed:
            yield Finding("missing label", row.study_id, None, row.level, row.condition)
        elif not graded:
            yield Finding(
                "point without label", row.study_id, row.series_id, row.level, row.condition
            )
        elif not pointed:
            yield Finding("label without point", row.study_id, None, row.level, row.condition)


def _placeholders(tables: Tables) -> Iterator[Finding]:
    """Points in the image's corner, which mark no anatomy."""
    for row in tables.points[is_placeholder(tables.points)].itertuples():
        seen = f"{row.condition} at ({row.x:.1f}, {row.y:.1f}) px"
        yield Finding("placeholder point", row.study_id, row.series_id, row.level, seen)


def _known_faults(tables: Tables) -> Iterator[Finding]:
    """Published errors of the real data that concern this folder."""
    for row in faults_in(tables).itertuples():
        level = row.level if isinstance(row.level, str) else ""
        seen = f"{row.kind} ({row.source})"
        yield Finding("known fault", row.study_id, row.series_id, level, seen, row.action)
