"""Checks that read the images of one study.

To add a check, write a function that takes a `ReadSeries` and yields `one.finding(kind, seen)` for
each thing it sees, list it in `in_series`, and name its kind in `findings.KINDS`. A check that
compares several series of a study belongs in `in_study`, beside `_points`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from os.path import isdir
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from utils.audit.findings import Finding
from utils.dicom import (
    BY_ORDER,
    OTHER_PLANE,
    SAME_IMAGE,
    SAME_PLANE,
    DicomError,
    Series,
    read_series,
)
from utils.dicom.errors import printable
from utils.prepare import contradictory_points, points_in_mm
from utils.rsna import AXIAL_T2, Tables

LUMBAR_MM = 215.0  # a lumbar sagittal image is higher than this, a cervical one seldom is
OPTIONAL_TAGS = ("SliceThickness", "SpacingBetweenSlices")
# Instance numbers that correlate with anatomical order by less than this run against it: near -1
# where they do, near +1 where they follow it.
_AGAINST = -0.5
_AGAINST_ORDER = {  # what the first and the last instance are nearest to, numbered against anatomy
    "axial": ("feet", "head"),
    "sagittal": ("left", "right"),
    "coronal": ("back", "front"),
}
_LEFT_OUT = {  # kind of finding, by how the reason starts; the longer one first
    SAME_PLANE: "several images of one plane",
    SAME_IMAGE: "duplicate instances",
    OTHER_PLANE: "other planes in one series",
}
_IN_TABLES = ("placeholder point", "known fault")  # points of these kinds are found in the tables


class ReadSeries(NamedTuple):
    """A series whose images could be read, and what the tables say of it."""

    study_id: int
    series_id: int
    description: str  # one of rsna.SERIES
    folder: Path
    series: Series

    def finding(self, kind: str, seen: str) -> Finding:
        """A finding in this series."""
        return Finding(kind, self.study_id, self.series_id, seen=seen)


def in_study(tables: Tables, study_id: int) -> Iterator[Finding]:
    """Findings in one study whose images are here; each of its series is read once."""
    read: dict[int, Series] = {}
    for row in tables.series_of(study_id).itertuples():
        folder = tables.folder(study_id, row.series_id)
        if not isdir(folder):  # found in the tables
            continue
        try:
            series = read_series(folder, as_one=True)
        except DicomError as error:
            yield Finding("unreadable series", study_id, row.series_id, seen=error.reason)
            continue
        read[row.series_id] = series
        ids = (study_id, row.series_id)
        yield from in_series(ReadSeries(*ids, row.series_description, folder, series))
    yield from _points(tables, study_id, read)


def in_series(one: ReadSeries) -> Iterator[Finding]:
    """Findings in one series."""
    checks = (_files, _tags, _numbering, _sizes, _plane, _body_part)
    return chain.from_iterable(check(one) for check in checks)


def _files(one: ReadSeries) -> Iterator[Finding]:
    """Files that are not used: unreadable, a copy, another echo, in another plane."""
    for name, reason in one.series.left_out:
        kinds = (kind for start, kind in _LEFT_OUT.items() if reason.startswith(start))
        yield one.finding(next(kinds, "unreadable file"), f"{name} {reason}")


def _tags(one: ReadSeries) -> Iterator[Finding]:
    """Optional tags that the first usable file lacks."""
    header = _first_header(one)
    missing = [tag for tag in OPTIONAL_TAGS if tag not in header]
    if missing:
        yield one.finding("missing tags", f"no {' and no '.join(missing)}")


def _first_header(one: ReadSeries) -> pydicom.Dataset:
    """The optional tags of the series' first usable file."""
    unusable = {name for name, _ in one.series.left_out}
    paths = [p for p in sorted(one.folder.iterdir()) if p.is_file() and p.name[0] != "."]
    first = next(path for path in paths if printable(path.name) not in unusable)
    tags = list(OPTIONAL_TAGS)
    return pydicom.dcmread(first, stop_before_pixels=True, specific_tags=tags, force=True)


def _numbering(one: ReadSeries) -> Iterator[Finding]:
    """Instance numbers that are unclear, unlike the names, late, or against anatomical order."""
    numbering = one.series.numbering
    if numbering.source == BY_ORDER:
        seen = "InstanceNumber is missing or not unique, and the files' names are no numbers"
        yield one.finding("unclear instance numbers", seen)
    if numbering.differing:
        seen = f"in {numbering.differing} files InstanceNumber is not the file's name"
        yield one.finding("instance numbers unlike file names", seen)
    numbers = np.array(one.series.instances)
    if numbers.min() > len(numbers):
        seen = f"they run from {numbers.min()} to {numbers.max()}"
        yield one.finding("instances do not start at 1", seen)
    if len(numbers) > 2 and np.ptp(numbers):
        correlation = np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]
        if correlation < _AGAINST:
            first, last = _AGAINST_ORDER[one.series.orientation]
            yield one.finding("order against anatomy", f"numbered from {first} to {last}")


def _sizes(one: ReadSeries) -> Iterator[Finding]:
    """Slices of several sizes in one series."""
    sizes = sorted({s.pixels.shape for s in one.series.slices})
    if len(sizes) > 1:
        yield one.finding("mixed sizes", " and ".join(f"{w}×{h}" for h, w in sizes))


def _plane(one: ReadSeries) -> Iterator[Finding]:
    """Images in another plane than the description says."""
    if one.series.orientation != _named_plane(one):
        yield one.finding("wrong plane", f"{one.description} is {one.series.orientation}")


def _body_part(one: ReadSeries) -> Iterator[Finding]:
    """Sagittal series too low to show a lumbar spine."""
    height_mm = max(s.pixels.shape[0] * s.spacing[1] for s in one.series.slices)
    if _named_plane(one) == "sagittal" and height_mm < LUMBAR_MM:
        seen = f"{height_mm:.0f} mm high; a lumbar image has more than {LUMBAR_MM:.0f}"
        yield one.finding("wrong body part", seen)


def _named_plane(one: ReadSeries) -> str:
    return "axial" if one.description == AXIAL_T2 else "sagittal"


def _points(tables: Tables, study_id: int, read: dict[int, Series]) -> Iterator[Finding]:
    """Annotated points that are on no image, or contradict each other in the patient."""
    points = tables.points
    own = points[(points.study_id == study_id) & points.series_id.isin(list(read))]
    in_mm, unusable = points_in_mm(own, read)
    for row, kind, why in [*unusable, *contradictory_points(in_mm)]:
        if kind not in _IN_TABLES:
            seen = f"{row.condition}: {why}"
            yield Finding(kind, study_id, row.series_id, row.level, seen)
