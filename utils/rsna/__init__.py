"""The RSNA 2024 lumbar-spine data set: its vocabulary, its tables, its known faults.

In: a folder in the competition's layout. Out: `Tables`, validated, with the cells that could not be
used; or a `TableError` where nothing can be read. Read `vocabulary` first (all other packages use
its names), then `tables` (the five files as one object), `schemas` (what is valid in them) and
`faults` (the published errors of the real data).

Layout of a data folder::

    train.csv                       study_id + 25 grade columns
    train_label_coordinates.csv     one row per annotated point, in pixels of one image
    {train,test}_series_descriptions.csv
    sample_submission.csv
    {train,test}_images/{study_id}/{series_id}/{instance_number}.dcm
"""

from utils.rsna.faults import faults_in, is_placeholder, known_faults
from utils.rsna.schemas import SCHEMAS, Rejected, TableError, read_table
from utils.rsna.tables import (
    SPLITS,
    Tables,
    is_data_folder,
    load_tables,
    long_labels,
    no_rows,
    numbered_folders,
    wide_labels,
)
from utils.rsna.vocabulary import (
    AXIAL_T2,
    CANAL,
    CANAL_ROWS,
    CONDITIONS,
    FAMILIES,
    FAMILY,
    GRADE_COLOURS,
    GRADE_COLUMNS,
    GRADE_WEIGHTS,
    GRADES,
    LEVELS,
    NOT_USED,
    PREVALENCE,
    SAGITTAL_T1,
    SAGITTAL_T2,
    SERIES,
    SERIES_OF,
    SIDES,
    TARGETS,
    Target,
    grade_frequencies,
    mirror,
    row_id,
    row_ids,
    rows_of,
    side,
    slug,
    studies_of,
    target_index,
)

__all__ = [
    "AXIAL_T2",
    "CANAL",
    "CANAL_ROWS",
    "CONDITIONS",
    "FAMILIES",
    "FAMILY",
    "GRADES",
    "GRADE_COLOURS",
    "GRADE_COLUMNS",
    "GRADE_WEIGHTS",
    "LEVELS",
    "NOT_USED",
    "PREVALENCE",
    "SAGITTAL_T1",
    "SAGITTAL_T2",
    "SCHEMAS",
    "SERIES",
    "SERIES_OF",
    "SIDES",
    "SPLITS",
    "TARGETS",
    "Rejected",
    "TableError",
    "Tables",
    "Target",
    "faults_in",
    "grade_frequencies",
    "is_data_folder",
    "is_placeholder",
    "known_faults",
    "load_tables",
    "long_labels",
    "mirror",
    "no_rows",
    "numbered_folders",
    "read_table",
    "row_id",
    "row_ids",
    "rows_of",
    "side",
    "slug",
    "studies_of",
    "target_index",
    "wide_labels",
]
