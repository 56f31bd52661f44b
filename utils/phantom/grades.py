"""The grades of a synthetic study: how frequent, how correlated, and what each leaves open.

Openings follow published grading: the canal by the fraction of the sac that is lost (Lurie 2008:
a third, two thirds), the foramen by the fat left round the root and then the root's shape
(Lee 2010), the lateral recess by depth and contact with the root (Bartynski 2003).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from utils.errors import LumbarError
from utils.rsna import LEVELS, SIDES, TARGETS, Target, grade_frequencies

BALANCED = (0.40, 0.30)  # proportion of Normal/Mild and of Moderate; the rest is Severe
# What is left of the structure, by family, for each grade (least, most): sac depth (fraction),
# foraminal fat (fraction), recess depth (mm). "textbook" leaves gaps between the grades. "readers"
# overlaps so far that two readers who know no more than this agree with a linear kappa of 0.73 on
# the canal and 0.58 on the foramen, as published (Lurie 2008).
OPENING = {
    "textbook": {
        "spinal": ((0.76, 1.02), (0.42, 0.62), (0.14, 0.34)),
        "foraminal": ((0.62, 1.00), (0.18, 0.36), (0.00, 0.06)),
        "subarticular": ((4.4, 6.4), (2.0, 3.0), (0.4, 1.2)),
    },
    "readers": {
        "spinal": ((0.56, 1.04), (0.26, 0.79), (0.08, 0.45)),
        "foraminal": ((0.36, 1.00), (0.06, 0.66), (0.00, 0.30)),
        "subarticular": ((2.8, 6.4), (1.0, 4.4), (0.3, 2.2)),
    },
}
# Depth of the sac where nothing narrows it, mm: mean and standard deviation. Among "readers" it
# varies more: a sac that is narrow by nature is not a stenosis.
SAC_DEPTH = {"textbook": (14.2, 1.3), "readers": (14.2, 2.0)}
# Fractions of the latent variance, by what shares it: the study, the level, both sides of one
# condition at a level, the target alone. Chosen to match the 1,975 real studies, in which left and
# right agree in 76 % (foraminal) and 74 % (subarticular) of the levels, 13.7 % of the studies have
# no target above Normal/Mild, and 10.1 % have more than 12 (tests/test_phantom.py).
CORRELATION = {"study": 0.38, "level": 0.13, "sides": 0.14, "target": 0.35}


class Gap(NamedTuple):
    """Targets that readers left ungraded together, in a proportion of the studies."""

    proportion: float
    family: str
    sides: tuple[str, ...]
    levels: tuple[str, ...]

    def covers(self, target: Target) -> bool:
        """Whether the target is among them."""
        return (
            target.family == self.family
            and target.side in self.sides
            and target.level in self.levels
        )


# The patterns that make up the gaps of the 1,975 real studies: 572 cells in 185 studies.
UNGRADED = (
    Gap(0.0425, "subarticular", SIDES, LEVELS[:1]),  # the axial series starts below L1/L2
    Gap(0.0415, "subarticular", SIDES, LEVELS[:2]),
    Gap(0.0035, "subarticular", ("Right",), LEVELS[4:]),
    Gap(0.0040, "foraminal", ("Right",), LEVELS),
    Gap(0.0010, "foraminal", ("Left",), LEVELS),
    Gap(0.0005, "spinal", ("",), LEVELS),
)


def sample_grades(rng: np.random.Generator, studies: int, prevalence: str = "real") -> np.ndarray:
    """Grades (studies, 25) as 0, 1, 2 in the order of TARGETS; prevalence is "real" or "balanced".

    A Gaussian copula: the table's proportions are the marginal probabilities of each target's
    grades, and CORRELATION relates the targets of a study. Raises LumbarError for another
    prevalence.
    """
    thresholds = _cumulative_proportions(prevalence)
    latent = _sample_latent(rng, studies)
    columns = [np.digitize(ndtr(x), steps) for x, steps in zip(latent.T, thresholds)]
    return np.stack(columns, 1)


def _cumulative_proportions(prevalence: str) -> np.ndarray:
    """(25, 2): proportion of Normal/Mild, and of Normal/Mild or Moderate, of every target."""
    if prevalence == "real":
        proportions = grade_frequencies()[:, :2]
    elif prevalence == "balanced":
        proportions = np.tile(BALANCED, (len(TARGETS), 1))
    else:
        raise LumbarError(f"prevalence is 'real' or 'balanced', not {prevalence!r}")
    return np.cumsum(proportions, axis=1)


def _sample_latent(rng: np.random.Generator, studies: int) -> np.ndarray:
    """Standard normal (studies, 25), correlated by what targets share."""
    of_study = rng.standard_normal((studies, 1))
    latent = np.sqrt(CORRELATION["study"]) * of_study * np.ones(len(TARGETS))
    sharing: dict[str, list] = {
        "level": [target.level for target in TARGETS],
        "sides": [(target.family, target.level) for target in TARGETS],
        "target": list(TARGETS),
    }
    for cause, keys in sharing.items():
        values = {key: rng.standard_normal(studies) for key in dict.fromkeys(keys)}
        latent += np.sqrt(CORRELATION[cause]) * np.stack([values[key] for key in keys], 1)
    return latent


def ungraded(rng: np.random.Generator) -> list[Target]:
    """The targets of one study that stay without a label: none in nine studies out of ten."""
    gaps = [gap for gap in UNGRADED if rng.random() < gap.proportion]
    return [target for target in TARGETS if any(gap.covers(target) for gap in gaps)]
