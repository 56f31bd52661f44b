"""What the browser gets of a study: places, compressed pictures, labels, predictions, and what is missing."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from utils import dicom, rsna
from utils.geometry import Series

JPEG_QUALITY = 90  # about 4 MB a study; the eye cannot tell it from lossless at any window a reader would use
ROBUST_PERCENTILES = (0.5, 99.5)  # of a series: leaves out the few glaring pixels next to the coil
_MM = ("x_mm", "y_mm", "z_mm")


class Payload(NamedTuple):
    """What the browser gets: `study` goes through JSON, `images` holds the JPEGs, found by each slice's `bytes`."""

    study: dict
    images: bytes


def payload(tables: rsna.Tables, study_id: int, predictions: pd.DataFrame | None = None) -> Payload:
    """One study for the browser. Raises ValueError for an unknown study or unusable predictions; a series that cannot
    be read becomes an entry with a `problem` instead of slices."""
    study_id = int(study_id)
    described = {int(s.series_id): s.series_description for s in tables.series_of(study_id).itertuples()}
    if not described:
        raise ValueError(f"{tables.root}: study {study_id} is in no series_descriptions.csv; tables.studies() lists what is here")
    predicted = _predictions(predictions, study_id)
    folder = tables.folder(study_id)
    on_disk = sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdecimal()) if folder.is_dir() else []
    described |= {series_id: "not described" for series_id in on_disk if series_id not in described}
    images, entries, read = bytearray(), [], {}
    for series_id, description in described.items():
        entry = {"id": series_id, "description": description, "slices": []}
        try:
            read[series_id] = dicom.read_series(folder / str(series_id))
            entry |= encode(read[series_id], images)
        except dicom.DicomError as error:
            absent = f"The images of series {series_id} are not on this disk; part of the download is missing."
            entry["problem"] = f"Series {series_id} cannot be shown: {error.reason}." if error.path.is_dir() else absent
        entries.append(entry)
    study = {
        "id": study_id,
        "kinds": list(rsna.SERIES),
        "levels": list(rsna.LEVELS),
        "grades": [
            dict(zip(("name", "colour", "weight"), grade)) for grade in zip(rsna.GRADES, rsna.GRADE_COLOURS, rsna.GRADE_WEIGHTS)
        ],
        "conditions": [{"name": name, "family": rsna.FAMILY[name], "series": rsna.SERIES_OF[name]} for name in rsna.CONDITIONS],
        "series": entries,
        "cells": _cells(tables, study_id, read, predicted),
    }
    return Payload(study, bytes(images))


def encode(series: Series, images: bytearray) -> dict:
    """Appends one JPEG per slice to `images`; returns the series' entry: grey 0 and 255 stand for `range`."""
    low, high = np.percentile(np.concatenate([p[::4, ::4].ravel() for p in series.pixels]), ROBUST_PERCENTILES)
    high = max(high, low + 1)
    slices = []
    for s in series.slices:
        grey = np.clip((s.pixels - np.float32(low)) * np.float32(255 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
        jpeg = io.BytesIO()
        Image.fromarray(grey).save(jpeg, "JPEG", quality=JPEG_QUALITY)
        start, end = len(images), len(images) + jpeg.tell()
        images += jpeg.getbuffer()
        place = {"origin": s.origin.tolist(), "axes": s.axes.tolist(), "spacing": s.spacing.tolist()}
        slices.append({"instance": s.instance, "size": [*reversed(grey.shape)], **place, "bytes": [start, end]})
    left_out = [f"{name}: {reason}" for name, reason in series.left_out]
    gap = series.gap_mm if np.isfinite(series.gap_mm) else None
    entry = {"orientation": series.orientation, "range": [float(low), float(high)], "gap_mm": gap}
    return entry | {"slices": slices, "left_out": left_out}


def _cells(tables: rsna.Tables, study_id: int, read: dict[int, Series], predicted: dict[str, dict]) -> list[dict]:
    """The 25 questions in the order of rsna.TARGETS, each with its label, its annotated points and its prediction."""
    labels = tables.labels[tables.labels.study_id == study_id].set_index(["condition", "level"]).grade
    points = tables.points[tables.points.study_id == study_id].groupby(["condition", "level"])
    cells = []
    for condition, level in rsna.TARGETS:
        grade = labels.get((condition, level))
        here = points.get_group((condition, level)) if (condition, level) in points.groups else tables.points[:0]
        cells.append(
            {
                "grade": rsna.GRADES.index(grade) if grade in rsna.GRADES else None,
                "points": [_point(row, read.get(int(row.series_id))) for row in here.itertuples()],
                "prediction": predicted.get(rsna.row_id(study_id, condition, level)),
            }
        )
    return cells


def _point(row, series: Series | None) -> dict:
    """An annotated point; `slice` and `mm` are None where its image is not here."""
    point = {"series": int(row.series_id), "instance": int(row.instance_number), "slice": None, "mm": None}
    if series is not None and row.instance_number in series.instances:
        point["slice"] = series.index(row.instance_number)
        point["mm"] = series.to_patient(point["slice"], (row.x, row.y)).tolist()
    return point


def _predictions(table: pd.DataFrame | None, study_id: int) -> dict[str, dict]:
    """row_id -> {p: [3], mm: [3] or None, note: str or None} for the rows of one study."""
    if table is None:
        return {}
    absent = [name for name in ("row_id", *rsna.GRADE_COLUMNS) if name not in table.columns]
    if absent:
        raise ValueError(f"predictions: column {absent[0]!r} is missing; needed are row_id, {', '.join(rsna.GRADE_COLUMNS)}")
    table = table[table.row_id.isin(rsna.row_ids(study_id))]
    if table.row_id.duplicated().any():
        raise ValueError(f"predictions: row_id {table.row_id[table.row_id.duplicated()].iloc[0]!r} stands there more than once")
    shares = table[list(rsna.GRADE_COLUMNS)].apply(pd.to_numeric, errors="coerce")
    bad = ~shares.apply(lambda column: column.between(0, 1)).all(axis=1)  # nan is not between
    if bad.any():
        raise ValueError(f"predictions: row_id {table.row_id[bad].iloc[0]!r} has a probability that is not a number from 0 to 1")
    places = table.reindex(columns=_MM).apply(pd.to_numeric, errors="coerce").to_numpy(float)
    notes = table.reindex(columns=["note"])["note"]
    return {
        row_id: {
            "p": p.tolist(),
            "mm": mm.tolist() if np.isfinite(mm).all() else None,
            "note": str(note) if pd.notna(note) and str(note) else None,
        }
        for row_id, p, mm, note in zip(table.row_id, shares.to_numpy(float), places, notes, strict=True)
    }
