"""A prepared data set: every training study of a data folder on disk, with labels and folds.

Each study is prepared by one process and written whole; the tables come last. What a study was made
of is noted with it, so that a second call redoes only what has changed.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from joblib import delayed
from tqdm.auto import tqdm

from utils.dicom.errors import NOT_READ
from utils.files import csv_text, read_json, read_table, reason, write_atomic, writing
from utils.locks import at_work
from utils.parallel import in_processes
from utils.prepare.folds import make_folds
from utils.prepare.normalisation import AIR, AIR_FRACTION, ONE_SCALE, PERCENTILES
from utils.prepare.shards import LABELS, Shards
from utils.prepare.sources import FolderSource, Source, opened
from utils.prepare.storage import (
    LABEL_COLUMNS,
    PreparedDataError,
    load_study,
    read_content,
    read_made_of,
    save_study,
)
from utils.prepare.study import prepare_study
from utils.presets import SPACING_MM
from utils.rsna import Tables, load_tables

SHOWN_FROM = 300  # studies are compared in less than the three seconds that need no progress bar
OLD_S = 3600  # a file that is being written is younger
_AGAIN = "delete it or choose another folder"
VERSION = 6  # raise when the content of a prepared data set changes


def prepare(
    root: str | Path | Source,
    out: str | Path,
    jobs: int = 2,
    folds: int = 4,
    seed: int = 0,
    spacing_mm: float = SPACING_MM,
    shards: Shards | None = None,
) -> pd.DataFrame:
    """Prepare every training study of the data folder root whose images are on this disk, or of
    another source of studies; returns folds.csv, one row per study (study_id, fold).

    Resumable and idempotent: a prepared study is prepared again only if what it was made of has
    changed: files, rows of the tables, known faults. Writes labels.csv, points.csv, folds.csv and
    left_out.csv beside the studies. Runs on joblib: under `joblib.parallel_config("dask")` on a
    Dask cluster.

    spacing_mm  finer images are resampled to it: half of it needs four times the disk
    shards      a copy elsewhere, which is filled as studies are finished; what it has of them
                already is taken from it

    Without labels the studies can be graded, and folds.csv is empty: there is nothing to train on.

    Raises PreparedDataError if out was prepared with other settings or if there are no images,
    OutputError if it cannot be written, BusyError if another process is preparing into it.
    """
    source = FolderSource(load_tables(root)) if isinstance(root, str | Path) else root
    tables, out, studies = source.tables, Path(out), source.studies()
    if not studies:
        raise PreparedDataError(
            f"{tables.root}: no images under train_images. Download them, or set SOURCE = 'phantom'"
        )
    labels = tables.labels[tables.labels.study_id.isin(studies)]
    with at_work(out):
        _bind_to_settings(out, spacing_mm, shards)
        _remove_partial_files(out)
        if shards:
            shards.restore(out)
        _prepare_studies(source, studies, out, jobs, spacing_mm, shards)
        _write_tables(studies, out, labels, make_folds(labels, folds, seed))
        if shards:
            shards.finish(out)
    return pd.read_csv(out / "folds.csv")


def restore(
    shards: Shards,
    out: str | Path,
    folds: int = 4,
    seed: int = 0,
    spacing_mm: float = SPACING_MM,
) -> bool:
    """Make the prepared data set out from its copy alone, as `prepare` would have made it; False
    where the copy is not complete. Raises as `prepare` does."""
    out, studies = Path(out), shards.complete
    with at_work(out):
        _bind_to_settings(out, spacing_mm, shards)
        shards.restore(out)
        if not shards.complete:
            return False
        labels = read_table(shards.folder / LABELS, LABEL_COLUMNS, PreparedDataError, _AGAIN)
        _write_tables(studies, out, labels, make_folds(labels, folds, seed))
    return True


def _bind_to_settings(out: Path, spacing_mm: float, shards: Shards | None) -> None:
    """A folder belongs to the settings it was prepared with, which are in its manifest.json, and so
    does its copy; raises PreparedDataError if they are not the present ones."""
    settings = {
        "version": VERSION,
        "spacing_mm": spacing_mm,
        "air": [AIR, AIR_FRACTION],
        "percentiles": list(PERCENTILES),
        "one_scale": ONE_SCALE,
    }
    manifest = out / "manifest.json"
    if not manifest.is_file():
        write_atomic(manifest, json.dumps(settings))
    found = read_json(manifest, PreparedDataError, _AGAIN)
    if found != settings:
        raise PreparedDataError(
            f"{out} was prepared with {found}, now asked for {settings}; {_AGAIN}"
        )
    if shards:
        shards.bind(settings)


def check_spacing(out: str | Path, spacing_mm: float) -> None:
    """Raise PreparedDataError where the folder out was prepared at another spacing: models see
    crops as sharp as in training."""
    manifest = Path(out) / "manifest.json"
    found = read_json(manifest, PreparedDataError, _AGAIN).get("spacing_mm")
    if found != spacing_mm:
        raise PreparedDataError(
            f"{out} was prepared at {found} mm per pixel, and the preset wants {spacing_mm}: "
            f"prepare into another folder with spacing_mm={spacing_mm} (`--spacing`)"
        )


def _remove_partial_files(out: Path) -> None:
    """What a killed process was writing; see utils.files.write_atomic. Crops may be being cut for a
    training run meanwhile: only what is old is removed."""
    for partial in out.glob("partial-*.tmp"):
        with writing(partial):
            partial.unlink()
    for partial in out.glob("crops/*/partial-*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # it has got its name meanwhile
            if time.time() - partial.stat().st_mtime > OLD_S:
                partial.unlink()


def _prepare_studies(
    source: Source,
    studies: list[int],
    out: Path,
    jobs: int,
    spacing_mm: float,
    shards: Shards | None,
) -> None:
    """Prepare and save the studies that are not there yet, or not as they are now."""
    few = len(studies) < SHOWN_FROM
    listed = tqdm(studies, "looking for what has changed", unit="study", disable=few)
    made_of = {study: source.fingerprint(study) for study in listed}
    todo = [study for study in studies if not _is_done(out, study, made_of[study])]
    work = _work(source, {study: made_of[study] for study in todo}, out, spacing_mm)
    left_out, finished = 0, iter(studies)
    done = len(studies) - len(todo)
    with in_processes(work, jobs, len(studies), "preparing", done) as progress:
        for count, study in zip(progress, todo):
            left_out += count
            progress.set_postfix_str(f"{left_out} left out{source.progress}", refresh=False)
            if shards:
                _copy_until(study, finished, out, shards)
    if shards:
        _copy_until(None, finished, out, shards)


def _copy_until(study: int | None, finished: Iterator[int], out: Path, shards: Shards) -> None:
    """Give the shards the next of the studies up to this one, which is finished; None: the rest."""
    for each in finished:
        shards.add(out, each)
        if each == study:
            break


def _work(source: Source, made_of: dict[int, str], out: Path, spacing_mm: float) -> Iterator[tuple]:
    """Calls of _prepare_one, as their files come. What stops the source is raised in the place of a
    call: joblib takes the next one in a thread, where an error would be lost."""
    try:
        for study, files in zip(made_of, source.fetch(list(made_of))):
            tables = source.tables.only(study)
            yield delayed(_prepare_one)(tables, files, study, out, spacing_mm, made_of[study])
    except Exception as error:  # noqa: BLE001  whatever it is, it must not be lost
        yield delayed(_fail)(error)


def _fail(error: Exception) -> int:
    raise error


def _prepare_one(
    tables: Tables, files: bytes | None, study_id: int, out: Path, spacing_mm: float, made_of: str
) -> int:
    """Prepare and save a study; returns how much of it was left out."""
    study = prepare_study(opened(tables, files), study_id, spacing_mm)
    if files is None:
        check_still_there(tables.root)
    if any(why.startswith(NOT_READ) for _, why in study.left_out):
        made_of = ""  # the disk's fault: tried again next time
    for stale in out.glob(f"crops/*/{study_id}.*"):  # cut from the study as it was before
        with writing(stale):
            stale.unlink(missing_ok=True)
    save_study(study, out, made_of)
    return len(study.left_out)


def check_still_there(root: Path) -> None:
    """Raise PreparedDataError where the data folder has gone: what could not be read then must not
    be noted as left out."""
    try:
        # The place of a lost mount is an empty folder; an exam may be a file.
        there = root.stat().st_size if root.is_file() else any(root.iterdir())
        cause = "" if there else "it is empty"
    except OSError as error:
        cause = reason(error)
    if cause:
        raise PreparedDataError(
            f"{root} cannot be read any more ({cause}). Mount it again and run this again: "
            "what is finished is kept"
        )


def _is_done(out: Path, study_id: int, made_of: str) -> bool:
    """Whether the study is prepared, whole, and from what there is now."""
    if read_made_of(out, study_id) != made_of:
        return False
    try:
        load_study(out, study_id)
    except PreparedDataError:
        return False
    return True


def _write_tables(studies: list[int], out: Path, labels: pd.DataFrame, folds: pd.DataFrame) -> None:
    """points.csv, left_out.csv, labels.csv and folds.csv, each whole or not at all."""
    points, left_out = [], []
    for study in studies:
        content = read_content(out, study)
        points.append(pd.DataFrame(content["points"]).assign(study_id=study))
        left_out += [(study, what, why) for what, why in content["left_out"]]
    written = {
        "points.csv": pd.concat(points),
        "left_out.csv": pd.DataFrame(left_out, columns=["study_id", "what", "why"]),
        "labels.csv": labels,
        "folds.csv": folds,
    }
    for name, table in written.items():
        write_atomic(out / name, csv_text(table))
