"""The commands that are attacked: how they are started, killed and ended, and whether what they
leave is what an undisturbed command leaves."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from utils import phantom

STUDIES, SIZE = 4, (96, 96)
LONGEST_S = 300  # a command that takes longer hangs
_COMPARED = (".npy", ".json", ".csv", ".safetensors")
_TELL_TIMES = ("history.csv", "result.csv")


class LostError(Exception):
    """Something that should have survived did not."""


class Work(NamedTuple):
    """A command.

    command  its arguments, for the folder that it reads from and the one that it writes into
    reads    what it needs in the one
    leaves   what it leaves in the other
    seconds  how long it takes here, about
    disk_kb  the most that it writes, about
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    reads: tuple[str, ...]
    leaves: str
    seconds: float
    disk_kb: int


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def _prepare(source: Path, out: Path) -> list[str]:
    paths = source / "data", out / "prepared"
    return module("utils.prepare", *paths, "--folds", 2, "--jobs", 1)


def _train(source: Path, out: Path) -> list[str]:
    """Several short epochs, so that there are checkpoints to resume from."""
    paths = source / "prepared", out / "run"
    epochs = "--set", "locator_epochs=3", "--set", "grader_epochs=4"
    return module("utils.training", *paths, "--preset", "smoke", *epochs)


def _grade(source: Path, out: Path) -> list[str]:
    paths = source / "data", source / "run"
    return module("utils.inference", *paths, "--out", out / "submission.csv")


PREPARING = Work("preparing", _prepare, ("data",), "prepared", 3, 2_500)
TRAINING = Work("training", _train, ("prepared",), "run", 20, 40_000)
GRADING = Work("grading", _grade, ("data", "run"), "predictions.csv", 8, 50)
WORKS = (PREPARING, TRAINING, GRADING)  # each needs what the ones before leave


def make_bench(folder: Path) -> Path:
    """A small phantom, prepared, trained on and graded without any disturbance."""
    phantom.make_dataset(folder / "data", STUDIES, seed=1, test_studies=2, size=SIZE)
    for work in WORKS:
        finish(work.command(folder, folder))
    return folder


def provide(bench: Path, folder: Path, work: Work) -> Path:
    """What a command reads, as a copy of its own with the same times of writing. Crops are left
    out: they are to be cut under attack."""
    for name in work.reads:
        ignored = shutil.ignore_patterns("crops", ".*")
        shutil.copytree(bench / name, folder / name, ignore=ignored)
    return folder


def start(command: list[str]) -> subprocess.Popen:
    """One thread, because sums come out the same only with as many."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def kill(process: subprocess.Popen) -> None:
    """A process and all that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_after(command: list[str], seconds: float) -> None:
    process = start(command)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(process)


def kill_at(command: list[str], folder: Path, pattern: str, count: int, seconds: float) -> None:
    """Kill the command so many seconds after so many files are in a folder."""
    process, end = start(command), time.monotonic() + LONGEST_S
    while len(list(folder.glob(pattern))) < count and process.poll() is None:
        time.sleep(0.02)
        if time.monotonic() > end:
            break
    time.sleep(seconds)
    if process.poll() is None:
        kill(process)


def ended(process: subprocess.Popen, longest_s: float = LONGEST_S) -> str:
    """What a process has said on stderr at its end. Raises LostError if it hangs."""
    try:
        return process.communicate(timeout=longest_s)[1]
    except subprocess.TimeoutExpired:
        kill(process)
        raise LostError(f"{process.args[2]} took more than {longest_s:g} s") from None


def refused(process: subprocess.Popen, words: str = "error: ") -> str:
    """Why a command did not do its work, in these words; "" if it did. Raises LostError for any
    other end: a bare error, which does not say what to do, or a signal."""
    said = ended(process)
    if process.returncode == 0:
        return ""
    bare = any(word in said for word in ("Traceback", "[Errno"))
    if process.returncode != 2 or bare or words not in said:
        raise LostError(f"{process.args[2]} ended with {process.returncode}: {said[-300:]}")
    return said.strip().splitlines()[-1]


def finish(command: list[str], longest_s: float = LONGEST_S) -> None:
    """To its end. Raises LostError if it fails."""
    process = start(command)
    said = ended(process, longest_s)
    if process.returncode:
        raise LostError(f"{command[2]} ended with {process.returncode}: {said[-300:]}")


def expect_same(bench: Path, out: Path, work: Work) -> None:
    """Raise LostError unless the folder has what an undisturbed command leaves."""
    found, expected = digests(out / work.leaves), digests(bench / work.leaves)
    if found != expected:
        names = sorted({name for name, _ in found.items() ^ expected.items()})
        raise LostError(f"not what an undisturbed command leaves: {', '.join(names[:4])}")


def digests(path: Path) -> dict[str, str]:
    """Hashes of what a command leaves, of one file or of a folder; without locks, logs, crops and
    what tells the time."""
    if path.is_file():
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    found = [p for p in path.rglob("*") if p.suffix in _COMPARED and p.name not in _TELL_TIMES]
    kept = [p for p in found if "crops" not in p.relative_to(path).parts]
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}
