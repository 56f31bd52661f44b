"""What each choice behind the released run is worth on pictures unlike all it has learnt from.

python -m benchmarks.transfer [--home out] [--studies 8] [--seeds 2] [--out docs/transfer.csv]

The preset zero_shot in small (64 phantoms, five to ten minutes a run), once more without one choice after the other, in the model
it concerns; the other model is that of the whole recipe. Judged on phantoms of another seed whose contrast is "random", more
than in any training, graded as readers grade: a model that has learnt brightness by heart is lost there, as it is on patients.
A difference between rows must exceed that between the seeds of one.
"""

import argparse
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import zero_shot
from benchmarks.ablation import instead
from benchmarks.learning import trained
from utils import augment, inference, phantom, rsna, workspace
from utils.phantom import SIZES
from utils.presets import get_preset

HELD_OUT_SEED, SEEDS = 6161, range(2)  # of the phantoms; of how they are perturbed
SMALL = {"phantom_studies": 64, "phantom_test_studies": 0, "phantom_size": "demo", "slices": 3, "batch": 2}
SMALL |= {"locator_epochs": 40, "grader_epochs": 12}


@dataclass
class Variant:
    """One choice undone: settings and functions in training, of these models; or functions and parts of the run in use."""

    models: tuple[str, ...] = ()
    settings: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    use: dict = field(default_factory=dict)
    run: dict = field(default_factory=dict)


def not_moved(rng, shift, mirror, zoom, turn):
    return augment.draw_move(rng, np.zeros(2), mirror, 0.0, 0.0)


def best_peaks(peaks, absent, cell_mm):
    return [best[0] for best in peaks]


WHOLE = "all of it"
ONE_GLANCE = dict.fromkeys(("utils.locate.glances", "utils.inference.glances"), lambda step: augment.glances(step)[:1])
VARIANTS = {
    WHOLE: Variant(("locator", "grader")),
    "brightness as in the clinic": Variant(("locator", "grader"), {"phantom_contrast": "clinical", "looks": "scanner"}),
    "nothing shifted, zoomed, turned": Variant(("locator",), training={"utils.batches.draw_move": not_moved}),
    "no pictures that end early": Variant(("locator",), {"cut_off": 0.0}),
    "grades as in a textbook, all labels right": Variant(("grader",), {"phantom_grading": "textbook", "misread": 0.0}),
    "one glance instead of five": Variant(use=ONE_GLANCE),
    "each level's best peak, no chain": Variant(use={"utils.locate.in_level_order": best_peaks}),
    "grades as frequent as in training": Variant(run={"learned": None}),
    "the shift to patients in full": Variant(use={"utils.inference.SHARE": 1.0}),
}


def run_of(name: str, seed: int, home: Path) -> inference.Run:
    """Trained if it is not there yet, but for the models that are those of the whole recipe."""
    variant = VARIANTS[name]
    if not variant.models:
        return replace(run_of(WHOLE, seed, home), **variant.run)
    named = "-".join(["transfer", *re.findall(r"\w+", name), str(seed)])
    preset = replace(get_preset("zero_shot"), **SMALL | variant.settings, name=named, seed=seed)
    os.environ["LUMBAR_HOME"] = str(home)
    folder = workspace.open_workspace("phantom", preset, data=False).run / "fold0"
    for model in {"locator", "grader"} - set(variant.models):
        shutil.copytree(run_of(WHOLE, seed, home).folder / "fold0" / model, folder / model, dirs_exist_ok=True)
    with instead(variant.training):
        return inference.load_run(trained(home, preset))


def figures(variant: Variant, run: inference.Run, tables: rsna.Tables) -> dict[str, float]:
    with instead(variant.use):
        found, answered = zero_shot.measure(tables, run, seeds=SEEDS)
    plain, moved = (found[name].table().loc["all"] for name in ("as they are", "perturbed"))
    return {
        "median mm": plain["median mm"],
        "% within 10 mm": plain["% within 10 mm"],
        "% within, perturbed": moved["% within 10 mm"],
        "% of sure wrong": moved["% of sure wrong"],
        "% absent told": 100 * np.mean([told for one in found.values() for told in one.told]),
        "score": zero_shot.losses(tables, answered).loc["the run", "total"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("out")), parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/transfer.csv"))
    a = parser.parse_args()
    root = a.home / "data" / f"transfer-{a.studies}"
    how = {"contrast": "random", "grading": "readers", "jobs": os.cpu_count()}
    phantom.make_dataset(root, a.studies, HELD_OUT_SEED, 0, "real", SIZES["real"], **how)
    tables, rows = rsna.load_tables(root), {}
    for name, variant in VARIANTS.items():
        for seed in range(a.seeds):
            rows[name, seed] = figures(variant, run_of(name, seed, a.home), tables)
        table = pd.DataFrame(rows).T.rename_axis(["choice", "seed"]).round(3)
        table.to_csv(a.out)
        print(table.to_string(), flush=True)


if __name__ == "__main__":
    main()
