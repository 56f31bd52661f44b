"""What is wrong or odd in a data folder: found, named, and what is done about it.

    python -m utils.audit ROOT --out audit.csv

The real data set has hundreds of such things in its tables and images; a phantom with `quirks` has one to a study.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from utils.dicom import DicomError, read_series
from utils.geometry import Series
from utils.prepare import doubtful, points_in_mm
from utils.rsna import AXIAL_T2, SERIES, Tables, faults_in, is_placeholder, load_tables

# Every kind of finding, and what the rest of this package does about it.
KINDS = {
    "study without images": "it is passed over",
    "series without images": "as if the series did not exist",
    "missing series": "its views are masked in training; in grading the weighted prior answers where nothing is seen",
    "several axial series": "each point is sought in the one that comes nearest to it",
    "several sagittal series": "the locator looks at the longest; crops come from the one nearest to the point",
    "sides on different series": "each side is cropped from the series that comes nearest to its point",
    "missing label": "not scored and not learnt from",
    "label without point": "graded where the locator looks, without a crop in training",
    "point without label": "used for the locator only",
    "placeholder point": "left out",
    "point outside the image": "left out",
    "point on a missing slice": "left out",
    "sides exchanged": "both points are left out",
    "levels out of order": "both points are left out",
    "unreadable series": "as if the series did not exist",
    "unreadable file": "left out, the rest of the series is used",
    "duplicate instances": "one of each is kept",
    "mixed sizes": "each slice keeps its own place and size",
    "order against anatomy": "slices are ordered by place",
    "instances do not begin at 1": "instance numbers are only names",
    "missing tags": "spacing and thickness are taken from positions",
    "wrong body part": "look at it; drop the series in known_faults.csv if it is so",
    "wrong plane": "left out if named sagittal and it is not, or the reverse; else look at it",
    "known fault": "see the register's action",
}
COLUMNS = ["kind", "study_id", "series_id", "level", "seen", "done"]
LUMBAR_MM = 215.0  # a lumbar sagittal picture is higher than this, a cervical one seldom is
OPTIONAL_TAGS = ("SliceThickness", "SpacingBetweenSlices")


def audit(root: str | Path, out: str | Path | None = None, jobs: int = 2) -> pd.DataFrame:
    """One row per finding: kind, study_id, series_id, level, how it was seen, what is done; also as CSV at out.

    Reads every series whose images are on this disk, once.
    """
    tables = load_tables(root)
    studies = [*tables.studies("train"), *tables.studies("test")]
    work = Parallel(jobs, return_as="generator")(delayed(_study_findings)(tables.only(study), study) for study in studies)
    read = list(tqdm(work, total=len(studies), desc="looking for faults", unit="study", disable=not studies))
    rows = [*in_tables(tables), *chain.from_iterable(read)]
    table = pd.DataFrame([_row(*row) for row in rows], columns=COLUMNS)
    table = table.astype({"study_id": "Int64", "series_id": "Int64"}).sort_values(["kind", "study_id"], ignore_index=True)
    if out is not None:
        table.to_csv(out, index=False)
    return table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Findings and studies per kind, most frequent first, with one example and what is done."""
    groups = table.groupby("kind", sort=False)
    counts = groups.agg(
        findings=("kind", "size"), studies=("study_id", "nunique"), example=("seen", "first"), done=("done", "first")
    )
    return counts.sort_values("findings", ascending=False)


def _row(kind: str, study_id, series_id, level: str, seen: str, done: str = "") -> tuple:
    return kind, study_id, series_id, level, seen, done or KINDS[kind]


# --- what the tables tell --------------------------------------------------------------------------------------------


def in_tables(tables: Tables) -> Iterator[tuple]:
    """Findings that need no image."""
    checks = (_images, _series, _sides, _labels, _placeholders, _register)
    return chain.from_iterable(check(tables) for check in checks)


def _images(tables: Tables) -> Iterator[tuple]:
    for split, part in tables.series.groupby("split"):
        here, listed = set(tables.studies(str(split))), set(part.study_id)
        absent = sorted(listed - here)
        if 2 * len(absent) > len(listed):
            yield "study without images", None, None, "", f"{len(absent)} of {len(listed)} {split} studies: a part of the data"
        else:
            for study in absent:
                yield "study without images", study, None, "", f"no folder {split}_images/{study}"
        for row in part[part.study_id.isin(here)].itertuples():
            if not tables.folder(row.study_id, row.series_id).is_dir():
                yield "series without images", row.study_id, row.series_id, "", f"no folder for this {row.series_description}"


def _series(tables: Tables) -> Iterator[tuple]:
    for study, part in tables.series.groupby("study_id"):
        counts = part.series_description.value_counts()
        for name in SERIES:
            if name not in counts:
                yield "missing series", study, None, "", f"no {name}"
            elif counts[name] > 1:
                kind = "several axial series" if name == AXIAL_T2 else "several sagittal series"
                yield kind, study, None, "", f"{counts[name]} of {name}"


def _sides(tables: Tables) -> Iterator[tuple]:
    points = tables.points[tables.points.condition.str.contains("Subarticular")]
    for (study, level), pair in points.groupby(["study_id", "level"]):
        series = sorted(pair.series_id.unique())
        if len(series) > 1:
            yield "sides on different series", study, None, level, " and ".join(map(str, series))


def _labels(tables: Tables) -> Iterator[tuple]:
    key = ["study_id", "condition", "level"]
    points = tables.points[[*key, "series_id"]].drop_duplicates(key)
    both = tables.labels.merge(points, "outer", on=key)
    if not len(points):  # a folder without coordinates has nothing to compare with
        both = both[both.grade.isna()]
    for row in both.itertuples():
        graded, pointed = pd.notna(row.grade), pd.notna(row.series_id)
        if not graded and not pointed:
            yield "missing label", row.study_id, None, row.level, row.condition
        elif not graded:
            yield "point without label", row.study_id, row.series_id, row.level, row.condition
        elif not pointed:
            yield "label without point", row.study_id, None, row.level, row.condition


def _placeholders(tables: Tables) -> Iterator[tuple]:
    for row in tables.points[is_placeholder(tables.points)].itertuples():
        yield "placeholder point", row.study_id, row.series_id, row.level, f"{row.condition} at ({row.x:.1f}, {row.y:.1f}) px"


def _register(tables: Tables) -> Iterator[tuple]:
    for row in faults_in(tables).itertuples():
        level = row.level if isinstance(row.level, str) else ""
        yield "known fault", row.study_id, row.series_id, level, f"{row.kind} ({row.source})", row.action


# --- what the images tell --------------------------------------------------------------------------------------------


def _study_findings(tables: Tables, study_id: int) -> list[tuple]:
    return [(kind, study_id, *rest) for kind, *rest in in_study(tables, study_id)]


def in_study(tables: Tables, study_id: int) -> Iterator[tuple]:
    """Findings (kind, series_id, level, seen) of one study whose images are here."""
    read: dict[int, Series] = {}
    for row in tables.series_of(study_id).itertuples():
        folder = tables.folder(study_id, row.series_id)
        if not folder.is_dir():
            continue
        try:
            series = read[row.series_id] = read_series(folder)
        except DicomError as error:
            yield "unreadable series", row.series_id, "", error.reason
            continue
        for kind, seen in chain(_files(series), _numbers(series), _pictures(series, row.series_description)):
            yield kind, row.series_id, "", seen
    yield from _points(tables, study_id, read)


def _files(series: Series) -> Iterator[tuple[str, str]]:
    for name, reason in series.left_out:
        yield "duplicate instances" if reason.startswith("shows the same") else "unreadable file", f"{name} {reason}"
    absent = [tag for tag in OPTIONAL_TAGS if tag not in _header(series)]
    if absent:
        yield "missing tags", f"no {' and no '.join(absent)}"


def _header(series: Series) -> pydicom.Dataset:
    unusable = {name for name, _ in series.left_out}
    path = next(p for p in sorted(series.path.iterdir()) if p.name not in unusable and not p.name.startswith("."))
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(OPTIONAL_TAGS), force=True)


def _numbers(series: Series) -> Iterator[tuple[str, str]]:
    numbers = np.array(series.instances)
    if numbers.min() > len(numbers):
        yield "instances do not begin at 1", f"they run from {numbers.min()} to {numbers.max()}"
    if len(numbers) > 2 and np.ptp(numbers) and np.corrcoef(numbers, np.arange(len(numbers)))[0, 1] < -0.5:
        start, end = {"axial": ("feet", "head"), "sagittal": ("left", "right"), "coronal": ("back", "front")}[series.orientation]
        yield "order against anatomy", f"numbered from {start} to {end}"


def _pictures(series: Series, description: str) -> Iterator[tuple[str, str]]:
    sizes = sorted({s.pixels.shape for s in series.slices})
    if len(sizes) > 1:
        yield "mixed sizes", " and ".join(f"{w}×{h}" for h, w in sizes)
    plane = description.split()[0].lower()
    if series.orientation != plane:
        yield "wrong plane", f"{description} is {series.orientation}"
    height = max(s.pixels.shape[0] * s.spacing[1] for s in series.slices)
    if plane == "sagittal" and height < LUMBAR_MM:
        yield "wrong body part", f"{height:.0f} mm high; a lumbar picture has more than {LUMBAR_MM:.0f}"


def _points(tables: Tables, study_id: int, read: dict[int, Series]) -> Iterator[tuple]:
    points = tables.points[(tables.points.study_id == study_id) & tables.points.series_id.isin(list(read))]
    kept, bad = points_in_mm(points, read)
    for row, kind, reason in [*bad, *doubtful(kept)]:
        if kind not in ("placeholder point", "known fault"):  # the tables have told
            yield kind, row.series_id, row.level, f"{row.condition}: {reason}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m utils.audit", description="Find what is wrong or odd in a data folder.")
    parser.add_argument("root")
    parser.add_argument("--out", default="audit.csv")
    parser.add_argument("--jobs", type=int, default=2)
    a = parser.parse_args()
    print(summary(audit(a.root, a.out, a.jobs))[["findings", "studies", "example"]].to_string())
    print(a.out)
