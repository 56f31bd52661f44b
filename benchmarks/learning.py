"""What a preset learns from phantoms, told on phantoms drawn with a seed that no training uses, as frequent as in patients.

python -m benchmarks.learning demo [--home out] [--studies 40]

Trains the preset's run if it is not there yet (else only measures it), and prints: where the locator's points lie, the
competition's score, what waiting for the loader costs a training step, and the peak memory.
"""

import argparse
import itertools
import os
import resource
import statistics
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from utils import inference, loop, losses, metrics, phantom, prepare, rsna, training, workspace
from utils.batches import GraderData, Jitter, LocatorData
from utils.checkpoints import Folder
from utils.models import Grader, Locator
from utils.presets import Preset, get_preset

SEED = 4242  # of the held-out phantoms; training draws with 0


def held_out(home: Path, studies: int) -> tuple[Path, Path]:
    """Data and store of phantoms never trained on, grades as frequent as in the 1,975 real studies."""
    root = home / "data" / f"held-out-{studies}"
    phantom.make_dataset(root, studies, seed=SEED, test_studies=0, prevalence="real", jobs=os.cpu_count())
    prepare.prepare(root, home / "prepared" / root.name)
    return root, home / "prepared" / root.name


def trained(home: Path, preset: Preset) -> Path:
    os.environ["LUMBAR_HOME"] = str(home)
    work = workspace.open_workspace("phantom", preset)
    store, run = work.prepared, work.run
    prepare.prepare(work.data, store, folds=preset.folds)
    training.fit(store, run, preset)  # nothing is trained twice, and a run of other settings is refused
    print(f"trained in {minutes(run):.1f} minutes")
    print(f"out of fold ({len(pd.read_csv(run / 'oof.csv')) // 25} studies)  {training.oof_score(store, run)}")
    return run


def minutes(run: Path) -> float:
    """Of training, however often it was interrupted."""
    return sum(pd.read_csv(path).seconds.sum() for path in run.glob("fold*/*/history.csv")) / 60


# --- where is it? ----------------------------------------------------------------------------------------------------


def locator_figures(run: inference.Run, root: Path, store: Path) -> pd.DataFrame:
    """Against the true places, not the annotated ones, which lie on slices."""
    truth = pd.read_csv(root / "truth" / "truth.csv")
    studies = sorted(truth.study_id.unique())
    points = pd.concat([training.measure_locator(one, store, studies, run.preset, truth) for one, _ in run.folds])
    groups = [("all", points), *points.groupby(points.condition.map(rsna.FAMILY))]
    rows = {
        name: {
            "points": len(some),
            "median mm": some.error_mm.median(),
            "99 % within mm": some.error_mm.quantile(0.99),
            "% within 5 mm": 100 * (some.error_mm <= 5).mean(),
            "% right level": 100 * some.right_level.mean(),
            "% within a slice": 100 * (some.slices_off <= 1).mean(),
        }
        for name, some in groups
    }
    return pd.DataFrame(rows).T.rename_axis("family")


# --- how bad is it? --------------------------------------------------------------------------------------------------


def scores(run: inference.Run, root: Path, store: Path) -> pd.DataFrame:
    tables = rsna.load_tables(root)
    answered = pd.concat([inference.answer_study(run, prepare.load_study(store, study)) for study in tables.studies()])
    prior = metrics.constant_submission(metrics.prior(tables.labels), tables.studies())
    answers = {"weighted prior of these studies": prior, "the run": inference.as_submission(answered)}
    return metrics.score_table({name: metrics.rsna_score(tables.labels, answer) for name, answer in answers.items()})


# --- does a step wait for the loader? --------------------------------------------------------------------------------


def loader_ratio(preset: Preset, store: Path, model: str, rounds: int = 5, steps: int = 6) -> float:
    """Seconds of a training step with the loader over those with a batch in memory: median of rounds, one after the other."""
    studies = pd.read_csv(store / "folds.csv").study_id.tolist()
    kinds = {
        "locator": (LocatorData(store, studies, preset), Locator(preset), losses.locator_terms),
        "grader": (GraderData(store, studies, preset, Jitter((2.0,) * 3, (0.1,) * 3)), Grader(preset), losses.grader_terms),
    }
    data, net, terms = kinds[model]
    data.cut_all(os.cpu_count())
    terms = partial(terms, preset=preset)
    under_way = loop.Training(
        loop.Task(Folder(store / ".benchmark"), net, data, data, terms, 1, 1e-3), preset, loop.start(preset), loop.Limits()
    )
    kept = list(itertools.islice(under_way.loader, steps))

    def seconds(batches) -> float:
        start = time.perf_counter()
        for one in batches:
            under_way.step(one, terms)
        return time.perf_counter() - start

    seconds(kept)  # warm
    pairs = [(seconds(itertools.islice(under_way.loader, steps)), seconds(kept)) for _ in range(rounds)]
    print(f"{model}: {statistics.median(b for _, b in pairs) / len(kept):.3f} s a step with the batches in memory")
    return statistics.median(a / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__.splitlines()[0])
    parser.add_argument("preset"), parser.add_argument("--home", type=Path, default=Path("out"))
    parser.add_argument("--studies", type=int, default=40)
    a = parser.parse_args()
    preset = get_preset(a.preset)
    folder = trained(a.home, preset)
    root, store = held_out(a.home, a.studies)
    run = inference.load_run(folder)
    with pd.option_context("display.width", 160, "display.max_columns", 20):
        print(f"\n{a.studies} held-out phantoms, grades as frequent as in patients")
        print(locator_figures(run, root, store).round(2))
        print(scores(run, root, store).round(4))
    print()
    for model in ("locator", "grader"):
        print(f"{model}: a step with the loader takes {loader_ratio(preset, store, model):.3f} times as long")
    gpu = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB on the GPU" if torch.cuda.is_available() else ""
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB{gpu}")


if __name__ == "__main__":
    main()
