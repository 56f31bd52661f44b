"""Windows and crops: true to mm, mirrored where they should be, absent where there is nothing."""

from dataclasses import replace

import numpy as np
import pytest
from mirror import mirrored

from utils import rsna, views
from utils.geometry import Series, Slice
from utils.prepare import load_study
from utils.presets import Preset

PRESET = Preset("test", crop_px=32, slices=3)


def with_dot(x, y, shape=(120, 160), spacing=(0.6, 0.8)):
    """A slice with a bright 3 × 3 dot round pixel (x, y)."""
    pixels = np.zeros(shape, np.uint8)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = 240
    return Slice(1, pixels, np.array([10.0, -20.0, 5.0]), np.eye(3)[:2], np.array(spacing))


@pytest.mark.parametrize(("x", "y"), [(80, 60), (4, 60), (155, 116)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (7.3, -4.1)])
def test_what_is_seen_in_a_window_goes_back_to_its_mm(x, y, shift):
    one = with_dot(x, y)
    mm = one.to_patient((x, y))
    seen = views.window(one, mm + (*shift, 0.0), 48.0, 96)
    rows, columns = np.indices(seen.pixels.shape)
    weight = seen.pixels / seen.pixels.sum()
    found = seen.to_patient(((weight * columns).sum(), (weight * rows).sum()))
    assert seen.pixels.shape == (96, 96)
    assert found == pytest.approx(mm, abs=0.1)


def test_a_window_wholly_outside_the_image_is_black():
    one = with_dot(80, 60)
    assert views.window(one, np.array([900.0, 0, 5]), 48.0, 16).pixels.max() == 0


def test_the_right_side_of_a_patient_looks_like_the_left_of_the_mirrored_one(tables, store, whole_study):
    study = load_study(store, whole_study)
    here, _ = views.grader_views(study, views.point_table(study.points), PRESET)
    other = mirrored(study)
    there, _ = views.grader_views(other, views.point_table(other.points), PRESET)
    for k, (target, description) in enumerate(views.VIEWS):
        condition, level = rsna.TARGETS[target]
        if condition != rsna.CANAL:
            same = views.VIEWS.index((rsna.TARGETS.index((rsna.mirror(condition), level)), description))
            assert np.abs(here[k].astype(int) - there[same].astype(int)).mean() < 2.0, (condition, level)
            assert np.abs(here[k].astype(int) - there[k].astype(int)).mean() > 2.0  # the two sides do differ


def test_views_exist_where_there_is_a_point_and_a_series(tables, store, whole_study):
    study = load_study(store, whole_study)
    points = views.point_table(study.points)
    crops, exists = views.grader_views(study, points, PRESET)
    assert crops.shape == (30, 3, 32, 32)
    assert exists.all()
    points[0] = np.nan
    blind = replace(study, series=tuple(s for s in study.series if s.description != rsna.SAGITTAL_T1))
    crops, exists = views.grader_views(blind, points, PRESET)
    missing = {views.VIEWS[k] for k in np.flatnonzero(~exists)}
    assert missing == {v for v in views.VIEWS if v[1] == rsna.SAGITTAL_T1 or v[0] == 0}
    assert crops[~exists].max() == 0


def test_a_level_that_the_axial_series_does_not_reach_is_not_seen(tables, store, whole_study):
    study = load_study(store, whole_study)
    points = views.point_table(study.points)
    upper = points[rsna.TARGETS.index((rsna.CANAL, "L1/L2"))]
    far = []
    for part in study.series:
        keep = [s for s in part.series.slices if part.description != rsna.AXIAL_T2 or abs(s.distance(upper)) > 20]
        far.append(replace(part, series=Series(tuple(keep))))
    _, exists = views.grader_views(replace(study, series=tuple(far)), points, PRESET)
    unseen = {views.VIEWS[k] for k in np.flatnonzero(~exists)}
    assert {(rsna.TARGETS[t][1], name) for t, name in unseen} == {("L1/L2", rsna.AXIAL_T2)}


def test_foramina_are_sought_on_their_own_side(tables, store, whole_study):
    study = load_study(store, whole_study)
    points = views.point_table(study.points)
    for side, sign in (("Left", 1), ("Right", -1)):
        windows = views.foramen_windows(study.of(rsna.SAGITTAL_T1), points[2], side, PRESET)
        assert windows
        assert all(sign * (w.centre[0] - points[2, 0]) > 0 for w in windows)
        true = points[rsna.TARGETS.index((f"{side} Neural Foraminal Narrowing", "L3/L4"))]
        assert min(abs(w.distance(true)) for w in windows) < 2.5
