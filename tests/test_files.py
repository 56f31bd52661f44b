"""Files are whole or not there, one process works in a folder at a time, no cell is a formula."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from joblib import delayed

from utils.files import OutputError, csv_text, partial_name, write_atomic
from utils.locks import BusyError, at_work
from utils.parallel import WorkerError, in_processes

WORK = """
import sys, time
from pathlib import Path
from utils.locks import at_work
with at_work(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process at work in tmp_path."""
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_one_is_told_who_is_at_work(tmp_path, other):
    told = rf"process {other.pid} on .+, since .+ is at work here"
    with pytest.raises(BusyError, match=told), at_work(tmp_path):
        pass


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told_with_what_to_do():
    told = pytest.raises(WorkerError, match=r"one of 2 processes was killed.+fewer \(jobs\)")
    with told:
        list(in_processes([delayed(die)(k) for k in range(2)], 2, 2, "dying"))


def test_a_progress_bar_counts_what_was_done_before_it_and_ends_at_the_total(capsys):
    assert list(in_processes([delayed(abs)(-k) for k in (2, 3)], 1, 3, "counting", done=1)) == [
        2,
        3,
    ]
    assert "3/3" in capsys.readouterr().err


def test_another_name_or_another_folder_is_free(tmp_path, other):
    with at_work(tmp_path, "another"), at_work(tmp_path / "below"):
        pass


def test_who_has_died_is_at_work_no_more(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with at_work(tmp_path):
        pass


def test_a_second_call_of_the_same_process_is_told_too(tmp_path):
    told = pytest.raises(BusyError, match=f"process {os.getpid()} ")
    with at_work(tmp_path), told, at_work(tmp_path):
        pass
    with at_work(tmp_path):  # free again after the first
        pass


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(OutputError, match=r"cannot be written .+ Free some space, or choose")
    with refused, at_work(tmp_path / "file" / "folder"):
        pass


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    write_atomic(path, "old")

    def fail(partial):
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=rf"{path}: cannot be written \(No space left"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_write_has_a_name_of_its_own():
    assert len({partial_name("x") for _ in range(100)}) == 100


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_is_no_formula_in_a_spreadsheet_and_numbers_stay(start):
    table = pd.DataFrame({"name": [f"{start}1+1", "a=b", None], "mm": [-1.5, 2.0, 3.0]})
    text = csv_text(table)
    assert f"'{start}1+1" in text
    assert "\na=b,2.0\n" in text
    assert "-1.5" in text
    assert "'-1.5" not in text
