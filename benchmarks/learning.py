"""What a preset learns from phantoms, measured on phantoms of a seed that no training uses.

python -m benchmarks.learning demo [--home out] [--studies 40]

Trains the preset's run if it is not there yet (else only measures it), and prints: how far the
locator's points are off, the competition's score (grades are as frequent as in patients), how much
longer a training step takes with the data loader, and the peak memory.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import torch

from benchmarks.peak import peak_gb
from utils import cli, inference, metrics, phantom, prepare, rsna, training
from utils.course import workspace
from utils.files import Folder
from utils.models import Grader, Locator
from utils.phantom import PhantomSpec
from utils.presets import Preset, get_preset
from utils.rsna import TARGETS
from utils.training import GraderDataset, Jitter, LocatorDataset, processes, tasks, trainer

SEED = 4242  # of the held-out phantoms; presets use others
TYPICAL_JITTER = Jitter((2.0,) * 3, (0.1,) * 3)  # as a locator errs; only for timing


def held_out(home: Path, studies: int) -> tuple[Path, Path]:
    """Phantoms that no training uses, with the grade frequencies of the 1,975 real studies: their
    data folder, and the folder of the prepared studies."""
    root = home / "data" / f"held-out-{studies}"
    spec = PhantomSpec(studies, SEED, test_studies=0, prevalence="real")
    phantom.make_dataset(root, spec, jobs=os.cpu_count() or 1)
    prepared = home / "prepared" / root.name
    prepare.prepare(root, prepared)
    return root, prepared


def trained(home: Path, preset: Preset) -> Path:
    """The run folder of a preset on its own phantom; what is already there is not made again.

    Raises TrainingError if a run of other settings is there.
    """
    os.environ["LUMBAR_HOME"] = str(home)
    work = workspace.open_workspace("phantom", preset)
    as_set = {"folds": preset.folds, "spacing_mm": preset.spacing_mm}
    prepare.prepare(work.data, work.prepared, **as_set)
    training.fit(work.prepared, work.run, preset)
    studies = len(pd.read_csv(work.run / "oof.csv")) // len(TARGETS)
    print(f"trained in {minutes(work.run):.1f} minutes")
    print(f"out of fold ({studies} studies)  {training.oof_score(work.prepared, work.run)}")
    return work.run


def minutes(run: Path) -> float:
    """Of training, however often it was interrupted."""
    histories = [pd.read_csv(path) for path in run.rglob("history.csv")]
    return sum(history.seconds.sum() for history in histories) / 60


# --- accuracy -------------------------------------------------------------------------------------


def locator_figures(run: inference.Run, root: Path, prepared: Path) -> pd.DataFrame:
    """Errors against the true points, by family. (Annotated points would be a slice off: they are
    marked on slices.)"""
    truth = pd.read_csv(root / "truth" / "truth.csv")
    studies = sorted(truth.study_id.unique())
    measured = [
        training.measure_locator(locator, prepared, studies, run.preset, truth)
        for locator, _ in run.folds
    ]
    points = pd.concat(measured)
    rows = {"all": _summary(points)}
    for family, some in points.groupby(points.condition.map(rsna.FAMILY)):
        rows[family] = _summary(some)
    return pd.DataFrame(rows).T.rename_axis("family")


def _summary(points: pd.DataFrame) -> dict[str, float]:
    return {
        "points": len(points),
        "median mm": points.error_mm.median(),
        "99 % within mm": points.error_mm.quantile(0.99),
        "% within 5 mm": 100 * (points.error_mm <= 5).mean(),
        "% right level": 100 * points.right_level.mean(),
        "% within a slice": 100 * (points.slices_off <= 1).mean(),
    }


def scores(run: inference.Run, root: Path, prepared: Path) -> pd.DataFrame:
    """The competition's score of the run, and of the studies' own weighted prior."""
    tables = rsna.load_tables(root)
    studies = tables.studies()
    predictions = pd.concat(
        [inference.predict_study(run, prepare.load_study(prepared, study)) for study in studies]
    )
    prior = metrics.constant_submission(metrics.prior(tables.labels), studies)
    submission = metrics.as_submission(predictions)
    return metrics.score_table(
        {
            "weighted prior of these studies": metrics.rsna_score(tables.labels, prior),
            "the run": metrics.rsna_score(tables.labels, submission),
        }
    )


# --- speed ----------------------------------------------------------------------------------------


ROUNDS, STEPS = 5, 6  # of which each round is


def loader_ratio(preset: Preset, prepared: Path, model: str) -> float:
    """Seconds of a training step with the data loader over those with a batch in memory: the
    median of rounds, one after the other."""
    timed = make_trainer(preset, prepared, model)
    in_memory = list(itertools.islice(timed.loader, STEPS))
    seconds_of_steps(timed.step, in_memory)  # to warm up
    pairs = []
    for _ in range(ROUNDS):
        loaded = seconds_of_steps(timed.step, itertools.islice(timed.loader, STEPS))
        pairs.append((loaded, seconds_of_steps(timed.step, in_memory)))
    per_step = statistics.median(memory for _, memory in pairs)
    print(f"{model}: {per_step:.3f} s a step with the batches in memory")
    return statistics.median(loader / memory for loader, memory in pairs)


def make_trainer(
    preset: Preset, prepared: Path, model: str, least_steps: int = 1
) -> trainer.Trainer:
    """A trainer of one of the two models, on all prepared studies, again and again until an epoch
    has so many steps."""
    studies = pd.read_csv(prepared / "folds.csv").study_id.tolist()
    studies *= -(-least_steps * preset.batch // len(studies))
    folder = Folder(prepared / ".benchmark")
    if model == "locator":
        searched = LocatorDataset(prepared, studies, preset)
        task = tasks.locator_task(folder, Locator(preset), searched, searched, preset)
    else:
        graded = GraderDataset(prepared, studies, preset, TYPICAL_JITTER)
        task = tasks.grader_task(folder, Grader(preset), graded, graded, preset)
    task.train.cache_crops(os.cpu_count() or 1)
    accelerator = processes.make_accelerator(preset)
    return trainer.Trainer(task, preset, accelerator, trainer.Limits())


def seconds_of_steps(step: Callable, batches: Iterable) -> float:
    """The mean over the batches, with what it takes to get them."""
    start, count = time.perf_counter(), 0
    for batch in batches:
        step(batch)
        count += 1
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = cli.parser("benchmarks.learning", __doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--home", type=Path, default=Path("out"))
    parser.add_argument("--studies", type=int, default=40)
    a = parser.parse_args()
    preset = get_preset(a.preset)
    folder = trained(a.home, preset)
    root, prepared = held_out(a.home, a.studies)
    run = inference.load_run(folder)
    with pd.option_context("display.width", 160, "display.max_columns", 20):
        print(f"\n{a.studies} held-out phantoms, grades as frequent as in patients")
        print(locator_figures(run, root, prepared).round(2))
        print(scores(run, root, prepared).round(4))
    print()
    for model in ("locator", "grader"):
        ratio = loader_ratio(preset, prepared, model)
        print(f"{model}: a step with the loader takes {ratio:.3f} times as long")
    print(f"peak memory {peak_gb():.1f} GB{_gpu_memory()}")


def _gpu_memory() -> str:
    if not torch.cuda.is_available():
        return ""
    return f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB on the GPU"


if __name__ == "__main__":
    cli.run(main)
