"""The whole road on a GPU in some eight minutes: steps of every preset that fits, 16 bits against
32, stop and resume, an interrupt, and the released run.

python -m benchmarks.gpu [--presets t4 l4 a100] [--steps 30] [--anyway]

Downloads nothing: phantoms in place of patients, random weights in place of ImageNet's. Prints what
belongs into docs/measured.md; the exit status is 1 if a check fails, or if there is no GPU (with
--anyway it runs on the CPU, to see that it runs).
"""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from accelerate.state import AcceleratorState

from benchmarks.learning import make_trainer
from benchmarks.stages import median_seconds
from utils import cli, inference, models, phantom, prepare, training
from utils.crops import grader_crops, point_table
from utils.inference import explain
from utils.phantom import SIZES, PhantomSpec
from utils.prepare import load_study
from utils.presets import Preset, get_preset
from utils.rsna import GRADE_COLUMNS
from utils.training import trainer

CARD_GB = {"t4": 14, "l4": 21, "a100": 38}  # what a preset may take of its card
PATIENTS = 1975  # in the competition's training set
STUDIES = 4  # that are graded on GPU and CPU
SPEC = PhantomSpec(studies=STUDIES, seed=2323, test_studies=0, size=SIZES["real"], contrast="mixed")
RELEASED = Path(__file__).parent.parent / "released"
SAME = 1e-3  # greatest difference of a probability between GPU and CPU, both in 32 bits
CLOSE = 0.03  # greatest relative difference of the loss in 16 and in 32 bits, after 20 steps
AGAIN = 1.1  # most memory of a second try after an interrupt, by that of the first
PROBABILITIES = list(GRADE_COLUMNS)


def card() -> dict[str, str]:
    """Which GPU, with which versions."""
    packages = {name: version(name) for name in ("torch", "torchvision", "accelerate")}
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    precision = {"trains in": models.precision(), "CUDA": str(torch.version.cuda)}
    return {"card": name, **precision, "Python": sys.version.split()[0], **packages}


def memory_gb(kind: str) -> float:
    """The most memory "allocated" or "reserved" on the GPU since it was last reset."""
    if not torch.cuda.is_available():
        return math.nan
    return getattr(torch.cuda, f"max_memory_{kind}")() / 1e9


def reset_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def finish_queue() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- steps ----------------------------------------------------------------------------------------


def steps_of(preset: Preset, prepared: Path, model: str, steps: int) -> dict[str, float]:
    """So many training steps at full size: seconds, what the loader costs, memory."""
    reset_memory()
    timed = make_trainer(preset, prepared, model, steps + 2)
    waits, seconds = [], []
    batches = iter(timed.loader)
    for _ in range(min(steps + 2, len(timed.loader))):
        start = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        timed.step(batch)
        finish_queue()
        waits.append(loaded - start)
        seconds.append(time.perf_counter() - start)
    step = statistics.median(seconds[2:])
    epochs = preset.locator_epochs if model == "locator" else preset.grader_epochs * preset.graders
    inside = PATIENTS * (preset.folds - 1) / preset.folds
    hours = step * inside / preset.batch * epochs * len(preset.train_folds) / 3600
    return {
        "s a step": step,
        "% waiting for the loader": 100 * sum(waits[2:]) / sum(seconds[2:]),
        "GB allocated": memory_gb("allocated"),
        "GB reserved": memory_gb("reserved"),
        "steps skipped": timed.skipped_in_epoch,
        f"hours, {PATIENTS} studies, {len(preset.train_folds)} folds": hours,
    }


def by_memory_format(preset: Preset, prepared: Path, steps: int = 6) -> dict[str, float]:
    """Seconds of a step with channels last, as the models are, and with channels first: group
    normalisation may have to copy the former."""
    found = {}
    for model in ("locator", "grader"):
        timed = make_trainer(preset, prepared, model)
        batch = next(iter(timed.loader))
        for kind in ("channels_last", "contiguous_format"):
            timed.net.to(memory_format=getattr(torch, kind))
            seconds = []
            for _ in range(steps):
                start = time.perf_counter()
                timed.step(batch)
                finish_queue()
                seconds.append(time.perf_counter() - start)
            found[f"{preset.name} {model}, {kind}: s a step"] = statistics.median(seconds[2:])
    return found


def step_table(presets: list[Preset], prepared: Path, steps: int) -> pd.DataFrame:
    """Every preset and both models; what does not fit into the card is named."""
    rows: dict[tuple[str, str], dict] = {}
    for preset in presets:
        for model in ("locator", "grader"):
            try:
                rows[preset.name, model] = steps_of(preset, prepared, model, steps)
            except torch.cuda.OutOfMemoryError:
                rows[preset.name, model] = {"GB allocated": math.inf}
    return pd.DataFrame(rows).T.rename_axis(["preset", "model"])


def fits(table: pd.DataFrame) -> dict[str, bool]:
    """Whether each preset stays within its card."""
    most = table["GB allocated"].groupby(level="preset").max()
    return {
        f"{name} within {gigabytes} GB": bool(most[name] <= gigabytes)
        for name, gigabytes in CARD_GB.items()
        if name in most and not math.isnan(most[name])
    }


# --- checks ---------------------------------------------------------------------------------------


def losses_after(preset: Preset, prepared: Path, precision: str, steps: int) -> float:
    """The mean loss of the last five steps of the grader, from the same weights and batches."""
    AcceleratorState._reset_state(True)  # it has one precision for the whole process
    with patch("utils.training.processes.precision", lambda: precision):
        timed = make_trainer(preset, prepared, "grader", steps)
    sums = [timed.step(batch) for batch in itertools.islice(timed.loader, steps)]
    AcceleratorState._reset_state(True)
    loss, weight = torch.stack(sums[-5:]).sum(0).cpu()
    return float((loss / weight.clamp(min=1e-6)).mean())


def same_in_16_bits(preset: Preset, prepared: Path, steps: int = 20) -> dict[str, bool]:
    """The loss after so many steps in the card's 16 bits, and in 32."""
    half = models.precision() if models.precision() != "no" else "bf16"
    found = {kind: losses_after(preset, prepared, kind, steps) for kind in ("no", half)}
    apart = abs(found[half] / found["no"] - 1)
    told = f"loss after {steps} steps in {half} within 3 % of 32 bits ({apart:.2%})"
    return {told: apart < CLOSE}


def same_as_on_the_cpu(prepared: Path, studies: list[int]) -> dict[str, bool]:
    """Predictions of the released run on the GPU in 32 bits and on the CPU; and those in 16 bits,
    which may differ more."""
    run = inference.load_run(RELEASED)
    on_cpu = replace(run, folds=tuple(tuple(copy.deepcopy(m).cpu() for m in f) for f in run.folds))
    ways = {"cpu": (on_cpu, "no"), "gpu": (run, "no"), "16 bits": (run, models.precision())}
    found = {}
    for way, (which, precision) in ways.items():
        tf32 = torch.backends.cudnn.flags(allow_tf32=False) if way == "gpu" else nullcontext()
        with patch("utils.models.hardware.precision", lambda precision=precision: precision), tf32:
            tables = [inference.predict_study(which, load_study(prepared, s)) for s in studies]
        found[way] = pd.concat(tables)[PROBABILITIES].to_numpy(float)
    apart, half = (np.abs(found[way] - found["cpu"]).max() for way in ("gpu", "16 bits"))
    told = f"released run on GPU and CPU within {SAME} ({apart:.1e}; in 16 bits {half:.1e})"
    return {told: bool(apart < SAME)}


class _StopError(Exception):
    pass


def stops_and_resumes(preset: Preset, prepared: Path, folder: Path) -> dict[str, bool]:
    """Stopped after the first epoch of either model, then trained to the end."""
    stopped = set()

    def stop(name: str, history: pd.DataFrame) -> None:
        if name not in stopped:
            stopped.add(name)
            raise _StopError

    done = False
    for _ in range(3):
        try:
            done = training.fit(prepared, folder, preset, report=stop)
        except _StopError:
            continue
    return {"stopped twice, resumed, finished": done and len(stopped) == 2}


def interrupted_and_again(preset: Preset, prepared: Path, folder: Path) -> dict[str, bool]:
    """An interrupt within a step, as in a notebook, which keeps the traceback; then run again."""
    peaks = []
    for end in (KeyboardInterrupt, _StopError):
        reset_memory()
        try:
            with patch("utils.training.trainer.mean_of", _fourth_raises(end)):
                training.fit(prepared, folder, preset)
        except end as error:
            sys.last_traceback = error.__traceback__
        peaks.append(memory_gb("allocated"))
    told = f"run again after an interrupt: {peaks[1]:.2f} GB, first {peaks[0]:.2f} GB"
    return {told: not peaks[1] > AGAIN * peaks[0]}


def _fourth_raises(end: type[BaseException]) -> Callable:
    """In place of losses.mean_of: its fourth call raises."""
    calls, real = itertools.count(), trainer.mean_of

    def call(*args, **options):
        if next(calls) == 3:
            raise end
        return real(*args, **options)

    return call


def in_use(prepared: Path, studies: list[int]) -> dict[str, float]:
    """Seconds to grade a study and to explain one prediction, medians."""
    run = inference.load_run(RELEASED)
    loaded = [load_study(prepared, study_id) for study_id in studies]
    crops = [grader_crops(study, point_table(study.points), run.preset) for study in loaded]
    grader = run.folds[0][1].first
    return {
        "s to locate and grade a study": median_seconds(
            partial(inference.predict_study, run), loaded
        ),
        "s for a Grad-CAM": median_seconds(lambda of: explain.grad_cam(grader, *of, 3, 2), crops),
    }


# --- all of it ------------------------------------------------------------------------------------


def measure(presets: list[Preset], prepared: Path, folder: Path, steps: int) -> bool:
    """Print every figure; True if all checks hold."""
    print(pd.Series(card()).to_string())
    studies = pd.read_csv(prepared / "folds.csv").study_id[:STUDIES].tolist()
    table = step_table(presets, prepared, steps)
    print("\n" + table.round(3).to_string())
    small = replace(
        presets[0], locator_epochs=2, grader_epochs=2, train_folds=(0,), pretrained=False
    )
    checks = fits(table)
    checks |= same_in_16_bits(small, prepared)
    checks |= same_as_on_the_cpu(prepared, studies)
    checks |= stops_and_resumes(small, prepared, folder / "resumed")
    checks |= interrupted_and_again(small, prepared, folder / "interrupted")
    in_numbers = by_memory_format(presets[0], prepared) | in_use(prepared, studies)
    print("\n" + pd.Series(in_numbers).round(3).to_string())
    print()
    for name, holds in checks.items():
        print(f"{'holds ' if holds else 'FAILS '} {name}")
    return all(checks.values())


def main() -> None:
    parser = cli.parser("benchmarks.gpu", __doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=list(CARD_GB))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--anyway", action="store_true", help="also without a GPU")
    a = parser.parse_args()
    if models.device() == "cpu" and not a.anyway:
        raise SystemExit("no GPU here: nothing is measured (--anyway runs it on the CPU)")
    presets = [replace(get_preset(name), pretrained=False) for name in a.presets]
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        folder = Path(name)
        prepared = folder / "prepared"
        root, (first, *_) = phantom.make_dataset(folder / "data", SPEC), presets
        prepare.prepare(root, prepared, folds=first.folds, spacing_mm=first.spacing_mm)
        holds = measure(presets, prepared, folder, a.steps)
    for line in sorted({f"{w.category.__name__}: {w.message}" for w in said}):
        print(f"warned  {line[:200]}")
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    cli.run(main)
