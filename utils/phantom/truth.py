"""The truth of a synthetic study as rows of tables: its targets, and its anatomy."""

from __future__ import annotations

import numpy as np

from utils.phantom.spine import Spine
from utils.rsna import GRADES, TARGETS


def truth_rows(study_id: int, spine: Spine, grades: np.ndarray) -> list[dict]:
    """One row per target, for grades (25,): its grade, its size and its point in LPS mm."""
    rows = []
    for (condition, level), grade in zip(TARGETS, grades):
        x, y, z = np.round(spine.point(condition, level), 3)
        rows.append(
            {
                "study_id": study_id,
                "condition": condition,
                "level": level,
                "grade": GRADES[grade],
                "measure_mm": round(spine.measure_mm(condition, level), 3),
                "x_mm": x,
                "y_mm": y,
                "z_mm": z,
            }
        )
    return rows


def anatomy_row(study_id: int, spine: Spine) -> dict:
    """What else is known of a study: the patient, and what is unusual in the spine.

    slip_mm        range of the displacement by listhesis
    sideways_mm    extent of scoliosis
    curve_degrees  range of the axis's tilt
    """
    axis = spine.axis
    return {
        "study_id": study_id,
        "age": round(spine.body.age),
        "scale": round(spine.column.scale, 3),
        "transitional": spine.column.transitional,
        "slip_mm": round(float(np.ptp(axis.slip)), 1),
        "sideways_mm": round(float(np.ptp(axis.points[:, 0])), 1),
        "curve_degrees": round(float(np.degrees(np.ptp(axis.tilt)))),
    }
