"""Grades from measures: how open a canal or a foramen is, as one number, and which grade that
speaks for. An ordinal model of one variable: normal densities with one deviation and three means.

A network that has seen only phantoms recognises real foramina badly; these numbers carry over. The
depth of a recess is not among them: it tells the grader nothing new, on phantoms or on patients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from utils.inference.fat import AREA_MM2
from utils.inference.measures import Measures
from utils.rsna import TARGETS


class Scale(NamedTuple):
    """What one family's openness is in each grade.

    means      of Normal/Mild, Moderate, Severe
    deviation  of all three
    weight     of the measured in a probability's logarithm, against the grader's
    """

    means: tuple[float, float, float]
    deviation: float
    weight: float


# Foramen: means of clinical phantoms (seed 5252). In real patients grades overlap more than in
# phantoms: the deviation is the best one for 396 patients of the competition, the first, third,
# fifth … by their ids; the others were only measured on. The weight is the best for the same
# patients of 0.3 to 1, 0.8, less a tenth for phantoms whose fat is dark.
# Canal: means, deviation and weight of 64 phantoms whose readers differ, half clinical, half random
# (seeds 6161 and 6262); the measure alone is better than the grader alone on other phantoms, too.
SCALES = {
    "foraminal": Scale((0.50, 0.22, 0.02), 0.18, 0.7),
    "spinal": Scale((0.85, 0.62, 0.36), 0.13, 0.5),
}
_OF_TARGETS = [SCALES.get(target.family, Scale((0.0, 0.0, 0.0), 1.0, 0.0)) for target in TARGETS]
MEANS = np.array([scale.means for scale in _OF_TARGETS])  # (25, 3)
DEVIATION = np.array([scale.deviation for scale in _OF_TARGETS])  # (25,)
WEIGHT = np.array([scale.weight for scale in _OF_TARGETS])  # (25,)


def openness(measures: Measures) -> np.ndarray:
    """(25,), nan where nothing was measured. Foramen: the share of fat near the root. Canal: depth
    and area of the sac as shares of the patient's own widest level, the mean of both or the one
    that there is."""
    depth, area = (_of_widest(measures[name]) for name in ("sac_mm", "sac_mm2"))
    canal = np.where(np.isfinite(depth + area), (depth + area) / 2, np.fmax(depth, area))
    return np.fmax(canal, measures["fat_mm2"] / AREA_MM2)  # of a target only one is known


def _of_widest(values: np.ndarray) -> np.ndarray:
    widest = np.nanmax(values, initial=0)
    return values / widest if widest else np.full_like(values, np.nan)


def log_likelihoods(values: np.ndarray) -> np.ndarray:
    """(25, 3): how likely such an openness (25,) is in each grade; 0 for all where unknown."""
    off = (values[:, None] - MEANS) / DEVIATION[:, None]
    return np.nan_to_num(-(off**2) / 2)
