"""One prepared study as two files: pixels to be memory-mapped, and a JSON that says what they are.

The pixels are written first, then the JSON, both whole or not at all, so a study without its JSON
is not there. What it was made of is noted last, in a file of its own: the same study from a folder
and from an archive is the same two files.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd

from utils.dicom import Series, Slice
from utils.errors import LumbarError
from utils.files import read_json, read_table, reason, write_atomic, writing
from utils.prepare.study import PreparedSeries, PreparedStudy

_TARGET = ("study_id", "condition", "level")
LABEL_COLUMNS = (*_TARGET, "grade")
_COLUMNS = {
    "labels.csv": LABEL_COLUMNS,
    "points.csv": (*_TARGET, "x_mm", "y_mm", "z_mm"),
    "folds.csv": ("study_id", "fold"),
}
_AGAIN = "run 02_preprocess again: it prepares what is not whole"


class PreparedDataError(LumbarError):
    """A prepared data set that cannot be used as asked; the message says what to do."""


def save_study(study: PreparedStudy, out: Path, made_of: str = "") -> None:
    """Write {study_id}.npy and {study_id}.json into the folder out, which must exist.

    made_of  the fingerprint of what the study was prepared from, to be compared later; in
             {study_id}.made_of
    Raises OutputError.
    """
    slices = [s for part in study.series for s in part.series.slices]
    flat = np.concatenate([s.pixels.ravel() for s in slices]) if slices else np.empty(0, np.uint8)
    content = {
        "series": [_series_json(part) for part in study.series],
        "points": study.points.to_dict("list"),
        "left_out": study.left_out,
    }
    noted = out / f"{study.study_id}.made_of"
    with writing(noted):
        noted.unlink(missing_ok=True)  # what is written now is of something else
    write_atomic(out / f"{study.study_id}.npy", lambda partial: _save_array(partial, flat))
    write_atomic(out / f"{study.study_id}.json", json.dumps(content))
    write_atomic(noted, made_of)


def _save_array(path: Path, values: np.ndarray) -> None:
    """np.save under exactly this name: given a path and not a file, numpy would append .npy."""
    with path.open("wb") as file:
        np.save(file, values)


def _series_json(part: PreparedSeries) -> dict:
    slices = [_slice_json(s) for s in part.series.slices]
    return {"series_id": part.series_id, "description": part.description, "slices": slices}


def _slice_json(one: Slice) -> dict:
    """All of a slice but its pixels."""
    return {
        "instance": one.instance,
        "shape": one.pixels.shape,
        "origin": one.origin.tolist(),
        "axes": one.axes.tolist(),
        "spacing": one.spacing.tolist(),
    }


def read_made_of(out: Path, study_id: int) -> str:
    """The fingerprint of what a study was prepared from; "" if it is not known."""
    try:
        return (out / f"{study_id}.made_of").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_content(out: Path, study_id: int) -> dict:
    """A study's JSON: series, points, left_out. Raises PreparedDataError if the study is
    not in the prepared data set."""
    path = out / f"{study_id}.json"
    if not path.is_file():
        raise PreparedDataError(
            f"{path}: study {study_id} is not in this prepared data set; "
            f"run 02_preprocess or `python -m utils.prepare ROOT {out}`"
        )
    content = read_json(path, PreparedDataError, _AGAIN)
    if set(content) != {"series", "points", "left_out"}:
        raise PreparedDataError(f"{path} is damaged; {_AGAIN}")
    return content


def load_study(out: str | Path, study_id: int) -> PreparedStudy:
    """One study of the prepared data set in the folder out; pixels are memory-mapped and read when
    touched. Raises PreparedDataError if the study is not there, or not whole."""
    content = read_content(Path(out), study_id)
    path = Path(out) / f"{study_id}.npy"
    try:
        flat = np.load(path, mmap_mode="r")
        series = _unpacked(content["series"], flat)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreparedDataError(f"{path} is damaged ({reason(error)}); {_AGAIN}") from error
    if flat.dtype != np.uint8 or flat.size != sum(_pixels(part) for part in content["series"]):
        raise PreparedDataError(f"{path} is not what its JSON describes; {_AGAIN}")
    left_out = tuple((what, why) for what, why in content["left_out"])
    return PreparedStudy(int(study_id), series, pd.DataFrame(content["points"]), left_out)


def load_table(out: str | Path, name: str) -> pd.DataFrame:
    """labels.csv, points.csv or folds.csv of the prepared data set in the folder out. Raises
    PreparedDataError."""
    path = Path(out) / name
    if not path.is_file():
        raise PreparedDataError(
            f"{out}: no prepared studies here ({name} is missing); "
            f"run 02_preprocess, or `python -m utils.prepare ROOT {out}`"
        )
    return read_table(path, _COLUMNS[name], PreparedDataError, _AGAIN)


def _unpacked(parts: list[dict], flat: np.ndarray) -> tuple[PreparedSeries, ...]:
    """The series that _series_json describes, their pixels as views into flat."""
    series, start = [], 0
    for part in parts:
        slices = []
        for described in part["slices"]:
            end = start + math.prod(described["shape"])
            pixels = flat[start:end].reshape(described["shape"])
            slices.append(_slice(described, pixels, part["series_id"]))
            start = end
        whole = Series(tuple(slices))
        series.append(PreparedSeries(part["series_id"], part["description"], whole))
    return tuple(series)


def _pixels(part: dict) -> int:
    """How many pixels a series has that _series_json describes."""
    return sum(math.prod(described["shape"]) for described in part["slices"])


def _slice(described: dict, pixels: np.ndarray, series_id: int) -> Slice:
    """The inverse of _slice_json. Raises ValueError for a place that is not finite."""
    place = {name: np.array(described[name], float) for name in ("origin", "axes", "spacing")}
    if not all(np.isfinite(numbers).all() for numbers in place.values()):
        raise ValueError(f"the place of instance {described['instance']} is not finite")
    return Slice(described["instance"], pixels, **place, series_id=series_id)
