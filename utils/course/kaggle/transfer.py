"""Single files of the competition: listed, fetched, checked, and only then given their names.

kagglehub.competition_download (1.0.2) fetches single files too, but it does not keep a data folder
whole: it writes under the final name, so that a lost connection leaves half a file there. With an
output_dir it then raises FileExistsError, or with force_download deletes that half, so that nothing
resumes. It also unpacks a table only if the redirected address ends in .zip, leaves a folder
.complete among the data, and prints a progress bar for every file, of which a sample has hundreds.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from utils.course.kaggle.account import COMPETITION, KaggleError
from utils.course.kaggle.retry import DamagedFileError, with_retries
from utils.files import writing

PAGE_SIZE = 200  # the most names that Kaggle lists at once
CHUNK_BYTES = 1 << 20


def list_instances(folder: str) -> Iterator[tuple[str, int]]:
    """Path and size in bytes of every instance of a series folder (train_images/study/series)."""
    from kagglesdk.competitions.types.competition_api_service import ApiListDataTreeFilesRequest

    request = ApiListDataTreeFilesRequest()
    request.competition_name = COMPETITION
    request.path = folder
    request.page_size = PAGE_SIZE
    with _competition_api() as api:
        while True:
            page = with_retries(lambda: api.list_data_tree_files(request))
            for file in page.files:
                # Nothing else belongs there, and a name with a path could lead elsewhere.
                if re.fullmatch(r"\d+\.dcm", file.name):
                    yield f"{folder}/{file.name}", file.total_bytes
            if not page.next_page_token:
                return
            if page.next_page_token == request.page_token:
                raise KaggleError(f"Kaggle lists {folder} without end; run this cell again later.")
            request.page_token = page.next_page_token


def signed_archive() -> str:
    """The address at which the archive of all files can be fetched for a while. Its body is not
    read. Raises requests' errors."""
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

    request = ApiDownloadDataFilesRequest()
    request.competition_name = COMPETITION
    with _competition_api() as api, contextlib.closing(api.download_data_files(request)) as answer:
        answer.raise_for_status()
        return answer.url


def fetch_files(root: Path, wanted: dict[str, int | None], jobs: int, what: str) -> None:
    """Fetch files into root, those that are not there yet, several at a time.

    wanted  sizes in bytes by path, None where the size is not known
    what    for the progress bar
    Raises KaggleError or OutputError.
    """
    todo = [name for name in wanted if not (root / name).is_file()]
    done = len(wanted) - len(todo)
    with _competition_api() as api:
        tasks = [delayed(_fetch_with_retries)(api, root, name, wanted[name]) for name in todo]
        fetched = Parallel(jobs, prefer="threads", return_as="generator_unordered")(tasks)
        for _ in tqdm(fetched, f"fetching {what}", len(wanted), initial=done, unit="file"):
            pass


def _fetch_with_retries(api: Any, root: Path, name: str, size: int | None) -> None:
    with writing(root / name):
        with_retries(lambda: _fetch(api, root, name, size))


def _fetch(api: Any, root: Path, name: str, size: int | None) -> None:
    """One file under another name, checked, then under its own. Raises DamagedFileError."""
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFileRequest

    request = ApiDownloadDataFileRequest()
    request.competition_name = COMPETITION
    request.file_name = name
    final = root / name
    partial = final.with_name(f".{final.name}")
    final.parent.mkdir(parents=True, exist_ok=True)
    _save(api.download_data_file(request), partial)
    if zipfile.is_zipfile(partial):  # tables come compressed
        with zipfile.ZipFile(partial) as archive:
            table = archive.read(final.name)
        partial.write_bytes(table)
    if size is not None and partial.stat().st_size != size:
        raise DamagedFileError
    partial.replace(final)


def _save(response: requests.Response, path: Path) -> None:
    """Write the body; raises DamagedFileError where length or MD5 differ from the headers'."""
    response.raise_for_status()
    md5 = hashlib.md5(usedforsecurity=False)
    length = 0
    with contextlib.closing(response), path.open("wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            md5.update(chunk)
            length += file.write(chunk)
    announced = int(response.headers.get("Content-Length", length))
    if length != announced and "Content-Encoding" not in response.headers:
        raise DamagedFileError
    computed = b64encode(md5.digest()).decode()
    if _announced_md5(response) not in ("", computed):
        raise DamagedFileError


def _announced_md5(response: requests.Response) -> str:
    """Base64 from Google's header `x-goog-hash: crc32c=…,md5=…`, or "" without one."""
    hashes = response.headers.get("x-goog-hash", "").replace(" ", "").split(",")
    by_kind = dict(part.split("=", 1) for part in hashes if "=" in part)
    return by_kind.get("md5", "")


@contextlib.contextmanager
def _competition_api() -> Iterator[Any]:
    """The competition part of Kaggle's API, for many calls: to make it takes as long as one."""
    from kagglehub.clients import build_kaggle_client

    with build_kaggle_client() as client:
        yield client.competitions.competition_api_client
