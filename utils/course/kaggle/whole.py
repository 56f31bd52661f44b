"""All files at once: of the competition, 36 GB, or of a data set; resumed where an earlier download
was interrupted."""

from __future__ import annotations

import getpass
import logging
import re
from collections.abc import Callable
from pathlib import Path

from utils.course.environment import free_bytes
from utils.course.kaggle.account import COMPETITION, INPUT, KaggleError, attached, sign_in
from utils.course.kaggle.retry import with_retries

log = logging.getLogger(__name__)
_HANDLE = re.compile(r"[\w-]{1,100}/[\w-]{1,100}")
NEEDED_GB = 75  # 36 for the archive, and as much again for its contents


def download_all(ask: Callable[[str], str] = getpass.getpass) -> Path:
    """The competition's folder: attached on Kaggle, or fetched by kagglehub into its cache, where
    an interrupted download resumes. Raises KaggleError."""
    here = downloaded()
    if here:
        return here
    import kagglehub
    from kagglehub import config

    check_disk(Path(config.get_cache_folder()))
    log.info(f"Signed in with {sign_in(ask)}.")
    return Path(with_retries(lambda: kagglehub.competition_download(COMPETITION)))


def downloaded() -> Path | None:
    """The competition's folder, if all of it is on this disk: attached, or fetched before."""
    mount = attached()
    if mount:
        return mount
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_competition_handle

    cached = Cache().load_from_cache(parse_competition_handle(COMPETITION))
    return Path(cached) if cached else None


def data_set(handle: str, ask: Callable[[str], str] = getpass.getpass) -> Path:
    """The folder of a Kaggle data set ("owner/name"): attached, or fetched by kagglehub. Raises
    KaggleError."""
    if not _HANDLE.fullmatch(handle):
        raise KaggleError(f"{handle!r} names no Kaggle data set; its page is kaggle.com/owner/name")
    for mount in (INPUT / "datasets" / handle, INPUT / handle.split("/")[1]):
        if mount.is_dir():
            return mount
    import kagglehub

    log.info(f"Signed in with {sign_in(ask)}.")
    return Path(with_retries(lambda: kagglehub.dataset_download(handle)))


def check_disk(folder: Path) -> None:
    """Raise KaggleError where archive and contents would not fit; what has arrived of the archive
    counts as free."""
    archives = folder.glob("competitions/**/*.archive") if folder.is_dir() else ()
    arrived = sum(path.stat().st_size for path in archives)
    free_gb = (free_bytes(folder) + arrived) / 1e9
    if free_gb < NEEDED_GB:
        raise KaggleError(
            f"{folder}: {free_gb:.0f} GB are free, and the archive (36 GB) and its contents need "
            f"{NEEDED_GB} for a while. Use SOURCE = 'kaggle', which prepares the studies without "
            "keeping their files, or set KAGGLEHUB_CACHE to a folder on a larger disk."
        )
