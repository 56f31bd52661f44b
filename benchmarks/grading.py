"""Seconds and memory per study from files to 25 predictions, and what must not change them.

python -m benchmarks.grading RUN [--studies 40]

A prediction must be the same for a mirrored patient, and for axial slices split otherwise into
series. Measured on phantoms with the real data's anomalies, of a seed that no training uses.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peak import peak_gb
from tests import mirror
from utils import cli, inference, metrics, phantom, prepare, rsna
from utils.dicom import Series
from utils.phantom import ANOMALIES, PhantomSpec
from utils.prepare import PreparedSeries, PreparedStudy

SEED = 777
CUTS = (0.3, 0.7)  # after which fraction of the axial slices a second series starts


def in_two_series(study: PreparedStudy, cut: float) -> PreparedStudy:
    """The axial slices as two series, one below the other."""
    parts: list[PreparedSeries] = []
    for part in study.series:
        parts += _split(part, cut) if part.description == rsna.AXIAL_T2 else [part]
    return replace(study, series=tuple(parts))


def _split(part: PreparedSeries, cut: float) -> Iterator[PreparedSeries]:
    slices = part.series.slices
    k = int(cut * len(slices))
    for n, some in enumerate(filter(None, (slices[:k], slices[k:]))):
        yield replace(part, series_id=part.series_id + 1000 * n, series=Series(some))


def difference(before: pd.DataFrame, after: pd.DataFrame, mirrored: bool = False) -> float:
    """The greatest change of a probability that rests on images.

    mirrored  after is of the mirrored patient, whose sides are exchanged
    """
    conditions = before.condition.map(rsna.mirror) if mirrored else before.condition
    keys = list(zip(conditions, before.level))
    columns = list(rsna.GRADE_COLUMNS)
    visible = (before.source == inference.MODEL).to_numpy()
    p = before[columns].to_numpy(float)[visible]
    q = after.set_index(["condition", "level"]).loc[keys, columns].to_numpy(float)[visible]
    return float(np.abs(p - q).max(initial=0))


@dataclass
class Timed:
    """Predictions for each study, and the seconds that they took, one study at a time."""

    predictions: dict[int, pd.DataFrame]
    seconds: list[float]


def timed(tables: rsna.Tables, run: inference.Run) -> Timed:
    """Predict the test studies from their files."""
    studies = inference.studies_of_split(tables, "test")
    inference.predict_studies(tables, run, studies=studies[:1])  # to warm up
    found = Timed({}, [])
    for study_id in studies:
        start = time.perf_counter()
        found.predictions[study_id] = inference.predict_studies(tables, run, studies=[study_id])
        found.seconds.append(time.perf_counter() - start)
    return found


def changes(tables: rsna.Tables, run: inference.Run, found: Timed) -> tuple[float, float]:
    """The greatest change of a probability for mirrored patients, and for axial slices in two
    series."""
    mirrored, split = [], []
    for study_id, before in found.predictions.items():
        study = prepare.prepare_study(tables, study_id, run.preset.spacing_mm)
        after = inference.predict_study(run, mirror.mirrored(study))
        mirrored.append(difference(before, after, mirrored=True))
        for cut in CUTS:
            after = inference.predict_study(run, in_two_series(study, cut))
            split.append(difference(before, after))
    return max(mirrored), max(split)


def main() -> None:
    parser = cli.parser("benchmarks.grading", __doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--studies", type=int, default=40)
    a = parser.parse_args()
    run = inference.load_run(a.run)
    spec = PhantomSpec(1, SEED, test_studies=a.studies, prevalence="real", anomalies=ANOMALIES)
    with tempfile.TemporaryDirectory() as folder:
        root = phantom.make_dataset(Path(folder) / "data", spec, jobs=os.cpu_count() or 1)
        report(root, run)


def report(root: Path, run: inference.Run) -> None:
    """Predict the test studies of a phantom and print all figures."""
    tables = rsna.load_tables(root)
    found = timed(tables, run)
    memory = peak_gb()
    mirrored, split = changes(tables, run, found)
    predictions = pd.concat(found.predictions.values())
    truth = phantom.true_labels(root, "test")
    prior = metrics.constant_submission(run.prior, list(found.predictions))
    submission = metrics.as_submission(predictions, tables.submission)
    median, most = statistics.median(found.seconds), max(found.seconds)
    noted = (predictions.note != "").sum()
    print(f"{len(found.seconds)} studies, {len(predictions)} rows, {noted} with a note")
    print(f"seconds a study: median {median:.2f}, most {most:.2f}; peak memory {memory:.2f} GB")
    print(f"weighted prior  {metrics.rsna_score(truth, prior)}")
    print(f"the run         {metrics.rsna_score(truth, submission)}")
    print(
        f"greatest change of a probability: mirrored {mirrored:.1e}, "
        f"axial slices in two series {split:.1e}"
    )


if __name__ == "__main__":
    cli.run(main)
