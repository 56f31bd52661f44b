"""A prepared data set: every training study of a data folder on disk, with labels and folds.

Each study is prepared by one process and written whole; the tables come last. What a study was made
of is noted with it, so that a second call redoes only what has changed.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pandas as pd
from joblib import delayed

from utils.dicom.errors import NOT_READ
from utils.files import csv_text, read_json, reason, write_atomic
from utils.locks import at_work
from utils.parallel import in_processes
from utils.prepare.fingerprint import fingerprint
from utils.prepare.folds import make_folds
from utils.prepare.normalisation import AIR, AIR_FRACTION, ONE_SCALE, PERCENTILES
from utils.prepare.storage import (
    PreparedDataError,
    load_study,
    read_content,
    save_study,
)
from utils.prepare.study import prepare_study
from utils.presets import SPACING_MM
from utils.rsna import Tables, load_tables

OLD_S = 3600  # a file that is being written is younger
_AGAIN = "delete it or choose another folder"
VERSION = 4  # raise when the content of a prepared data set changes


def prepare(
    root: str | Path,
    out: str | Path,
    jobs: int = 2,
    folds: int = 4,
    seed: int = 0,
    spacing_mm: float = SPACING_MM,
) -> pd.DataFrame:
    """Prepare every training study of the data folder root whose images are on this disk; returns
    folds.csv, one row per study (study_id, fold).

    Resumable and idempotent: a prepared study is prepared again only if what it was made of has
    changed: files, rows of the tables, known faults. Writes labels.csv, points.csv, folds.csv and
    left_out.csv beside the studies. Runs on joblib: under `joblib.parallel_config("dask")` on a
    Dask cluster.

    spacing_mm  finer images are resampled to it: half of it needs four times the disk

    Without labels the studies can be graded, and folds.csv is empty: there is nothing to train on.

    Raises PreparedDataError if out was prepared with other settings or if there are no images,
    OutputError if it cannot be written, BusyError if another process is preparing into it.
    """
    tables, out = load_tables(root), Path(out)
    studies = tables.studies("train")
    if not studies:
        raise PreparedDataError(
            f"{tables.root}: no images under train_images. Download them, or set SOURCE = 'phantom'"
        )
    labels = tables.labels[tables.labels.study_id.isin(studies)]
    with at_work(out):
        _bind_to_settings(out, spacing_mm)
        _remove_partial_files(out)
        _prepare_studies(tables, studies, out, jobs, spacing_mm)
        _write_tables(studies, out, labels, make_folds(labels, folds, seed))
    return pd.read_csv(out / "folds.csv")


def _bind_to_settings(out: Path, spacing_mm: float) -> None:
    """A folder belongs to the settings it was prepared with, which are in its manifest.json; raises
    PreparedDataError if they are not the present ones."""
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
        partial.unlink()
    for partial in out.glob("crops/*/partial-*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # it has got its name meanwhile
            if time.time() - partial.stat().st_mtime > OLD_S:
                partial.unlink()


def _prepare_studies(
    tables: Tables, studies: list[int], out: Path, jobs: int, spacing_mm: float
) -> None:
    """Prepare and save the studies that are not there yet, or not as they are now."""
    todo = [study for study in studies if not _is_done(tables, study, out)]
    work = (delayed(_prepare_one)(tables.only(study), study, out, spacing_mm) for study in todo)
    left_out = 0
    with in_processes(work, jobs, len(todo), "preparing") as progress:
        for count in progress:
            left_out += count
            progress.set_postfix_str(f"{left_out} left out", refresh=False)


def _prepare_one(tables: Tables, study_id: int, out: Path, spacing_mm: float) -> int:
    """Prepare and save a study; returns how much of it was left out."""
    made_of = fingerprint(tables, study_id)  # before reading: files that come meanwhile are new
    study = prepare_study(tables, study_id, spacing_mm)
    check_still_there(tables.root)
    if any(why.startswith(NOT_READ) for _, why in study.left_out):
        made_of = ""  # the disk's fault: tried again next time
    for stale in out.glob(f"crops/*/{study_id}.*"):  # cut from the study as it was before
        stale.unlink(missing_ok=True)
    save_study(study, out, made_of)
    return len(study.left_out)


def check_still_there(root: Path) -> None:
    """Raise PreparedDataError where the data folder has gone: what could not be read then must not
    be noted as left out."""
    try:
        cause = "" if any(root.iterdir()) else "it is empty"  # as is the place of a lost mount
    except OSError as error:
        cause = reason(error)
    if cause:
        raise PreparedDataError(
            f"{root} cannot be read any more ({cause}). Mount it again and run this again: "
            "what is finished is kept"
        )


def _is_done(tables: Tables, study_id: int, out: Path) -> bool:
    """Whether the study is prepared, whole, and from what there is now."""
    try:
        if read_content(out, study_id)["made_of"] != fingerprint(tables, study_id):
            return False
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
