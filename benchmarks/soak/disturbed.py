"""Commands that are disturbed while they work. Each must end, or refuse in words; and undisturbed
afterwards it must leave what it would have left in the first place, bit for bit."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from pathlib import Path

from benchmarks.soak import fuzz
from benchmarks.soak.clock import FURTHEST_S
from benchmarks.soak.disks import ROOMY_KB, mounted, remount
from benchmarks.soak.works import (
    TRAINING,
    LostError,
    Work,
    expect_same,
    finish,
    kill_after,
    kill_at,
    module,
    provide,
    refused,
    start,
)

FINISHED, REFUSED = "finished", "refused, then finished"


def killed(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """Two kills at random moments, then to the end. Survived: the same files, bit for bit, as
    without a kill."""
    command = work.command(provide(bench, folder, work), folder)
    for _ in range(2):
        kill_after(command, rng.uniform(0.5, work.seconds))
    return _to_the_end(bench, folder, work, command)


def two_in_one_folder(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """The same command twice, the second one some moments later. Survived: it is told who is at
    work, or finds everything done; the files are the same as without it."""
    command = work.command(provide(bench, folder, work), folder)
    first = start(command)
    time.sleep(rng.uniform(0, work.seconds / 3))
    both = [first, start(command)]
    said = [refused(process, "is at work here") for process in both]
    expect_same(bench, folder, work)
    return "second one refused" if any(said) else FINISHED


def two_side_by_side(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """Two at once that read the same (trainings also cut the same crops) and write into two
    folders. Survived: both finish with the same files as one alone."""
    source, outs = provide(bench, folder, work), [folder / "first", folder / "second"]
    for out in outs:
        out.mkdir()
    both = [start(work.command(source, out)) for out in outs]
    for said in [refused(process) for process in both]:
        if said:
            raise LostError(said)
    for out in outs:
        expect_same(bench, out, work)
    return FINISHED


def full_disk(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """On a disk that is full at a random point of the work; then it grows. Survived: the command
    finishes or says what is wrong in one line, and finishes afterwards with the same files."""
    with mounted(folder):
        command = work.command(provide(bench, folder, work), folder)
        used_kb = shutil.disk_usage(folder).used // 1024
        remount(folder, f"size={used_kb + rng.randrange(4, work.disk_kb)}k")
        said = refused(start(command))
        remount(folder, f"size={ROOMY_KB}k")
        return _to_the_end(bench, folder, work, command, said)


def read_only(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """Killed at a random moment (or never begun), then everything lies on a read-only disk, then on
    a writable one again. Survived: as on a full disk."""
    with mounted(folder):
        command = work.command(provide(bench, folder, work), folder)
        kill_after(command, rng.choice([0, rng.uniform(0.5, work.seconds)]))
        remount(folder, "ro")
        said = refused(start(command))
        remount(folder, "rw")
        return _to_the_end(bench, folder, work, command, said)


def read_only_source(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """What is read lies on a read-only disk, as Kaggle's data do. Survived: the command finishes
    with the same files; training, whose crops belong there, may say so in one line instead, and
    finishes when the disk can be written."""
    source = folder / "source"
    with mounted(source):
        command = work.command(provide(bench, source, work), folder)
        remount(source, "ro")
        said = refused(start(command))
        if said and work is not TRAINING:
            raise LostError(said)
        remount(source, "rw")
        return _to_the_end(bench, folder, work, command, said)


def wrong_clock(bench: Path, folder: Path, rng: random.Random, work: Work) -> str:
    """Under a clock that jumps by up to three years forth and back (Python's; the system's is not
    ours to set): killed at a random moment, then every file that was written gets a random time
    within three years, then to the end. Survived: the same files."""
    source = provide(bench, folder / "source", work)
    out = folder / "out"
    out.mkdir()
    _, _, name, *arguments = work.command(source, out)
    command = module("benchmarks.soak.clock", rng.random(), name, *arguments)
    kill_after(command, rng.uniform(0.5, work.seconds))
    for path in [out, *out.rglob("*")]:
        set_time(path, rng)
    return _to_the_end(bench, out, work, command)


def damaged_checkpoint(bench: Path, folder: Path, rng: random.Random) -> str:
    """Training is killed when there are checkpoints; one or all of them, or crops, are changed,
    truncated, emptied or removed, with random times of writing. Survived: training goes on from
    what is whole, and the run is the same."""
    command = TRAINING.command(provide(bench, folder, TRAINING), folder)
    model = folder / "run" / "fold0" / rng.choice(["locator", "grader"])
    kill_at(command, model, "epoch-*.pt", rng.choice([1, 2]), rng.uniform(0, 0.1))
    checkpoints = sorted((folder / "run").rglob("epoch-*.pt"))
    for path in checkpoints if rng.random() < 0.3 else checkpoints[-1:]:
        rng.choice([fuzz.mutate, fuzz.truncate, fuzz.empty, fuzz.remove])(path, rng)
    crops = sorted((folder / "prepared" / "crops").rglob("*.safetensors"))
    for path in rng.sample(crops, min(2, len(crops))):
        rng.choice([fuzz.truncate, fuzz.empty, fuzz.remove])(path, rng)
    for path in checkpoints:
        set_time(path, rng)
    how = _to_the_end(bench, folder, TRAINING, command)
    return how if checkpoints else "finished before the kill"


def set_time(path: Path, rng: random.Random) -> None:
    """To one within three years, if the file is there."""
    at = time.time() + rng.uniform(-FURTHEST_S, FURTHEST_S)
    with contextlib.suppress(FileNotFoundError):
        os.utime(path, (at, at))


def _to_the_end(bench: Path, folder: Path, work: Work, command: list[str], said: str = "") -> str:
    """Undisturbed from here on. Raises LostError if it fails or leaves anything else."""
    finish(command)
    expect_same(bench, folder, work)
    return REFUSED if said else FINISHED
