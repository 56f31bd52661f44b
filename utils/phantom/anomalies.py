"""The anomalies of the real data set by name, injected one per study.

The audit and every reader of the data are tested on them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from utils.phantom import image_anomalies, point_anomalies
from utils.phantom.draft import Draft
from utils.phantom.spec import PhantomError

Anomaly = Callable[[Draft, np.random.Generator], str]  # changes a draft; returns what it changed

IN_IMAGES: dict[str, Anomaly] = {  # to be applied before the draft is annotated
    "several axial series": image_anomalies.several_axial_series,
    "sides on different series": image_anomalies.sides_on_different_series,
    "missing series": image_anomalies.missing_series,
    "missing tags": image_anomalies.missing_tags,
    "mixed sizes": image_anomalies.mixed_sizes,
    "upside down order": image_anomalies.upside_down_order,
    "instances from 5031": image_anomalies.instances_from_5031,
    "truncated file": image_anomalies.truncated_file,
    "empty file": image_anomalies.empty_file,
    "cervical series": image_anomalies.cervical_series,
    "duplicate instances": image_anomalies.duplicate_instances,
}
IN_POINTS: dict[str, Anomaly] = {  # to be applied afterwards
    "swapped sides": point_anomalies.swapped_sides,
    "placeholder points": point_anomalies.placeholder_points,
    "label without point": point_anomalies.label_without_point,
    "point without label": point_anomalies.point_without_label,
}
ANOMALIES = (*IN_IMAGES, *IN_POINTS)


def assigned_anomaly(anomalies: tuple[str, ...], split: str, k: int) -> str:
    """The anomaly of the k-th study of a split, "" for none: one to a study, in the order given.

    Test studies have no points, so only anomalies of the images are assigned to them. Raises
    PhantomError for a name that is not in ANOMALIES.
    """
    if unknown := set(anomalies) - set(ANOMALIES):
        names = ", ".join(sorted(unknown))
        raise PhantomError(f"no such anomaly: {names}; there are {', '.join(ANOMALIES)}")
    possible = [name for name in anomalies if split == "train" or name in IN_IMAGES]
    return possible[k] if k < len(possible) else ""
