"""All studies of a workspace, prepared: from its data folder, out of the competition's archive at
Kaggle, or from a copy elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from utils.course import kaggle, machine
from utils.course.machine import PATIENTS
from utils.course.workspace import Workspace, drive_folder
from utils.prepare import Shards, Source, prepare, restore
from utils.rsna import load_tables

log = logging.getLogger(__name__)


def studies_of(work: Workspace) -> Path | Source:
    """All studies of a workspace, for `prepare.prepare`: its data folder; or, where only a few
    studies of the competition are in it, the competition's archive at Kaggle, of which no file is
    kept. If that can be had only as a whole, it is fetched. Raises KaggleError."""
    if not _is_streamed(work):
        return work.data
    try:
        kaggle.sign_in()
        return kaggle.open_archive(load_tables(work.data))
    except kaggle.NoRangesError as error:
        log.warning(f"{error} All of it is fetched.")
        return kaggle.download_all()


def shards_of(store: str, work: Workspace) -> Shards | None:
    """The copy of a workspace's prepared studies on Google Drive ("drive"), in the folder named, or
    in a Kaggle data set ("kaggle:owner/name"), under a name of its own; None for "" or "none"."""
    if store in ("", "none"):
        return None
    if store.startswith("kaggle:"):
        return Shards(kaggle.data_set(store.removeprefix("kaggle:")))
    base = drive_folder("STORE") if store == "drive" else Path(store).expanduser()
    return Shards(base / f"prepared-{work.prepared.name}")


def fetcher(work: Workspace) -> Callable[[int], None] | None:
    """What brings the images of one training study into the data folder, for a viewer, where they
    are at Kaggle; None where all of them are here."""
    if not _is_streamed(work):
        return None

    @cache
    def archive() -> kaggle.ArchiveSource:  # its directory is read once
        return kaggle.open_archive(load_tables(work.data))

    def fetch(study: int) -> None:
        kaggle.download_sample(work.data, [study], opened=lambda tables: archive())

    return fetch


def prepare_studies(work: Workspace, jobs: int = 2, store: str = "") -> pd.DataFrame:
    """Prepare all studies of a workspace; returns folds.csv, as `prepare.prepare` does.

    store  a copy that is filled, and from which another machine gets the studies: see shards_of.
           Studies that are complete there and whose images are not here are taken as they are

    Raises machine.DiskError before work begins where the studies have no room, and what `prepare`
    raises.
    """
    shards, out, folds = shards_of(store, work), work.prepared, work.preset.folds
    spacing_mm, here = work.preset.spacing_mm, load_tables(work.data).studies("train")
    if _is_streamed(work):
        done = len(list(out.glob("*.made_of"))) if out.is_dir() else 0
        machine.check_room(work.preset, out, machine.IMAGES * (PATIENTS - done) // PATIENTS)
    only_there = shards is not None and bool(set(shards.complete) - set(here))
    if shards and only_there and restore(shards, out, folds, spacing_mm=spacing_mm):
        return pd.read_csv(out / "folds.csv")
    return prepare(studies_of(work), out, jobs, folds, spacing_mm=spacing_mm, shards=shards)


def _is_streamed(work: Workspace) -> bool:
    """Whether only a few studies of the competition are in the data folder."""
    return work.source == "kaggle" and work.data == work.home / "data" / work.source
