"""The store: same place in mm, known direction, nothing half-written, whole patients per fold."""

import hashlib
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

from utils import prepare, rsna
from utils.dicom import read_series
from utils.geometry import Slice
from utils.prepare import canonical, load_study, make_folds, prepare_study, resample


def make_slice(pixels):
    return Slice(1, pixels, np.array([3.0, 2, 1]), np.eye(3)[:2], np.array([0.5, 0.8]))


def hashes(folder):
    """Of the files of the store itself: training keeps its windows in a folder below."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 29), st.integers(0, 19))
def test_bringing_to_the_standard_direction_keeps_every_pixels_mm(flip_x, flip_y, transpose, x, y):
    pixels = np.arange(600).reshape(20, 30)
    tilt = np.radians(20)
    axes = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)]])
    right = Slice(1, pixels, np.array([-10.0, 5, 7]), axes, np.array([0.5, 0.8]))
    wrong = right
    for k, flip in enumerate((flip_x, flip_y)):
        if flip:
            end = wrong.origin + wrong.axes[k] * wrong.spacing[k] * (wrong.pixels.shape[1 - k] - 1)
            signs = np.where(np.arange(2) == k, -1.0, 1.0)[:, None]
            wrong = replace(wrong, pixels=np.flip(wrong.pixels, 1 - k), origin=end, axes=wrong.axes * signs)
    if transpose:
        wrong = replace(wrong, pixels=wrong.pixels.T, axes=wrong.axes[::-1], spacing=wrong.spacing[::-1])
    back = canonical(wrong, "axial")
    assert np.array_equal(back.pixels, pixels)
    assert back.to_patient((x, y)) == pytest.approx(right.to_patient((x, y)))


def test_resampling_keeps_the_outer_edges_in_mm():
    one = Slice(1, np.random.default_rng(0).random((101, 80)), np.array([1.0, 2, 3]), np.eye(3)[:2], np.array([0.3, 0.4]))
    small = resample(one, 0.75)
    height, width = small.pixels.shape
    assert (width, height) == (32, 54)
    assert small.to_patient((-0.5, -0.5)) == pytest.approx(one.to_patient((-0.5, -0.5)))
    assert small.to_patient((width - 0.5, height - 0.5)) == pytest.approx(one.to_patient((79.5, 100.5)))
    assert resample(small, 0.5) is small  # never made finer than it was scanned


def test_the_store_gives_back_what_preparation_made(tables, store, whole_study):
    study = whole_study
    fresh, stored = prepare_study(tables, study), load_study(store, study)
    for a, b in zip(fresh.series, stored.series):
        assert (a.series_id, a.description, a.series.instances) == (b.series_id, b.description, b.series.instances)
        assert all(np.array_equal(x, y) for x, y in zip(a.series.pixels, b.series.pixels))
        assert all(np.array_equal(x.origin, y.origin) for x, y in zip(a.series.slices, b.series.slices))
    pd.testing.assert_frame_equal(fresh.points, stored.points)
    assert isinstance(stored.series[0].series.pixels[0].base, np.memmap)


def test_directions_after_preparation(tables, store, whole_study):
    study = load_study(store, whole_study)
    for part in study.series:
        want = prepare.DIRECTIONS["axial" if part.description == rsna.AXIAL_T2 else "sagittal"]
        for one in part.series.slices:
            assert min(one.axes[k] @ np.array(want[k]) for k in range(2)) > 0.8


def test_points_that_must_not_be_used_are_named(tables, whole_study):
    study = whole_study
    points = tables.points[tables.points.study_id == study].copy()
    series = {s: read_series(tables.folder(study, s)) for s in points.series_id.unique()}
    points.iloc[0, points.columns.get_loc("x")] = 3.0
    points.iloc[0, points.columns.get_loc("y")] = 4.0
    points.iloc[1, points.columns.get_loc("x")] = 5000.0
    points.iloc[2, points.columns.get_loc("instance_number")] = 999
    kept, bad = prepare.points_in_mm(points, series)
    assert len(kept) == len(points) - 3
    assert [why for *_, why in bad] == [
        "placeholder in the image's corner",
        "lies outside its image",
        f"instance 999 is not in series {points.series_id.iloc[2]}",
    ]


def test_the_register_of_known_faults_is_applied_by_id(tables, whole_study):
    study = whole_study
    swapped = 3742728457  # sides confused on Sagittal T1
    points = tables.points[tables.points.study_id == study].assign(study_id=swapped)
    series = {s: read_series(tables.folder(study, s)) for s in points.series_id.unique()}
    kept, bad = prepare.points_in_mm(points, series)
    assert not kept.condition.str.contains("Foraminal").any()
    assert {why for *_, why in bad} == {"known fault: sides confused on Sagittal T1"}
    cervical = tables.series_of(study).assign(series_id=3892989905)
    tables = replace(tables, series=cervical)
    assert "known fault: cervical scan" in {why for _, why in prepare_study(tables, study).left_out}


def test_a_missing_series_is_named_and_the_rest_goes_on(tables, whole_study):
    study = whole_study
    without = replace(tables, series=tables.series[tables.series.series_description != rsna.AXIAL_T2])
    prepared = prepare_study(without, study)
    assert ("Axial T2", "no such series in this study") in prepared.left_out
    assert len(prepared.series) == 2
    assert (prepared.points.condition.str.contains("Subarticular")).sum() == 0


def test_preparing_again_changes_nothing(phantom_root, store):
    before = hashes(store)
    prepare.prepare(phantom_root, store, folds=2)
    assert hashes(store) == before


def test_a_study_whose_download_has_gone_on_is_prepared_anew(phantom_root, whole_study, tmp_path):
    """First a series is missing, then it is there; windows cut from the study as it was go, those of others stay."""
    root, out = shutil.copytree(phantom_root, tmp_path / "data"), tmp_path / "store"
    tables = rsna.load_tables(root)
    ids = tables.series_of(whole_study).set_index("series_description").series_id
    late = tables.folder(whole_study, ids[rsna.SAGITTAL_T1])
    late.rename(tmp_path / "late")
    prepare.prepare(root, out, folds=2)
    assert len(prepare.load_study(out, whole_study).series) == 2
    windows = out / "windows" / "locator"
    windows.mkdir(parents=True)
    for study in tables.studies("train"):
        (windows / f"{study}.safetensors").touch()
    before = hashes(out)
    (tmp_path / "late").rename(late)
    prepare.prepare(root, out, folds=2)
    assert len(prepare.load_study(out, whole_study).series) == 3
    assert {study for study in tables.studies("train") if not (windows / f"{study}.safetensors").exists()} == {whole_study}
    after = hashes(out)
    changed = {name for name in before if before[name] != after.get(name)}
    assert {name.split(".")[0] for name in changed if name[0] == "9"} == {str(whole_study)}
    assert "no such folder" not in (out / "left_out.csv").read_text()


def test_a_fault_that_has_become_known_is_heeded(phantom_root, whole_study, tmp_path, monkeypatch):
    prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    series = rsna.load_tables(phantom_root).series_of(whole_study).series_id.iloc[0]
    known = pd.DataFrame(
        [["wrong body part", whole_study, series, "", "drop series", "seen"]], columns=rsna.known_faults().columns
    )
    for module in (rsna, prepare):
        monkeypatch.setattr(module, "known_faults", lambda: known)
    prepare.prepare(phantom_root, tmp_path, jobs=1, folds=2)
    assert int(series) not in [part.series_id for part in prepare.load_study(tmp_path, whole_study).series]


def test_other_settings_never_mix_with_an_old_store(phantom_root, store, tmp_path, monkeypatch):
    copy = shutil.copytree(store, tmp_path / "store")
    monkeypatch.setattr(prepare, "SPACING_MM", 0.5)
    with pytest.raises(prepare.StoreError, match="delete it or choose another folder"):
        prepare.prepare(phantom_root, copy)


def test_a_study_that_is_not_in_the_store_says_how_to_get_it(store):
    with pytest.raises(prepare.StoreError, match="run 02_preprocess"):
        load_study(store, 1)


def test_a_folder_without_images_says_what_to_do(tmp_path):
    (tmp_path / "train_series_descriptions.csv").write_text("study_id,series_id,series_description\n1,2,Axial T2\n")
    with pytest.raises(prepare.StoreError, match="set SOURCE = 'phantom'"):
        prepare.prepare(tmp_path, tmp_path / "out")


def start_in_a_child(root, out) -> int:
    """Prepare in a forked process (no interpreter to start, so that kills fall everywhere); returns its id."""
    child = os.fork()
    if child == 0:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            prepare.prepare(root, out, jobs=1, folds=2)
        os._exit(0)
    return child


def test_killed_at_twenty_random_moments_equals_never_killed(phantom_root, store, tmp_path):
    start = time.perf_counter()
    os.waitpid(start_in_a_child(phantom_root, tmp_path / "whole"), 0)
    whole = time.perf_counter() - start
    assert hashes(tmp_path / "whole") == hashes(store)
    rng, out, kills = np.random.default_rng(0), tmp_path / "killed", 0
    while kills < 20:
        child = start_in_a_child(phantom_root, out)
        time.sleep(rng.uniform(0, whole))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        for path in out.glob("9*.json"):  # whatever is taken for good is good
            assert path.read_bytes() == (store / path.name).read_bytes()
            assert path.with_suffix(".npy").read_bytes() == (store / path.name).with_suffix(".npy").read_bytes()
        if (out / "folds.csv").exists() and kills < 20:  # finished: begin again from nothing
            shutil.rmtree(out)
    prepare.prepare(phantom_root, out, folds=2)
    assert hashes(out) == hashes(store)


def test_from_the_shell_with_workers_it_is_the_same_store(phantom_root, store, tmp_path):
    command = [sys.executable, "-m", "utils.prepare", str(phantom_root), str(tmp_path / "out"), "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mine, theirs = hashes(tmp_path / "out"), hashes(store)
    assert {name for name in theirs if mine[name] != theirs[name]} == {"folds.csv"}  # the fixture asks for two folds


def test_on_a_dask_cluster_it_is_the_same_store(phantom_root, store, tmp_path):
    two_workers = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with two_workers as cluster, Client(cluster), joblib.parallel_config("dask"):
        prepare.prepare(phantom_root, tmp_path / "out", folds=2)
    assert hashes(tmp_path / "out") == hashes(store)


def test_a_full_disk_or_a_read_only_folder_is_a_clear_error_and_nothing_half_written_counts(phantom_root, tmp_path):
    script = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # no file may grow further, as on a full disk
from utils import prepare
try:
    prepare.prepare(sys.argv[1], sys.argv[2], jobs=1)
except prepare.StoreError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(phantom_root), str(tmp_path / "full")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert re.search(r"cannot be written \(.+\); free some space or choose another folder", done.stdout), done.stderr
    assert not list((tmp_path / "full").glob("9*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(prepare.StoreError, match="cannot be written"):
        prepare.prepare(phantom_root, tmp_path / "file" / "store")


def test_air_round_the_body_is_cut_off_and_places_stay():
    body = np.zeros((40, 60), np.uint8)
    body[5:35, 12:50] = 90
    slices = [make_slice(body), make_slice(np.roll(body, 2, axis=0))]
    cut = prepare.trim(slices)
    assert [s.pixels.shape for s in cut] == [(32, 38), (32, 38)]
    assert np.array_equal(cut[0].to_patient((0, 0)), slices[0].to_patient((12, 5)))
    assert prepare.trim([make_slice(np.zeros_like(body))])[0].pixels.shape == body.shape
    assert prepare.trim([slices[0], make_slice(body[:, :30])])[0] is slices[0]  # sizes differ: left alone


def doubts(rows):
    columns = ["condition", "level", "series_id", "instance_number", "x_mm", "y_mm", "z_mm"]
    points = pd.DataFrame([(c, lv, 1, 1, x, 0, z) for c, lv, x, z in rows], columns=columns)
    return [(row.condition, row.level, kind) for row, kind, _ in prepare.doubtful(points)]


def test_points_that_contradict_the_patient_are_doubted():
    left, right = "Left Subarticular Stenosis", "Right Subarticular Stenosis"
    sound = [(left, "L1/L2", 9, 60), (right, "L1/L2", -9, 60), (left, "L2/L3", 9, 30)]
    assert doubts(sound) == []
    crossed = [(left, "L1/L2", -9, 60), (right, "L1/L2", 9, 60)]
    assert doubts(crossed) == [(left, "L1/L2", "sides exchanged"), (right, "L1/L2", "sides exchanged")]
    rising = [(rsna.CANAL, "L3/L4", 0, 10), (rsna.CANAL, "L4/L5", 0, 40), (rsna.CANAL, "L5/S1", 0, -20)]
    assert doubts(rising) == [(rsna.CANAL, lv, "levels out of order") for lv in ("L3/L4", "L4/L5")]


def test_folds_hold_whole_patients_and_about_as_much_disease():
    rng = np.random.default_rng(1)
    rows = [(s, c, lv, rsna.GRADES[rng.choice(3, p=(0.7, 0.2, 0.1))]) for s in range(103) for c, lv in rsna.TARGETS]
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])
    folds = make_folds(labels, 4, seed=0)
    assert sorted(folds.study_id) == list(range(103))
    assert folds.fold.value_counts().min() >= 25
    severe = labels.merge(folds).query("grade == 'Severe'").groupby("fold").size()
    assert severe.max() < 1.25 * severe.min()
    pd.testing.assert_frame_equal(folds, make_folds(labels, 4, seed=0))
    few = make_folds(labels[labels.study_id.isin(labels.study_id.unique()[:3])], 8)
    assert sorted(few.fold) == [0, 1, 2], "no fold is empty"


def test_series_that_cross_stay_apart_and_others_are_joined(tables, whole_study):
    axial = next(p.series for p in prepare_study(tables, whole_study).series if p.description == rsna.AXIAL_T2)
    halves = [replace(axial, slices=some) for some in (axial.slices[:7], axial.slices[7:])]
    assert [one.instances for one in prepare.joined(halves)] == [axial.instances]
    combed = [replace(axial, slices=some) for some in (axial.slices[::2], axial.slices[1::2])]
    assert [one.instances for one in prepare.joined(combed)] == [one.instances for one in combed]


def test_a_series_that_is_missing_or_broken_is_passed_over_and_named(phantom_root, whole_study, tmp_path):
    """Half a download: one series has no folder, one has an empty file in place of every slice."""
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    ids = tables.series_of(whole_study).set_index("series_description").series_id
    shutil.rmtree(tables.folder(whole_study, ids[rsna.SAGITTAL_T1]))
    for path in tables.folder(whole_study, ids[rsna.AXIAL_T2]).iterdir():
        path.write_bytes(b"")
    assert list(prepare.read_study(tables, whole_study)) == [rsna.SAGITTAL_T2]
    study = prepare_study(tables, whole_study)
    assert [part.description for part in study.series] == [rsna.SAGITTAL_T2]
    named = " ".join(what for what, _ in study.left_out)
    assert str(ids[rsna.SAGITTAL_T1]) in named
    assert str(ids[rsna.AXIAL_T2]) in named
