"""A patient in a mirror, as a scanner would have stored that patient."""

from dataclasses import replace

import numpy as np

from utils import prepare, rsna
from utils.dicom import Series
from utils.prepare import PreparedSeries, PreparedStudy

FLIP = np.array([-1.0, 1.0, 1.0])


def mirrored(study: PreparedStudy) -> PreparedStudy:
    """Left and right exchanged, in the images and in the points."""
    parts = tuple(mirrored_series(part) for part in study.series)
    conditions = study.points.condition.map(rsna.mirror)
    points = study.points.assign(x_mm=-study.points.x_mm, condition=conditions)
    return replace(study, series=parts, points=points)


def mirrored_series(part: PreparedSeries) -> PreparedSeries:
    """In standard directions again, and sagittal slices again from the right to the left."""
    is_axial = part.description == rsna.AXIAL_T2
    orientation = "axial" if is_axial else "sagittal"
    slices = []
    for one in part.series.slices:
        turned = replace(one, origin=one.origin * FLIP, axes=one.axes * FLIP)
        slices.append(prepare.canonical(turned, orientation))
    ordered = slices if is_axial else slices[::-1]
    return PreparedSeries(part.series_id, part.description, Series(tuple(ordered)))
