"""The grader's recipe on real labels: foraminal grades of real patients, on Sagittal T1 alone.

python -m benchmarks.real_foramen PICTURES SCRATCH [--arms recipe plain] [--folds 5]

PICTURES has images/ and foramina.csv (see `t1_pictures`). They become a data folder in SCRATCH, are
prepared, and the grader is trained on the annotated points by the project's own path, fold by fold;
the other conditions have no labels. Prints the weighted log loss of the foramina out of fold, with
its interval over patients, beside a plain CNN on the same folds and the weighted prior. What is
finished is not computed again.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from benchmarks import plain_cnn
from benchmarks.alternatives import (
    JOINT,
    NO_PRIOR,
    NOT_NORMALISED,
    NOT_STANDARDISED,
    OWN_WEIGHTS,
    WITHIN_STUDY,
)
from benchmarks.t1_pictures import write_data
from benchmarks.variants import Variant, patched, write_table
from utils import cli, inference, metrics, prepare, rsna
from utils.crops import point_table
from utils.files import Folder, write_atomic
from utils.inference.grading import grade
from utils.inference.measures import measured
from utils.inference.probabilities import graded
from utils.models import Grader
from utils.prepare import PreparedStudy, load_study
from utils.presets import Preset
from utils.rsna import GRADE_COLUMNS, TARGETS, row_id
from utils.training import GraderDataset, Jitter, grade_table, processes, tasks, trainer
from utils.training.grader_samples import NO_LABEL
from utils.views import views_of

FORAMINAL = [k for k, target in enumerate(TARGETS) if target.family == "foraminal"]
JITTER = Jitter((2.0,) * 3, (0.1,) * 3)  # how far a locator errs
BASE = Preset("real_foramen", crop_px=48, crop_mm=56.0, slices=3, grader_epochs=20, batch=8)
PLAIN = Preset("plain", crop_px=plain_cnn.PX, crop_mm=56.0, slices=3, grader_epochs=10)
PEERS = {"plain CNN": PLAIN, "plain CNN, 20 epochs": replace(PLAIN, grader_epochs=20)}
DOUBTFUL = 0.8  # a label whose grade was given a lower probability than 1 minus this is left out
ARMS = {
    "recipe": Variant(),
    "10 epochs": Variant({"grader_epochs": 10}),
    "another seed": Variant({"seed": 1}),
    "features normalised within the study": Variant(training=WITHIN_STUDY),
    "features not normalised": Variant(training=NOT_NORMALISED),
    "crops not standardised": Variant(training=NOT_STANDARDISED),
    "heads that do not begin with the prior": Variant(training=NO_PRIOR),
    "a transformer over all targets": Variant(training=JOINT),
    "batch of 2": Variant({"batch": 2}),
    "batch of 2, divided by its own weights": Variant({"batch": 2}, training=OWN_WEIGHTS),
    "crops of 40 mm": Variant({"crop_mm": 40.0}),
    "crops of 75 mm": Variant({"crop_mm": 75.0}),
    "crops of 56 and 84 mm": Variant({"views": ("marked", "wide")}),
    "crops of 32 px": Variant({"crop_px": 32}),
    "crops of 64 px": Variant({"crop_px": 64}),
    "one slice": Variant({"slices": 1}),
    "mixup": Variant({"mixup": 0.4}),
    "cutmix": Variant({"mixup": 0.4, "cutmix": 1.0}),
    "dropout": Variant({"dropout": 0.2}),
    "attention is not taught": Variant({"attention_loss": 0.0}),
    "no average of the weights": Variant({"ema": 0.0}),
}
CLEANED, TWO = "doubtful labels left out", "two graders"  # made of what other arms have predicted
OF_OTHERS = {CLEANED: ["recipe"], TWO: ["recipe", "another seed"]}
OTHER_HALF = "the half that chose nothing"
FOLDS = 5
GRADE_TABLE = "utils.training.grader_samples.grade_table"
Predict = Callable[[PreparedStudy], np.ndarray]  # logits (25, 3)


def train_grader(
    prepared: Path, folder: Path, preset: Preset, inside: list[int], outside: list[int]
) -> Predict:
    """The project's grader, by the project's loop."""
    torch.manual_seed(preset.seed)
    grader = Grader(preset)
    data = GraderDataset(prepared, inside, preset, JITTER)
    grader.expect(data.prior)
    fit_grader(folder, grader, data, GraderDataset(prepared, outside, preset, None))
    return lambda study: grade(grader, study, point_table(study.points), preset)[0]


def fit_grader(folder: Path, grader: Grader, data: GraderDataset, held_out: GraderDataset) -> None:
    """Any grader, on these data."""
    task = tasks.grader_task(Folder(folder), grader, data, held_out, data.preset)
    for part in (data, held_out):
        part.cache_crops(2)
    accelerator = processes.make_accelerator(data.preset)
    trainer.train(task, data.preset, accelerator, trainer.Limits())


def train_plain(prepared: Path, preset: Preset, inside: list[int], outside: list[int]) -> Predict:
    """The peer, on the same crops."""
    net = plain_cnn.train_plain(_foramina(prepared, inside, preset), preset.grader_epochs)
    logits = plain_cnn.predict_plain(net, _foramina(prepared, outside, preset))
    by_study = dict(zip(outside, logits))

    def predict(study: PreparedStudy) -> np.ndarray:
        found = np.zeros((len(TARGETS), 3))
        found[FORAMINAL] = by_study[study.study_id]
        return found

    return predict


def _foramina(prepared: Path, studies: list[int], preset: Preset) -> plain_cnn.Foramina:
    data = GraderDataset(prepared, studies, preset, None)
    views = [int(np.flatnonzero(views_of(preset).target == k)[0]) for k in FORAMINAL]
    data.cache_crops(2)
    samples = [data[k] for k in range(len(data))]
    parts = [torch.stack([getattr(one, name) for one in samples]) for name in ("crops", "exists")]
    grades = torch.stack([one.grades for one in samples])[:, FORAMINAL]
    return plain_cnn.Foramina(*(part[:, views] for part in parts), grades)


def out_of_fold(prepared: Path, folder: Path, arm: str, folds: int) -> pd.DataFrame:
    """Logits (study_id, row_id, three columns) and the minutes of each fold, out of fold."""
    needed = FOLDS if arm == CLEANED else folds  # every label, by a grader that has not seen it
    others = [out_of_fold(prepared, folder, other, needed) for other in OF_OTHERS.get(arm, [])]
    if arm == TWO:
        return mean_logits(others)
    with patched({GRADE_TABLE: without_doubtful(others[0])} if arm == CLEANED else {}):
        return _trained(prepared, folder, arm, folds)


def mean_logits(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The mean logits of several arms; their minutes together."""
    columns = list(GRADE_COLUMNS)
    whole = parts[0].assign(minutes=sum(part.minutes for part in parts))
    return whole.assign(**dict(zip(columns, np.mean([part[columns] for part in parts], 0).T)))


def without_doubtful(logits: pd.DataFrame) -> Callable[[pd.DataFrame], dict[int, np.ndarray]]:
    """In place of grader_samples.grade_table: labels of which another grader, out of fold, was
    nearly sure that they are wrong, are missing."""
    p = softmax(logits[list(GRADE_COLUMNS)].to_numpy(), axis=1).reshape(-1, len(TARGETS), 3)
    of_study = dict(zip(logits.study_id.unique(), p))

    def table(labels: pd.DataFrame) -> dict[int, np.ndarray]:
        grades = grade_table(labels)
        for study_id, codes in grades.items():
            if study_id not in of_study:
                continue
            given = np.take_along_axis(of_study[study_id], codes.clip(0)[:, None], 1)[:, 0]
            codes[given < 1 - DOUBTFUL] = NO_LABEL
        return grades

    return table


def _trained(prepared: Path, folder: Path, arm: str, folds: int) -> pd.DataFrame:
    assigned = pd.read_csv(prepared / "folds.csv")
    parts = []
    for fold in range(folds):
        path = folder / arm.replace(" ", "-").replace(",", "") / f"fold{fold}.csv"
        if not path.is_file():
            inside = assigned.study_id[assigned.fold != fold].tolist()
            outside = assigned.study_id[assigned.fold == fold].tolist()
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = _fold(prepared, path.with_suffix(""), arm, inside, outside)
            write_atomic(path, rows.to_csv(index=False))
        parts.append(pd.read_csv(path))
    return pd.concat(parts, ignore_index=True)


def _fold(
    prepared: Path, folder: Path, arm: str, inside: list[int], outside: list[int]
) -> pd.DataFrame:
    start = time.monotonic()
    rows = []
    variant = ARMS.get(arm, Variant())
    with patched(variant.training):
        if arm in PEERS:
            predict = train_plain(prepared, PEERS[arm], inside, outside)
        else:
            predict = train_grader(prepared, folder, variant.preset(BASE), inside, outside)
        minutes = (time.monotonic() - start) / 60
        for study_id in outside:
            logits = predict(load_study(prepared, study_id))
            ids = [row_id(study_id, *target) for target in TARGETS]
            rows += [(study_id, name, *values) for name, values in zip(ids, logits.tolist())]
    table = pd.DataFrame(rows, columns=["study_id", "row_id", *GRADE_COLUMNS])
    return table.assign(minutes=minutes)


def figures(
    labels: pd.DataFrame, submission: pd.DataFrame, peer: pd.DataFrame | None
) -> dict[str, float]:
    """The loss of the foramina with its interval, and in how many of resampled sets of patients it
    is lower than the peer's."""
    row = metrics.bootstrap(labels, submission).loc["foraminal"].to_dict()
    if peer is not None:
        row["better than plain"] = metrics.better(labels, submission, peer, term="foraminal")
    return row


def main() -> None:
    parser = cli.parser("benchmarks.real_foramen", __doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument(
        "--arms", nargs="+", default=["recipe"], choices=[*ARMS, *PEERS, *OF_OTHERS]
    )
    parser.add_argument("--folds", type=int, default=5, help="how many of the five folds")
    parser.add_argument("--released", type=Path, help="a run whose graders are measured, too")
    a = parser.parse_args()
    a.scratch.mkdir(parents=True, exist_ok=True)
    prepared = a.scratch / "prepared"
    prepare.prepare(write_data(a.pictures, a.scratch / "data"), prepared, folds=FOLDS)
    report(prepared, a.scratch, a.arms, a.folds, a.released)


def report(prepared: Path, scratch: Path, arms: list[str], folds: int, released: Path | None):
    """Train what is missing, one arm after the other, and print the table after each."""
    plain = out_of_fold(prepared, scratch / "arms", "plain CNN", folds)
    labels = pd.read_csv(prepared / "labels.csv")
    labels = labels[labels.study_id.isin(plain.study_id)]
    peer = metrics.temperature_scaled(plain, 1.0)
    studies = sorted(labels.study_id.unique())
    prior = metrics.constant_submission(metrics.prior(labels), studies)
    rows = {
        "weighted prior of these labels": figures(labels, prior, peer),
        "plain CNN": figures(labels, peer, None) | _cost(plain),
    }
    if released:
        submission = released_run(released, prepared, studies)
        rows["released run"] = figures(labels, submission, peer)
        rest = labels[
            labels.study_id.isin(studies[1::2])
        ]  # by the others openness.SCALES was chosen
        for name, of in ((OTHER_HALF, submission), (f"prior, {OTHER_HALF}", prior)):
            mine = of[rsna.studies_of(of.row_id).isin(rest.study_id)]
            rows[name] = figures(rest, mine, None) | narrowed(rest, mine)
        write_table(rows, "grader", scratch / "real_foramen.csv")
    for arm in arms:
        found = out_of_fold(prepared, scratch / "arms", arm, folds)
        rows[arm] = figures(labels, metrics.temperature_scaled(found, 1.0), peer) | _cost(found)
        write_table(rows, "grader", scratch / "real_foramen.csv")


def narrowed(labels: pd.DataFrame, submission: pd.DataFrame) -> dict[str, float]:
    """How well Moderate and Severe are told from Normal/Mild within each level: the area under the
    ROC curve, in the mean over levels and for the worst of them."""
    ids = [rsna.row_id(*of) for of in zip(labels.study_id, labels.condition, labels.level)]
    p = 1 - submission.set_index("row_id")[GRADE_COLUMNS[0]].reindex(ids).to_numpy()
    known = labels.assign(p=p).dropna(subset=["grade", "p"])
    areas = [roc_auc_score(of.grade != rsna.GRADES[0], of.p) for _, of in known.groupby("level")]
    return {"AUROC": float(np.mean(areas)), "least AUROC": min(areas)}


def _cost(found: pd.DataFrame) -> dict[str, float]:
    return {"minutes a fold": found.minutes.unique().mean()}


def released_run(folder: Path, prepared: Path, studies: list[int]) -> pd.DataFrame:
    """The predictions of a finished run at the annotated points."""
    run = inference.load_run(folder)
    parts = []
    for study_id in studies:
        study = load_study(prepared, study_id)
        points = point_table(study.points)
        measures = measured(run, study, None, points)
        p = graded(run, study, [points] * len(run.folds), measures).p
        ids = [row_id(study_id, *target) for target in TARGETS]
        table = pd.DataFrame(p, columns=list(GRADE_COLUMNS))
        parts.append(table.assign(study_id=study_id, row_id=ids))
    return pd.concat(parts)


if __name__ == "__main__":
    cli.run(main)
