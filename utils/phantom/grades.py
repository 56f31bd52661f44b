"""What a phantom is to show: grades as frequent and as alike as in reality, what they leave of each structure, and gaps.

Openings follow published grading: canal by the share of the sac lost (Lurie 2008: a third, two thirds), foramen by the
fat left round the root, then the root's shape (Lee 2010), lateral recess by depth and root contact (Bartynski 2003).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from utils.rsna import FAMILY, LEVELS, TARGETS

# Share of Normal/Mild and of Moderate, per level from L1/L2 to L5/S1, in the 1,975 real studies.
PREVALENCE = {
    "spinal": ((0.955, 0.897, 0.822, 0.751, 0.965), (0.034, 0.077, 0.117, 0.120, 0.026)),
    "foraminal": ((0.964, 0.910, 0.770, 0.612, 0.642), (0.032, 0.086, 0.209, 0.319, 0.258)),
    "subarticular": ((0.930, 0.827, 0.671, 0.451, 0.714), (0.056, 0.132, 0.230, 0.316, 0.205)),
}
BALANCED = (0.40, 0.30)
# What is left of the structure, by grade: sac depth (share), foraminal fat (share), recess depth (mm). As textbooks show it,
# with nothing in between; and as readers call it, so far overlapping that two who know no more than this, among patients, agree
# with a linear kappa of 0.73 on the canal and 0.58 on the foramen (Lurie 2008).
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
SAC_DEPTH = {"textbook": (14.2, 1.3), "readers": (14.2, 2.0)}  # mm, mean and spread: a narrow canal is not yet a narrowed one
CORRELATION = {"study": 0.38, "level": 0.13, "pair": 0.14, "own": 0.35}  # shares of the latent variance; as in the 1,975 studies
# Cells that nobody graded, as (share of studies, conditions, levels): the patterns that make up the real gaps.
UNGRADED = (
    (0.0425, "Subarticular", LEVELS[:1]),  # the axial series begins below L1/L2
    (0.0415, "Subarticular", LEVELS[:2]),
    (0.0035, "Right Subarticular", LEVELS[4:]),
    (0.0040, "Right Neural", LEVELS),
    (0.0010, "Left Neural", LEVELS),
    (0.0005, "Spinal", LEVELS),
)


def sample_grades(rng: np.random.Generator, studies: int, prevalence: str = "real") -> np.ndarray:
    """Grades (studies, 25) as 0, 1, 2 in the order of TARGETS, correlated within study, level and between the sides.

    A Gaussian copula: the share of each grade is exactly the table's, the sharing of causes is in the correlation.
    """
    if prevalence not in ("real", "balanced"):
        raise ValueError(f"prevalence is 'real' or 'balanced', not {prevalence!r}")
    latent = np.sqrt(CORRELATION["study"]) * rng.standard_normal((studies, 1)) * np.ones(len(TARGETS))
    for cause, of in (("level", lambda c, lv: lv), ("pair", lambda c, lv: (FAMILY[c], lv)), ("own", lambda c, lv: (c, lv))):
        names = [of(c, lv) for c, lv in TARGETS]
        drawn = {name: rng.standard_normal(studies) for name in dict.fromkeys(names)}
        latent += np.sqrt(CORRELATION[cause]) * np.stack([drawn[name] for name in names], 1)
    steps = [np.cumsum(_shares(c, lv, prevalence)) for c, lv in TARGETS]
    return np.stack([np.digitize(ndtr(x), step) for x, step in zip(latent.T, steps)], 1)


def shares(prevalence: str) -> np.ndarray:
    """(25, 3): how frequent each grade is in a population."""
    both = np.array([_shares(condition, level, prevalence) for condition, level in TARGETS])
    return np.column_stack([both, 1 - both.sum(1)])


def _shares(condition: str, level: str, prevalence: str) -> tuple[float, float]:
    normal, moderate = PREVALENCE[FAMILY[condition]]
    k = LEVELS.index(level)
    return BALANCED if prevalence == "balanced" else (normal[k], moderate[k])


def ungraded(rng: np.random.Generator) -> list[tuple[str, str]]:
    """The targets of one study that stay without a label; for nine studies in ten none."""
    missing = [(name, levels) for share, name, levels in UNGRADED if rng.random() < share]
    return [(c, lv) for c, lv in TARGETS if any(name in c and lv in levels for name, levels in missing)]
