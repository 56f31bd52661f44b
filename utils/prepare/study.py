"""One study in memory: its usable series in standard form, its points in mm, what was left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from utils.dicom import DicomError, Series, in_order, read_series
from utils.prepare.normalisation import prepare_series
from utils.prepare.points import contradictory_points, points_in_mm
from utils.presets import SPACING_MM
from utils.rsna import AXIAL_T2, NOT_USED, SERIES, Tables, known_faults


@dataclass(frozen=True)
class PreparedSeries:
    """One series in standard form: slices as uint8, on one scale with others of its kind.

    description is its kind, one of rsna.SERIES.
    """

    series_id: int
    description: str
    series: Series


@dataclass(frozen=True)
class PreparedStudy:
    """One study as models see it.

    points    condition, level, series_id, instance_number, x_mm, y_mm, z_mm (LPS)
    left_out  (what, why) for every series, slice and point that was not used
    """

    study_id: int
    series: tuple[PreparedSeries, ...]
    points: pd.DataFrame
    left_out: tuple[tuple[str, str], ...]

    def of(self, description: str) -> list[Series]:
        """The series of one kind; those that cover the patient one below the other are joined."""
        return joined([s.series for s in self.series if s.description == description])


def joined(parts: list[Series]) -> list[Series]:
    """Join series that follow each other in the patient, so that a slice at the seam has both its
    neighbours. Series that cross stay apart: they are different images of the same region."""
    whole: list[Series] = []
    for one in parts:
        for k, other in enumerate(whole):
            both = Series(in_order(other.slices + one.slices), other.path)
            if not _crossing(both, one):
                whole[k] = both
                break
        else:
            whole.append(one)
    return whole


def _crossing(both: Series, one: Series) -> bool:
    """Whether slices of one are between those of the other, in any stack of the joined series."""
    own = {id(s) for s in one.slices}
    for stack in both.stacks:
        is_own = [id(both.slices[i]) in own for i in stack]
        changes = sum(a != b for a, b in pairwise(is_own))
        if changes > 1:
            return True
    return False


def read_study(tables: Tables, study_id: int) -> dict[str, Series]:
    """Raw series by description, the longest of each kind. What cannot be used is skipped
    silently; prepare_study names it."""
    usable, _ = _usable_series(tables, study_id)
    found = [(row.series_description, series) for row, series in usable]
    return dict(sorted(found, key=lambda pair: len(pair[1])))


def prepare_study(tables: Tables, study_id: int, spacing_mm: float = SPACING_MM) -> PreparedStudy:
    """Read and prepare one study in memory, images finer than spacing_mm resampled to it. What
    cannot be used is left out and named, never raised."""
    usable, left_out = _usable_series(tables, study_id)
    raw = {int(row.series_id): series for row, series in usable}
    series = _prepare_by_kind(usable, spacing_mm)
    kinds = {part.description for part in series}
    left_out += [(name, "no such series in this study") for name in SERIES if name not in kinds]
    points, unusable = points_in_mm(tables.points[tables.points.study_id == study_id], raw)
    contradictory = contradictory_points(points)
    for row, _, why in [*unusable, *contradictory]:
        left_out.append((f"point {row.condition} {row.level}", why))
    sound = points.drop(index=[point.row.Index for point in contradictory])
    sound = sound.reset_index(drop=True)
    return PreparedStudy(int(study_id), tuple(series), sound, tuple(left_out))


def _prepare_by_kind(usable: list[tuple[Any, Series]], spacing_mm: float) -> list[PreparedSeries]:
    """All series of a kind are prepared together, because they share directions and scale."""
    kinds = defaultdict(list)
    for row, series in usable:
        kinds[row.series_description].append((int(row.series_id), series))
    ready = []
    for description, members in kinds.items():
        prepared = prepare_series([series for _, series in members], spacing_mm)
        for (series_id, _), series in zip(members, prepared):
            ready.append(PreparedSeries(series_id, description, series))
    return ready


def _usable_series(
    tables: Tables, study_id: int
) -> tuple[list[tuple[Any, Series]], list[tuple[str, str]]]:
    """A study's series as (row of Tables.series, Series), and what was left out: (what, why)."""
    faults = known_faults()
    dropped = faults[faults.action == "drop series"].set_index("series_id").kind
    usable, left_out = [], []
    for row in tables.series_of(study_id).itertuples():
        if row.series_description.endswith(NOT_USED):
            continue
        what = f"series {row.series_id} ({row.series_description})"
        try:
            series = _read_usable(tables, row, dropped)
        except DicomError as error:
            left_out.append((what, error.reason))
            continue
        left_out += [(f"{what} {name}", reason) for name, reason in series.left_out]
        usable.append((row, series))
    return usable, left_out


def _read_usable(tables: Tables, row: Any, dropped: pd.Series) -> Series:
    """Read the series of a row of Tables.series.

    dropped  series_id -> kind of fault, for series that the register of known faults drops
    Raises DicomError with the reason if it cannot be used.
    """
    folder = tables.folder(row.study_id, row.series_id)
    if row.series_id in dropped.index:
        raise DicomError(folder, f"known fault: {dropped[row.series_id]}")
    if row.series_description not in SERIES:
        text = f"{row.series_description!r}" if row.series_description else "empty"
        raise DicomError(folder, f"its description is {text}, not one of {', '.join(SERIES)}")
    series = read_series(folder, as_one=True)
    named_sagittal = row.series_description != AXIAL_T2
    if (series.orientation == "sagittal") != named_sagittal:
        raise DicomError(folder, f"its slices are {series.orientation}")
    return series
