"""Damaged files, tables and runs, in this process: read, or refused by an error of their own."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.damage import mutated
from benchmarks.soak.works import LostError
from utils.dicom import DicomError, read_file
from utils.inference import RunError, load_run, predict_study
from utils.prepare import load_study
from utils.rsna import GRADE_COLUMNS, SCHEMAS, TableError, load_tables

FRAGMENTS = ["", "x", "-1", "nan", "inf", "1e999", "=1+1", "<b>", "\x00", "9" * 30, "Severe", '"']
SLOW_S = 10
Damage = Callable[[Path, random.Random], None]


def damaged_file(bench: Path, folder: Path, rng: random.Random) -> str:
    """Bytes of a DICOM file are changed, or its end is missing. Survived: read within 10 s, with
    finite pixels, or a DicomError."""
    sources = sorted((bench / "data").rglob("*.dcm"))
    path = folder / "x.dcm"
    path.write_bytes(mutated(rng.choice(sources).read_bytes(), rng))
    start_s = time.monotonic()
    try:
        slices = read_file(path)
    except DicomError:
        return "refused"
    finally:
        _expect_quick(start_s)
    if not all(np.isfinite(one.pixels).all() for one in slices):
        raise LostError("pixels that are not finite")
    return "read"


def damaged_table(bench: Path, folder: Path, rng: random.Random) -> str:
    """A table gets odd cells (empty, infinite, a formula, a quote), changed bytes or a missing end.
    Survived: what is usable of it is read, or a TableError that names the file."""
    for name in SCHEMAS:
        shutil.copy(bench / "data" / name, folder)
    path = folder / rng.choice(sorted(SCHEMAS))
    (mutate if rng.random() < 0.3 else odd_cells)(path, rng)
    try:
        load_tables(folder)
    except TableError as error:
        if str(folder) not in str(error):
            raise LostError(f"an error that does not name the file: {error}") from error
        return "refused"
    return "read"


def damaged_run(bench: Path, folder: Path, rng: random.Random) -> str:
    """A file of a finished run is changed, emptied or removed. Survived: a RunError, or a run that
    grades a study with finite probabilities."""
    run = shutil.copytree(bench / "run", folder / "run")
    files = [p for p in sorted(run.rglob("*")) if p.suffix in (".json", ".csv", ".safetensors")]
    rng.choice([mutate, empty, remove])(rng.choice(files), rng)
    start_s = time.monotonic()
    try:
        loaded = load_run(run)
    except RunError:
        return "refused"
    finally:
        _expect_quick(start_s)
    study = min(int(path.stem) for path in (bench / "prepared").glob("*.npy"))
    rows = predict_study(loaded, load_study(bench / "prepared", study))
    sums = rows[list(GRADE_COLUMNS)].sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3):  # nor if one is not finite
        raise LostError("probabilities that are none")
    return "graded"


def odd_cells(path: Path, rng: random.Random) -> None:
    rows = path.read_text().splitlines()
    for _ in range(rng.choice([1, 3, 30])):
        k = rng.randrange(len(rows))
        cells = rows[k].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(FRAGMENTS)
        rows[k] = ",".join(cells)
    path.write_text("\n".join(rows))


def mutate(path: Path, rng: random.Random) -> None:
    path.write_bytes(mutated(path.read_bytes(), rng))


def truncate(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(max(1, len(content)))])


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def _expect_quick(start_s: float) -> None:
    if time.monotonic() - start_s > SLOW_S:
        raise LostError(f"took more than {SLOW_S} s")
