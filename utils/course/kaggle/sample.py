"""The tables and the images of a few studies: those that are to be looked at, or graded."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from utils.course.kaggle.account import KaggleError, attached, sign_in
from utils.course.kaggle.archive import ArchiveSource, open_archive
from utils.course.kaggle.remote import NoRangesError
from utils.course.kaggle.transfer import fetch_files, list_instances
from utils.files import make_folder, number_named, write_atomic, writing
from utils.locks import at_work
from utils.rsna import GRADES, SCHEMAS, SERIES, TARGETS, Tables, load_tables

log = logging.getLogger(__name__)
FINISHED = {"train": "sample.txt", "test": "test.txt"}  # the studies of finished downloads
BURDEN = dict(zip(GRADES, (0, 1, 3)))  # ranks studies, and nothing else


def download_sample(
    root: str | Path,
    studies: int | list[int] = 3,
    jobs: int = 8,
    ask: Callable[[str], str] = getpass.getpass,
    split: str = "train",
    opened: Callable[[Tables], ArchiveSource] = open_archive,
) -> Path:
    """Fetch the tables, and the images of so many studies of a split (or of these), into root; of
    the test split a number means all.

    opened  gives the archive; for many calls one that has been opened before

    Returns root. Each file is checked and then given its name, so a file that is there is whole,
    and an interrupted call resumes. A sample that is complete needs no network. Raises KaggleError,
    or OutputError where a file cannot be written.
    """
    root = Path(root)
    mount = attached()
    if mount:
        return _link_sample(mount, root, studies)
    if _is_complete(root, studies, split):
        return root
    log.info(f"Signed in with {sign_in(ask)}.")
    with at_work(root, "download"):
        fetch_files(root, dict.fromkeys(SCHEMAS), jobs, "tables")
        tables = load_tables(root)
        chosen = _chosen(tables, studies, split)
        _check_known(tables, chosen, split)
        missing = [study for study in chosen if study not in _finished(root, split)]
        try:
            for study in opened(tables).unpack(missing, root, split):
                _note(root, split, [study])
        except NoRangesError:
            _fetch_one_by_one(tables, missing, root, jobs, split)
        _note(root, split, chosen)
    return root


def _fetch_one_by_one(
    tables: Tables, studies: list[int], root: Path, jobs: int, split: str
) -> None:
    """File by file, where the archive can be had only as a whole."""
    wanted: dict[str, int | None] = {}
    for study in studies:
        for series in tables.series_of(study).series_id:
            wanted.update(_instances(f"{split}_images/{study}/{series}"))
    fetch_files(root, wanted, jobs, f"images of {len(studies)} studies")


def choose(tables: Tables, count: int) -> list[int]:
    """Studies with all labels, all points and one series of each kind, from little narrowing to
    much.

    They are the middles of so many equal parts of the ranking, without the entirely normal ones.
    """
    weighed = tables.labels.assign(burden=tables.labels.grade.map(BURDEN))
    by_study = weighed.groupby("study_id").burden
    burden = by_study.sum()[by_study.count() == by_study.size()]  # graded throughout
    points = tables.points.groupby("study_id").size()
    kinds = tables.series.groupby("study_id").series_description
    one_of_each = (kinds.size() == len(SERIES)) & (kinds.nunique() == len(SERIES))
    complete = (points == len(TARGETS)) & one_of_each
    eligible = burden[(burden > 0) & complete.reindex(burden.index, fill_value=False)]
    ranked = eligible.sort_values(kind="stable").index
    middles = (pd.Series(range(count)) + 0.5) / count * len(ranked)
    return [int(ranked[int(middle)]) for middle in middles]


def _chosen(tables: Tables, studies: int | list[int], split: str = "train") -> list[int]:
    if not isinstance(studies, int):
        return studies
    if split == "train":
        return choose(tables, studies)
    return sorted(set(tables.series.study_id[tables.series.split == split]))


def _instances(folder: str) -> dict[str, int]:
    """The DICOM files of a series and their sizes. Raises KaggleError if there is none."""
    files = dict(list_instances(folder))
    if not files:
        raise KaggleError(f"Kaggle lists no images in {folder}; run this cell again later.")
    return files


def _link_sample(mount: Path, root: Path, studies: int | list[int]) -> Path:
    """The sample as links into the attached data: nothing is copied."""
    chosen = _chosen(load_tables(mount), studies)
    for name in (*SCHEMAS, *(f"train_images/{study}" for study in chosen)):
        link = root / name
        make_folder(link.parent)
        if (mount / name).exists() and not link.exists():
            with writing(link):
                link.symlink_to(mount / name)
    return root


def _finished(root: Path, split: str) -> list[int]:
    """The studies whose images have been fetched, all of them."""
    path = root / FINISHED[split]
    noted = path.read_text(errors="replace").split() if path.is_file() else []
    numbers = map(number_named, noted)
    return [number for number in numbers if number is not None]


def _note(root: Path, split: str, studies: list[int]) -> None:
    """That these have been fetched, too."""
    finished = dict.fromkeys([*_finished(root, split), *studies])
    write_atomic(root / FINISHED[split], "\n".join(map(str, finished)) + "\n")


def _is_complete(root: Path, studies: int | list[int], split: str) -> bool:
    """Are the tables there, and has a call for as many studies, or these, finished before?"""
    if not all((root / name).is_file() for name in SCHEMAS):
        return False
    done = _finished(root, split)
    if isinstance(studies, int):
        return len(done) >= (studies if split == "train" else 1)
    return set(studies) <= set(done)


def _check_known(tables: Tables, studies: list[int], split: str) -> None:
    """Raise KaggleError for a study that is in no table."""
    known = tables.series.study_id[tables.series.split == split]
    unknown = sorted(set(studies) - set(known))
    if unknown:
        named = ", ".join(map(str, unknown))
        raise KaggleError(f"no training study {named}; train.csv lists those there are")
