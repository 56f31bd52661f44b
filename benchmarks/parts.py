"""The parts of `make bench`: each measures one thing in a process of its own and returns rows."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.peak import peak_gb
from benchmarks.rows import Row
from utils import inference, phantom, prepare, rsna
from utils.phantom import SIZES, PhantomSpec
from utils.presets import get_preset

PROJECT = Path(__file__).parent.parent
SEED = 2468  # of phantoms that no training uses
ROUNDS = 7
STUDIES = 24  # that are trained on
PREPARED = (10, 40, 160)  # studies: ten, again and again under new ids
GRADED = 6
STEPS = 60  # of the viewer's wheel


def of_real_size(folder: Path) -> rsna.Tables:
    """One phantom whose images are as large as a patient's."""
    spec = PhantomSpec(1, SEED, test_studies=0, size=SIZES["real"])
    return rsna.load_tables(phantom.make_dataset(folder / "real-size", spec))


def simulating(folder: Path) -> list[Row]:
    seconds = []
    for seed in range(ROUNDS):
        start = time.perf_counter()
        phantom.make_dataset(folder / str(seed), PhantomSpec(1, seed, test_studies=0), jobs=1)
        seconds.append(time.perf_counter() - start)
    return [Row("simulating", "simulate a phantom study", seconds)]


def reading(folder: Path) -> list[Row]:
    from benchmarks import reading

    warnings.simplefilter("ignore")
    tables = of_real_size(folder)
    study = tables.folder(tables.studies()[0])
    found, count = reading.measure(sorted(study.iterdir()), ROUNDS)
    ours, what = found.pop("ours"), f"read a study, {count} files"
    return [Row(f"reading / {name}", what, ours, name, theirs) for name, theirs in found.items()]


def preparing(folder: Path) -> list[Row]:
    from benchmarks import preparing
    from benchmarks.growth import grown

    spec = PhantomSpec(PREPARED[0], SEED, test_studies=0)
    base = phantom.make_dataset(folder / "phantom", spec)
    preparing.seconds_for(base, folder / "warm", jobs=2)  # starts the workers
    rows, single = [], []
    for count in PREPARED:
        root = grown(base, count, folder / f"{count}")
        seconds = preparing.seconds_by_workers(root, root / "prepared")
        single = [second / count for second in seconds[1]]
        what = f"prepare {count} studies, two workers"
        rows.append(Row("preparing / one worker", what, seconds[2], "one worker", seconds[1]))
        shutil.rmtree(root)
    counting, worker = preparing.seconds_counting_by_workers(), preparing.worker_mb() / 1000
    return [
        Row("preparing", "prepare a study, one worker", single),
        *rows,
        Row("counting", "count, two processes at once", counting[2], "in turn", counting[1]),
        Row("worker", "a worker that prepares", single, memory=worker),
    ]


def training(folder: Path) -> list[Row]:
    from benchmarks import plain_loop

    preset = get_preset("demo")
    root = phantom.make_dataset(folder / "phantom", PhantomSpec(STUDIES, SEED, test_studies=0))
    prepare.prepare(root, folder / "prepared", folds=preset.folds, spacing_mm=preset.spacing_mm)
    rows = []
    for model in ("locator", "grader"):
        found = plain_loop.step_seconds(replace(preset, workers=0), folder / "prepared", model)
        loaded, in_memory, plain = found.values()
        key, what = f"{model} step", f"a training step, {model}"
        in_memory_name, plain_name = plain_loop.IN_MEMORY, plain_loop.PLAIN
        rows += [
            Row(f"{key} / {in_memory_name}", what, loaded, in_memory_name, in_memory),
            Row(f"{key} / {plain_name}", f"{what}, {in_memory_name}", in_memory, plain_name, plain),
        ]
    return rows


def grading(folder: Path) -> list[Row]:
    from benchmarks import grading

    spec = PhantomSpec(1, SEED, test_studies=GRADED, prevalence="real")
    tables = rsna.load_tables(phantom.make_dataset(folder / "phantom", spec))
    found = grading.timed(tables, inference.load_run(PROJECT / "released"))
    return [Row("a study", "a study, from files to 25 predictions", found.seconds)]


def viewer(folder: Path) -> list[Row]:
    from benchmarks import viewer
    from utils.viewer import payload

    if viewer.CHROMIUM is None:
        raise SystemExit("no Chromium on this machine")
    tables = of_real_size(folder)
    sent = payload(tables, tables.studies()[0])
    found = viewer.measure(tables.root, sent, STEPS)
    ours, rows = found.pop("ours"), []
    steps = _in_seconds(ours.steps)
    for name, timed in found.items():
        theirs = _in_seconds(timed.steps)
        rows.append(Row(f"viewer / {name}", "a step of the viewer's wheel", steps, name, theirs))
        opening = [timed.opening]
        rows.append(Row(f"opening / {name}", "the viewer opens", [ours.opening], name, opening))
    return rows


def _in_seconds(milliseconds: list[float]) -> list[float]:
    return [each / 1000 for each in milliseconds]


PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "simulating": simulating,
    "reading": reading,
    "preparing": preparing,
    "training": training,
    "grading": grading,
    "viewer": viewer,
}


def measure(name: str, folder: Path) -> list[Row]:
    """The rows of a part, with the peak memory of this process where they have none of their
    own."""
    rows = PARTS[name](folder)
    peak = peak_gb()
    return [row if row.memory == row.memory else replace(row, memory=peak) for row in rows]
