"""Crops: true to mm, mirrored where they should be, absent where there is nothing to see."""

from dataclasses import replace

import numpy as np
import pytest
from mirror import mirrored

from utils import rsna
from utils.crops import (
    crop,
    foramen_crops,
    grader_crops,
    nearest,
    neighbours,
    point_table,
)
from utils.dicom import Series, Slice
from utils.prepare import load_study
from utils.presets import Preset
from utils.views import views_of

PRESET = Preset("test", crop_px=32, slices=3)
VIEWS = views_of(PRESET)
CANAL_L1 = rsna.target_index(rsna.CANAL, "L1/L2")
CANAL_L3 = rsna.target_index(rsna.CANAL, "L3/L4")


def with_dot(x, y, shape=(120, 160), spacing=(0.6, 0.8)):
    """A slice with a bright 3 × 3 dot round pixel (x, y)."""
    pixels = np.zeros(shape, np.uint8)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = 240
    return Slice(1, pixels, np.array([10.0, -20.0, 5.0]), np.eye(3)[:2], np.array(spacing))


@pytest.mark.parametrize(("x", "y"), [(80, 60), (4, 60), (155, 116)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (7.3, -4.1)])
def test_what_is_seen_in_a_crop_goes_back_to_its_mm(x, y, shift):
    one = with_dot(x, y)
    mm = one.to_patient((x, y))
    seen = crop(one, mm + (*shift, 0.0), 48.0, 96)
    rows, columns = np.indices(seen.pixels.shape)
    weight = seen.pixels / seen.pixels.sum()
    found = seen.to_patient(((weight * columns).sum(), (weight * rows).sum()))
    assert seen.pixels.shape == (96, 96)
    assert found == pytest.approx(mm, abs=0.1)


def test_a_crop_wholly_outside_the_image_is_black():
    one = with_dot(80, 60)
    assert crop(one, np.array([900.0, 0, 5]), 48.0, 16).pixels.max() == 0


def test_the_right_of_a_patient_looks_like_the_left_of_the_mirrored_one(prepared, whole_study):
    study = load_study(prepared, whole_study)
    here, _ = grader_crops(study, point_table(study.points), PRESET)
    other = mirrored(study)
    there, _ = grader_crops(other, point_table(other.points), PRESET)
    here, there = here.astype(int), there.astype(int)
    for k, view in enumerate(VIEWS.each):
        target = rsna.TARGETS[view.target]
        if target.side:
            assert np.abs(here[k] - there[VIEWS.other[k]]).mean() < 2.0, target
            assert np.abs(here[k] - there[k]).mean() > 2.0, "the two sides do differ"


def test_views_exist_where_there_is_a_point_and_a_series(prepared, whole_study):
    study = load_study(prepared, whole_study)
    points = point_table(study.points)
    crops, exists = grader_crops(study, points, PRESET)
    assert crops.shape == (30, 3, 32, 32)
    assert exists.all()
    points[CANAL_L1] = np.nan
    others = tuple(s for s in study.series if s.description != rsna.SAGITTAL_T1)
    crops, exists = grader_crops(replace(study, series=others), points, PRESET)
    missing = {VIEWS.each[k] for k in np.flatnonzero(~exists)}
    assert missing == {
        v for v in VIEWS.each if v.series == rsna.SAGITTAL_T1 or v.target == CANAL_L1
    }
    assert crops[~exists].max() == 0


def test_a_level_that_the_axial_series_does_not_reach_is_not_seen(prepared, whole_study):
    study = load_study(prepared, whole_study)
    points = point_table(study.points)
    parts = []
    for part in study.series:
        slices = part.series.slices
        if part.description == rsna.AXIAL_T2:
            slices = tuple(s for s in slices if abs(s.distance(points[CANAL_L1])) > 20)
        parts.append(replace(part, series=Series(slices)))
    _, exists = grader_crops(replace(study, series=tuple(parts)), points, PRESET)
    unseen = [VIEWS.each[k] for k in np.flatnonzero(~exists)]
    levels = {(rsna.TARGETS[view.target].level, view.series) for view in unseen}
    assert levels == {("L1/L2", rsna.AXIAL_T2)}


def test_nothing_is_near_a_point_that_is_not_there_or_out_of_reach(prepared, whole_study):
    parts = load_study(prepared, whole_study).of(rsna.AXIAL_T2)
    centre = parts[0].slices[0].centre
    assert nearest(parts, centre) == (parts[0], 0)
    assert nearest(parts, centre + (0, 0, 500.0)) is None
    assert nearest(parts, np.full(3, np.nan)) is None
    assert nearest([], centre) is None


def test_neighbours_end_where_the_stack_ends():
    slices = [replace(with_dot(80, 60), instance=k, origin=np.array([0.0, 0, k])) for k in range(4)]
    series = Series(tuple(slices))
    assert neighbours(series, 1, 1) == [0, 1, 2]
    assert neighbours(series, 0, 2) == [0, 0, 0, 1, 2]
    assert neighbours(series, 3, 2, repeat=False) == [1, 2, 3]


@pytest.mark.parametrize(("side", "sign"), [("Left", 1), ("Right", -1)])
def test_foramina_are_searched_on_their_own_side(prepared, whole_study, side, sign):
    study = load_study(prepared, whole_study)
    points = point_table(study.points)
    canal = points[CANAL_L3]
    crops = foramen_crops(study.of(rsna.SAGITTAL_T1), canal, side, PRESET)
    assert crops
    assert all(sign * (one.centre[0] - canal[0]) > 0 for one in crops)
    true = points[rsna.target_index(f"{side} Neural Foraminal Narrowing", "L3/L4")]
    assert min(abs(one.distance(true)) for one in crops) < 2.5
