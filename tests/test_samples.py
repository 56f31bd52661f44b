"""What the models are shown: the same crops as in use, in samples that depend on seed, epoch and
study alone."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import default_collate

from utils.crops import (
    OTHER_TARGET,
    grader_crops,
    point_table,
    recess_crops,
)
from utils.files import OutputError
from utils.prepare import PreparedDataError, load_study
from utils.presets import Preset
from utils.rsna import AXIAL_T2
from utils.training import grader_samples, locator_samples, losses, samples
from utils.training.grader_samples import GraderDataset, Jitter
from utils.training.locator_samples import LocatorDataset
from utils.views import views_of

PRESET = Preset("test", locator_px=96, locator_slices=3, crop_px=32, slices=3, features=32)
VIEWS = views_of(PRESET)


@pytest.fixture(scope="module")
def studies(prepared):
    return pd.read_csv(prepared / "folds.csv").study_id.tolist()


def locator_data(prepared, studies, preset=PRESET, **settings):
    data = LocatorDataset(prepared, studies, preset, **settings)
    data.cache_crops()
    return data


def grader_data(prepared, studies, jitter=None, preset=PRESET):
    data = GraderDataset(prepared, studies, preset, jitter)
    data.cache_crops()
    return data


def same(a, b) -> bool:
    """Are two samples, nested tuples of tensors, equal?"""
    if isinstance(a, tuple):
        return all(map(same, a, b))
    return torch.equal(a.nan_to_num(), b.nan_to_num())


def test_crops_are_cut_once_and_again_only_what_is_missing(prepared, studies):
    data = locator_data(prepared, studies)
    before = {path: path.stat().st_mtime_ns for path in data.folder.iterdir()}
    data.path(studies[0]).unlink()
    data.cache_crops()
    changed = [path for path in data.folder.iterdir() if path.stat().st_mtime_ns != before[path]]
    assert changed == [data.path(studies[0])]


def test_the_bar_of_crops_counts_every_study(prepared, studies, capsys):
    preset = replace(PRESET, crop_px=24)  # not cut yet
    grader_data(prepared, studies, preset=preset)
    assert f"{len(studies)}/{len(studies)}" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"no crops", None])
def test_damaged_crops_are_cut_again(prepared, studies, damage):
    data = locator_data(prepared, studies)
    whole = data[0]
    for study in studies:
        path = data.path(study)
        path.unlink() if damage is None else path.write_bytes(damage)
    assert same(data[0], whole)


def test_a_disk_too_small_is_reported_before_it_is_full(prepared, studies, monkeypatch):
    data = LocatorDataset(prepared, studies, replace(PRESET, locator_px=80))
    monkeypatch.setattr(samples.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(
        PreparedDataError,
        match=r"the crops of \d+ studies need 0\.\d GB and 0\.0 are free; free some space",
    ):
        data.cache_crops()


def test_crops_that_cannot_be_written_are_a_clear_error(prepared, studies, tmp_path):
    data = LocatorDataset(prepared, studies, PRESET)
    data.folder = tmp_path / "file" / "crops"
    (tmp_path / "file").write_text("")  # no folder can be made here, not even by root
    with pytest.raises(OutputError, match=r"crops: cannot be written \(Not a directory\)\. Free"):
        data.cache_crops()


def test_places_are_not_rounded_to_16_bits(prepared, studies):
    batch = default_collate([locator_data(prepared, studies)[0]])
    exact = losses.augmented_searches(batch, PRESET)["canal"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses.augmented_searches(batch, PRESET)["canal"]
    assert all(torch.equal(a, b) for a, b in zip(exact, mixed))


def test_other_sizes_have_other_files(prepared, studies):
    assert (
        LocatorDataset(prepared, studies, PRESET).folder
        != LocatorDataset(prepared, studies, replace(PRESET, locator_px=64)).folder
    )


def test_samples_depend_on_seed_epoch_and_study_only(prepared, studies):
    a, b = (locator_data(prepared, studies) for _ in range(2))
    [b[k] for k in range(3)]  # what was sampled before does not matter
    assert same(a[3], b[3])
    b.epoch.fill_(1)
    assert not same(a[3], b[3])


def test_every_epoch_shows_every_study_once_in_its_own_order(prepared, studies):
    data = grader_data(prepared, studies, Jitter())
    orders = []
    for epoch in range(3):
        data.epoch.fill_(epoch)
        orders.append([tuple(data[k].grades.tolist()) for k in range(len(data))])
    by_mirror = [{min(g, tuple(np.array(g)[OTHER_TARGET])) for g in order} for order in orders]
    assert by_mirror[0] == by_mirror[1] == by_mirror[2]
    assert orders[0] != orders[1]


def test_held_out_studies_are_shown_as_they_are_in_use(prepared, studies):
    data = grader_data(prepared, studies)
    study = load_study(prepared, studies[2])
    crops, exists = grader_crops(study, point_table(study.points), PRESET)
    batch = default_collate([data[2]])
    assert torch.equal(batch.exists[0], torch.from_numpy(exists))
    shown = losses.augmented_crops(batch, PRESET)[0] * 255
    assert np.abs(shown.numpy() - crops).max() < 0.51  # what is kept is rounded to whole greys


def test_heat_follows_the_points_in_every_sample(prepared, studies):
    data = locator_data(prepared, studies)
    for epoch in range(4):
        data.epoch.fill_(epoch)
        searches = losses.augmented_searches(default_collate([data[0]]), PRESET)
        canal = searches["canal"][1][0].sum(0)  # (5, h, w)
        assert canal.sum((1, 2)).numpy() == pytest.approx(np.ones(5), abs=1e-4)
        rows = (canal.sum(2) * torch.arange(canal.shape[1])).sum(1)
        assert (rows.diff() > 0).all(), "levels run head to foot"
        left, right = (searches["recess"][1][:, 0, k] for k in (0, 1))
        columns = torch.arange(left.shape[-1])
        assert ((left.sum(1) * columns).sum(1) > (right.sum(1) * columns).sum(1)).all(), (
            "left on image right, mirrored or not"
        )


def test_levels_that_truncation_cuts_off_are_to_be_reported(prepared, studies):
    data = locator_data(prepared, studies, replace(PRESET, truncation=1.0))
    reported = 0
    for epoch in range(12):
        data.epoch.fill_(epoch)
        _, heat, absent = losses.augmented_searches(default_collate([data[0]]), PRESET)["canal"]
        there = heat.sum((1, 3, 4)) > 0.5
        assert torch.equal(absent, ~there), "every level is either to be found or to be reported"
        order = absent[0].int().tolist()
        assert order in (sorted(order), sorted(order, reverse=True)), "an image ends on one side"
        reported += sum(order)
    assert 5 < reported < 40


def test_a_point_that_nobody_marked_is_neither_found_nor_missed(prepared, studies):
    batch = default_collate([locator_data(prepared, studies)[0]])
    batch.canal.points[..., 2, :] = torch.nan
    _, heat, absent = losses.augmented_searches(batch, PRESET)["canal"]
    assert not absent.any()
    assert heat.sum((1, 3, 4))[0].tolist() == pytest.approx([1, 1, 0, 1, 1], abs=1e-3)


@pytest.mark.parametrize("kind", ["randomised", "scanner"])
def test_all_views_of_a_series_have_one_intensity_vector(prepared, studies, kind):
    data = grader_data(prepared, studies, Jitter(), replace(PRESET, intensity=kind))
    shown = data[1].intensity.numpy()
    for series in range(3):
        assert len(np.unique(shown[series == VIEWS.series], axis=0)) == 1
    assert len(np.unique(shown, axis=0)) == 3


def test_labels_have_nothing_to_do_with_the_image_as_often_as_asked():
    rng, grades = np.random.default_rng(0), np.repeat([-1, 0, 1, 2], 5000)
    read = grader_samples.add_label_noise(grades, 0.15, rng)
    assert np.mean(read[grades >= 0] != grades[grades >= 0]) == pytest.approx(0.10, abs=0.01), (
        "one in three is right by luck"
    )
    assert (read[grades == -1] == -1).all()
    assert set(read[grades == 1]) == {0, 1, 2}
    assert np.array_equal(grader_samples.add_label_noise(grades, 0.0, rng), grades)


def test_a_point_seen_in_a_crop_is_the_annotated_one(prepared, studies):
    """From the heat map's peak back to mm, for crops as they are in use."""
    data, study = locator_data(prepared, studies, augment=False), load_study(prepared, studies[0])
    points = point_table(study.points)
    heat = (
        losses.augmented_searches(default_collate([data[0]]), PRESET)["recess"][1].sum(1).numpy()
    )  # (5, 2, h, w)
    for level, both in enumerate(locator_samples.RECESSES):
        one = recess_crops(study.of(AXIAL_T2), points[level], PRESET)[0]
        rows, columns = np.mgrid[: heat.shape[-2], : heat.shape[-1]]
        for heat_map, mm in zip(heat[level], points[both]):
            assert heat_map.any() == np.isfinite(mm).all()
            xy = (np.array([(heat_map * columns).sum(), (heat_map * rows).sum()]) + 0.5) * 2 - 0.5
            assert (
                not heat_map.any() or np.linalg.norm(one.to_pixel(mm) - xy) * one.spacing[0] < 0.5
            )


def test_jitter_moves_crops_by_as_much_as_it_says(prepared, studies):
    data = grader_data(prepared, studies, Jitter((1.0, 2.0, 3.0)))
    moves = []
    for epoch in range(60):
        data.epoch.fill_(epoch)
        moves.append(data[0].affine[:, :, 2].numpy() * PRESET.crop_mm / PRESET.crop_px)
    deviation = np.std(moves, axis=(0, 2))
    for family, mm in enumerate((1.0, 2.0, 3.0)):
        assert deviation[VIEWS.family == family].mean() == pytest.approx(mm, rel=0.06)


def test_a_wide_view_is_moved_by_as_many_mm_and_slices_as_the_narrow_one(prepared, studies):
    """For it is the point that is wrong."""
    preset = replace(PRESET, views=("marked", "wide"))
    data = grader_data(prepared, studies, Jitter((2.0,) * 3, (0.5,) * 3), preset)
    narrow, wide = data[0].affine[:25, :, 2].numpy(), data[0].affine[30:, :, 2].numpy()
    mm_per_px = preset.crop_mm / preset.crop_px
    assert np.abs(narrow).mean() > 0.5
    assert wide * 1.5 * mm_per_px == pytest.approx(narrow * mm_per_px, abs=1e-4)
    off = data._slices_off(np.random.default_rng(0))
    assert set(off) == {-1, 0, 1}
    assert (off[30:] == off[:25]).all()


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_view_is_now_and_then_some_slices_off(prepared, studies, most):
    """Every second time, by one slice or, if two are the most, by one or two; never if none."""
    preset = replace(PRESET, slices=1, slice_shift=most)
    data = GraderDataset(prepared, studies, preset, Jitter(off_slice=(0.5,) * 3))
    rng = np.random.default_rng(0)
    off = np.concatenate([data._slices_off(rng) for _ in range(100)])
    expected = {0: {0: 1.0}, 1: {-1: 0.25, 0: 0.5, 1: 0.25}}
    expected[2] = {-2: 0.125, -1: 0.125, 0: 0.5, 1: 0.125, 2: 0.125}
    assert set(off) == set(expected[most])
    for by, often in expected[most].items():
        assert np.mean(off == by) == pytest.approx(often, abs=0.03)


@pytest.mark.parametrize(("slices", "most"), [(1, 1), (3, 1), (3, 2)])
def test_the_annotated_slice_is_known_wherever_it_is_shown(prepared, studies, slices, most):
    """Of crops that show nothing but the number of their slice, mirrored or not: the middle one,
    or none where a view is so many slices off that the middle one is not shown."""
    preset = replace(PRESET, slices=slices, slice_shift=most, views=("marked", "crossed", "wide"))
    data = GraderDataset(prepared, studies, preset, Jitter(off_slice=(0.5,) * 3))
    count, middle = slices + 2 * most, slices // 2 + most
    number = np.arange(count, dtype=np.uint8)[None, :, None, None].repeat(len(data.views), 0)
    cached = {"crops": number, "exists": np.ones(len(data.views), bool)}
    places = []
    for seed in range(10):
        sample = data.sample(cached, studies[0], np.random.default_rng(seed))
        shows = sample.crops[..., 0, 0] == middle
        assert (sample.annotated == shows).all()
        places.append(np.where(shows.any(1), shows.argmax(1) - slices // 2, 9))
    most_shown = min(most, slices // 2)
    expected = {*range(-most_shown, most_shown + 1)} | ({9} if most > slices // 2 else set())
    assert set(np.concatenate(places)) == expected
    held_out = GraderDataset(prepared, studies, preset, None)
    annotated = held_out.sample(cached, studies[0], np.random.default_rng(0)).annotated
    assert (annotated == (np.arange(slices) == slices // 2)).all()


def test_other_views_are_kept_in_other_files(prepared, studies):
    folders = [
        GraderDataset(prepared, studies, replace(PRESET, views=views), None).folder.name
        for views in (("marked",), ("marked", "wide"), ("wide", "marked"))
    ]
    assert folders == [
        f"grader-{samples.VERSION}-{views}-32-48.0-3-1"
        for views in ("marked", "marked+wide", "wide+marked")
    ]


def test_a_mixture_is_cut_or_blended_as_often_as_asked(prepared, studies):
    """The region that cutmix takes from the other study is as large as the rest of lambda."""
    preset = replace(PRESET, mixup=1.0, cutmix=0.3)
    data = GraderDataset(prepared, studies, preset, Jitter())
    rng = np.random.default_rng(0)
    mixtures = [data._mixture(rng) for _ in range(600)]
    own, region = np.array([own for own, _ in mixtures]), np.stack([of for _, of in mixtures])
    is_cut = region[:, 2] > 0
    assert is_cut.mean() == pytest.approx(0.3, abs=0.06)
    assert ((region >= 0) & (region <= 1)).all()
    area = np.prod(region[is_cut, 2:] - region[is_cut, :2], axis=1)
    assert area == pytest.approx(1 - own[is_cut], abs=1e-4)
    assert (own >= 0.5).all()


def test_views_and_series_are_dropped_as_often_as_asked(prepared, studies):
    data = GraderDataset(prepared, studies, replace(PRESET, view_dropout=0.3), Jitter())
    data.cache_crops()
    shown = []
    for epoch in range(40):
        data.epoch.fill_(epoch)
        shown.append(float(np.mean([data[k].exists.float().mean() for k in range(3)])))
    here = np.mean([grader_data(prepared, [s])[0].exists.float().mean() for s in studies])
    assert np.mean(shown) == pytest.approx(
        0.7 * (1 - 0.3 / 3) * here, abs=0.04
    )  # a series has a third of the views


def test_a_study_without_series_gives_black_crops_and_nothing_to_find(prepared, studies, tmp_path):
    study = replace(load_study(prepared, studies[0]), series=())
    data = LocatorDataset(tmp_path, [1], PRESET)
    sample = data.sample(data.make_crops(study), 1, np.random.default_rng(0))
    for search in (sample.canal, sample.foramen, sample.recess):
        assert not search.crops.any()
        assert np.isnan(search.points).all()
    assert sample.canal.crops.shape[1] == PRESET.locator_slices
    assert Path(data.folder).parent.name == "crops"
