"""`make soak`: what it calls survived is survived, what it calls lost is lost, and its table says
what could not be tried. (The soak itself takes minutes and is not run here.)"""

import os
import random
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.soak import __main__ as soak
from benchmarks.soak import disturbed, fuzz
from benchmarks.soak.anomalies import expect_predictions, not_found
from benchmarks.soak.clock import jumping
from benchmarks.soak.disks import may_mount, mounted, remount
from benchmarks.soak.kinds import Kind, all_kinds
from benchmarks.soak.works import (
    PREPARING,
    TRAINING,
    WORKS,
    LostError,
    expect_same,
    finish,
    provide,
    refused,
    start,
)
from utils.rsna import GRADE_COLUMNS

mounts = pytest.mark.skipif(not may_mount(), reason="this user may not mount a small disk")


@pytest.fixture(scope="module")
def bench(phantom_root, tmp_path_factory):
    """A phantom and what preparing makes of it, where a soak expects them."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "data").symlink_to(phantom_root)
    finish(PREPARING.command(folder, folder))
    return folder


def said(code):
    return refused(start([sys.executable, "-c", f"import os, sys\n{code}"]))


# --- what counts as survived ----------------------------------------------------------------------


def test_a_command_finishes_or_refuses_in_words():
    assert said("") == ""
    assert said("print('a line\\nerror: no space', file=sys.stderr); sys.exit(2)") == (
        "error: no space"
    )


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError('bare')",
        "sys.exit(2)",  # without a word
        "print('error: [Errno 30] Read-only file system', file=sys.stderr); sys.exit(2)",
        f"os.kill(os.getpid(), {int(signal.SIGSEGV)})",
    ],
)
def test_any_other_end_of_a_command_is_a_loss(code):
    with pytest.raises(LostError):
        said(code)


def test_what_a_disturbed_command_leaves_must_be_the_same_but_for_the_time(tmp_path):
    for place in ("whole", "other"):
        folder = tmp_path / place / "run"
        (folder / "crops").mkdir(parents=True)
        (folder / "oof.csv").write_text("a")
        (folder / "history.csv").write_text(place)  # seconds
        (folder / "crops" / "1.safetensors").write_text(place)
    expect_same(tmp_path / "whole", tmp_path / "other", TRAINING)
    (folder / "oof.csv").write_text("b")
    with pytest.raises(LostError, match=r"undisturbed command leaves: oof\.csv"):
        expect_same(tmp_path / "whole", tmp_path / "other", TRAINING)


def test_an_anomaly_that_the_audit_has_not_found_is_named_with_its_study():
    injected = pd.DataFrame({"study_id": [1, 2], "anomaly": "empty file", "what": "it is empty"})
    findings = pd.DataFrame({"study_id": [2], "series_id": None, "kind": ["unreadable file"]})
    assert not_found(injected, findings) == ["empty file in 1"]


def test_each_study_must_have_25_predictions_none_of_them_an_error():
    rows = pd.DataFrame(1 / 3, index=range(25), columns=list(GRADE_COLUMNS))
    rows = rows.assign(study_id=7, note="")
    expect_predictions(rows, [7])
    failed = rows.assign(note="the study could not be graded: OSError")
    for wrong, studies in [(rows, [7, 8]), (failed, [7]), (rows.assign(severe=float("inf")), [7])]:
        with pytest.raises(LostError):
            expect_predictions(wrong, studies)


# --- the harms ------------------------------------------------------------------------------------


def test_every_kind_says_what_is_done_and_what_counts_as_survived():
    kinds = all_kinds()
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert all("Survived: " in kind.title for kind in kinds)


def test_every_work_is_killed_doubled_and_has_a_full_and_a_read_only_disk_and_a_wrong_clock():
    names = {kind.name for kind in all_kinds()}
    harms = ["killed", "two in one folder", "two side by side", "full disk", "read only"]
    for harm in [*harms, "read only source", "wrong clock"]:
        assert {f"{harm}, {work.name}" for work in WORKS} <= names


@pytest.mark.parametrize("harm", [fuzz.damaged_file, fuzz.damaged_table])
def test_damaged_files_and_tables_are_read_or_refused(bench, tmp_path, harm):
    outcomes = {harm(bench, tmp_path, random.Random(seed)) for seed in range(20)}
    assert outcomes == {"read", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        disturbed.killed,
        disturbed.wrong_clock,
        pytest.param(disturbed.read_only, marks=mounts),
        pytest.param(disturbed.read_only_source, marks=mounts),
    ],
)
def test_preparing_survives_harm(bench, tmp_path, harm):
    assert "finished" in harm(bench, tmp_path, random.Random(1), PREPARING)


def test_a_command_under_attack_has_a_copy_with_the_same_times(bench, tmp_path):
    provide(bench, tmp_path / "copy", PREPARING)
    names = [path.relative_to(bench) for path in (bench / "data").rglob("*.dcm")]
    assert names
    for name in names:
        assert (tmp_path / "copy" / name).stat().st_mtime_ns == (bench / name).stat().st_mtime_ns


def test_the_wrong_clock_goes_forth_and_back():
    clock = jumping(lambda: 1e9, random.Random(0))
    times = [clock() for _ in range(100)]
    assert min(times) < 1e9 < max(times)
    assert sorted(times) != times
    assert len(set(times)) < 50  # and stands for a while between


@mounts
def test_the_read_only_disk_is_so_for_root_too(tmp_path):
    with mounted(tmp_path / "disk"):
        (tmp_path / "disk" / "file").write_text("")
        remount(tmp_path / "disk", "ro")
        with pytest.raises(OSError, match="Read-only file system"):
            (tmp_path / "disk" / "file").write_text("")
    assert not os.listdir(tmp_path / "disk")


# --- the table ------------------------------------------------------------------------------------


def fail(bench: Path, folder: Path, rng: random.Random) -> str:
    raise LostError("half a\nfile")


GOOD = Kind("good", "**good**: Survived: always.", lambda *_: "read", times=3)
BAD = Kind("bad", "**bad**: Survived: never.", fail, times=2)


def test_what_is_lost_is_counted_and_named(tmp_path, capsys):
    ended = Kind("end", "", lambda *_: "read", once=True)
    results, losses = soak.attack(tmp_path, [GOOD, BAD, ended], 0.05, seed=0)
    assert results["good"]["read"] % 3 == 0 < results["good"]["read"]
    assert results["bad"] == {soak.LOST: len(losses)}
    assert losses[0] == "bad, turn 1.0: LostError: half a file"
    assert results["end"] == {"read": 1}
    assert not list(tmp_path.iterdir())
    assert f"lost: {losses[0]}\n" in capsys.readouterr().out


def test_the_page_says_what_was_tried_survived_lost_and_not_tried(tmp_path):
    late, needy = GOOD._replace(name="late"), GOOD._replace(name="needy")
    results = {"good": {"read": 2, "refused": 1}, "bad": {soak.LOST: 1}, "late": {}}
    results = {name: soak.Counter(counts) for name, counts in results.items()}
    lost = ["bad, turn 1.0: LostError: x"]
    page = soak.page([GOOD, BAD, late, needy], results, lost, minutes=15, seed=3)
    text = " ".join(page.split())
    assert "for 15 minutes (seed 3)" in text
    assert "**4 tried, 1 lost.**" in text
    assert "| good | 3 | 3 | 2 read, 1 refused | 0 |" in page
    assert "| bad | 1 | 0 |  | 1 |" in page
    assert f"| late | 0 |  | {soak.NO_TIME} |  |" in page
    assert f"| needy | 0 |  | {soak.NO_DISK} |  |" in page
    assert "## Lost - bad, turn 1.0: LostError: x ##" in text
    assert text.count("**good**") == 1
