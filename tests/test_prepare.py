"""The prepared data set: same position in mm, known direction, nothing half-written, whole patients
per fold."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import audit, prepare, rsna
from utils.crops import crop
from utils.dicom import BY_ORDER, Series, Slice, read_series
from utils.dicom.geometry import Numbering
from utils.files import OutputError
from utils.locks import BusyError, at_work
from utils.prepare import canonical, load_study, make_folds, prepare_study, resample
from utils.prepare.normalisation import intensity_limits
from utils.presets import PRESETS

LEFT, RIGHT = "Left Subarticular Stenosis", "Right Subarticular Stenosis"


def make_slice(pixels):
    return Slice(1, pixels, np.array([3.0, 2, 1]), np.eye(3)[:2], np.array([0.5, 0.8]))


def hashes(folder):
    """Of the files of the prepared data set itself: training keeps its crops in a folder below."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file()]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def series_ids(tables, study):
    """Series id by description."""
    return tables.series_of(study).set_index("series_description").series_id


# --- one slice, one series ------------------------------------------------------------------------


def stored_otherwise(one, flip_x, flip_y, transpose):
    """The same slice as another scanner might have stored it."""
    for k, flip in enumerate((flip_x, flip_y)):
        if flip:
            last = one.pixels.shape[1 - k] - 1
            origin = one.origin + one.axes[k] * one.spacing[k] * last
            axes = one.axes * np.where(np.arange(2) == k, -1.0, 1.0)[:, None]
            one = replace(one, pixels=np.flip(one.pixels, 1 - k), origin=origin, axes=axes)
    if not transpose:
        return one
    return replace(one, pixels=one.pixels.T, axes=one.axes[::-1], spacing=one.spacing[::-1])


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 29), st.integers(0, 19))
def test_the_standard_direction_keeps_every_pixels_mm(flip_x, flip_y, transpose, x, y):
    pixels = np.arange(600).reshape(20, 30)
    tilt = np.radians(20)
    axes = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)]])
    right = Slice(1, pixels, np.array([-10.0, 5, 7]), axes, np.array([0.5, 0.8]))
    back = canonical(stored_otherwise(right, flip_x, flip_y, transpose), "axial")
    assert np.array_equal(back.pixels, pixels)
    assert back.to_patient((x, y)) == pytest.approx(right.to_patient((x, y)))


def test_resampling_keeps_the_outer_edges_in_mm():
    pixels = np.random.default_rng(0).random((101, 80))
    one = Slice(1, pixels, np.array([1.0, 2, 3]), np.eye(3)[:2], np.array([0.3, 0.4]))
    small = resample(one, 0.75)
    height, width = small.pixels.shape
    assert (width, height) == (32, 54)
    assert small.to_patient((-0.5, -0.5)) == pytest.approx(one.to_patient((-0.5, -0.5)))
    corner = small.to_patient((width - 0.5, height - 0.5))
    assert corner == pytest.approx(one.to_patient((79.5, 100.5)))
    assert resample(small, 0.5) is small, "never made finer than it was scanned"


@pytest.mark.parametrize("name", PRESETS)
def test_crops_are_as_sharp_as_their_pixels_promise(name):
    """An image with stripes 4 pixels of the preset's crops wide, at four times the resolution: a
    crop keeps at least 0.7 of what it would keep if it were cut from the image itself. (Stored at
    0.75 mm, a crop of the GPU presets keeps 0.1.)"""
    preset = PRESETS[name]
    pixel_mm = preset.crop_mm / preset.crop_px
    mm = (np.arange(800) + 0.5) * pixel_mm / 4
    stripes = 100 + 90 * np.sin(2 * np.pi * mm / (4 * pixel_mm))
    image = np.tile(stripes, (800, 1)).astype(np.float32)
    spacing = np.full(2, pixel_mm / 4)
    one = Slice(1, image, np.zeros(3), np.array([[0.0, 1, 0], [0, 0, -1]]), spacing)
    cuts = [
        crop(source, one.centre, preset.crop_mm, preset.crop_px).pixels[10:-10, 10:-10].std()
        for source in (resample(one, preset.spacing_mm), one)
    ]
    assert cuts[0] > 0.7 * cuts[1]


def test_images_are_prepared_as_fine_as_asked(tables, whole_study):
    """These phantoms have 1 to 2 mm."""
    for part in prepare_study(tables, whole_study, spacing_mm=2.5).series:
        assert part.series.slices[0].spacing == pytest.approx(2.5, abs=0.1), part.description


def test_air_round_the_body_is_trimmed_and_positions_stay():
    body = np.zeros((40, 60), np.uint8)
    body[5:35, 12:50] = 90
    slices = [make_slice(body), make_slice(np.roll(body, 2, axis=0))]
    cut = prepare.trim(slices)
    assert [s.pixels.shape for s in cut] == [(32, 38), (32, 38)]
    assert np.array_equal(cut[0].to_patient((0, 0)), slices[0].to_patient((12, 5)))
    assert prepare.trim([make_slice(np.zeros_like(body))])[0].pixels.shape == body.shape
    sizes_differ = [slices[0], make_slice(body[:, :30])]
    assert prepare.trim(sizes_differ)[0] is slices[0]


def noisy_series(seed=0):
    """Five sagittal slices of noise, brighter in the middle."""
    rng = np.random.default_rng(seed)
    slices = []
    for k in range(5):
        pixels = rng.gamma(2, 20, (180, 150))
        pixels[45:135, 45:105] += 300
        slices.append(replace(make_slice(pixels.astype(np.float32)), instance=k + 1))
    return Series(tuple(slices))


@pytest.mark.parametrize("fill", [0, 7])
def test_a_border_without_signal_changes_no_intensity(fill):
    """The same images in a larger field of view, filled with one value: padding, or zeros."""
    plain = noisy_series()
    padded = []
    for one in plain.slices:
        pixels = np.pad(one.pixels + np.float32(fill + 1), 39, constant_values=fill)
        padded.append(replace(one, pixels=pixels))
    larger = replace(plain, slices=tuple(padded))
    raised = [replace(one, pixels=one.pixels + np.float32(fill + 1)) for one in plain.slices]
    expected = intensity_limits([raised])
    np.testing.assert_allclose(intensity_limits([list(larger.slices)]), expected, rtol=0.02)


def test_an_image_of_one_grey_has_limits_too():
    one = make_slice(np.full((9, 9), 5.0, np.float32))
    assert intensity_limits([[one]]) == [(5.0, 5.0)]


def test_directions_after_preparation(prepared, whole_study):
    for part in load_study(prepared, whole_study).series:
        plane = "axial" if part.description == rsna.AXIAL_T2 else "sagittal"
        standard = np.array(prepare.DIRECTIONS[plane])
        for one in part.series.slices:
            assert (one.axes * standard).sum(1).min() > 0.8


def test_series_that_cross_stay_apart_and_others_are_joined(tables, whole_study):
    parts = prepare_study(tables, whole_study).series
    axial = next(part.series for part in parts if part.description == rsna.AXIAL_T2)
    halves = [replace(axial, slices=some) for some in (axial.slices[:7], axial.slices[7:])]
    assert [one.instances for one in prepare.joined(halves)] == [axial.instances]
    combed = [replace(axial, slices=some) for some in (axial.slices[::2], axial.slices[1::2])]
    joined = prepare.joined(combed)
    assert [one.instances for one in joined] == [one.instances for one in combed]


# --- points that must not be used -----------------------------------------------------------------


def points_and_series(tables, study):
    points = tables.points[tables.points.study_id == study].copy()
    series = {s: read_series(tables.folder(study, s)) for s in points.series_id.unique()}
    return points, series


def test_points_that_must_not_be_used_are_named(tables, whole_study):
    points, series = points_and_series(tables, whole_study)
    first, second, third = points.index[:3]
    points.loc[first, ["x", "y"]] = 3.0, 4.0
    points.loc[second, "x"] = 5000.0
    points.loc[third, "instance_number"] = 999
    kept, unusable = prepare.points_in_mm(points, series)
    assert len(kept) == len(points) - 3
    assert [point.why for point in unusable] == [
        "placeholder in the image's corner",
        "lies outside its image",
        f"instance 999 is not in series {points.series_id[third]}",
    ]


def test_the_register_of_known_faults_is_applied_by_id(tables, whole_study):
    points, series = points_and_series(tables, whole_study)
    confused = 3742728457  # sides confused on Sagittal T1
    kept, unusable = prepare.points_in_mm(points.assign(study_id=confused), series)
    assert not kept.condition.str.contains("Foraminal").any()
    assert {point.why for point in unusable} == {"known fault: sides confused on Sagittal T1"}
    cervical = tables.series_of(whole_study).assign(series_id=3892989905)
    study = prepare_study(replace(tables, series=cervical), whole_study)
    assert "known fault: cervical scan" in {why for _, why in study.left_out}


def contradictory(rows):
    """(condition, level, kind) of what is found among points (condition, level, x, z)."""
    columns = ["condition", "level", "series_id", "instance_number", "x_mm", "y_mm", "z_mm"]
    points = [(condition, level, 1, 1, x, 0, z) for condition, level, x, z in rows]
    found = prepare.contradictory_points(pd.DataFrame(points, columns=columns))
    return [(point.row.condition, point.row.level, point.kind) for point in found]


def test_points_that_contradict_each_other_in_the_patient_are_found():
    sound = [(LEFT, "L1/L2", 9, 60), (RIGHT, "L1/L2", -9, 60), (LEFT, "L2/L3", 9, 30)]
    assert contradictory(sound) == []
    crossed = [(LEFT, "L1/L2", -9, 60), (RIGHT, "L1/L2", 9, 60)]
    assert contradictory(crossed) == [
        (LEFT, "L1/L2", "sides exchanged"),
        (RIGHT, "L1/L2", "sides exchanged"),
    ]
    half = [(rsna.CANAL, "L1/L2", -7, 55), (LEFT, "L1/L2", -20, 60), (LEFT, "L2/L3", -20, 30)]
    assert contradictory(half) == [(LEFT, "L1/L2", "sides exchanged")]  # nothing tells of L2/L3
    assert contradictory([half[0], (LEFT, "L1/L2", -9, 60), (RIGHT, "L2/L3", 9, 30)]) == []
    canal = [("L3/L4", 0, 10), ("L4/L5", 0, 40), ("L5/S1", 0, -20)]
    assert contradictory([(rsna.CANAL, *point) for point in canal]) == [
        (rsna.CANAL, "L3/L4", "levels out of order"),
        (rsna.CANAL, "L4/L5", "levels out of order"),
    ]


def test_a_target_with_several_points_has_none_that_can_be_trusted():
    twice = [(rsna.CANAL, "L1/L2", 0, 60), (rsna.CANAL, "L1/L2", 0, 30), (LEFT, "L1/L2", 9, 60)]
    kind = "several points for one target"
    assert contradictory(twice) == [(rsna.CANAL, "L1/L2", kind)] * 2
    same = [(rsna.CANAL, "L1/L2", 0, 60), (rsna.CANAL, "L1/L2", 0, 60.3)]
    assert contradictory(same) == [(rsna.CANAL, "L1/L2", kind)]  # one of them is kept
    crossed = [(LEFT, "L1/L2", -9, 60), (LEFT, "L1/L2", -9, 60), (RIGHT, "L1/L2", 9, 60)]
    assert contradictory(crossed)[1:] == [  # and checked like any other
        (LEFT, "L1/L2", "sides exchanged"),
        (RIGHT, "L1/L2", "sides exchanged"),
    ]


def test_points_on_slices_whose_numbers_are_unclear_are_not_used(tables, whole_study):
    points, series = points_and_series(tables, whole_study)
    unclear = {k: replace(one, numbering=Numbering(BY_ORDER)) for k, one in series.items()}
    kept, unusable = prepare.points_in_mm(points, unclear)
    assert kept.empty
    assert {point.kind for point in unusable} == {"unclear instance numbers"}


# --- one study: what is missing is named, and the rest is used ------------------------------------


def test_a_missing_series_is_named_and_the_rest_is_used(tables, whole_study):
    others = tables.series[tables.series.series_description != rsna.AXIAL_T2]
    study = prepare_study(replace(tables, series=others), whole_study)
    assert ("Axial T2", "no such series in this study") in study.left_out
    assert len(study.series) == 2
    assert study.points.condition.str.contains("Subarticular").sum() == 0


def test_a_series_that_is_missing_or_broken_is_skipped_and_named(
    phantom_root, whole_study, tmp_path
):
    """Half a download: one series has no folder, one has an empty file in place of every slice."""
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    ids = series_ids(tables, whole_study)
    shutil.rmtree(tables.folder(whole_study, ids[rsna.SAGITTAL_T1]))
    for path in tables.folder(whole_study, ids[rsna.AXIAL_T2]).iterdir():
        path.write_bytes(b"")
    assert list(prepare.read_study(tables, whole_study)) == [rsna.SAGITTAL_T2]
    study = prepare_study(tables, whole_study)
    assert [part.description for part in study.series] == [rsna.SAGITTAL_T2]
    named = " ".join(what for what, _ in study.left_out)
    assert str(ids[rsna.SAGITTAL_T1]) in named
    assert str(ids[rsna.AXIAL_T2]) in named


# --- on disk --------------------------------------------------------------------------------------


def test_loading_gives_back_what_preparation_made(tables, prepared, whole_study):
    fresh, loaded = prepare_study(tables, whole_study), load_study(prepared, whole_study)
    assert len(fresh.series) == len(loaded.series)
    for a, b in zip(fresh.series, loaded.series):
        assert (a.series_id, a.description) == (b.series_id, b.description)
        assert len(a.series) == len(b.series)
        for x, y in zip(a.series.slices, b.series.slices):
            assert x.instance == y.instance
            assert x.series_id == y.series_id == a.series_id
            assert np.array_equal(x.pixels, y.pixels)
            assert np.array_equal(x.origin, y.origin)
            assert np.array_equal(x.axes, y.axes)
            assert np.array_equal(x.spacing, y.spacing)
    pd.testing.assert_frame_equal(fresh.points, loaded.points)
    assert fresh.left_out == loaded.left_out
    assert isinstance(loaded.series[0].series.pixels[0].base, np.memmap)


def test_preparing_again_changes_nothing(phantom_root, prepared):
    before = hashes(prepared)
    prepare.prepare(phantom_root, prepared, folds=2)
    assert hashes(prepared) == before


def test_a_study_whose_download_has_continued_is_prepared_again(
    phantom_root, whole_study, tmp_path
):
    """First a series is missing, then it is there. Crops cut from the study as it was are deleted,
    those of other studies stay."""
    root, out = shutil.copytree(phantom_root, tmp_path / "data"), tmp_path / "prepared"
    tables = rsna.load_tables(root)
    late = tables.folder(whole_study, series_ids(tables, whole_study)[rsna.SAGITTAL_T1])
    late.rename(tmp_path / "late")
    prepare.prepare(root, out, folds=2)
    assert len(load_study(out, whole_study).series) == 2
    crops = {
        study: out / "crops" / "locator" / f"{study}.safetensors" for study in tables.studies()
    }
    crops[whole_study].parent.mkdir(parents=True)
    for path in crops.values():
        path.touch()
    before = hashes(out)
    (tmp_path / "late").rename(late)
    prepare.prepare(root, out, folds=2)
    assert len(load_study(out, whole_study).series) == 3
    assert [study for study, path in crops.items() if not path.exists()] == [whole_study]
    after = hashes(out)
    changed = {name for name in before if before[name] != after.get(name)}
    studies = {name.split(".")[0] for name in changed if name[0] == "9"}
    assert studies == {str(whole_study)}
    assert "no such folder" not in (out / "left_out.csv").read_text()


def other_points(root, tables, study):
    path = root / "train_label_coordinates.csv"
    points = pd.read_csv(path)
    points.loc[points.study_id == study, "x"] += 3
    points.to_csv(path, index=False)


def repaired_file(root, tables, study):
    path = next(tables.folder(study, tables.series_of(study).series_id.iloc[0]).iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes(2))


def other_description(root, tables, study):
    path = root / "train_series_descriptions.csv"
    rows = pd.read_csv(path)
    first = rows.index[rows.study_id == study][0]
    rows.loc[first, "series_description"] = "Axial T1"
    rows.to_csv(path, index=False)


@pytest.mark.parametrize("change", [other_points, repaired_file, other_description])
def test_a_study_is_prepared_again_when_what_it_was_made_of_has_changed(
    phantom_root, prepared, whole_study, tmp_path, change
):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    out = shutil.copytree(prepared, tmp_path / "prepared")
    tables = rsna.load_tables(root)
    change(root, tables, whole_study)
    before = hashes(out)
    prepare.prepare(root, out, folds=2)
    after = hashes(out)
    changed = {name for name in before if before[name] != after[name] and name[0] == "9"}
    assert {name.split(".")[0] for name in changed} == {str(whole_study)}


def cut_pixels(out, study):
    path = out / f"{study}.npy"
    path.write_bytes(path.read_bytes()[:-100])


def no_pixels(out, study):
    (out / f"{study}.npy").unlink()


def other_pixels(out, study):
    np.save(out / f"{study}.npy", np.zeros(7, np.uint8))


def half_a_json(out, study):
    path = out / f"{study}.json"
    path.write_text(path.read_text()[:100])


def an_empty_json(out, study):
    (out / f"{study}.json").write_text("{}")


def no_place(out, study):
    path = out / f"{study}.json"
    content = json.loads(path.read_text())
    content["series"][0]["slices"][0]["origin"][1] = float("nan")
    path.write_text(json.dumps(content))


DAMAGES = [cut_pixels, no_pixels, other_pixels, half_a_json, an_empty_json, no_place]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_study_is_refused_and_prepared_again(
    phantom_root, prepared, whole_study, tmp_path, damage, capsys
):
    out = shutil.copytree(prepared, tmp_path / "prepared")
    damage(out, whole_study)
    with pytest.raises(prepare.PreparedDataError, match=f"{whole_study}.+run 02_preprocess again"):
        load_study(out, whole_study)
    prepare.prepare(phantom_root, out, folds=2)
    bar = capsys.readouterr().err
    assert "| 3/4" in bar  # only the damaged one is prepared
    assert "| 4/4" in bar
    assert hashes(out) == hashes(prepared)


def test_without_labels_studies_can_be_prepared_for_grading(phantom_root, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    for name in ("train.csv", "train_label_coordinates.csv"):
        (root / name).unlink()
    folds = prepare.prepare(root, tmp_path / "out")
    assert list(folds) == ["study_id", "fold"]
    assert folds.empty
    studies = rsna.load_tables(root).studies()
    assert all(load_study(tmp_path / "out", study).series for study in studies)


def test_a_series_folder_that_cannot_be_listed_is_left_out_and_named(
    phantom_root, whole_study, tmp_path, refuse_to_list
):
    tables = rsna.load_tables(phantom_root)
    series_id = series_ids(tables, whole_study)[rsna.AXIAL_T2]
    refuse_to_list(tables.folder(whole_study, series_id))
    prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    left_out = dict(load_study(tmp_path, whole_study).left_out)
    why = left_out[f"series {series_id} (Axial T2)"]
    assert why == "could not be read from the disk (Permission denied)"


@pytest.mark.parametrize("count", [1, None], ids=["one file", "all files of a series"])
def test_what_the_disk_could_not_read_is_tried_again(
    phantom_root, prepared, whole_study, tmp_path, monkeypatch, count
):
    tables = rsna.load_tables(phantom_root)
    folder = tables.folder(whole_study, series_ids(tables, whole_study)[rsna.AXIAL_T2])
    failing = sorted(folder.iterdir())[:count]
    read = Path.read_bytes

    def read_bytes(self):
        if self in failing:
            raise OSError(5, "Input/output error")
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    reasons = [why for _, why in load_study(tmp_path, whole_study).left_out]
    assert any(why.startswith("could not be read from the disk") for why in reasons)
    prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    assert hashes(tmp_path) == hashes(prepared)


def test_a_data_folder_that_goes_away_stops_preparation_and_is_named(
    phantom_root, tmp_path, refuse_to_list
):
    refuse_to_list(phantom_root)
    gone = rf"{phantom_root} cannot be read any more \(Permission denied\)\. Mount it again"
    with pytest.raises(prepare.PreparedDataError, match=gone):
        prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)


def test_two_at_once_in_one_folder_are_not_possible(phantom_root, tmp_path):
    with at_work(tmp_path), pytest.raises(BusyError, match="is at work here"):
        prepare.prepare(phantom_root, tmp_path)


def test_names_of_files_are_no_formulas_in_the_tables(phantom_root, whole_study, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    folder = tables.folder(whole_study, series_ids(tables, whole_study)[rsna.AXIAL_T2])
    (folder / "=1+1").write_text("x")
    table = audit.audit(root, tmp_path / "audit.csv")
    assert "=1+1 is not a DICOM file" in set(table.seen)
    assert ",'=1+1 is not" in (tmp_path / "audit.csv").read_text()


def test_a_fault_that_has_become_known_is_heeded(phantom_root, whole_study, tmp_path, monkeypatch):
    prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    series_id = int(rsna.load_tables(phantom_root).series_of(whole_study).series_id.iloc[0])
    fault = ["wrong body part", whole_study, series_id, "", "drop series", "seen"]
    known = pd.DataFrame([fault], columns=rsna.known_faults().columns)
    for module in ("utils.rsna.faults", "utils.prepare.study", "utils.prepare.points"):
        monkeypatch.setattr(f"{module}.known_faults", lambda: known)
    prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    assert series_id not in [part.series_id for part in load_study(tmp_path, whole_study).series]


def test_the_manifest_changes_only_with_its_version(prepared):
    assert (prepared / "manifest.json").read_text() == (
        '{"version": 6, "spacing_mm": 0.75, "air": [10, 0.03], '
        '"percentiles": [1.0, 99.5], "one_scale": 2.0}'
    )


@pytest.mark.parametrize("left", [b"", b"[]", b"\xff", b"{"])
def test_a_damaged_manifest_is_named(phantom_root, tmp_path, left):
    (tmp_path / "manifest.json").write_bytes(left)
    with pytest.raises(prepare.PreparedDataError, match=r"manifest\.json"):
        prepare.prepare(phantom_root, tmp_path)


def test_other_settings_never_mix_with_an_older_folder(phantom_root, prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    with pytest.raises(prepare.PreparedDataError, match="delete it or choose another folder"):
        prepare.prepare(phantom_root, copy, spacing_mm=0.5)


def test_a_study_that_is_not_prepared_says_how_to_get_it(prepared):
    with pytest.raises(prepare.PreparedDataError, match="run 02_preprocess"):
        load_study(prepared, 1)


def test_a_folder_without_images_says_what_to_do(tmp_path):
    table = "study_id,series_id,series_description\n1,2,Axial T2\n"
    (tmp_path / "train_series_descriptions.csv").write_text(table)
    with pytest.raises(prepare.PreparedDataError, match="set SOURCE = 'phantom'"):
        prepare.prepare(tmp_path, tmp_path / "out")


# --- killed, full, elsewhere ----------------------------------------------------------------------


def start_in_a_child(root, out) -> int:
    """Prepare in a forked process (no interpreter to start, so that kills fall everywhere); returns
    its id."""
    child = os.fork()
    if child == 0:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            prepare.prepare(root, out, jobs=1, folds=2)
        os._exit(0)
    return child


def seconds_to_prepare(root, out) -> float:
    start = time.perf_counter()
    os.waitpid(start_in_a_child(root, out), 0)
    return time.perf_counter() - start


def was_killed(root, out, after) -> bool:
    """Prepare, and kill it after so many seconds, if it has not finished by then."""
    child = start_in_a_child(root, out)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_equals_never_killed(phantom_root, prepared, tmp_path):
    seconds = seconds_to_prepare(phantom_root, tmp_path / "whole")
    assert hashes(tmp_path / "whole") == hashes(prepared)
    rng, out, kills = np.random.default_rng(0), tmp_path / "killed", 0
    while kills < 20:
        kills += was_killed(phantom_root, out, after=rng.uniform(0, seconds))
        for path in out.glob("9*.json"):  # a study that counts as prepared is whole
            whole = prepared / path.name
            assert path.read_bytes() == whole.read_bytes()
            pixels = path.with_suffix(".npy").read_bytes()
            assert pixels == whole.with_suffix(".npy").read_bytes()
        if (out / "folds.csv").exists() and kills < 20:  # finished: start again from nothing
            shutil.rmtree(out)
    prepare.prepare(phantom_root, out, folds=2)
    assert hashes(out) == hashes(prepared)


@pytest.mark.slow
def test_from_the_shell_with_workers_it_is_the_same(phantom_root, prepared, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "utils.prepare", str(phantom_root), str(out), "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mine, theirs = hashes(out), hashes(prepared)
    different = {name for name in theirs if mine[name] != theirs[name]}
    assert different == {"folds.csv"}, "the fixture has two folds, the command four"


def test_from_the_shell_an_error_is_one_line(tmp_path):
    command = [sys.executable, "-m", "utils.prepare", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .+\n", done.stderr)


@pytest.mark.slow
def test_on_a_dask_cluster_it_is_the_same(phantom_root, prepared, tmp_path):
    two_workers = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with two_workers as cluster, Client(cluster), joblib.parallel_config("dask"):
        prepare.prepare(phantom_root, tmp_path / "out", folds=2)
    assert hashes(tmp_path / "out") == hashes(prepared)


# No file may grow beyond 200 kB, as on a full disk.
ON_A_FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from utils import prepare
from utils.files import OutputError
try:
    prepare.prepare(sys.argv[1], sys.argv[2], jobs=1)
except OutputError as error:
    print(error)
"""


def test_a_full_disk_is_a_clear_error_and_nothing_half_written_counts(phantom_root, tmp_path):
    out = tmp_path / "full"
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(phantom_root), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    advice = r"9\d+.npy: cannot be written \(.+\). Free some space, or choose another folder"
    assert re.search(advice, done.stdout), done.stderr
    assert not list(out.glob("9*"))


@pytest.mark.parametrize("name", ["partial-0-x.tmp", "crops/grader/9.safetensors", "9.made_of"])
def test_what_cannot_be_removed_is_a_clear_error(phantom_root, tmp_path, monkeypatch, name):
    """A disk may become read-only between two calls, or in the middle of one."""
    study = rsna.load_tables(phantom_root).studies()[0]
    path = tmp_path / name.replace("9", str(study))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    unlink = Path.unlink

    def refuse(one, missing_ok=False):
        if one == path:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(one, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"cannot be written \(Read-only file system\)\. Free"):
        prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)


def test_a_folder_that_cannot_be_made_is_a_clear_error(phantom_root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare.prepare(phantom_root, tmp_path / "file" / "prepared")


# --- folds ----------------------------------------------------------------------------------------


def test_folds_hold_whole_patients_and_about_as_much_disease():
    rng = np.random.default_rng(1)
    rows = []
    for study in range(103):
        for target in rsna.TARGETS:
            rows.append((study, *target, rsna.GRADES[rng.choice(3, p=(0.7, 0.2, 0.1))]))
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])
    folds = make_folds(labels, 4, seed=0)
    assert sorted(folds.study_id) == list(range(103))
    assert folds.fold.value_counts().min() >= 25
    severe = labels.merge(folds).query("grade == 'Severe'").groupby("fold").size()
    assert severe.max() < 1.25 * severe.min()
    pd.testing.assert_frame_equal(folds, make_folds(labels, 4, seed=0))
    few = make_folds(labels[labels.study_id < 3], 8)
    assert sorted(few.fold) == [0, 1, 2], "no fold is empty"
