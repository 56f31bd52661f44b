"""The tables and the images of a few training studies, file by file."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from utils.course.kaggle.account import KaggleError, attached, sign_in
from utils.course.kaggle.transfer import fetch_files, list_instances
from utils.files import write_atomic
from utils.locks import at_work
from utils.rsna import GRADES, SCHEMAS, SERIES, TARGETS, Tables, load_tables

log = logging.getLogger(__name__)
FINISHED = "sample.txt"  # the studies of the last finished download
BURDEN = dict(zip(GRADES, (0, 1, 3)))  # ranks studies, and nothing else


def download_sample(
    root: str | Path,
    studies: int | list[int] = 3,
    jobs: int = 8,
    ask: Callable[[str], str] = getpass.getpass,
) -> Path:
    """Fetch the tables, and the images of so many training studies (or of these), into root.

    Returns root. Each file is checked and then given its name, so a file that is there is whole,
    and an interrupted call resumes. A sample that is complete needs no network. Raises KaggleError,
    or OutputError where a file cannot be written.
    """
    root = Path(root)
    mount = attached()
    if mount:
        return _link_sample(mount, root, studies)
    if _is_complete(root, studies):
        return root
    log.info(f"Signed in with {sign_in(ask)}.")
    with at_work(root, "download"):
        fetch_files(root, dict.fromkeys(SCHEMAS), jobs, "tables")
        tables = load_tables(root)
        chosen = _chosen(tables, studies)
        wanted: dict[str, int | None] = {}
        for folder in _series_folders(tables, chosen):
            wanted.update(_instances(folder))
        fetch_files(root, wanted, jobs, f"images of {len(chosen)} studies")
        write_atomic(root / FINISHED, "\n".join(map(str, chosen)) + "\n")
    return root


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


def _chosen(tables: Tables, studies: int | list[int]) -> list[int]:
    return choose(tables, studies) if isinstance(studies, int) else studies


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
        link.parent.mkdir(parents=True, exist_ok=True)
        if (mount / name).exists() and not link.exists():
            link.symlink_to(mount / name)
    return root


def _is_complete(root: Path, studies: int | list[int]) -> bool:
    """Are the tables there, and has a call for as many studies, or these, finished before?"""
    if not all((root / name).is_file() for name in SCHEMAS):
        return False
    finished = root / FINISHED
    done = finished.read_text(errors="replace").split() if finished.is_file() else []
    if isinstance(studies, int):
        return len(done) >= studies
    return set(map(str, studies)) <= set(done)


def _series_folders(tables: Tables, studies: list[int]) -> list[str]:
    """The folders of all series of training studies. Raises KaggleError for an unknown study."""
    of_studies = tables.series.study_id.isin(studies)
    rows = tables.series[of_studies & (tables.series.split == "train")]
    unknown = sorted(set(studies) - set(rows.study_id))
    if unknown:
        named = ", ".join(map(str, unknown))
        raise KaggleError(f"no training study {named}; train.csv lists those there are")
    return [f"train_images/{row.study_id}/{row.series_id}" for row in rows.itertuples()]
