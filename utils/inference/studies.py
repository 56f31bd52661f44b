"""Many studies, one by one: a kill loses none, and one that cannot be read never stops the
others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from utils import metrics, phantom
from utils.errors import LumbarError
from utils.files import write_atomic
from utils.inference.prediction import FAILED, predict_study, prior_prediction
from utils.inference.run import Run, load_run
from utils.prepare import prepare_study
from utils.rsna import TARGETS, Tables, load_tables, studies_of

_KEYS = ["study_id", "run", "data", "source", "note"]  # what decides whether a row can be kept


def predict_studies(
    root: str | Path | Tables,
    run: str | Path | Run,
    split: str = "test",
    studies: list[int] | None = None,
    out: str | Path | None = None,
) -> pd.DataFrame:
    """predict_study for every study of a split, in the order of the tables; a study that cannot be
    read gets the prior and a note.

    split  "test": every study of the test tables, with or without images; "train": those whose
           images are here
    out    a predictions.csv, written study by study under another name; the next call after a kill
           resumes there
    """
    tables = root if isinstance(root, Tables) else load_tables(root)
    run = run if isinstance(run, Run) else load_run(run)
    wanted = studies_of_split(tables, split) if studies is None else studies
    if not wanted:
        raise LumbarError(f"{tables.root}: no {split} studies to grade")
    if out is None:
        return pd.concat(_one_by_one(tables, run, wanted), ignore_index=True)
    partial = Path(out).with_suffix(".partial.csv")
    partial.parent.mkdir(parents=True, exist_ok=True)
    done = _predicted_before(partial, run, tables, wanted)
    rest = [study for study in wanted if study not in done]
    with partial.open("a", encoding="utf-8") as file:
        for rows in _one_by_one(tables, run, rest):
            file.write(rows.to_csv(index=False, header=file.tell() == 0))
            file.flush()
    table = read_predictions(partial)
    partial.replace(out)
    return table


def predict(
    root: str | Path | Tables,
    run: str | Path | Run,
    split: str = "test",
    out: str | Path | None = None,
) -> pd.DataFrame:
    """Probabilities in submission form: row_id, normal_mild, moderate, severe.

    out  where the whole predictions go, as in predict_studies
    """
    tables = root if isinstance(root, Tables) else load_tables(root)
    predictions = predict_studies(tables, run, split, out=out)
    sampled = split == "test" and len(tables.submission)
    return metrics.as_submission(predictions, tables.submission if sampled else None)


def read_predictions(path: str | Path | io.StringIO) -> pd.DataFrame:
    """A predictions.csv as `predict_studies` returned it."""
    text = dict.fromkeys(("source", "note", "run", "data"), str)
    kinds = {"series_id": "Int64", "instance_number": "Int64"} | text
    return pd.read_csv(path, dtype=kinds).fillna({"note": ""})


def studies_of_split(tables: Tables, split: str) -> list[int]:
    """Ids of the studies to grade, ascending."""
    if split not in ("train", "test"):
        raise LumbarError(f"split is 'train' or 'test', not {split!r}")
    if split == "train":
        return tables.studies("train")
    listed = tables.series[tables.series.split == "test"].study_id
    sampled = studies_of(tables.submission.row_id)
    return sorted(set(map(int, listed)) | set(map(int, sampled)))


def known_grades(tables: Tables, split: str) -> pd.DataFrame:
    """What there is to score a split with: a phantom's truth, or the labels given; no row where
    nothing is known."""
    simulated = (tables.root / "truth").is_dir()
    known = phantom.true_labels(tables.root, split) if simulated else tables.labels
    return known[known.grade.notna()]


def _one_by_one(tables: Tables, run: Run, studies: list[int]) -> Iterator[pd.DataFrame]:
    """25 rows at a time; no study is kept in memory when the next is read. If not a single one of
    several can be graded, the fault is not theirs, and the error is raised."""
    failed = 0
    for study_id in tqdm(studies, desc="grading", unit="study"):
        try:
            rows = predict_study(run, prepare_study(tables, study_id))
        except (
            Exception
        ) as error:  # whatever is wrong with one study must not cost the others theirs
            failed += 1
            if failed == len(studies) > 1:
                raise
            rows = prior_prediction(run, study_id, f"{type(error).__name__}: {error}")
        yield rows.assign(data=tables.root.name)


def _predicted_before(partial: Path, run: Run, tables: Tables, wanted: list[int]) -> set[int]:
    """Studies that this run has graded before, of those wanted now and in this data folder.

    Whatever else is in the file (half a line after a kill, a study that failed) is removed from it.
    """
    if not partial.is_file():
        return set()
    text = partial.read_bytes().rpartition(b"\n")[0].decode(errors="replace")
    rows = read_predictions(io.StringIO(text)) if text else pd.DataFrame()
    if not set(_KEYS) <= set(rows):
        rows = pd.DataFrame(columns=_KEYS)
    mine = (rows.run == run.signature) & (rows.data == tables.root.name)
    kept = rows[mine & rows.study_id.isin(wanted) & ~rows.note.str.startswith(FAILED)]
    whole = kept.groupby("study_id").filter(lambda study: len(study) == len(TARGETS))
    write_atomic(partial, whole.to_csv(index=False) if len(whole) else "")
    return set(whole.study_id)
