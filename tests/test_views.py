"""Which views a grader has: each set on both sides alike, mirrored with the patient, and wide ones
wide by as much as they say."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from mirror import mirrored

from utils import rsna
from utils.crops import (
    OTHER_TARGET,
    grader_crops,
    mirror_views,
    mirrored_to_left,
    point_table,
)
from utils.dicom import Series, Slice
from utils.inference import grade, grading, prediction
from utils.models import Grader
from utils.prepare import PreparedSeries, load_study
from utils.presets import VIEW_SETS, Preset
from utils.rsna import AXIAL_T2, CANAL, SAGITTAL_T1, SAGITTAL_T2, TARGETS, target_index
from utils.views import View, views_of

CANAL_L1 = target_index(CANAL, "L1/L2")
LEFT_RECESS = target_index("Left Subarticular Stenosis", "L4/L5")
RIGHT_RECESS = target_index("Right Subarticular Stenosis", "L4/L5")
LEFT_FORAMEN = target_index("Left Neural Foraminal Narrowing", "L4/L5")
EVERY = [sets for n in (1, 2, 3) for sets in combinations(VIEW_SETS, n)]


def looking_at(*sets: str, **settings) -> Preset:
    small = {"crop_px": 32, "slices": 3, "features": 32}
    return Preset("test", views=sets, **small | settings)


@pytest.mark.parametrize("sets", EVERY)
def test_a_mirror_exchanges_the_sides_of_every_set(sets):
    views = views_of(looking_at(*sets))
    counts = {"marked": 30, "crossed": 20, "wide": 25}
    assert len(views) == len(set(views.each)) == sum(counts[name] for name in sets)
    for view, other in zip(views.each, views.other):
        there = views.each[other]
        assert TARGETS[there.target] == TARGETS[view.target].mirrored
        assert there[1:] == view[1:], "in the same kind of series, as wide"


def test_targets_are_looked_at_where_readers_mark_them_and_the_canal_in_axial_slices_too():
    each = views_of(looking_at("marked")).each
    assert each[0] == View(CANAL_L1, SAGITTAL_T2, 1.0)
    assert [view.target for view in each] == [*range(25), 0, 1, 2, 3, 4]
    assert {view.series for view in each[5:15]} == {SAGITTAL_T1}
    assert {view.series for view in each[15:30]} == {AXIAL_T2}


def test_crossed_are_foramina_in_axial_slices_and_recesses_in_sagittal_ones():
    each = views_of(looking_at("crossed")).each
    series = {TARGETS[view.target].family: view.series for view in each}
    assert series == {"foraminal": AXIAL_T2, "subarticular": SAGITTAL_T2}
    assert [view.target for view in each] == list(range(5, 25))


def test_a_wide_view_differs_from_the_marked_one_in_width_alone():
    views = views_of(looking_at("marked", "wide"))
    assert views.each[30:] == tuple(view._replace(width=1.5) for view in views.each[:25])
    assert views.place[30:].tolist() == views.place[:25].tolist()
    assert len(set(views.place)) == 30
    assert set(views.kind[:30]) == {0, 1, 2}
    assert (views.kind[30:] == views.kind[:25] + 3).all()


def test_on_the_left_an_axial_image_is_flipped_and_sagittal_slices_are_in_reverse():
    """Worked by hand: two slices of one row."""
    crops = np.array([[[1, 2]], [[3, 4]]])
    right, left = "Right Subarticular Stenosis", "Left Subarticular Stenosis"
    assert mirrored_to_left(crops, right, SAGITTAL_T2).tolist() == [[[3, 4]], [[1, 2]]]
    foramen = "Right Neural Foraminal Narrowing"
    assert mirrored_to_left(crops, foramen, AXIAL_T2).tolist() == [[[2, 1]], [[4, 3]]]
    assert mirrored_to_left(crops, left, SAGITTAL_T2).tolist() == crops.tolist()


@pytest.mark.parametrize("sets", [*VIEW_SETS, "+".join(VIEW_SETS)])
def test_the_mirrored_views_are_the_views_of_the_mirrored_patient(prepared, whole_study, sets):
    preset, study = looking_at(*sets.split("+")), load_study(prepared, whole_study)
    points = point_table(study.points)
    there, there_exists = grader_crops(mirrored(study), points[OTHER_TARGET] * [-1, 1, 1], preset)
    views, grades = views_of(preset), np.arange(25)
    here = grader_crops(study, points, preset)
    crops, exists, swapped, flip = mirror_views(*here, grades, views)
    crops[flip] = crops[flip][..., ::-1]
    assert exists.all()
    assert (exists == there_exists).all()
    assert np.abs(crops - there).max() < 1e-3
    assert np.abs(crops - here[0]).mean() > 2.0, "the two sides do differ"
    assert [TARGETS[k].condition for k in swapped[[0, 5, 20]]] == [
        CANAL,
        "Right Neural Foraminal Narrowing",
        "Left Subarticular Stenosis",
    ]
    assert (mirror_views(crops, exists, swapped, views)[2] == grades).all()


def test_a_recess_is_seen_in_the_sagittal_slice_nearest_to_it(prepared, whole_study):
    """The middle slice of the crossed view, beside its point in the patient."""
    study, preset = load_study(prepared, whole_study), looking_at("crossed", slices=1)
    points = point_table(study.points)
    (part,) = study.of(SAGITTAL_T2)
    numbered = [
        replace(one, pixels=np.full_like(one.pixels, k)) for k, one in enumerate(part.slices)
    ]
    series = PreparedSeries(1, SAGITTAL_T2, Series(tuple(numbered)))
    crops, exists = grader_crops(replace(study, series=(series,)), points, preset)
    for k, view in enumerate(views_of(preset).each):
        assert exists[k] == (view.series == SAGITTAL_T2)
        if exists[k]:
            off = [abs(one.distance(points[view.target])) for one in part.slices]
            assert crops[k, 0, 16, 16] == np.argmin(off)


def test_a_wide_crop_shows_half_as_much_again_round_the_same_point(prepared, whole_study):
    """Worked by hand: in crops of 48 mm and 96 px, something 12 mm beside the point is 24 px from
    the centre; in those of 72 mm it is 16 px from it."""
    pixels = np.zeros((300, 300), np.uint8)
    pixels[149:152, 159:162] = 240  # round (160, 150), in mm too
    one = Slice(1, pixels, np.zeros(3), np.eye(3)[:2], np.ones(2))
    series = PreparedSeries(1, AXIAL_T2, Series((one,)))
    study = replace(load_study(prepared, whole_study), series=(series,))
    points = np.full((25, 3), np.nan)
    points[LEFT_RECESS] = 148.0, 150.0, 0.0
    preset = looking_at("marked", "wide", crop_px=96, crop_mm=48.0, slices=1)
    crops, exists = grader_crops(study, points, preset)
    assert [views_of(preset).each[k].width for k in np.flatnonzero(exists)] == [1.0, 1.5]
    columns = np.arange(96) - 47.5
    for shown, expected in zip(crops[exists][:, 0], (24.0, 16.0)):
        assert (shown.sum(0) * columns).sum() / shown.sum() == pytest.approx(expected, abs=0.1)


def test_test_time_augmentation_moves_wide_crops_by_as_many_mm(prepared, whole_study, monkeypatch):
    preset, moved, warp = looking_at("marked", "wide", "crossed"), [], grading.warp

    def seen(x, affine, px):
        moved.append(affine.clone())
        return warp(x, affine, px)

    monkeypatch.setattr(grading, "warp", seen)
    study = load_study(prepared, whole_study)
    grade(Grader(preset).eval(), study, point_table(study.points), preset)
    views = views_of(preset)
    mm_per_px = torch.as_tensor(preset.crop_mm * views.width / preset.crop_px)[:, None]
    for affine in moved:
        mm = affine.unflatten(0, (2, -1))[..., 2] * mm_per_px  # of the study and its mirror image
        assert torch.allclose(mm, mm[0, 0], atol=1e-4)
    assert len(moved) == 5
    assert moved[1][0, :, 2].abs().min() > 0.5


@pytest.mark.parametrize("sets", EVERY)
def test_exchanging_left_and_right_views_exchanges_left_and_right_predictions(sets):
    torch.manual_seed(0)
    preset = looking_at(*sets)
    grader, views = Grader(preset).eval(), views_of(preset)
    crops, exists = torch.rand(2, len(views), 3, 32, 32), torch.rand(2, len(views)) > 0.3
    with torch.inference_mode():
        here = grader(crops, exists)
        there = grader(crops[:, views.other], exists[:, views.other])
    assert here.shape == (2, 25, 3)
    assert torch.allclose(here, there[:, OTHER_TARGET], atol=1e-5)
    assert not torch.allclose(here, there, atol=1e-3)


@pytest.mark.parametrize("sets", [("marked", "wide"), VIEW_SETS])
def test_a_mirrored_patient_gets_mirrored_predictions(prepared, whole_study, sets):
    torch.manual_seed(0)
    preset, study = looking_at(*sets), load_study(prepared, whole_study)
    grader, points = Grader(preset).eval(), point_table(study.points)
    here, visible = grade(grader, study, points, preset)
    there, _ = grade(grader, mirrored(study), points[OTHER_TARGET] * [-1, 1, 1], preset)
    assert visible.all()
    assert here == pytest.approx(there[OTHER_TARGET], abs=1e-4)


def test_wide_views_have_embeddings_of_their_own_where_a_preset_has_them():
    """Without any, weights are as they were before there were wide views: one per kind of
    series."""
    assert Grader(looking_at("marked", "crossed")).series_embedding.weight.shape == (3, 32)
    preset = looking_at("marked", "wide")
    grader = Grader(preset).eval()
    crops, every = torch.rand(1, 55, 3, 32, 32), torch.ones(1, 55, dtype=torch.bool)
    narrow = torch.as_tensor(views_of(preset).width == 1)[None]
    with torch.inference_mode():
        before = [grader(crops, exists) for exists in (every, narrow)]
        grader.series_embedding.weight[3:] += torch.randn(3, 32)
        after = [grader(crops, exists) for exists in (every, narrow)]
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    assert torch.equal(before[1], after[1])


def test_what_a_prediction_had_to_do_without_depends_on_what_the_grader_looks_at(
    prepared, whole_study
):
    study = load_study(prepared, whole_study)
    sagittal = tuple(part for part in study.series if part.description != AXIAL_T2)
    study = replace(study, series=sagittal, left_out=())
    target = rsna.TARGETS[LEFT_FORAMEN]
    notes = [
        prediction._note(study, views_of(looking_at(*sets)), target, True, False)
        for sets in (("marked", "wide"), ("marked", "crossed"))
    ]
    assert notes == ["", "seen without Axial T2: no such series in this study"]
