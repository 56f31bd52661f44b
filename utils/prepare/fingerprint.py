"""What a study is made of, in a few letters: they change when anything changes that it is prepared
from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from utils.dicom import Files
from utils.rsna import Tables, faults_in

_DIGITS = 16


def fingerprint(tables: Tables, study_id: int) -> str:
    """Hexadecimal digits that change with the study's files (names, sizes, times of writing), its
    rows in the tables of series and points, and the known faults that concern it."""
    files = []
    for series_id in tables.series_of(study_id).series_id:
        files += [str(series_id), *_files(tables, study_id, series_id)]
    return fingerprint_of(tables, study_id, files)


def fingerprint_of(tables: Tables, study_id: int, files: list[str]) -> str:
    """The same for files that are described by lines of text."""
    of_study = tables.only(study_id)
    parts = [
        table.to_csv(index=False)
        for table in (of_study.series.drop(columns="split"), of_study.points, faults_in(of_study))
    ]
    digest = hashlib.sha256("\n".join(parts + files).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:_DIGITS]


def _files(tables: Tables, study_id: int, series_id: int) -> Iterator[str]:
    """One line per file of a series; one that says so where the folder cannot be listed."""
    folder = tables.folder(study_id, series_id)
    try:
        if isinstance(folder, Files):
            yield from (file.described for file in folder.files)
        else:
            yield from sorted(map(_describe, os.scandir(folder)))
    except FileNotFoundError:
        yield "no folder"
    except OSError:
        yield "cannot be listed"


def _describe(entry: os.DirEntry) -> str:
    found = entry.stat()
    return f"{entry.name} {found.st_size} {found.st_mtime_ns}"
