"""One study as the browser gets it: terms, series with compressed images, labels, predictions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from utils import rsna
from utils.dicom import DicomError, Series, read_series
from utils.structures import COLOURS, STRUCTURES, Outline
from utils.viewer.errors import ViewerError
from utils.viewer.images import encode
from utils.viewer.predictions import predictions_of


class Payload(NamedTuple):
    """`study` goes through JSON; `images` holds the JPEGs, each found by its slice's `bytes`."""

    study: dict
    images: bytes


def payload(
    tables: rsna.Tables,
    study_id: int,
    predictions: pd.DataFrame | None = None,
    outlines: Iterable[Outline] = (),
) -> Payload:
    """One study for the browser; outlines are drawn on the slices they belong to.

    A series that cannot be read becomes an entry with a `problem` in place of slices. Raises
    ViewerError for an unknown study or unusable predictions, TableError if the study's folder
    cannot be listed.
    """
    study_id = int(study_id)
    descriptions = _descriptions(tables, study_id)
    predicted = predictions_of(study_id, predictions)
    images = bytearray()
    entries, readable = _encode_all(tables, study_id, descriptions, images)
    _outline(entries, readable, outlines)
    study = {
        "id": study_id,
        **_vocabulary(),
        "series": entries,
        "cells": _cells(tables, study_id, readable, predicted),
    }
    return Payload(study, bytes(images))


def _descriptions(tables: rsna.Tables, study_id: int) -> dict[int, str]:
    """series_id -> description, first as in the table, then series that only the disk has."""
    rows = tables.series_of(study_id)
    if rows.empty:
        raise ViewerError(
            f"{tables.root}: study {study_id} is in no series_descriptions.csv; "
            "tables.studies() lists what is here"
        )
    described = dict(zip(rows.series_id.astype(int), rows.series_description))
    on_disk = tables.series_on_disk(study_id)
    return described | {series: "not described" for series in on_disk if series not in described}


def _encode_all(
    tables: rsna.Tables, study_id: int, descriptions: dict[int, str], images: bytearray
) -> tuple[list[dict], dict[int, Series]]:
    """An entry per series, and by id the series that could be read; JPEGs go to `images`."""
    entries, readable, here = [], {}, tables.series_on_disk(study_id)
    for series_id, description in descriptions.items():
        entry: dict[str, Any] = {"id": series_id, "description": description, "slices": []}
        try:
            series = read_series(tables.folder(study_id, series_id), as_one=True)
            entry |= encode(series, images)
            readable[series_id] = series
        except DicomError as error:
            entry["problem"] = _problem(series_id, error, series_id in here)
        entries.append(entry)
    return entries, readable


def _outline(entries: list[dict], readable: dict[int, Series], outlines: Iterable[Outline]) -> None:
    """Each outline to its slice's entry, in pixels; those of images that are not here are left
    aside."""
    slices = {entry["id"]: entry["slices"] for entry in entries}
    for one in outlines:
        series = readable.get(one.series_id)
        if series is None or not series.shows(one.instance):
            continue
        index = series.index(one.instance)
        xy = np.round(series.slices[index].to_pixel(one.mm), 1)
        line = {"structure": one.structure, "xy": xy.tolist(), "text": one.text}
        slices[one.series_id][index].setdefault("outlines", []).append(line)


def _problem(series_id: int, error: DicomError, is_here: bool) -> str:
    if is_here:
        return f"Series {series_id} cannot be shown: {error.reason}."
    return (
        f"The images of series {series_id} are not on this disk; part of the download is missing."
    )


def _vocabulary() -> dict[str, list]:
    """The data set's terms, so that the JavaScript has none of its own."""
    grades = zip(rsna.GRADES, rsna.GRADE_COLOURS, rsna.GRADE_WEIGHTS)
    return {
        "kinds": list(rsna.SERIES),
        "levels": list(rsna.LEVELS),
        "grades": [dict(zip(("name", "colour", "weight"), grade)) for grade in grades],
        "conditions": [_condition(name) for name in rsna.CONDITIONS],
        "structures": [dict(zip(("name", "colour"), of)) for of in zip(STRUCTURES, COLOURS)],
    }


def _condition(name: str) -> dict[str, str]:
    return {
        "name": name,
        "family": rsna.FAMILY[name],
        "side": rsna.side(name),
        "series": rsna.SERIES_OF[name],
    }


def _cells(
    tables: rsna.Tables, study_id: int, readable: dict[int, Series], predicted: dict[str, dict]
) -> list[dict]:
    """In the order of rsna.TARGETS: each with its label, annotated points and prediction."""
    grades = _grades(tables, study_id)
    points = _points(tables, study_id, readable)
    return [
        {
            "grade": grades.get(target),
            "points": points.get(target, []),
            "prediction": predicted.get(rsna.row_id(study_id, *target)),
        }
        for target in rsna.TARGETS
    ]


def _grades(tables: rsna.Tables, study_id: int) -> dict[tuple[str, str], int]:
    """Target -> position in GRADES; targets without a label are not in it."""
    labels = tables.labels[tables.labels.study_id == study_id].dropna(subset=["grade"])
    positions = (rsna.GRADES.index(grade) for grade in labels.grade)
    return dict(zip(zip(labels.condition, labels.level), positions))


def _points(
    tables: rsna.Tables, study_id: int, readable: dict[int, Series]
) -> dict[tuple[str, str], list[dict]]:
    """Target -> its annotated points, in the order of the table."""
    points = defaultdict(list)
    for row in tables.points[tables.points.study_id == study_id].itertuples():
        series = readable.get(int(row.series_id))
        points[row.condition, row.level].append(_point(row, series))
    return points


def _point(row: Any, series: Series | None) -> dict:
    """A row of the table of points; `slice` and `mm` are None where its image is not here."""
    point = {"series": int(row.series_id), "instance": int(row.instance_number)}
    if series is None or not series.shows(row.instance_number):
        return point | {"slice": None, "mm": None}
    index = series.index(row.instance_number)
    return point | {"slice": index, "mm": series.to_patient(index, (row.x, row.y)).tolist()}
