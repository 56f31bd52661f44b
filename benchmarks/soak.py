"""Tries to break the project for a while: python -m benchmarks.soak [MINUTES]

Rounds of random harm, each checked against what an undisturbed run leaves: damaged files, tables,
runs and checkpoints; kills; two processes in one folder; a full disk; a clock that is set back.
Prints for each kind what was tried, survived and lost; ends with 1 if anything was lost.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.damage import mutated
from utils import cli, phantom
from utils.dicom import DicomError, read_file
from utils.inference import RunError, load_run
from utils.rsna import SCHEMAS, TableError, load_tables

STUDIES, SIZE = 4, (96, 96)
SMALL_DISK_KB = (200, 6000)  # size of the full disk, from and to
LONGEST_S = 300  # a command that takes longer hangs
FRAGMENTS = ["", "x", "-1", "nan", "inf", "1e999", "=1+1", "<b>", "\x00", "9" * 30, "Severe", '"']


class Bench(NamedTuple):
    """What is attacked: a phantom, and beside it what each command makes of it when left alone."""

    folder: Path
    root: Path


class LostError(Exception):
    """Something that should have survived did not."""


def main() -> None:
    parser = cli.parser("benchmarks.soak", "Try to break the project for a while.")
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    logging.getLogger("utils").setLevel(logging.ERROR)  # what is left out of a damaged table
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder))
        results = attack(bench, 60 * a.minutes, a.seed)
    print(pd.DataFrame(results).fillna(0).astype(int).T.to_string())
    sys.exit(any(counts["lost"] for counts in results.values()))


def make_bench(folder: Path) -> Bench:
    """A small phantom, prepared, trained on and graded without any disturbance."""
    root = phantom.make_dataset(folder / "data", STUDIES, seed=1, test_studies=2, size=SIZE)
    bench = Bench(folder, root)
    for work in WORKS:
        finish(work.arguments(bench, folder))
    return bench


def attack(bench: Bench, seconds: float, seed: int) -> dict[str, Counter]:
    """Every kind of harm in turn until the time is up; what was lost is printed at once."""
    harms = all_harms()
    results: dict[str, Counter] = {name: Counter(lost=0) for name, _ in harms}
    end = time.monotonic() + seconds
    for k in itertools.count():
        name, harm = harms[k % len(harms)]
        if time.monotonic() > end:
            return results
        folder = Path(tempfile.mkdtemp(dir=bench.folder))
        results[name]["tried"] += 1
        try:
            results[name][harm(bench, folder, random.Random(f"{seed} {k}"))] += 1
        except Exception as error:  # noqa: BLE001  whatever it is, it is a loss
            results[name]["lost"] += 1
            print(f"lost: {name}, round {k}: {type(error).__name__}: {error}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("the count has no end")


# --- commands -------------------------------------------------------------------------------------


class Work(NamedTuple):
    """A command: its name, its arguments for a bench and a folder to write into, the name of what
    it leaves there, and how long it takes here at most."""

    name: str
    arguments: Callable[[Bench, Path], list[str]]
    leaves: str
    seconds: float


PREPARING = Work(
    "preparing",
    lambda bench, folder: module(
        "utils.prepare", bench.root, folder / "prepared", "--folds", 2, "--jobs", 1
    ),
    "prepared",
    6,
)
TRAINING = Work(
    "training",
    lambda bench, folder: module(
        "utils.training", bench.folder / "prepared", folder / "run", "--preset", "smoke"
    ),
    "run",
    25,
)
GRADING = Work(
    "grading",
    lambda bench, folder: module(
        "utils.inference", bench.root, bench.folder / "run", "--out", folder / "submission.csv"
    ),
    "predictions.csv",
    10,
)
WORKS = (PREPARING, TRAINING, GRADING)  # each needs what the one before leaves


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def start(command: list[str]) -> subprocess.Popen:
    """One thread, because sums come out the same only with as many."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def ended(process: subprocess.Popen) -> str:
    """What a process says on stderr until its end. Raises LostError if it hangs."""
    try:
        return process.communicate(timeout=LONGEST_S)[1]
    except subprocess.TimeoutExpired:
        kill(process)
        raise LostError(f"took more than {LONGEST_S} s") from None


def kill(process: subprocess.Popen) -> None:
    """A process and all that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(command: list[str]) -> None:
    """To its end. Raises LostError if it fails."""
    process = start(command)
    said = ended(process)
    if process.returncode:
        raise LostError(f"{command[2]} ended with {process.returncode}: {said[-300:]}")


def kill_after(command: list[str], seconds: float) -> None:
    """The command and all its processes."""
    process = start(command)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(process)


def digest(path: Path) -> dict[str, str]:
    """Hashes of what a command leaves, of one file or of a folder; without locks and logs."""
    if path.is_file():
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    kept = [p for p in path.rglob("*") if p.suffix in (".npy", ".json", ".csv", ".safetensors")]
    kept = [p for p in kept if p.name != "history.csv" and "crops" not in p.parts]
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def expect_same(bench: Bench, folder: Path, work: Work) -> None:
    """Raise LostError unless the folder has what an undisturbed command leaves."""
    found, expected = digest(folder / work.leaves), digest(bench.folder / work.leaves)
    if found != expected:
        names = sorted(name for name, _ in found.items() ^ expected.items())
        raise LostError(f"not what an undisturbed command leaves: {', '.join(names[:4])}")


# --- harm -----------------------------------------------------------------------------------------

Harm = Callable[[Bench, Path, random.Random], str]


def damaged_file(bench: Bench, folder: Path, rng: random.Random) -> str:
    """100 mutations of DICOM files: read with finite pixels, or a DicomError."""
    sources = sorted(bench.root.rglob("*.dcm"))
    for _ in range(100):
        path = folder / "x.dcm"
        path.write_bytes(mutated(rng.choice(sources).read_bytes(), rng))
        start_s = time.monotonic()
        try:
            slices = read_file(path)
            if not all(np.isfinite(one.pixels).all() for one in slices):
                raise LostError("pixels that are not finite")
        except DicomError:
            pass
        if time.monotonic() - start_s > 10:
            raise LostError("took more than 10 s")
    return "survived"


def damaged_table(bench: Bench, folder: Path, rng: random.Random) -> str:
    """Odd cells, cut and mutated tables: Tables, or a TableError."""
    for name in SCHEMAS:
        shutil.copy(bench.root / name, folder)
    path = folder / rng.choice(sorted(SCHEMAS))
    if rng.random() < 0.3:
        path.write_bytes(mutated(path.read_bytes(), rng))
    else:
        rows = path.read_text().splitlines()
        for _ in range(rng.choice([1, 3, 30])):
            k = rng.randrange(len(rows))
            cells = rows[k].split(",")
            cells[rng.randrange(len(cells))] = rng.choice(FRAGMENTS)
            rows[k] = ",".join(cells)
        path.write_text("\n".join(rows))
    try:
        load_tables(folder)
    except TableError as error:
        if str(folder) not in str(error):
            raise LostError(f"an error that does not name the file: {error}") from error
        return "refused"
    return "survived"


def damaged_run(bench: Bench, folder: Path, rng: random.Random) -> str:
    """A file of a run is mutated, emptied or removed: a Run, or a RunError."""
    run = shutil.copytree(bench.folder / "run", folder / "run")
    files = [p for p in sorted(run.rglob("*")) if p.suffix in (".json", ".csv", ".safetensors")]
    path = rng.choice(files)
    harm = rng.choice(["mutate", "empty", "remove"])
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(mutated(path.read_bytes(), rng) if harm == "mutate" else b"")
    try:
        load_run(run)
    except RunError:
        return "refused"
    return "survived"


def killed(bench: Bench, folder: Path, rng: random.Random, work: Work) -> str:
    """Two kills at random moments, then to the end."""
    command = work.arguments(bench, folder)
    for _ in range(2):
        kill_after(command, rng.uniform(0.5, work.seconds))
    finish(command)
    expect_same(bench, folder, work)
    return "survived"


def two_at_once(bench: Bench, folder: Path, rng: random.Random, work: Work) -> str:
    """The second one does not wait and says who is at work; what the first leaves is whole."""
    command = work.arguments(bench, folder)
    both = [start(command), start(command)]
    said = [ended(process) for process in both]
    for process, text in zip(both, said):
        if process.returncode and "is at work here" not in text:
            raise LostError(f"{command[2]} ended with {process.returncode}: {text[-300:]}")
    expect_same(bench, folder, work)
    return "refused" if any(process.returncode for process in both) else "survived"


def mount_small(folder: Path, size_kb: int) -> None:
    options = ["-o", f"size={size_kb}k"]
    quiet = {"check": True, "stderr": subprocess.DEVNULL}
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], **quiet)


def may_mount() -> bool:
    """Whether this user may mount a small disk: only some may, in a container not even root."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount_small(Path(folder), SMALL_DISK_KB[0])
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", "-l", folder], check=True)
    return True


def full_disk(bench: Bench, folder: Path, rng: random.Random, work: Work) -> str:
    """On a disk that is too small an error in words, or all is well; then on one that is not."""
    size = rng.randrange(*SMALL_DISK_KB)
    command = work.arguments(bench, folder)
    mount_small(folder, size)
    try:
        process = start(command)
        said = ended(process)
        if process.returncode and "Traceback" in said:
            raise LostError(f"a bare error on a disk of {size} kB: {said[-300:]}")
        subprocess.run(["mount", "-o", "remount,size=500m", folder], check=True)
        finish(command)
        expect_same(bench, folder, work)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    return "refused" if process.returncode else "survived"


def clock_set_back(bench: Bench, folder: Path, rng: random.Random) -> str:
    """Checkpoints are from the future, and one of them is damaged."""
    command = TRAINING.arguments(bench, folder)
    kill_after(command, rng.uniform(TRAINING.seconds / 2, TRAINING.seconds))
    checkpoints = sorted(folder.rglob("epoch-*.pt"))
    for path in checkpoints:
        at = time.time() + rng.uniform(-1e6, 1e8)
        os.utime(path, (at, at))
    if len(checkpoints) > 1:
        path = rng.choice(checkpoints)
        path.write_bytes(mutated(path.read_bytes(), rng))
    finish(command)
    expect_same(bench, folder, TRAINING)
    return "survived"


def all_harms() -> list[tuple[str, Harm]]:
    """Every kind of harm with its name."""
    to_work = [killed, two_at_once]
    if may_mount():
        to_work.append(full_disk)
    else:
        print("full disks are not tried: this user may not mount a small one")
    alone = [damaged_file, damaged_table, damaged_run, clock_set_back]
    harms: list[tuple[str, Harm]] = [(harm.__name__, harm) for harm in alone]
    for harm in to_work:
        harms += [(f"{harm.__name__} {work.name}", partial(harm, work=work)) for work in WORKS]
    return harms


if __name__ == "__main__":
    cli.run(main)
