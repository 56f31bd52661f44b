"""What the models are shown: the same windows as in use, moved by draws that depend on seed, epoch and study alone."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from mirror import mirrored
from torch.utils.data import default_collate

from utils import batches, losses, views
from utils.batches import GraderData, Jitter, LocatorData
from utils.prepare import StoreError, load_study
from utils.presets import Preset
from utils.rsna import AXIAL_T2, CANAL, TARGETS

PRESET = Preset("test", locator_px=96, locator_slices=3, crop_px=32, slices=3, features=32)


@pytest.fixture(scope="module")
def studies(store):
    return pd.read_csv(store / "folds.csv").study_id.tolist()


def locator_data(store, studies, preset=PRESET, **settings):
    data = LocatorData(store, studies, preset, **settings)
    data.cut_all()
    return data


def grader_data(store, studies, jitter=None, preset=PRESET):
    data = GraderData(store, studies, preset, jitter)
    data.cut_all()
    return data


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name].nan_to_num(), b[name].nan_to_num()) for name in a)


def test_windows_are_cut_once_and_again_only_what_is_missing(store, studies):
    data = locator_data(store, studies)
    before = {path: path.stat().st_mtime_ns for path in data.folder.iterdir()}
    data.path(studies[0]).unlink()
    data.cut_all()
    changed = [path for path in data.folder.iterdir() if path.stat().st_mtime_ns != before[path]]
    assert changed == [data.path(studies[0])]


def test_a_disk_too_small_is_told_before_it_is_full(store, studies, monkeypatch):
    data = LocatorData(store, studies, replace(PRESET, locator_px=80))
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(StoreError, match=r"the windows of \d+ studies need 0\.\d GB and 0\.0 are free; free some space"):
        data.cut_all()


def test_places_are_not_rounded_to_16_bits(store, studies):
    batch = default_collate([locator_data(store, studies)[0]])
    exact = losses.searches(batch, PRESET)["canal"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses.searches(batch, PRESET)["canal"]
    assert all(torch.equal(a, b) for a, b in zip(exact, mixed))


def test_other_sizes_have_other_files(store, studies):
    assert LocatorData(store, studies, PRESET).folder != LocatorData(store, studies, replace(PRESET, locator_px=64)).folder


def test_draws_depend_on_seed_epoch_and_study_only(store, studies):
    a, b = (locator_data(store, studies) for _ in range(2))
    [b[k] for k in range(3)]  # what was drawn before does not matter
    assert same(a[3], b[3])
    b.epoch.fill_(1)
    assert not same(a[3], b[3])


def test_every_epoch_shows_every_study_once_in_its_own_order(store, studies):
    data = grader_data(store, studies, Jitter())
    orders = []
    for epoch in range(3):
        data.epoch.fill_(epoch)
        orders.append([tuple(data[k]["grades"].tolist()) for k in range(len(data))])
    by_mirror = [{min(g, tuple(np.array(g)[views.OTHER_TARGET])) for g in order} for order in orders]
    assert by_mirror[0] == by_mirror[1] == by_mirror[2]
    assert orders[0] != orders[1]


def test_held_out_studies_are_shown_as_they_are_in_use(store, studies):
    data = grader_data(store, studies)
    study = load_study(store, studies[2])
    crops, exists = views.grader_views(study, views.point_table(study.points), PRESET)
    batch = default_collate([data[2]])
    assert torch.equal(batch["exists"][0], torch.from_numpy(exists))
    shown = losses.seen(batch, PRESET)[0] * 255
    assert np.abs(shown.numpy() - crops).max() < 0.51  # what is kept is rounded to whole greys


def test_heat_follows_the_points_through_every_draw(store, studies):
    data = locator_data(store, studies)
    for epoch in range(4):
        data.epoch.fill_(epoch)
        sought = losses.searches(default_collate([data[0]]), PRESET)
        canal = sought["canal"][1][0].sum(0)  # (5, h, w)
        assert canal.sum((1, 2)).numpy() == pytest.approx(np.ones(5), abs=1e-4)
        rows = (canal.sum(2) * torch.arange(canal.shape[1])).sum(1)
        assert (rows.diff() > 0).all(), "levels run head to foot"
        left, right = (sought["recess"][1][:, 0, k] for k in (0, 1))
        columns = torch.arange(left.shape[-1])
        assert ((left.sum(1) * columns).sum(1) > (right.sum(1) * columns).sum(1)).all(), "left on image right, mirrored or not"


def test_levels_that_chance_cuts_off_are_to_be_told(store, studies):
    data = locator_data(store, studies, replace(PRESET, cut_off=1.0))
    told = 0
    for epoch in range(12):
        data.epoch.fill_(epoch)
        _, heat, gone = losses.searches(default_collate([data[0]]), PRESET)["canal"]
        there = heat.sum((1, 3, 4)) > 0.5
        assert torch.equal(gone, ~there), "every level is either to be found or to be told"
        order = gone[0].int().tolist()
        assert order in (sorted(order), sorted(order, reverse=True)), "a picture ends on one side"
        told += sum(order)
    assert 5 < told < 40


def test_a_point_that_nobody_marked_is_neither_found_nor_missed(store, studies):
    batch = default_collate([locator_data(store, studies)[0]])
    batch["canal_at"][..., 2, :] = torch.nan
    _, heat, gone = losses.searches(batch, PRESET)["canal"]
    assert not gone.any()
    assert heat.sum((1, 3, 4))[0].tolist() == pytest.approx([1, 1, 0, 1, 1], abs=1e-3)


@pytest.mark.parametrize("kind", ["any", "scanner"])
def test_all_views_of_a_series_have_one_look(store, studies, kind):
    data = grader_data(store, studies, Jitter(), replace(PRESET, looks=kind))
    shown = data[1]["look"].numpy()
    for series in range(3):
        assert len(np.unique(shown[series == views.VIEW_SERIES], axis=0)) == 1
    assert len(np.unique(shown, axis=0)) == 3


def test_labels_have_nothing_to_do_with_the_picture_as_often_as_asked():
    rng, grades = np.random.default_rng(0), np.repeat([-1, 0, 1, 2], 5000)
    read = batches.misread(grades, 0.15, rng)
    assert np.mean(read[grades >= 0] != grades[grades >= 0]) == pytest.approx(0.10, abs=0.01), "one in three is right by luck"
    assert (read[grades == -1] == -1).all()
    assert set(read[grades == 1]) == {0, 1, 2}
    assert np.array_equal(batches.misread(grades, 0.0, rng), grades)


def test_a_point_seen_in_a_window_is_the_annotated_one(store, studies):
    """From the heat map's peak back to mm, for windows as they are in use."""
    data, study = locator_data(store, studies, chance=False), load_study(store, studies[0])
    points = views.point_table(study.points)
    heat = losses.searches(default_collate([data[0]]), PRESET)["recess"][1].sum(1).numpy()  # (5, 2, h, w)
    for level, both in enumerate(batches.RECESSES):
        one = views.recess_windows(study.of(AXIAL_T2), points[level], PRESET)[0]
        rows, columns = np.mgrid[: heat.shape[-2], : heat.shape[-1]]
        for share, mm in zip(heat[level], points[both]):
            assert share.any() == np.isfinite(mm).all()
            xy = (np.array([(share * columns).sum(), (share * rows).sum()]) + 0.5) * 2 - 0.5
            assert not share.any() or np.linalg.norm(one.to_pixel(mm) - xy) * one.spacing[0] < 0.5


def test_the_mirrored_views_are_the_views_of_the_mirrored_patient(store, studies, whole_study):
    study = load_study(store, whole_study)
    points = views.point_table(study.points)
    there = views.grader_views(mirrored(study), points[views.OTHER_TARGET] * [-1, 1, 1], PRESET)
    grades = np.arange(25)
    crops, exists, swapped, flip = views.mirrored(*views.grader_views(study, points, PRESET), grades)
    crops[flip] = crops[flip][..., ::-1]
    assert (exists == there[1]).all()
    assert np.abs(crops - there[0]).max() < 1e-3
    assert [TARGETS[k][0] for k in swapped[[0, 5, 20]]] == [
        CANAL,
        "Right Neural Foraminal Narrowing",
        "Left Subarticular Stenosis",
    ]
    again = views.mirrored(crops, exists, swapped)
    assert (again[2] == grades).all()


def test_jitter_moves_crops_by_as_much_as_it_says(store, studies):
    data = grader_data(store, studies, Jitter((1.0, 2.0, 3.0)))
    moves = []
    for epoch in range(60):
        data.epoch.fill_(epoch)
        moves.append(data[0]["move"][:, :, 2].numpy() * PRESET.crop_mm / PRESET.crop_px)
    spread = np.std(moves, axis=(0, 2))
    for family, mm in enumerate((1.0, 2.0, 3.0)):
        assert spread[views.TARGET_FAMILY[views.VIEW_TARGET] == family].mean() == pytest.approx(mm, rel=0.06)


def test_views_and_series_are_dropped_as_often_as_asked(store, studies):
    data = GraderData(store, studies, replace(PRESET, view_dropout=0.3), Jitter())
    data.cut_all()
    shown = []
    for epoch in range(40):
        data.epoch.fill_(epoch)
        shown.append(float(np.mean([data[k]["exists"].float().mean() for k in range(3)])))
    here = np.mean([grader_data(store, [s])[0]["exists"].float().mean() for s in studies])
    assert np.mean(shown) == pytest.approx(0.7 * (1 - 0.3 / 3) * here, abs=0.04)  # a series has a third of the views


def test_a_study_without_series_gives_black_windows_and_nothing_to_find(store, studies, tmp_path):
    study = replace(load_study(store, studies[0]), series=())
    data = LocatorData(tmp_path, [1], PRESET)
    item = data.item(data.cut(study), 1, np.random.default_rng(0))
    assert all(not item[f"{kind}_x"].any() and np.isnan(item[f"{kind}_at"]).all() for kind in losses.SEARCHES)
    assert item["canal_x"].shape[1] == PRESET.locator_slices
    assert Path(data.folder).parent.name == "windows"
