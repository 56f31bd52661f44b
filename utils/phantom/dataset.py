"""Phantom studies on disk: images, the competition's tables, and the truth beside them.

Each study is made by one process from (seed, its number) alone and appears whole or not at all; the
tables are written last.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import delayed

from utils.files import read_json, write_atomic, writing
from utils.locks import at_work, is_lock
from utils.parallel import in_processes
from utils.phantom.anatomy import make_spine
from utils.phantom.anomalies import IN_IMAGES, IN_POINTS, assigned_anomaly
from utils.phantom.draft import Draft, annotate
from utils.phantom.grades import OPENING, sample_grades, ungraded
from utils.phantom.protocols import CONTRASTS, sample_protocols, with_contrast_jitter
from utils.phantom.scan import scan, write_scan
from utils.phantom.spec import PhantomError, PhantomSpec
from utils.phantom.spine import Spine
from utils.phantom.truth import anatomy_row, truth_rows
from utils.rsna import GRADE_COLUMNS, GRADES, TARGETS, row_ids, wide_labels

_OTHER = "delete it or choose another folder"


def make_dataset(
    root: str | Path, studies: int | PhantomSpec, seed: int = 0, *, jobs: int = 2, **options
) -> Path:
    """Write a phantom data set under root; returns root.

    studies  how many training studies, or a whole PhantomSpec
    jobs     processes
    options  the other fields of PhantomSpec, if studies is a number
    The truth goes to root/truth: truth.csv (grade, size in mm, point in mm of every target),
    anatomy.csv, anomalies.csv, test.csv (the hidden labels). A second call with the same arguments
    does nothing, and one after a kill resumes; another call into the same folder raises
    PhantomError, as does a choice that does not exist. Raises BusyError if another process is at
    work in root, OutputError if it cannot be written.
    """
    spec = studies if isinstance(studies, PhantomSpec) else PhantomSpec(studies, seed, **options)
    root = Path(root)
    _check_choices(spec)
    planned = _plan(spec)
    if _is_complete(root, spec):
        return root
    with at_work(root), writing(root):
        _bind(root, spec)
        work = [delayed(_make_study)(root, spec, study) for study in planned]
        rows = list(in_processes(work, jobs, len(work), "phantom studies"))
        _write_tables(root, rows)
    return root


def study_id_of(seed: int, k: int) -> int:
    """Ids above every real one (the largest is 4,290,709,089), so the two are never confused."""
    return 9_000_000_000 + (seed % 10_000) * 100_000 + k


def true_labels(root: str | Path, split: str = "test") -> pd.DataFrame:
    """The truth of a phantom in the form of Tables.labels, with points in mm, for every study of a
    split whose images are there."""
    root = Path(root)
    truth = pd.read_csv(root / "truth" / "truth.csv")
    folder = root / f"{split}_images"
    here = (
        {int(p.name) for p in folder.iterdir() if p.name.isdecimal()} if folder.is_dir() else set()
    )
    return truth[truth.study_id.isin(here)].reset_index(drop=True)


def drawn_labels(spec: PhantomSpec, split: str = "test") -> pd.DataFrame:
    """The true grades of a phantom's studies in the form of Tables.labels, without its images or
    its folder: grades are drawn before any spine is made."""
    rows = [
        (study_id_of(spec.seed, planned.number), *target, GRADES[grade])
        for planned in _plan(spec)
        if planned.split == split
        for target, grade in zip(TARGETS, planned.grades)
    ]
    return pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])


def _check_choices(spec: PhantomSpec) -> None:
    """Raise PhantomError for a name that does not exist, before anything is written."""
    for field, known in (("contrast", CONTRASTS), ("grading", OPENING)):
        name = getattr(spec, field)
        if name not in known:
            raise PhantomError(f"no such {field}: {name}; there are {', '.join(known)}")
    assigned_anomaly(spec.anomalies, "train", 0)


def _is_complete(root: Path, spec: PhantomSpec) -> bool:
    """Whether all of this phantom is there: the sample submission is written last."""
    path = root / "phantom.json"
    if not path.is_file() or not (root / "sample_submission.csv").is_file():
        return False
    return read_json(path, PhantomError, _OTHER) == spec.as_dict()


def _bind(root: Path, spec: PhantomSpec) -> None:
    """A folder belongs to one spec; raises PhantomError if it holds anything else."""
    path, settings = root / "phantom.json", spec.as_dict()
    found = read_json(path, PhantomError, _OTHER) if path.is_file() else settings
    if found != settings:
        raise PhantomError(
            f"{root} holds a phantom made with other settings, or by an earlier version ({found}); "
            f"{_OTHER}"
        )
    # There are the lock, and what a kill has left of phantom.json itself.
    names = [there.name for there in root.iterdir() if not is_lock(there)]
    foreign = [name for name in names if not name.startswith("partial-")]
    if not path.is_file() and foreign:
        raise PhantomError(f"{root} is not empty and holds no phantom; choose another folder")
    write_atomic(path, json.dumps(settings))


class _Planned(NamedTuple):
    """One study to be made."""

    number: int
    split: str  # "train" or "test"
    grades: np.ndarray  # (25,)
    anomaly: str  # "" for none


def _plan(spec: PhantomSpec) -> list[_Planned]:
    """Every study to be made, training studies first. Raises LumbarError for another prevalence."""
    rng = np.random.default_rng([spec.seed, 0])
    grades = sample_grades(rng, spec.studies + spec.test_studies, spec.prevalence)
    train = [(k, "train", k) for k in range(spec.studies)]
    test = [(spec.studies + k, "test", k) for k in range(spec.test_studies)]
    return [
        _Planned(number, split, grades[number], assigned_anomaly(spec.anomalies, split, k))
        for number, split, k in (test if spec.only_test else train + test)
    ]


def _make_study(root: Path, spec: PhantomSpec, planned: _Planned) -> dict:
    """One study: its files (unless they are there) and the rows it gives to the tables."""
    study_id = study_id_of(spec.seed, planned.number)
    final = root / f"{planned.split}_images" / str(study_id)
    temporary = root / f".making-{study_id}" / str(study_id)
    record = root / "truth" / f"{study_id}.json"
    if record.is_file() and final.is_dir():
        return json.loads(record.read_text())
    shutil.rmtree(temporary.parent, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    draft, done = _draft(spec, study_id, planned)
    for one in draft.scans:
        write_scan(one, temporary / str(one.series_id))
    rows = _rows(draft, study_id, planned, done)
    record.parent.mkdir(exist_ok=True)
    write_atomic(record, json.dumps(rows))
    final.parent.mkdir(exist_ok=True)
    temporary.rename(final)
    temporary.parent.rmdir()
    return rows


def _draft(spec: PhantomSpec, study_id: int, planned: _Planned) -> tuple[Draft, str]:
    """Patient, scans and points of one study, with its anomaly; also what the anomaly did."""
    seed, anomaly = [spec.seed, 2, planned.number], planned.anomaly
    rng = np.random.default_rng(seed)
    jitter_rng = np.random.default_rng([*seed, 1])  # apart: the same patient in every contrast
    spine = _spine(rng, spec, planned)
    usual = sample_protocols(rng, spec.size)
    chosen = [with_contrast_jitter(protocol, spec.contrast, jitter_rng) for protocol in usual]
    scans = [scan(rng, spine, p, study_id * 10 + n) for n, p in enumerate(chosen, start=1)]
    draft = Draft(spine, scans, list(ungraded(rng)), [])
    done = IN_IMAGES[anomaly](draft, rng) if anomaly in IN_IMAGES else ""
    draft.points = annotate(draft)
    return draft, IN_POINTS[anomaly](draft, rng) if anomaly in IN_POINTS else done


def _spine(rng: np.random.Generator, spec: PhantomSpec, planned: _Planned) -> Spine:
    return make_spine(rng, planned.grades, grading=spec.grading)


def true_spine(spec: PhantomSpec, study_id: int) -> Spine:
    """The spine of a study of a data set, which need not be on the disk. Raises StopIteration for a
    study that the data set has not."""
    of = (one for one in _plan(spec) if study_id_of(spec.seed, one.number) == study_id)
    planned = next(of)
    return _spine(np.random.default_rng([spec.seed, 2, planned.number]), spec, planned)


def _rows(draft: Draft, study_id: int, planned: _Planned, done: str) -> dict:
    """What a study gives to each table.

    done  what its anomaly did
    """
    series = [{"series_id": s.series_id, "series_description": s.name} for s in draft.scans]
    anomaly = {"split": planned.split, "anomaly": planned.anomaly, "what": done}
    return {
        "study_id": study_id,
        "split": planned.split,
        "truth": truth_rows(study_id, draft.spine, planned.grades),
        "anatomy": [anatomy_row(study_id, draft.spine)],
        "series": [{"study_id": study_id} | row for row in series],
        "points": [{"study_id": study_id} | row for row in draft.points],
        "ungraded": draft.ungraded,
        "anomalies": [{"study_id": study_id} | anomaly] if planned.anomaly else [],
    }


def _write_tables(root: Path, studies: list[dict]) -> None:
    """The truth, then the CSVs as the competition has them (those of training only if there is
    any); sample_submission.csv last, because it says that all is there."""
    train, test = ([s for s in studies if s["split"] == split] for split in ("train", "test"))
    test_ids = [study["study_id"] for study in test]
    truth = _table(studies, "truth")
    known = root / "truth"
    _write(truth, known / "truth.csv")
    _write(_table(studies, "anatomy"), known / "anatomy.csv")
    columns = ["study_id", "split", "anomaly", "what"]
    _write(_table(studies, "anomalies", columns), known / "anomalies.csv")
    _write(wide_labels(truth[truth.study_id.isin(test_ids)]), known / "test.csv")
    for split, part in (("train", train), ("test", test)):
        series = _table(part, "series", ["study_id", "series_id", "series_description"])
        _write(series, root / f"{split}_series_descriptions.csv")
    if train:
        _write(_table(train, "points"), root / "train_label_coordinates.csv")
        labels = _with_gaps(truth[~truth.study_id.isin(test_ids)], train)
        _write(wide_labels(labels), root / "train.csv")
    ids = [row for study in test_ids for row in row_ids(study)]
    sample = pd.DataFrame({"row_id": ids} | dict.fromkeys(GRADE_COLUMNS, 1 / 3))
    _write(sample, root / "sample_submission.csv")


def _write(table: pd.DataFrame, path: Path) -> None:
    write_atomic(path, table.to_csv(index=False))


def _with_gaps(truth: pd.DataFrame, studies: list[dict]) -> pd.DataFrame:
    """The labels as readers gave them: some cells stay empty."""
    gaps = {(study["study_id"], *target) for study in studies for target in study["ungraded"]}
    keys = zip(truth.study_id, truth.condition, truth.level)
    return truth.assign(grade=truth.grade.mask([key in gaps for key in keys], None))


def _table(studies: list[dict], name: str, columns: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame([row for study in studies for row in study[name]], columns=columns)
