"""Anomalies of the real annotations: wrong sides, placeholders, missing points and labels.

Each function changes the points or the gaps of one annotated draft, and returns one line that says
what it changed.
"""

from __future__ import annotations

import numpy as np

from utils.phantom.draft import Draft
from utils.rsna import CANAL, FAMILY, mirror

PLACEHOLDER_PX = (4.5, 5.5)  # (least, most) x and y of a point that marks nothing
PLACEHOLDERS = 2  # of the canal's points


def swapped_sides(draft: Draft, rng: np.random.Generator) -> str:
    """Foraminal points under the name of the other side."""
    for row in draft.points:
        if FAMILY[row["condition"]] == "foraminal":
            row["condition"] = mirror(row["condition"])
    return "left and right exchanged on Sagittal T1"


def placeholder_points(draft: Draft, rng: np.random.Generator) -> str:
    """Two of the canal's points in the corner of the image."""
    canal = [row for row in draft.points if row["condition"] == CANAL]
    chosen = sorted(rng.choice(len(canal), PLACEHOLDERS, replace=False))
    for i in chosen:
        canal[i]["x"] = round(float(rng.uniform(*PLACEHOLDER_PX)), 4)
        canal[i]["y"] = round(float(rng.uniform(*PLACEHOLDER_PX)), 4)
    levels = " and ".join(canal[i]["level"] for i in chosen)
    return f"canal points of {levels} lie at about (5, 5)"


def label_without_point(draft: Draft, rng: np.random.Generator) -> str:
    """A target that is graded but not marked."""
    row = draft.points.pop(rng.integers(len(draft.points)))
    return f"no point for {row['condition']} {row['level']}"


def point_without_label(draft: Draft, rng: np.random.Generator) -> str:
    """A target that is marked but not graded."""
    row = draft.points[rng.integers(len(draft.points))]
    draft.ungraded.append((row["condition"], row["level"]))
    return f"no label for {row['condition']} {row['level']}"
