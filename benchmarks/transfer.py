"""What each choice behind the released run is worth on images unlike all it was trained on.

python -m benchmarks.transfer [--home out] [--studies 8] [--seeds 2] [--out docs/transfer.csv]

A small version of the preset zero_shot (64 phantoms, five to ten minutes a run), trained once more
without one choice after the other, in the model that the choice concerns; the other model is that
of the whole recipe. Measured on phantoms of another seed whose contrast is "random", varied more
than in any training, and graded as readers grade: a model that has memorised intensities fails
there, as it does on patients. A difference between rows must exceed the difference between the
seeds of one row.
"""

import os
import re
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from benchmarks import zero_shot
from benchmarks.learning import trained
from benchmarks.variants import Variant, patched, write_table
from utils import cli, inference, phantom, rsna
from utils.course import workspace
from utils.models import spatial
from utils.phantom import SIZES, PhantomSpec
from utils.presets import Preset, get_preset

HELD_OUT_SEED = 6161  # of the phantoms that are measured
PERTURBATIONS = range(2)  # seeds of how each of them is perturbed
SMALL = Variant(
    {"slices": 3, "batch": 2, "locator_epochs": 40, "grader_epochs": 12},
    phantom={"studies": 64, "test_studies": 0, "size": SIZES["demo"]},
)


def only_mirrored(
    rng: np.random.Generator, shift: np.ndarray, mirror: bool, zoom: float, turn: float
) -> np.ndarray:
    """In place of models.spatial.sample_affine."""
    return spatial.sample_affine(rng, np.zeros(2), mirror, 0.0, 0.0)


def first_affine(step: float) -> torch.Tensor:
    """In place of models.spatial.tta_affines: the one that changes nothing."""
    return spatial.tta_affines(step)[:1]


def best_peaks(peaks: list, absent: np.ndarray, cell_mm: float) -> list:
    """In place of inference.localisation.in_level_order."""
    return [best[0] for best in peaks]


WHOLE = "the recipe"
BOTH = ("locator", "grader")
VARIANTS = {
    WHOLE: Variant(models=BOTH),
    "clinical contrast": Variant(
        {"intensity": "scanner"}, phantom={"contrast": "clinical"}, models=BOTH
    ),
    "no shift, zoom or rotation": Variant(
        training={"utils.training.locator_samples.sample_affine": only_mirrored},
        models=("locator",),
    ),
    "no truncated fields of view": Variant({"truncation": 0.0}, models=("locator",)),
    "textbook grades, no label noise": Variant(
        {"label_noise": 0.0}, phantom={"grading": "textbook"}, models=("grader",)
    ),
    "no test-time augmentation": Variant(
        inference={
            "utils.inference.localisation.tta_affines": first_affine,
            "utils.inference.grading.tta_affines": first_affine,
        }
    ),
    "each level's best peak, no level-sequence model": Variant(
        inference={"utils.inference.localisation.in_level_order": best_peaks}
    ),
    "no prior-shift correction": Variant(
        inference={"utils.inference.run.Run.prior_shift": np.zeros((25, 3))}
    ),
}


def run_of(name: str, seed: int, home: Path) -> inference.Run:
    """The run of a variant, trained if it is not there yet; models that the variant does not
    concern are copied from the run of the whole recipe."""
    variant = VARIANTS[name]
    if not variant.models:
        return run_of(WHOLE, seed, home)
    preset = _preset(name, seed)
    os.environ["LUMBAR_HOME"] = str(home)
    folder = workspace.open_workspace("phantom", preset, data=False).run / "fold0"
    for model in BOTH:
        if model not in variant.models:
            whole = run_of(WHOLE, seed, home).folder / "fold0" / model
            shutil.copytree(whole, folder / model, dirs_exist_ok=True)
    with patched(variant.training):
        return inference.load_run(trained(home, preset))


def _preset(name: str, seed: int) -> Preset:
    words = re.findall(r"\w+", name)
    small = SMALL.preset(get_preset("zero_shot"))
    own_name = "-".join(["transfer", *words, str(seed)])
    return replace(VARIANTS[name].preset(small), name=own_name, seed=seed)


def figures(variant: Variant, run: inference.Run, tables: rsna.Tables) -> dict[str, float]:
    """One row of the table: how well the run does on the held-out phantoms."""
    with patched(variant.inference):
        errors, predictions = zero_shot.measure(tables, run, seeds=PERTURBATIONS)
    acquired = errors[zero_shot.AS_ACQUIRED].table().loc["all"]
    perturbed = errors[zero_shot.PERTURBED].table().loc["all"]
    reported = list(chain.from_iterable(found.reported for found in errors.values()))
    return {
        "median mm": acquired["median mm"],
        "% within 10 mm": acquired["% within 10 mm"],
        "% within, perturbed": perturbed["% within 10 mm"],
        "% of confident wrong": perturbed["% of confident wrong"],
        "% absent levels reported": 100 * np.mean(reported),
        "score": zero_shot.losses(tables, predictions).loc["the run", "total"],
    }


def held_out(home: Path, studies: int) -> rsna.Tables:
    """Phantoms that no training used, of random contrast, graded as readers grade."""
    spec = PhantomSpec(
        studies=studies,
        seed=HELD_OUT_SEED,
        test_studies=0,
        prevalence="real",
        size=SIZES["real"],
        contrast="random",
        grading="readers",
    )
    root = home / "data" / f"transfer-{studies}"
    return rsna.load_tables(phantom.make_dataset(root, spec, jobs=os.cpu_count() or 1))


def main() -> None:
    parser = cli.parser("benchmarks.transfer", __doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("out"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/transfer.csv"))
    a = parser.parse_args()
    tables = held_out(a.home, a.studies)
    rows = {}
    for name, variant in VARIANTS.items():
        for seed in range(a.seeds):
            rows[name, seed] = figures(variant, run_of(name, seed, a.home), tables)
        write_table(rows, ["choice", "seed"], a.out)


if __name__ == "__main__":
    cli.run(main)
