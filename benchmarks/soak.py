"""Tries to break the project for a while: python -m benchmarks.soak [MINUTES]

Rounds of random harm, each checked against what an undisturbed run leaves: damaged files, tables,
runs and checkpoints; kills; two processes in one folder; a full disk; a clock that is set back.
Prints for each kind what was tried, survived and lost; ends with 1 if anything was lost.
"""

from __future__ import annotations

import hashlib
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
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils import cli, phantom
from utils.dicom import DicomError, read_file
from utils.inference import RunError, load_run
from utils.rsna import SCHEMAS, TableError, load_tables

STUDIES, SIZE = 4, (96, 96)
SMALL_DISK_KB = (200, 6000)  # size of the full disk, from and to
LONGEST_S = 300  # a command that takes longer hangs
FRAGMENTS = ["", "x", "-1", "nan", "inf", "1e999", "=1+1", "<b>", "\x00", "9" * 30, "Severe", '"']


class Bench(NamedTuple):
    """What is attacked: a phantom, and what each command makes of it when left alone."""

    folder: Path
    root: Path
    prepared: Path
    run: Path
    predictions: Path


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
    bench = Bench(folder, root, folder / "prepared", folder / "run", folder / "predictions.csv")
    for command in (preparing(bench, bench.prepared), training(bench, bench.run)):
        finish(command)
    finish(grading(bench, bench.folder / "submission.csv"))
    return bench


def attack(bench: Bench, seconds: float, seed: int) -> dict[str, Counter]:
    """Every kind of harm in turn until the time is up; what was lost is printed at once."""
    results: dict[str, Counter] = {harm.__name__: Counter(lost=0) for harm in HARMS}
    end = time.monotonic() + seconds
    for k in range(10**9):
        harm = HARMS[k % len(HARMS)]
        if time.monotonic() > end:
            break
        folder = Path(tempfile.mkdtemp(dir=bench.folder))
        counts = results[harm.__name__]
        counts["tried"] += 1
        try:
            counts[harm(bench, folder, random.Random(f"{seed} {k}"))] += 1
        except Exception as error:  # noqa: BLE001  whatever it is, it is a loss
            counts["lost"] += 1
            print(f"lost: {harm.__name__}, round {k}: {type(error).__name__}: {error}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return results


# --- commands -------------------------------------------------------------------------------------


def preparing(bench: Bench, out: Path) -> list[str]:
    return module("utils.prepare", bench.root, out, "--folds", 2, "--jobs", 1)


def training(bench: Bench, run: Path) -> list[str]:
    return module("utils.training", bench.prepared, run, "--preset", "smoke")


def grading(bench: Bench, out: Path) -> list[str]:
    return module("utils.inference", bench.root, bench.run, "--out", out)


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def start(command: list[str]) -> subprocess.Popen:
    """One thread, because sums come out the same only with as many."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def finish(command: list[str]) -> None:
    """To its end. Raises LostError if it fails."""
    process = start(command)
    _, said = process.communicate(timeout=LONGEST_S)
    if process.returncode:
        raise LostError(f"{command[2]} ended with {process.returncode}: {said[-300:]}")


def kill_after(command: list[str], seconds: float) -> None:
    """The command and all its processes."""
    process = start(command)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def digest(path: Path) -> dict[str, str]:
    """Hashes of what a command leaves, of one file or of a folder; without locks and logs."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    kept = [p for p in files if p.suffix in (".npy", ".json", ".csv", ".safetensors")]
    kept = [p for p in kept if p.name != "history.csv" and "crops" not in p.parts]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def expect_same(found: Path, expected: Path) -> None:
    if digest(found) != digest(expected):
        raise LostError(f"{found.name} is not what an undisturbed run leaves")


# --- harm -----------------------------------------------------------------------------------------

Harm = Callable[[Bench, Path, random.Random], str]


def damaged_file(bench: Bench, folder: Path, rng: random.Random) -> str:
    """100 mutations of DICOM files: read with finite pixels, or a DicomError."""
    sources = sorted(bench.root.rglob("*.dcm"))
    ends = Counter()
    for _ in range(100):
        path = folder / "x.dcm"
        path.write_bytes(mutated(rng.choice(sources).read_bytes(), rng))
        start_s = time.monotonic()
        try:
            slices = read_file(path)
            if not all(np.isfinite(one.pixels).all() for one in slices):
                raise LostError("pixels that are not finite")
            ends["read"] += 1
        except DicomError:
            ends["refused"] += 1
        if time.monotonic() - start_s > 10:
            raise LostError("took more than 10 s")
    return "survived"


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, mostly in the header; sometimes cut off."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 4, 20, 200])):
        data[rng.randrange(rng.choice([min(1200, len(data)), len(data)]))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


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
        return "refused" if str(folder) in str(error) else "lost"
    return "survived"


def damaged_run(bench: Bench, folder: Path, rng: random.Random) -> str:
    """A file of a run is mutated, emptied or removed: a Run, or a RunError."""
    run = shutil.copytree(bench.run, folder / "run")
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


def killed(command: Callable[[Path], list[str]], out: Path, longest_s: float, rng) -> None:
    """Two kills at random moments, then to the end."""
    for _ in range(2):
        kill_after(command(out), rng.uniform(0.5, longest_s))
    finish(command(out))


def killed_preparing(bench: Bench, folder: Path, rng: random.Random) -> str:
    killed(lambda out: preparing(bench, out), folder / "prepared", 6, rng)
    expect_same(folder / "prepared", bench.prepared)
    return "survived"


def killed_training(bench: Bench, folder: Path, rng: random.Random) -> str:
    killed(lambda out: training(bench, out), folder / "run", 25, rng)
    expect_same(folder / "run", bench.run)
    return "survived"


def killed_grading(bench: Bench, folder: Path, rng: random.Random) -> str:
    killed(lambda out: grading(bench, out), folder / "submission.csv", 10, rng)
    expect_same(folder / "predictions.csv", bench.predictions)
    return "survived"


def two_at_once(command: list[str], out: Path, expected: Path) -> str:
    """The second one waits for none and says who is at work; what the first leaves is whole."""
    both = [start(command), start(command)]
    said = [process.communicate(timeout=LONGEST_S)[1] for process in both]
    for process, text in zip(both, said):
        if process.returncode and "is at work here" not in text:
            raise LostError(f"{command[2]} ended with {process.returncode}: {text[-300:]}")
    expect_same(out, expected)
    return "refused" if any(process.returncode for process in both) else "survived"


def two_preparing(bench: Bench, folder: Path, rng: random.Random) -> str:
    out = folder / "prepared"
    return two_at_once(preparing(bench, out), out, bench.prepared)


def two_training(bench: Bench, folder: Path, rng: random.Random) -> str:
    return two_at_once(training(bench, folder / "run"), folder / "run", bench.run)


def two_grading(bench: Bench, folder: Path, rng: random.Random) -> str:
    command = grading(bench, folder / "submission.csv")
    return two_at_once(command, folder / "predictions.csv", bench.predictions)


def on_a_full_disk(command: list[str], out: Path, disk: Path, rng: random.Random) -> None:
    """The command on a disk that is too small, an error in words, then on one that is not."""
    disk.mkdir()
    size = rng.randrange(*SMALL_DISK_KB)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=True)
    try:
        process = start(command)
        _, said = process.communicate(timeout=LONGEST_S)
        if process.returncode and "Traceback" in said:
            raise LostError(f"a bare error on a disk of {size} kB: {said[-300:]}")
        subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
        finish(command)
        shutil.copytree(disk, out)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def full_disk_preparing(bench: Bench, folder: Path, rng: random.Random) -> str:
    disk = folder / "disk"
    on_a_full_disk(preparing(bench, disk / "prepared"), folder / "out", disk, rng)
    expect_same(folder / "out" / "prepared", bench.prepared)
    return "survived"


def full_disk_training(bench: Bench, folder: Path, rng: random.Random) -> str:
    disk = folder / "disk"
    on_a_full_disk(training(bench, disk / "run"), folder / "out", disk, rng)
    expect_same(folder / "out" / "run", bench.run)
    return "survived"


def full_disk_grading(bench: Bench, folder: Path, rng: random.Random) -> str:
    disk = folder / "disk"
    on_a_full_disk(grading(bench, disk / "submission.csv"), folder / "out", disk, rng)
    expect_same(folder / "out" / "predictions.csv", bench.predictions)
    return "survived"


def clock_set_back(bench: Bench, folder: Path, rng: random.Random) -> str:
    """Checkpoints are from the future, and one of them is damaged."""
    run = folder / "run"
    kill_after(training(bench, run), rng.uniform(12, 25))
    checkpoints = sorted(run.rglob("epoch-*.pt"))
    for path in checkpoints:
        at = time.time() + rng.uniform(-1e6, 1e8)
        os.utime(path, (at, at))
    if len(checkpoints) > 1:
        path = rng.choice(checkpoints)
        path.write_bytes(mutated(path.read_bytes(), rng))
    finish(training(bench, run))
    expect_same(run, bench.run)
    return "survived"


HARMS: list[Harm] = [
    damaged_file,
    damaged_table,
    damaged_run,
    killed_preparing,
    killed_training,
    killed_grading,
    damaged_table,
    two_preparing,
    two_training,
    two_grading,
    damaged_run,
    full_disk_preparing,
    full_disk_training,
    full_disk_grading,
    clock_set_back,
]

if __name__ == "__main__":
    cli.run(main)
