"""The competition's files from Kaggle: all of them, or the tables and the images of a few studies.

Needs an account that has accepted the competition's rules. What Kaggle refuses is told with what to do about it; the words
of an error of the network are not repeated, because they may hold a signed address.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import re
import shutil
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pandas as pd
import requests
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from utils.rsna import SCHEMAS, SERIES, Tables, load_tables

COMPETITION = "rsna-2024-lumbar-spine-degenerative-classification"
RULES = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
TOKENS = "https://www.kaggle.com/settings/api"
INPUT = Path("/kaggle/input")  # where Kaggle mounts what is attached
ALL_GB = 75  # 36 for the archive, and as much again for what is in it
WAITS = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds before another try
WHOLE_PAGE = 200  # the most names Kaggle lists at once
Answer = TypeVar("Answer")


class KaggleError(RuntimeError):
    """What Kaggle would not give. The message says what to do."""


REFUSED = {
    401: f"Kaggle does not know this API token (any more). Make a new one at {TOKENS} and put it where the old one was.",
    403: f"Kaggle gives these files only to those who have accepted the competition's rules. Open {RULES}, accept them, "
    "and run this cell again.",
    404: "Kaggle has no such file.",
}
NO_TOKEN = (
    f"No Kaggle API token was found. Make one at {TOKENS} and put it in the environment variable KAGGLE_API_TOKEN; on Colab in "
    "a secret of that name (the key in the left margin; allow this notebook to read it). SOURCE = 'phantom' needs none."
)


# --- who one is ------------------------------------------------------------------------------------------------------


def sign_in(ask: Callable[[str], str] = getpass.getpass) -> str:
    """Hands kagglehub a token and says where it came from, never what it is: the environment, Colab's secrets, a file, or, if
    there is none, a question. Raises KaggleError if nobody can be asked."""
    from kagglehub import config

    config.clear_kaggle_credentials()
    if os.environ.get("KAGGLE_API_TOKEN") or {"KAGGLE_USERNAME", "KAGGLE_KEY"} <= set(os.environ):
        return "the environment"
    if token := _colab_secret("KAGGLE_API_TOKEN"):
        config.set_kaggle_api_token(token)
        return "Colab's secrets"
    if (name := _colab_secret("KAGGLE_USERNAME")) and (key := _colab_secret("KAGGLE_KEY")):
        config.set_kaggle_credentials(name, key)
        return "Colab's secrets"
    if config.get_kaggle_credentials():
        return "a file"
    try:
        token = ask("Kaggle API token (it is not shown): ").strip()
    except Exception:  # noqa: BLE001  whatever a front end without a keyboard raises
        token = ""
    if not token:
        raise KaggleError(NO_TOKEN)
    config.set_kaggle_api_token(token)
    return "what you typed"


def _colab_secret(name: str) -> str:
    """A secret of this Colab user, or "": there is none, or this notebook may not read it."""
    try:
        from google.colab import userdata

        return (userdata.get(name) or "").strip()
    except Exception:  # noqa: BLE001  not on Colab, no such secret, no access: each has an exception of its own
        return ""


# --- patience --------------------------------------------------------------------------------------------------------


def patiently(call: Callable[[], Answer]) -> Answer:
    """What call() gives; tried again where Kaggle asks to wait or the line was cut. Raises KaggleError with what to do."""
    for wait in (*WAITS, None):
        try:
            return call()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in REFUSED:
                raise KaggleError(REFUSED[status]) from None
            why = "Kaggle asks to wait (429: too many requests)" if status == 429 else f"Kaggle answers {status}"
            asked = error.response.headers.get("Retry-After", "") if error.response is not None else ""
            wait = max(wait, float(asked)) if wait is not None and asked.isdecimal() else wait
        except (requests.RequestException, _Short):
            why = "the line to Kaggle was cut"
        if wait is not None:
            tqdm.write(f"{why}; trying again in {wait:.0f} s")
            time.sleep(wait)
    raise KaggleError(f"{why}, {len(WAITS) + 1} times. What has arrived is kept: run this cell again later.")


class _Short(Exception):
    """A file that is not what Kaggle said it would be."""


# --- all of it -------------------------------------------------------------------------------------------------------


def attached() -> Path | None:
    """Where Kaggle has mounted the competition's files; None if they are not attached (or this is not Kaggle)."""
    places = INPUT / "competitions" / COMPETITION, INPUT / COMPETITION  # today's, and that of sessions begun before
    return next((place for place in places if place.is_dir()), None)


def download_all(ask: Callable[[str], str] = getpass.getpass) -> Path:
    """The competition's folder: attached on Kaggle, else fetched by kagglehub into its cache (36 GB), where an interrupted
    download goes on. Raises KaggleError."""
    if here := attached():
        return here
    import kagglehub
    from kagglehub import config
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_competition_handle

    if cached := Cache().load_from_cache(parse_competition_handle(COMPETITION)):
        return Path(cached)
    check_disk(Path(config.get_cache_folder()))
    print(f"Signed in with {sign_in(ask)}.")
    return Path(patiently(lambda: kagglehub.competition_download(COMPETITION)))


def check_disk(folder: Path) -> None:
    """Raises KaggleError where archive and contents would not fit; what has arrived of the archive counts as room."""
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    arrived = sum(path.stat().st_size for path in folder.glob("competitions/**/*.archive")) if folder.is_dir() else 0
    free = (shutil.disk_usage(there).free + arrived) / 1e9
    if free < ALL_GB:
        raise KaggleError(
            f"{folder}: {free:.0f} GB are free, and the archive (36 GB) and its contents need {ALL_GB} for a while. Set "
            "KAGGLEHUB_CACHE to a folder on a larger disk, or use SOURCE = 'sample', the tables and a few studies."
        )


# --- the tables and a few studies ------------------------------------------------------------------------------------


def download_sample(
    root: str | Path, studies: int | list[int] = 3, jobs: int = 8, ask: Callable[[str], str] = getpass.getpass
) -> Path:
    """The tables, and the images of so many training studies (or of these), file by file into root; returns root.

    Each file is checked and then named, so whatever has its name is whole; an interrupted call goes on. Without a network,
    what is already there is used. Raises KaggleError.
    """
    root, names = Path(root), list(SCHEMAS)
    if here := attached():
        return _linked(here, root, studies)
    if not all((root / name).is_file() for name in names) or not _complete(root, studies):
        print(f"Signed in with {sign_in(ask)}.")
        _fetch_all(root, {name: None for name in names}, jobs, "tables")
        chosen = choose(load_tables(root), studies) if isinstance(studies, int) else studies
        wanted = dict(pair for folder in _series_folders(load_tables(root), chosen) for pair in _listed(folder))
        _fetch_all(root, wanted, jobs, f"images of {len(chosen)} studies")
        (root / "sample.txt").write_text("\n".join(map(str, chosen)) + "\n")
    return root


def _linked(here: Path, root: Path, studies: int | list[int]) -> Path:
    """The sample out of the attached data: nothing is copied."""
    tables = load_tables(here)
    chosen = choose(tables, studies) if isinstance(studies, int) else studies
    for name in (*SCHEMAS, *(f"train_images/{study}" for study in chosen)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (here / name).exists() and not (root / name).exists():
            (root / name).symlink_to(here / name)
    return root


def _complete(root: Path, studies: int | list[int]) -> bool:
    """Has a call for as many studies, or these, been here before, and come to its end?"""
    done = (root / "sample.txt").read_text().split() if (root / "sample.txt").is_file() else []
    return len(done) >= studies if isinstance(studies, int) else set(map(str, studies)) <= set(done)


def choose(tables: Tables, count: int) -> list[int]:
    """Studies with all labels, points and one series of each kind, from little narrowed to much."""
    graded = tables.labels.assign(burden=tables.labels.grade.map({"Normal/Mild": 0, "Moderate": 1, "Severe": 3}))
    burden = graded.groupby("study_id").burden.agg(lambda of: of.sum() if of.notna().all() else -1)
    points, kinds = tables.points.groupby("study_id").size(), tables.series.groupby("study_id").series_description
    whole = (points == 25) & (kinds.size() == len(SERIES)) & (kinds.nunique() == len(SERIES))
    ranked = burden[(burden > 0) & whole.reindex(burden.index, fill_value=False)].sort_values(kind="stable").index
    places = (pd.Series(range(count)) + 0.5) / count * len(ranked)
    return [int(ranked[int(place)]) for place in places]


def _series_folders(tables: Tables, studies: list[int]) -> list[str]:
    rows = tables.series[tables.series.study_id.isin(studies) & (tables.series.split == "train")]
    if unknown := set(studies) - set(rows.study_id):
        raise KaggleError(f"no training study {', '.join(map(str, sorted(unknown)))}; train.csv names those there are")
    return [f"train_images/{row.study_id}/{row.series_id}" for row in rows.itertuples()]


def _listed(folder: str) -> Iterator[tuple[str, int]]:
    """Which instances of a series exist, and their sizes in bytes."""
    from kagglesdk.competitions.types.competition_api_service import ApiListDataTreeFilesRequest

    request = ApiListDataTreeFilesRequest()
    request.competition_name, request.path, request.page_size = COMPETITION, folder, WHOLE_PAGE
    while True:
        page = patiently(lambda: _api(lambda api: api.list_data_tree_files(request)))
        for file in page.files:
            if re.fullmatch(r"\d+\.dcm", file.name):  # nothing else belongs there, and no name leads elsewhere
                yield f"{folder}/{file.name}", file.total_bytes
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _fetch_all(root: Path, wanted: dict[str, int | None], jobs: int, what: str) -> None:
    todo = [name for name in wanted if not (root / name).is_file()]
    work = Parallel(jobs, prefer="threads", return_as="generator_unordered")(
        delayed(patiently)(lambda name=name: _fetch(root, name, wanted[name])) for name in todo
    )
    for _ in tqdm(work, f"fetching {what}", len(wanted), initial=len(wanted) - len(todo), unit="file"):
        pass


def _fetch(root: Path, name: str, size: int | None) -> None:
    """One file under another name, checked, then under its own. Raises _Short if it is not what was announced."""
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFileRequest

    request = ApiDownloadDataFileRequest()
    request.competition_name, request.file_name = COMPETITION, name
    final = root / name
    partial = final.with_name(f".{final.name}")
    final.parent.mkdir(parents=True, exist_ok=True)
    _api(lambda api: _save(api.download_data_file(request), partial))
    if zipfile.is_zipfile(partial):  # tables come compressed
        with zipfile.ZipFile(partial) as archive:
            table = archive.read(final.name)
        partial.write_bytes(table)
    if size is not None and partial.stat().st_size != size:
        raise _Short
    partial.replace(final)


def _save(response: requests.Response, path: Path) -> None:
    """The body into a file; raises _Short where length or MD5 are not those of the headers."""
    response.raise_for_status()
    md5, length = hashlib.md5(usedforsecurity=False), 0
    with contextlib.closing(response), path.open("wb") as file:
        for chunk in response.iter_content(1 << 20):
            md5.update(chunk)
            length += file.write(chunk)
    hashes = response.headers.get("x-goog-hash", "").replace(" ", "").split(",")  # crc32c=…,md5=…
    announced = dict(part.split("=", 1) for part in hashes if "=" in part)
    if length != int(response.headers.get("Content-Length", length)) and "Content-Encoding" not in response.headers:
        raise _Short
    if announced.get("md5", sum_of := b64encode(md5.digest()).decode()) != sum_of:
        raise _Short


def _api(call: Callable) -> object:
    """call(the competition's part of Kaggle's API)."""
    from kagglehub.clients import build_kaggle_client

    with build_kaggle_client() as client:
        return call(client.competitions.competition_api_client)
