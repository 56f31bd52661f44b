"""Records of what disease has done to one spine: degeneration, and what each grade leaves open.

Arrays have one entry per disc of the whole column (n - 1), a last axis of 2 is left and right.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from utils.phantom.column import Column
from utils.phantom.grades import OPENING
from utils.rsna import FAMILIES, SIDES, TARGETS, rows_of

# Where recess and foramen are beside the centre of a disc, mm in a spine of scale 1; chosen by eye
# against two real studies.
RECESS_U = 9.0
FORAMEN_U = 17.0
FORAMEN_S = -7.0
FORAMEN_V = 4.2
# mm of fat around the root of an open foramen: in front and behind, above and below.
FORAMEN_RIM = (3.2, 8.0)
OPEN_RECESS_MM = 5.5  # a recess of at least this depth takes nothing from the canal


@dataclass(frozen=True)
class Degeneration:
    """Degenerative changes that carry no grade of their own."""

    hydration: np.ndarray  # (n - 1,) of the nucleus: 0 black disc, 1 bright
    facets: np.ndarray  # (n - 1, 2) growth of the facet joints, 0 none
    osteophytes: np.ndarray  # (n - 1,) mm of bone at the disc's rim


@dataclass(frozen=True)
class Narrowing:
    """What is left of every graded structure, and what has taken the rest."""

    opening: dict[tuple[str, str], float]  # by (condition, level), in the units of grades.OPENING
    anterior: np.ndarray  # (n - 1,) fraction taken by the disc; the rest by flavum and facets
    protrusion: np.ndarray  # (n - 1,) mm to the left of the mid-line where the disc bulges most
    crowding: float  # how much of the fluid in a narrow sac nerve roots replace

    def openings(self, column: Column) -> dict[tuple[str, str], np.ndarray]:
        """Opening at every disc (n - 1,) by family and side; the canal is the same for both sides.

        Discs that are not graded are as open as a normal one can be.
        """
        table = {}
        for family, side in product(FAMILIES, SIDES):
            _, widest = OPENING["textbook"][family][0]
            values = np.full(len(column.discs), widest)
            rows = rows_of(family, "" if family == "spinal" else side)
            values[column.graded] = [self.opening[TARGETS[row]] for row in rows]
            table[family, side] = values
        return table


@dataclass(frozen=True)
class Foramina:
    """From which direction each foramen is narrowed."""

    anterior: np.ndarray  # (n - 1, 2) fraction of the narrowing that comes from the front
    inferior: np.ndarray  # (n - 1, 2) how much more comes from below than above, 0 alike
    lining: np.ndarray  # (n - 1, 2) mm of capsule and ligament between its fat and nearby bone


@dataclass(frozen=True)
class Sac:
    """The thecal sac where nothing narrows it."""

    depth: float  # mm, front to back
    half_width: float  # mm
    conus: float  # s where the cord ends
    settled: float = 0.0  # cord and roots: 0 in the middle of the sac, 1 on its back wall (supine)
