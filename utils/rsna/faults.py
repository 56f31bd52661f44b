"""The published errors of the real data set, study by study, and what is done about each of them.

They are listed in known_faults.csv, beside this module. Its column `source` says who published the
error (Kaggle discussions and write-ups of the competition), or how it was computed from the tables.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from utils.rsna.tables import Tables

# 13 of the real points mark nothing: they are in the image's upper left corner, within so many px
# of both edges.
PLACEHOLDER_CORNER_PX = 6


def is_placeholder(point: Any) -> Any:
    """Whether a point is a placeholder in the corner of the image.

    point  one row (with .x and .y in px), or a table of points
    Returns a bool, or a bool for each row.
    """
    return (point.x < PLACEHOLDER_CORNER_PX) & (point.y < PLACEHOLDER_CORNER_PX)


@cache
def known_faults() -> pd.DataFrame:
    """The published errors of the real data: kind, study_id, series_id, level, action, source.

    series_id and level are missing where the error is one of the whole study.
    """
    ids = {"study_id": "Int64", "series_id": "Int64"}
    return pd.read_csv(Path(__file__).with_name("known_faults.csv"), dtype=ids)


def faults_in(tables: Tables) -> pd.DataFrame:
    """The rows of known_faults that concern studies or series of this data folder."""
    faults = known_faults()
    of_study = faults.study_id.isin(tables.series.study_id)
    of_series = faults.series_id.isin(tables.series.series_id)
    return faults[of_study | of_series]
