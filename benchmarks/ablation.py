"""What each part of the grader's recipe is worth: trained without it, scored on held-out phantoms.

python -m benchmarks.ablation [--preset demo] [--home out] [--studies 40] [--seeds 2] [--out CSV]

Every row trains graders of its own (about a minute each for demo) and grades at the points that the
run's locator has found, so that rows differ in the grader alone. The held-out phantoms are those of
benchmarks.learning: another seed, the grade frequencies of patients. A difference between rows must
exceed the difference between the seeds of one row.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from benchmarks.alternatives import NOT_NORMALISED
from benchmarks.learning import held_out, trained
from benchmarks.variants import Variant, patched, write_table
from utils import cli, inference, metrics, prepare, rsna, training
from utils.course import workspace
from utils.files import Folder
from utils.models import Grader, intensity
from utils.prepare import PreparedStudy
from utils.presets import Preset, get_preset
from utils.training import GraderDataset, GraderSample, Jitter, losses, processes, tasks, trainer


def unweighted_terms(model: Grader, batch: GraderSample, preset: Preset) -> Tensor:
    """Cross-entropy without the metric's weights and without mixup, as terms (B, 2, 1): see
    utils.training.losses."""
    logits = model(losses.augmented_crops(batch, preset), batch.exists)
    by_class = logits.float().transpose(1, 2)
    loss = cross_entropy(by_class, batch.grades, ignore_index=-1, reduction="none")
    labels = (batch.grades >= 0).sum(1).float()
    return torch.stack([loss.sum(1), labels], 1)[..., None]


def no_jitter(points: pd.DataFrame) -> Jitter:
    """In place of training.measured_jitter."""
    return Jitter()


def no_augmentation(rng: np.random.Generator, kind: str) -> np.ndarray:
    """In place of models.intensity.sample."""
    return intensity.IDENTITY


VARIANTS = {
    "the recipe": Variant(),
    "features not normalised": Variant(training=NOT_NORMALISED),
    "unweighted cross-entropy": Variant(
        training={"utils.training.losses.grader_terms": unweighted_terms}
    ),
    "no localisation jitter": Variant(training={"utils.training.measured_jitter": no_jitter}),
    "no intensity augmentation": Variant(
        training={"utils.models.intensity.sample": no_augmentation}
    ),
    "no mirroring": Variant(training={"utils.training.grader_samples.MIRRORED": 0.0}),
    "no view dropout": Variant({"view_dropout": 0.0}),
    "with mixup (alpha 0.2)": Variant({"mixup": 0.2}),
    "one slice per view": Variant({"slices": 1}),
    "five slices per view": Variant({"slices": 5}),
    "last weights, not their average": Variant({"ema": 0.0}),
}


@dataclass(frozen=True)
class Bench:
    """What all rows share.

    run       the run whose recipe is varied, and whose locator has found the points
    prepared  the studies to train on
    tables    of the held-out phantoms
    located   the held-out studies, each with points (25, 3) mm, by study id
    """

    run: inference.Run
    prepared: Path
    tables: rsna.Tables
    located: dict[int, tuple[PreparedStudy, np.ndarray]]


def open_bench(preset: Preset, home: Path, studies: int) -> Bench:
    """Train the preset's run if it is not there yet; locate the points of held-out phantoms."""
    run = inference.load_run(trained(home, preset))
    root, prepared = held_out(home, studies)
    tables = rsna.load_tables(root)
    locator, _ = run.folds[0]
    located = {}
    for study_id in tqdm(tables.studies(), desc="locating"):
        study = prepare.load_study(prepared, study_id)
        points = inference.locate(locator, study, preset).points
        located[study_id] = study, points
    work = workspace.open_workspace("phantom", preset, data=False)
    return Bench(run, work.prepared, tables, located)


def score(variant: Variant, seed: int, bench: Bench) -> float:
    """The competition's score, on the held-out phantoms, of a grader trained as the variant says;
    lower is better."""
    preset = replace(variant.preset(bench.run.preset), seed=seed)
    with patched(variant.training), tempfile.TemporaryDirectory() as folder:
        grader = train_grader(preset, seed, bench, Path(folder))
        return score_on_held_out(grader, preset, bench)


def train_grader(preset: Preset, seed: int, bench: Bench, folder: Path) -> Grader:
    """A grader of the run's first fold, on crops jittered by its locator's measured error."""
    fold = bench.run.preset.train_folds[0]
    folds = pd.read_csv(bench.prepared / "folds.csv")
    inside = folds.study_id[folds.fold != fold].tolist()
    outside = folds.study_id[folds.fold == fold].tolist()
    points = pd.read_csv(bench.run.folder / f"fold{fold}" / "points.csv")
    train = GraderDataset(bench.prepared, inside, preset, training.measured_jitter(points))
    validation = GraderDataset(bench.prepared, outside, preset, None)
    for data in (train, validation):
        data.cache_crops(os.cpu_count() or 1)
    torch.manual_seed(seed)
    grader = Grader(preset)
    grader.expect(train.prior)
    task = tasks.grader_task(Folder(folder), grader, train, validation, preset)
    trainer.train(task, preset, processes.make_accelerator(preset), trainer.Limits())
    return grader


def score_on_held_out(grader: Grader, preset: Preset, bench: Bench) -> float:
    """The total score of a grader's predictions at the points that were found."""
    rows = []
    for study_id, (study, points) in bench.located.items():
        logits, _ = inference.grade(grader, study, points, preset)
        ids = [rsna.row_id(study_id, *target) for target in rsna.TARGETS]
        rows += [(study_id, row, *values) for row, values in zip(ids, logits.tolist())]
    table = pd.DataFrame(rows, columns=["study_id", "row_id", *rsna.GRADE_COLUMNS])
    submission = metrics.temperature_scaled(table, 1.0)
    return metrics.rsna_score(bench.tables.labels, submission).total


def main() -> None:
    parser = cli.parser("benchmarks.ablation", __doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--home", type=Path, default=Path("out"))
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/ablation.csv"))
    a = parser.parse_args()
    bench = open_bench(get_preset(a.preset), a.home, a.studies)
    rows: dict[str, dict[str, float]] = {}
    for name, variant in VARIANTS.items():
        scores = [score(variant, seed, bench) for seed in range(a.seeds)]
        rows[name] = {f"seed {seed}": value for seed, value in enumerate(scores)}
        rows[name]["mean"] = float(np.mean(scores))
        write_table(rows, "grader", a.out)


if __name__ == "__main__":
    cli.run(main)
