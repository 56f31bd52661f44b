"""A patient in a mirror, as a scanner would have stored that patient."""

from dataclasses import replace

import numpy as np

from utils import prepare, rsna
from utils.geometry import Series
from utils.prepare import PreparedSeries, PreparedStudy

FLIP = np.array([-1.0, 1.0, 1.0])


def mirrored(study: PreparedStudy) -> PreparedStudy:
    """Left and right exchanged, in the images and in the points."""
    parts = []
    for part in study.series:
        orientation = "axial" if part.description == rsna.AXIAL_T2 else "sagittal"
        turned = [replace(s, origin=s.origin * FLIP, axes=s.axes * FLIP) for s in part.series.slices]
        slices = tuple(prepare.canonical(s, orientation) for s in turned)
        parts.append(PreparedSeries(part.series_id, part.description, Series(slices if orientation == "axial" else slices[::-1])))
    points = study.points.assign(x_mm=-study.points.x_mm, condition=study.points.condition.map(rsna.mirror))
    return replace(study, series=tuple(parts), points=points)
