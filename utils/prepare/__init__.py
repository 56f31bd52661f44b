"""Raw studies to prepared ones that models read fast: standard directions, known mm, one scale.

In: `Tables` and the DICOM files of a data folder. Out: a prepared data set, with the annotated
points in patient mm and the folds; `load_study` gives each `PreparedStudy`. Read `normalisation`
(one series), `points` (annotations in mm, and which must not be used), `study` (one study in
memory), `storage` (one study on disk), `fingerprint` (has what it was made of changed?), `sources`
(where studies come from), `folds`, `shards` (a copy elsewhere, in a few large files) and `dataset`
(all of it, resumable).

A prepared data set is one folder::

    manifest.json                 the settings it was prepared with
    {study_id}.npy                all slices one after another as flat uint8, to be memory-mapped
    {study_id}.json               their positions, the points in mm, what was left out
    {study_id}.made_of            a fingerprint of what it was prepared from; written last
    labels.csv  points.csv  folds.csv  left_out.csv
    crops/                        what training has cut from it; may be deleted
"""

from utils.prepare.dataset import check_spacing, check_still_there, prepare, restore
from utils.prepare.fingerprint import fingerprint, fingerprint_of
from utils.prepare.folds import make_folds
from utils.prepare.normalisation import DIRECTIONS, canonical, prepare_series, resample, trim
from utils.prepare.points import UnusablePoint, contradictory_points, points_in_mm
from utils.prepare.shards import Shards
from utils.prepare.sources import Source
from utils.prepare.storage import (
    PreparedDataError,
    load_study,
    load_table,
    read_made_of,
    save_study,
)
from utils.prepare.study import PreparedSeries, PreparedStudy, joined, prepare_study, read_study

__all__ = [
    "DIRECTIONS",
    "PreparedDataError",
    "PreparedSeries",
    "PreparedStudy",
    "Shards",
    "Source",
    "UnusablePoint",
    "canonical",
    "check_spacing",
    "check_still_there",
    "contradictory_points",
    "fingerprint",
    "fingerprint_of",
    "joined",
    "load_study",
    "load_table",
    "make_folds",
    "points_in_mm",
    "prepare",
    "prepare_series",
    "prepare_study",
    "read_made_of",
    "read_study",
    "resample",
    "restore",
    "save_study",
    "trim",
]
