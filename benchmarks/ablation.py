"""What each part of the grader's recipe is worth: the preset's run once more without it, scored on held-out phantoms.

python -m benchmarks.ablation [--preset demo] [--home out] [--studies 40] [--seeds 2] [--out docs/ablation.csv]

Every row trains graders of its own (about a minute each for demo) and grades at the points that the run's locator has found,
so that rows differ in the grader alone. The held-out phantoms are those of benchmarks.learning: drawn with another seed,
grades as frequent as in patients. What the seeds of one row differ by is what a difference between rows must exceed.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.learning import held_out, trained
from utils import inference, locate, looks, loop, losses, metrics, prepare, rsna, training, workspace
from utils.batches import GraderData, Jitter
from utils.checkpoints import Folder
from utils.models import Grader
from utils.presets import get_preset


@dataclass
class Variant:
    """What differs from the recipe: settings of the preset, the loss, the jitter, functions."""

    settings: dict = field(default_factory=dict)
    terms: object = losses.grader_terms
    jitter: Jitter | None = None
    instead: dict = field(default_factory=dict)


def as_it_is(crops, exists, grades):
    return crops, exists, grades, np.zeros(len(exists), bool)


VARIANTS = {
    "the recipe": Variant(),
    "features not compared within the study": Variant(instead={"utils.models.within_study": lambda seen, exists: seen}),
    "loss without weights": Variant(terms=losses.plain_grader_terms),
    "loss first without weights, then with them": Variant({"plain_epochs": 5}),
    "crops as if the locator never erred": Variant(jitter=Jitter()),
    "every image as it is, no other contrasts": Variant(instead={"utils.looks.draw": lambda rng, kind: looks.PLAIN}),
    "no mirror": Variant(instead={"utils.batches.mirrored": as_it_is}),
    "views never missing": Variant({"view_dropout": 0.0}),
    "studies mixed (mixup, alpha 0.2)": Variant({"mixup": 0.2}),
    "one slice a view": Variant({"slices": 1}),
    "five slices a view": Variant({"slices": 5}),
    "last weights instead of their average": Variant({"ema": 0.0}),
}


@contextmanager
def instead(functions: dict):
    """While it lasts, these functions (by their full names) are others."""
    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(patch(name, function))
        yield


def score(variant: Variant, seed: int, run: inference.Run, store: Path, test: tuple[rsna.Tables, dict]) -> float:
    preset = replace(run.preset, seed=seed, **variant.settings)
    folds = pd.read_csv(store / "folds.csv")
    inside, outside = (folds.study_id[(folds.fold == run.preset.train_folds[0]) == out].tolist() for out in (False, True))
    jitter = variant.jitter or training.measured_jitter(
        pd.read_csv(run.folder / f"fold{run.preset.train_folds[0]}" / "points.csv")
    )
    with instead(variant.instead), tempfile.TemporaryDirectory() as folder:
        data = GraderData(store, inside, preset, jitter), GraderData(store, outside, preset, None)
        for one in data:
            one.cut_all(os.cpu_count())
        torch.manual_seed(seed)
        grader = Grader(preset)
        terms, first = (partial(which, preset=preset) for which in (variant.terms, losses.plain_grader_terms))
        task = loop.Task(
            Folder(folder), grader, *data, terms, preset.grader_epochs, preset.grader_rate, first, preset.plain_epochs
        )
        loop.train(task, preset, loop.start(preset), loop.Limits())
        return graded(grader, preset, *test)


def graded(grader: Grader, preset, tables: rsna.Tables, located: dict) -> float:
    rows = []
    for study, points in located.values():
        logits, _ = inference.grade(grader, study, points, preset)
        rows += [(rsna.row_id(study.study_id, *target), *z) for target, z in zip(rsna.TARGETS, logits.tolist())]
    table = pd.DataFrame(rows, columns=["row_id", *rsna.GRADE_COLUMNS]).assign(
        study_id=[study for study in located for _ in range(25)]
    )
    return metrics.rsna_score(tables.labels, training.cooled(table, 1.0)).total


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo"), parser.add_argument("--home", type=Path, default=Path("out"))
    parser.add_argument("--studies", type=int, default=40), parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/ablation.csv"))
    a = parser.parse_args()
    preset = get_preset(a.preset)
    folder = trained(a.home, preset)
    run = inference.load_run(folder)
    root, held = held_out(a.home, a.studies)
    tables, located = rsna.load_tables(root), {}
    for study_id in tqdm(rsna.load_tables(root).studies(), desc="locating"):
        study = prepare.load_study(held, study_id)
        located[study_id] = study, locate.locate(run.folds[0][0], study, preset)[0]
    store = workspace.open_workspace("phantom", preset, data=False).prepared
    rows = {}
    for name, variant in VARIANTS.items():
        found = [score(variant, seed, run, store, (tables, located)) for seed in range(a.seeds)]
        rows[name] = {f"seed {seed}": one for seed, one in enumerate(found)} | {"mean": np.mean(found)}
        table = pd.DataFrame(rows).T.rename_axis("grader").round(3)
        table.to_csv(a.out)
        print(table.to_string(), flush=True)


if __name__ == "__main__":
    main()
