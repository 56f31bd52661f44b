"""What zero_shot measures with: the patient stays the same, and what is outside the images is."""

import numpy as np
import pytest

from benchmarks import zero_shot
from benchmarks.perturbations import TRUNCATIONS, ZOOM, Truncation, margin_mm, perturbed, truncated
from utils import inference, prepare, rsna
from utils.crops import TARGET_LEVEL, point_table
from utils.dicom import Slice
from utils.rsna import CANAL_ROWS, LEVELS, TARGETS

BORDER_PX = 40  # not compared: what is there may have left the image
STEP_PX = 7  # between compared pixels


@pytest.fixture(scope="module")
def study(tables, whole_study):
    return prepare.prepare_study(tables, whole_study)


@pytest.mark.parametrize("seed", range(3))
def test_a_perturbed_patient_is_the_same_patient_elsewhere(study, seed):
    """What was at a point is at the same point of the magnified patient: of two pixels, the
    brighter one stays the brighter one."""
    other, zoom = perturbed(study, seed)
    assert ZOOM[0] <= zoom <= ZOOM[1]
    for before, after in zip(study.series, other.series, strict=True):
        middle = len(before.series) // 2
        assert_same_tissue(before.series.slices[middle], after.series.slices[middle], zoom)


def assert_same_tissue(one: Slice, other: Slice, zoom: float) -> None:
    assert other.spacing == pytest.approx(one.spacing * zoom)
    height, width = one.pixels.shape
    columns = range(BORDER_PX, width - BORDER_PX, STEP_PX)
    rows = range(BORDER_PX, height - BORDER_PX, STEP_PX)
    here = np.array([(x, y) for x in columns for y in rows])
    there = np.round([other.to_pixel(one.to_patient(xy) * zoom) for xy in here]).astype(int)
    inside = ((there >= 0) & (there < (width, height))).all(1)
    assert inside.mean() > 0.5
    before, after = at(one, here[inside]), at(other, there[inside])
    order = np.argsort(before, kind="stable")
    brighter = np.diff(before[order].astype(int)) > 0
    assert (np.diff(after[order].astype(int))[brighter] >= 0).all()
    assert len(np.unique(after)) > 10


def at(one: Slice, xy: np.ndarray) -> np.ndarray:
    """The intensities at pixels (n, 2)."""
    return one.pixels[xy[:, 1], xy[:, 0]]


@pytest.mark.parametrize("cut", TRUNCATIONS)
def test_a_truncated_study_ends_between_two_levels(study, cut):
    canal = point_table(study.points)[CANAL_ROWS]
    other = truncated(study, cut, canal)
    margins = np.array([margin_mm(other, mm) for mm in canal])
    level = np.arange(len(LEVELS))
    outside = level < cut.levels if cut.end == "top" else level >= len(LEVELS) - cut.levels
    assert ((margins < 0) == outside).all()
    assert np.abs(margins[outside]).min() > 5, "halfway between two levels"
    kept_mm = canal[~outside][0]
    before, after = (one.of(rsna.SAGITTAL_T2)[0].slices[3] for one in (study, other))
    assert intensity_at(after, kept_mm) == intensity_at(before, kept_mm)


def intensity_at(one: Slice, mm: np.ndarray) -> int:
    column, row = one.to_pixel(mm).round().astype(int)
    return one.pixels[row, column]


def test_points_are_counted_inside_and_levels_outside_are_to_be_reported(study):
    true = point_table(study.points)
    other = truncated(study, Truncation("bottom", 2), true[CANAL_ROWS])
    located = true.copy()
    located[TARGET_LEVEL == 4] = np.nan  # L5/S1 is reported absent, L4/L5 is not
    located[0] += (0, 20, 0)  # of the 15 points of the other levels one is 20 mm off
    errors = zero_shot.PointErrors()
    errors.add(other, inference.Located(located, np.full(len(TARGETS), 0.9)), true)
    assert errors.reported == [False, True]
    table = errors.table()
    assert table.loc["all", "points"] == 15
    assert table.loc["all", "% within 10 mm"] == pytest.approx(100 * 14 / 15)
    assert table.loc["spinal", "% of confident wrong"] == pytest.approx(100 / 3)
    assert table.loc["foraminal", "median mm"] == 0
    assert "levels outside the images: 2, reported absent 50.0%" in str(errors)


def test_a_level_reported_absent_that_is_there_is_infinitely_far_off(study):
    true = point_table(study.points)
    errors = zero_shot.PointErrors()
    nowhere = inference.Located(np.full_like(true, np.nan), np.zeros(len(TARGETS)))
    errors.add(study, nowhere, true)
    assert errors.table().loc["all", "% within 10 mm"] == 0
    assert errors.table().loc["all", "% confident"] == 0
    assert errors.reported == []
