"""Many studies, one by one: a kill loses none, and one that cannot be read never stops the
others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from utils import metrics, phantom
from utils.errors import LumbarError
from utils.exam import tables_of
from utils.files import number_named, write_atomic, writing
from utils.inference.prediction import FAILED, predict_study, prior_prediction
from utils.inference.run import Run, load_run
from utils.locks import at_work
from utils.prepare import (
    PreparedStudy,
    check_spacing,
    check_still_there,
    fingerprint,
    load_study,
    prepare_study,
    read_made_of,
)
from utils.rsna import TARGETS, Tables, studies_of

_KEYS = ["study_id", "run", "data", "source", "note"]  # what decides whether a row can be kept


def predict_studies(
    root: str | Path | Tables,
    run: str | Path | Run,
    split: str = "test",
    studies: list[int] | None = None,
    out: str | Path | None = None,
    prepared: str | Path | None = None,
) -> pd.DataFrame:
    """predict_study for every study of a split, in the order of the tables; a study that cannot be
    read gets the prior and a note.

    split     "test": every study of the test tables, with or without images; "train": those whose
              images are here, or that are prepared
    out       a predictions.csv, written study by study under another name; the next call after a
              kill resumes there
    prepared  a prepared data set, from which studies are taken instead: their files are not needed
    Raises BusyError if another process writes the same predictions, OutputError if the disk fails.
    """
    tables = root if isinstance(root, Tables) else tables_of(root)
    run = run if isinstance(run, Run) else load_run(run)
    given = _Given(tables, run.preset.spacing_mm, Path(prepared) if prepared else None)
    wanted = given.of_split(split) if studies is None else studies
    if not wanted:
        raise LumbarError(f"{tables.root}: no {split} studies to grade")
    made_of = {study: given.fingerprint(study) for study in wanted}
    if out is None:
        return pd.concat(_one_by_one(given, run, made_of), ignore_index=True)
    out = Path(out)
    with at_work(out.parent, out.name):
        return _resumed(given, run, made_of, out)


@dataclass(frozen=True)
class _Given:
    """Where the studies come from: raw files, prepared as a run needs them, or a prepared data set.
    Raises PreparedDataError for one at another spacing."""

    tables: Tables
    spacing_mm: float
    prepared: Path | None

    def __post_init__(self) -> None:
        if self.prepared:
            check_spacing(self.prepared, self.spacing_mm)

    def of_split(self, split: str) -> list[int]:
        if self.prepared and split == "train":
            numbers = (number_named(path.stem) for path in self.prepared.glob("*.npy"))
            return sorted(number for number in numbers if number is not None)
        return studies_of_split(self.tables, split)

    def fingerprint(self, study_id: int) -> str:
        if self.prepared:
            return read_made_of(self.prepared, study_id)
        return fingerprint(self.tables, study_id)

    def study(self, study_id: int) -> PreparedStudy:
        if self.prepared:
            return load_study(self.prepared, study_id)
        return prepare_study(self.tables, study_id, self.spacing_mm)

    def check(self) -> None:
        """Raise PreparedDataError where the data have gone: what follows would be the prior."""
        check_still_there(self.prepared or self.tables.root)


def _resumed(given: _Given, run: Run, made_of: dict[int, str], out: Path) -> pd.DataFrame:
    """The predictions of studies, each written when it is there; then all of them as out."""
    partial = out.with_suffix(".partial.csv")
    done = _predicted_before(partial, run, made_of)
    rest = {study: of for study, of in made_of.items() if study not in done}
    for rows in _one_by_one(given, run, rest, len(done)):
        with writing(partial), partial.open("a", encoding="utf-8") as file:
            file.write(rows.to_csv(index=False, header=file.tell() == 0))
    table = read_predictions(partial)
    with writing(out):
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
    tables = root if isinstance(root, Tables) else tables_of(root)
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


def _one_by_one(
    given: _Given, run: Run, made_of: dict[int, str], done: int = 0
) -> Iterator[pd.DataFrame]:
    """25 rows at a time; no study is kept in memory when the next is read. If not a single one of
    several can be graded, the fault is not theirs, and the error is raised.

    made_of  study_id -> fingerprint
    done     how many studies of the same table are there already, for the progress bar
    """
    failed = 0
    total = done + len(made_of)
    for study_id in tqdm(made_of, "grading", total, initial=done, unit="study"):
        try:
            rows = predict_study(run, given.study(study_id))
        except Exception as error:  # one study must not cost the others theirs
            failed += 1
            if failed == len(made_of) > 1:
                raise
            rows = prior_prediction(run, study_id, f"{type(error).__name__}: {error}")
        given.check()
        yield rows.assign(data=made_of[study_id])


def _predicted_before(partial: Path, run: Run, made_of: dict[int, str]) -> set[int]:
    """Studies that this run has graded before, from the same files, of those wanted now.

    Whatever else is in the file (half a line after a kill, a study that failed) is removed from it.
    """
    if not partial.is_file():
        return set()
    rows = _whole_rows(partial)
    same_data = rows.data == rows.study_id.map(made_of)
    kept = rows[same_data & (rows.run == run.signature) & ~rows.note.str.startswith(FAILED)]
    whole = kept.groupby("study_id").filter(lambda study: len(study) == len(TARGETS))
    write_atomic(partial, whole.to_csv(index=False) if len(whole) else "")
    return set(whole.study_id)


def _whole_rows(partial: Path) -> pd.DataFrame:
    """The rows of a file that may end in half a line; none if it holds no predictions."""
    text = partial.read_bytes().rpartition(b"\n")[0].decode(errors="replace")
    try:
        rows = read_predictions(io.StringIO(text))
    except ValueError:  # no table, or another one: pandas' errors are of this kind
        rows = pd.DataFrame()
    return rows if set(_KEYS) <= set(rows) else pd.DataFrame(columns=_KEYS, dtype=str)
