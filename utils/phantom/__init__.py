"""Synthetic studies in the competition's own layout, whose grades can be seen and whose truth is known.

    python -m utils.phantom --out DIR --studies 60 --test-studies 8 --seed 0

grades    how often each grade is met, and what it leaves of a structure
anatomy   one spine as geometry, its narrowings drawn from the grades
tissue    which tissue lies where in a slice
signal    tissue to MR picture: sequence, coil, k-space
scan      protocols, planes, DICOM files
quirks    the faults of the real data set, on purpose
sheet     all of it on one page
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from utils.phantom.anatomy import anatomy_row, make_spine, truth_rows
from utils.phantom.grades import OPENING, sample_grades, ungraded
from utils.phantom.quirks import IN_IMAGES, IN_POINTS, QUIRKS, Draft, annotate, dealt
from utils.phantom.scan import CONTRASTS, protocols, scan, strayed, write_scan
from utils.rsna import GRADE_COLUMNS, row_ids, wide_labels

__all__ = ["CONTRASTS", "OPENING", "QUIRKS", "SIZES", "VERSION", "make_dataset", "study_id_of", "true_labels"]

VERSION = 6  # raise when the same seed gives other bytes
SIZES = {"demo": (256, 192), "real": None}  # matrix of the sagittal and of the axial images, px; None: as varied as real ones


def make_dataset(
    root: str | Path,
    studies: int,
    seed: int = 0,
    test_studies: int = 8,
    prevalence: str = "balanced",
    size: tuple[int, int] | None = SIZES["demo"],
    quirks: tuple[str, ...] = (),
    jobs: int = 2,
    contrast: str = "clinical",
    grading: str = "textbook",
    only_test: bool = False,
) -> Path:
    """Write `studies` training and `test_studies` test studies under root; returns root.

    prevalence  "real": grades as frequent as in the 1,975 real studies; "balanced": enough severe ones for a small set
    size        matrix of the sagittal and of the axial images, px; None: as varied as real ones (256 to 640)
    quirks      names out of QUIRKS, dealt one to a study, from the first study on, in each split
    contrast    "clinical"; "mixed": most series' tissues stray in brightness, and what the picture frames strays a little;
                "random": all stray, in brightness so far that nothing is left
    grading     "textbook": grades lie well apart; "readers": borderline patients, who would be graded otherwise by another reader
    only_test   write the test studies alone, the same as those beside so many training studies
    The truth goes to root/truth: truth.csv (grade, size in mm, point in mm of every target), anatomy.csv, quirks.csv,
    test.csv (the hidden labels). A second call with the same arguments does nothing, and one after a kill goes on;
    another call into the same folder raises ValueError.
    """
    root = Path(root)
    dealt(quirks, "train", 0)  # refuses unknown names before anything is written
    settings = {"version": VERSION, "studies": studies, "test_studies": test_studies, "seed": seed}
    settings |= {"prevalence": prevalence, "size": size and list(size), "quirks": list(quirks)}
    settings |= {"contrast": contrast} if contrast != "clinical" else {}
    settings |= {"grading": grading} if grading != "textbook" else {}
    settings |= {"only_test": True} if only_test else {}
    _claim(root, settings)
    if (root / "sample_submission.csv").is_file():  # the last file written
        return root
    grades = sample_grades(np.random.default_rng([seed, 0]), studies + test_studies, prevalence)
    work = []
    for k, g in enumerate(grades):
        split, place = ("train", k) if k < studies else ("test", k - studies)
        if only_test and split == "train":
            continue
        how = size, contrast, grading, dealt(quirks, split, place)
        work.append(delayed(_make_study)(root, study_id_of(seed, k), split, [seed, 2, k], g, *how))
    results = Parallel(jobs, return_as="generator")(work)
    _write_tables(root, list(tqdm(results, total=len(work), desc="phantom studies", unit="study")))
    return root


def study_id_of(seed: int, k: int) -> int:
    """Ids above every real one (the largest is 4,290,709,089), so that the two are never confused."""
    return 9_000_000_000 + (seed % 10_000) * 100_000 + k


def _claim(root: Path, settings: dict) -> None:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "phantom.json"
    if path.is_file() and (found := json.loads(path.read_text())) != settings:
        raise ValueError(f"{root} holds another phantom ({found}); choose another folder or delete it")
    if not path.is_file() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and holds no phantom; choose another folder")
    path.write_text(json.dumps(settings))


def _make_study(
    root: Path, study_id: int, split: str, seed: list[int], grades: np.ndarray, size, contrast: str, grading: str, quirk: str
) -> dict:
    """One study: its files (unless they are there) and the rows it gives to the tables."""
    final, temporary = root / f"{split}_images" / str(study_id), root / f".making-{study_id}" / str(study_id)
    record = root / "truth" / f"{study_id}.json"
    if record.is_file() and final.is_dir():
        return json.loads(record.read_text())
    shutil.rmtree(temporary.parent, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    draft, done = _draft(study_id, seed, grades, size, contrast, grading, quirk)
    for one in draft.scans:
        write_scan(one, temporary / str(one.series_id))
    rows = {"study_id": study_id, "split": split, "truth": truth_rows(study_id, draft.spine, grades)}
    rows["anatomy"] = [anatomy_row(study_id, draft.spine)]
    rows["series"] = [{"study_id": study_id, "series_id": s.series_id, "series_description": s.name} for s in draft.scans]
    rows["points"] = [{"study_id": study_id} | row for row in draft.points]
    rows["ungraded"] = draft.ungraded
    rows["quirks"] = [{"study_id": study_id, "split": split, "quirk": quirk, "what": done}] if quirk else []
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps(rows))
    final.parent.mkdir(exist_ok=True)
    temporary.rename(final)
    temporary.parent.rmdir()
    return rows


def _draft(
    study_id: int, seed: list[int], grades: np.ndarray, size, contrast: str, grading: str, quirk: str
) -> tuple[Draft, str]:
    """Patient, scans and points of one study, with its quirk; also what the quirk did."""
    rng, apart = np.random.default_rng(seed), np.random.default_rng([*seed, 1])  # the same patient in every contrast
    spine = make_spine(rng, grades, grading=grading)
    chosen = [strayed(protocol, contrast, apart) for protocol in protocols(rng, size)]
    scans = [scan(rng, spine, p, study_id * 10 + n) for n, p in enumerate(chosen, start=1)]
    draft = Draft(spine, scans, ungraded(rng), [])
    done = IN_IMAGES[quirk](draft, rng) if quirk in IN_IMAGES else ""
    draft.points = annotate(draft)
    return draft, IN_POINTS[quirk](draft, rng) if quirk in IN_POINTS else done


def _write_tables(root: Path, studies: list[dict]) -> None:
    """The five CSVs as the competition has them (those of training only if there is any), and the truth beside them."""
    truth = _table(studies, "truth")
    truth.to_csv(root / "truth" / "truth.csv", index=False)
    _table(studies, "anatomy").to_csv(root / "truth" / "anatomy.csv", index=False)
    _table(studies, "quirks", ["study_id", "split", "quirk", "what"]).to_csv(root / "truth" / "quirks.csv", index=False)
    test = [study["study_id"] for study in studies if study["split"] == "test"]
    wide_labels(truth[truth.study_id.isin(test)]).to_csv(root / "truth" / "test.csv", index=False)
    for name in ("train", "test"):
        part = [study for study in studies if study["split"] == name]
        series = _table(part, "series", ["study_id", "series_id", "series_description"])
        series.to_csv(root / f"{name}_series_descriptions.csv", index=False)
    if train := [study for study in studies if study["split"] == "train"]:
        _table(train, "points").to_csv(root / "train_label_coordinates.csv", index=False)
        labels = truth[~truth.study_id.isin(test)].copy()
        gaps = {(study["study_id"], condition, level) for study in train for condition, level in study["ungraded"]}
        labels.loc[[key in gaps for key in zip(labels.study_id, labels.condition, labels.level)], "grade"] = None
        wide_labels(labels).to_csv(root / "train.csv", index=False)
    ids = [row for study in test for row in row_ids(study)]
    sample = pd.DataFrame({"row_id": ids} | dict.fromkeys(GRADE_COLUMNS, 1 / 3))
    sample.to_csv(root / "sample_submission.csv.tmp", index=False)
    (root / "sample_submission.csv.tmp").rename(root / "sample_submission.csv")


def _table(studies: list[dict], name: str, columns: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame([row for study in studies for row in study[name]], columns=columns)


def true_labels(root: str | Path, split: str = "test") -> pd.DataFrame:
    """The truth of a phantom in the form of Tables.labels, for every study of a split; also with points in mm."""
    root = Path(root)
    truth = pd.read_csv(root / "truth" / "truth.csv")
    folder = root / f"{split}_images"
    here = {int(p.name) for p in folder.iterdir() if p.name.isdecimal()} if folder.is_dir() else set()
    return truth[truth.study_id.isin(here)].reset_index(drop=True)
