"""The words of the RSNA 2024 lumbar-spine data set: conditions, levels, grades, series, row ids.

A `Target` is what is graded: one condition at one level. Every study has 25.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

# Grades
GRADES = ("Normal/Mild", "Moderate", "Severe")
GRADE_COLUMNS = ("normal_mild", "moderate", "severe")  # of a submission
GRADE_WEIGHTS = (1.0, 2.0, 4.0)  # the competition's weight of a row, by its true grade
GRADE_COLOURS = ("#56B4E9", "#E69F00", "#D55E00")  # Okabe and Ito, safe for colour-blind readers

# Conditions and levels
LEVELS = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")  # head to foot
SIDES = ("Left", "Right")
CANAL = "Spinal Canal Stenosis"
CONDITIONS = (
    CANAL,
    "Left Neural Foraminal Narrowing",
    "Right Neural Foraminal Narrowing",
    "Left Subarticular Stenosis",
    "Right Subarticular Stenosis",
)
_SUBMISSION_ORDER = tuple(sorted(CONDITIONS))  # alphabetical, unlike train.csv

# Families: the two sides of a condition, which the competition scores together
FAMILIES = ("spinal", "foraminal", "subarticular")
_SPINAL, _FORAMINAL, _SUBARTICULAR = FAMILIES
FAMILY = dict(
    zip(
        CONDITIONS,
        (_SPINAL, _FORAMINAL, _FORAMINAL, _SUBARTICULAR, _SUBARTICULAR),
        strict=True,
    )
)

# Kinds of series, and the one on which each condition is marked
SERIES = ("Sagittal T1", "Sagittal T2/STIR", "Axial T2")
SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = SERIES
NOT_USED = ", not used"  # how the description of a series ends that is to be shown, not graded
SERIES_OF_FAMILY = {_SPINAL: SAGITTAL_T2, _FORAMINAL: SAGITTAL_T1, _SUBARTICULAR: AXIAL_T2}
SERIES_OF = {condition: SERIES_OF_FAMILY[FAMILY[condition]] for condition in CONDITIONS}


def slug(name: str) -> str:
    """A name as it is written in columns and row ids.

    >>> slug("Left Subarticular Stenosis"), slug("L4/L5")
    ('left_subarticular_stenosis', 'l4_l5')
    """
    return name.lower().replace("/", "_").replace(" ", "_")


def side(condition: str) -> str:
    """The side of a condition, one of SIDES; the empty string for the canal, which has none.

    >>> side("Left Subarticular Stenosis"), side(CANAL)
    ('Left', '')
    """
    first = condition.split(" ", 1)[0]
    return first if first in SIDES else ""


def mirror(condition: str) -> str:
    """The same condition on the other side; the canal is its own mirror image.

    >>> mirror("Left Subarticular Stenosis"), mirror(CANAL)
    ('Right Subarticular Stenosis', 'Spinal Canal Stenosis')
    """
    here = side(condition)
    if not here:
        return condition
    other = SIDES[1 - SIDES.index(here)]
    return condition.replace(here, other, 1)


class Target(NamedTuple):
    """One condition at one level; equal to the plain tuple (condition, level).

    >>> target = Target("Right Neural Foraminal Narrowing", "L5/S1")
    >>> target.family, target.side, target.series, target.mirrored.side
    ('foraminal', 'Right', 'Sagittal T1', 'Left')
    >>> target.column
    'right_neural_foraminal_narrowing_l5_s1'
    """

    condition: str
    level: str

    @property
    def family(self) -> str:
        """One of FAMILIES: the competition scores the two sides of a condition together."""
        return FAMILY[self.condition]

    @property
    def side(self) -> str:
        """One of SIDES; the empty string for the canal."""
        return side(self.condition)

    @property
    def series(self) -> str:
        """The kind of series (one of SERIES) on which readers mark it."""
        return SERIES_OF[self.condition]

    @property
    def column(self) -> str:
        """Its column in train.csv, which is also the end of its row id."""
        return f"{slug(self.condition)}_{slug(self.level)}"

    @property
    def mirrored(self) -> Target:
        """What it becomes when the patient is mirrored: the other side; the canal stays itself."""
        return Target(mirror(self.condition), self.level)


TARGETS = tuple(Target(*pair) for pair in product(CONDITIONS, LEVELS))  # in train.csv's order
CANAL_ROWS = slice(0, len(LEVELS))  # of an array in the order of TARGETS: the canal, head to foot


def target_index(condition: str, level: str) -> int:
    """Position of a target in TARGETS. Raises ValueError for a name that does not exist.

    >>> target_index("Left Neural Foraminal Narrowing", "L1/L2")
    5
    """
    return TARGETS.index((condition, level))


def rows_of(family: str, side: str = "") -> list[int]:
    """Positions in TARGETS of a family on one side (none for the canal), head to foot.

    >>> rows_of("foraminal", "Right")
    [10, 11, 12, 13, 14]
    """
    wanted = (family, side)
    return [k for k, target in enumerate(TARGETS) if (target.family, target.side) == wanted]


# Of the 1,975 studies: proportion of Normal/Mild and of Moderate, from L1/L2 to L5/S1; the rest is
# Severe. Both sides together.
PREVALENCE = {
    "spinal": ((0.955, 0.897, 0.822, 0.751, 0.965), (0.034, 0.077, 0.117, 0.120, 0.026)),
    "foraminal": ((0.964, 0.910, 0.770, 0.612, 0.642), (0.032, 0.086, 0.209, 0.319, 0.258)),
    "subarticular": ((0.930, 0.827, 0.671, 0.451, 0.714), (0.056, 0.132, 0.230, 0.316, 0.205)),
}


def grade_frequencies() -> np.ndarray:
    """(25, 3): the proportion of the competition's patients in each grade, for each target.

    >>> grade_frequencies()[target_index("Spinal Canal Stenosis", "L4/L5")].round(3).tolist()
    [0.751, 0.12, 0.129]
    """
    rows = []
    for target in TARGETS:
        normal, moderate = PREVALENCE[target.family]
        level = LEVELS.index(target.level)
        rows.append((normal[level], moderate[level]))
    known = np.array(rows)
    severe = 1 - known.sum(1)
    return np.column_stack([known, severe])


def row_id(study_id: int, condition: str, level: str) -> str:
    """The name of one row of a submission.

    >>> row_id(7, "Left Subarticular Stenosis", "L4/L5")
    '7_left_subarticular_stenosis_l4_l5'
    """
    return f"{study_id}_{slug(condition)}_{slug(level)}"


def row_ids(study_id: int) -> list[str]:
    """The 25 row ids of one study, in the order of sample_submission.csv.

    >>> row_ids(7)[0], row_ids(7)[-1], len(row_ids(7))
    ('7_left_neural_foraminal_narrowing_l1_l2', '7_spinal_canal_stenosis_l5_s1', 25)
    """
    return [row_id(study_id, *pair) for pair in product(_SUBMISSION_ORDER, LEVELS)]


def studies_of(row_ids: pd.Series) -> pd.Series:
    """The study id with which each row id starts.

    >>> studies_of(pd.Series(["7_spinal_canal_stenosis_l1_l2", "12_spinal"])).tolist()
    [7, 12]
    """
    return row_ids.str.split("_").str[0].astype("int64")
