"""Seconds and memory per study from files to 25 answers, and what must not change them: a mirror, another split into series.

python -m benchmarks.grading RUN [--studies 40]

On phantoms that bring the real data's faults (--quirks all), drawn with a seed no training uses.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tests import mirror
from utils import inference, metrics, phantom, prepare, rsna
from utils.geometry import Series
from utils.prepare import PreparedStudy

SEED = 777


def in_two_series(study: PreparedStudy, cut: float) -> PreparedStudy:
    """The axial slices as two series, one below the other."""
    parts = []
    for part in study.series:
        slices, k = part.series.slices, int(cut * len(part.series))
        whole = part.description != rsna.AXIAL_T2 or not 0 < k < len(slices)
        cuts = [slices] if whole else [slices[:k], slices[k:]]
        parts += [replace(part, series_id=part.series_id + 1000 * n, series=Series(some)) for n, some in enumerate(cuts)]
    return replace(study, series=tuple(parts))


def difference(before: pd.DataFrame, after: pd.DataFrame, sides_changed: bool = False) -> float:
    """The greatest change of a probability that rests on images."""
    keys = [(rsna.mirror(c) if sides_changed else c, level) for c, level in zip(before.condition, before.level)]
    after = after.set_index(["condition", "level"]).loc[keys]
    seen = ~before.note.str.startswith(inference.PRIOR).to_numpy()
    p, q = (table[list(rsna.GRADE_COLUMNS)].to_numpy(float)[seen] for table in (before, after))
    return float(np.abs(p - q).max(initial=0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grading", description=__doc__.splitlines()[0])
    parser.add_argument("run"), parser.add_argument("--studies", type=int, default=40)
    a = parser.parse_args()
    run = inference.load_run(a.run)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        phantom.make_dataset(root, 1, SEED, a.studies, "real", quirks=phantom.QUIRKS, jobs=os.cpu_count())
        tables, seconds, mirrored, split, tables_of = rsna.load_tables(root), [], [], [], []
        inference.answers(tables, run, studies=tables.studies("test")[:1])  # warm
        for study_id in inference.asked_studies(tables, "test"):
            start = time.perf_counter()
            tables_of.append(inference.answers(tables, run, studies=[study_id]))
            seconds.append(time.perf_counter() - start)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        for study_id, before in zip(inference.asked_studies(tables, "test"), tables_of):
            study = prepare.prepare_study(tables, study_id)
            mirrored.append(difference(before, inference.answer_study(run, mirror.mirrored(study)), sides_changed=True))
            split.append(max(difference(before, inference.answer_study(run, in_two_series(study, cut))) for cut in (0.3, 0.7)))
        answered, truth = pd.concat(tables_of), phantom.true_labels(root, "test")
        guess = metrics.constant_submission(run.prior, answered.study_id.unique())
        print(f"{len(seconds)} studies, {len(answered)} rows, {(answered.note != '').sum()} with a note")
        print(f"seconds a study: median {statistics.median(seconds):.2f}, most {max(seconds):.2f}; peak memory {memory:.2f} GB")
        print(f"weighted prior  {metrics.rsna_score(truth, guess)}")
        print(f"the run         {metrics.rsna_score(truth, inference.as_submission(answered, tables.submission))}")
        print(f"greatest change of a probability: mirrored {max(mirrored):.1e}, axial slices in two series {max(split):.1e}")


if __name__ == "__main__":
    main()
