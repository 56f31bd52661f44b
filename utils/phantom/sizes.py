"""The true sizes of a synthetic patient's levels, to compare measurements with."""

from __future__ import annotations

import numpy as np

from utils.phantom.planes import TO_LEFT, empty_slice
from utils.phantom.spine import Spine
from utils.phantom.structures import DISC_EDGE_MM, structures
from utils.structures import AXIAL, SAC

_FINE_MM = 0.25  # of a pixel, where an area is counted
_SAC_FOV_MM, _SAC_V_MM = 50.0, 9.0  # of the slice on which it is


def true_measures(spine: Spine) -> dict[str, np.ndarray]:
    """The sizes of the five levels (5,) by the names of inference.measures: sac_mm2 at a right
    angle to the spine's axis, disc_mm and bulge_mm without endplates and outermost fibres."""
    top, bottom = spine.discs[spine.graded].T
    middle = -spine.along(spine.disc_s, spine.tables["body_depth"]) / 2
    ends = [spine.axis.to_patient(s, 0 * s, middle) for s in (top, bottom)]
    front, back, _ = spine.canal.sac(spine.disc_s)
    tilt = spine.along(spine.disc_s, spine.tilt)
    return {
        "sac_mm": back - front,
        "sac_mm2": np.array([_sac_area(spine, s) for s in spine.disc_s]),
        "disc_mm": np.linalg.norm(ends[1] - ends[0], axis=1) - 2 * DISC_EDGE_MM,
        "bulge_mm": spine.canal.front_wall(spine.disc_s, 0 * spine.disc_s) - DISC_EDGE_MM,
        "lordosis_degrees": np.repeat(np.degrees(tilt[-1] - tilt[0]), len(tilt)),
        "slip_mm": spine.along(bottom, spine.axis.slip) - spine.along(top, spine.axis.slip),
    }


def _sac_area(spine: Spine, s: float) -> float:
    tilt = spine.along(s, spine.tilt)
    to_back = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    centre = spine.to_patient(s, 0.0, _SAC_V_MM)
    plane = empty_slice(centre, TO_LEFT, to_back, _SAC_FOV_MM, round(_SAC_FOV_MM / _FINE_MM))
    return float((structures(spine, plane, AXIAL) == SAC).sum() * _FINE_MM**2)
