"""Exams that have to be brought here: a volunteer's, who has placed it in the public domain, or one
from the computer before which a user of Colab sits.

The volunteer's: a 0.3 T Hitachi AIRIS Vento, five lumbar series of one man, no grades, at
github.com/mapconcierge/taichi2018Jan_mri05tesla_wakasa (README: data licence CC0; LICENSE:
Unlicense). Fetched when it is asked for, each file checked by its SHA-256; none of it is in this
project.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pooch
import requests
from tqdm.auto import tqdm

from utils.course.environment import environment
from utils.errors import LumbarError
from utils.files import write_atomic, writing

REPOSITORY = "https://raw.githubusercontent.com/mapconcierge/taichi2018Jan_mri05tesla_wakasa"
# A commit, and one with the same files by its whole name, for a server that knows no short ones.
COMMITS = ("36c1dc3", "45405228c5162611bf61627b837d90557245610e")
FILES = Path(__file__).with_name("volunteer.csv")  # path, sha256
RETRIES = 3
TIMEOUT_S = 30


class FetchError(LumbarError):
    """An exam that cannot be brought here."""


def fetch_volunteer(folder: Path) -> Path:
    """The folder with the volunteer's files, fetched where they are not there yet. What has arrived
    is kept. Raises FetchError, or OutputError where they cannot be written."""
    known = dict(pd.read_csv(FILES).itertuples(index=False))
    todo = [name for name in known if not _is_there(folder / name, known[name])]
    bar = {"total": len(known), "initial": len(known) - len(todo), "disable": not todo}
    with _quiet_pooch(), writing(folder):
        for name in tqdm(todo, "fetching a volunteer's MRI", unit="file", **bar):
            _fetch(folder, name, known[name])
    return folder


def upload(folder: Path) -> Path:
    """The folder with what a user of Colab chooses now, a zip or files, in place of what was chosen
    before; a choice of nothing leaves that. The names, which may be a patient's, are not kept.

    Raises FetchError outside Colab, and where nothing was ever chosen.
    """
    if environment() != "colab":
        raise FetchError('SOURCE = "upload" is for Colab: give the path of your folder or zip here')
    from google.colab import files

    chosen = files.upload()  # {name: bytes}; Colab leaves a copy of each under its name
    if chosen:
        shutil.rmtree(folder, ignore_errors=True)
    for number, (name, content) in enumerate(chosen.items(), 1):
        is_zip = zipfile.is_zipfile(BytesIO(content))
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / f"{number}{'.zip' * is_zip}", content)
        Path(name).unlink(missing_ok=True)
    if not folder.is_dir():
        raise FetchError("No file was chosen: run this cell again")
    return folder


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and pooch.hashes.hash_matches(path, sha256)


def _fetch(folder: Path, name: str, sha256: str) -> None:
    """One file, from the first commit that the server knows."""
    for commit in COMMITS:
        address, known = f"{REPOSITORY}/{commit}/", {name: sha256}
        registry = pooch.create(folder, address, registry=known, retry_if_failed=RETRIES)
        try:
            registry.fetch(name, downloader=pooch.HTTPDownloader(timeout=TIMEOUT_S))
            return
        except requests.HTTPError as error:
            cause = f"the server answers {getattr(error.response, 'status_code', 'nothing')}"
        except requests.RequestException:
            cause = "the connection was lost"
        except ValueError:
            cause = f"{name} is not the file that is known"
    raise FetchError(
        f"The volunteer's MRI cannot be fetched from github.com ({cause}). What has arrived is "
        "kept: run this cell again later, or set SOURCE to 'phantom'"
    )


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Its line for every file would hide the bar."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
