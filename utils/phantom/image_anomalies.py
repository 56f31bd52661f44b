"""Anomalies of the real series and files: split, missing, damaged or misnumbered.

Each function changes the scans of one draft, before it is annotated, and returns one line that says
what it changed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from utils.phantom.anatomy import make_neck
from utils.phantom.draft import Draft
from utils.phantom.planes import planes
from utils.phantom.protocols import STACK
from utils.phantom.scan import scan
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SERIES

AXIAL_PARTS = (2, 5)  # series that an axial stack is split over; the upper end is exclusive
STACK_GAP_MM = 4.5  # of the second axial series
OPTIONAL_TAGS = (
    "SliceThickness",
    "SpacingBetweenSlices",
    "WindowCenter",
    "WindowWidth",
    "PatientPosition",
)
FIRST_INSTANCE = 5031  # as in the real series 2683794967
NECK_FOV_MM = 200.0
COPIES = 3  # slices that a series holds twice


def several_axial_series(draft: Draft, rng: np.random.Generator) -> str:
    """The axial slices in two to four series, each numbered from 1."""
    axial = draft.of(AXIAL_T2)
    draft.scans.remove(axial)
    parts = int(rng.integers(*AXIAL_PARTS))
    for k, indices in enumerate(np.array_split(np.arange(len(axial.slices)), parts)):
        slices = [replace(axial.slices[i], instance=n) for n, i in enumerate(indices, start=1)]
        draft.scans.append(replace(axial, series_id=axial.series_id + k, slices=slices))
    return f"{parts} axial series, one below the other"


def sides_on_different_series(draft: Draft, rng: np.random.Generator) -> str:
    """Two axial series: the left points are marked on one, the right points on the other."""
    left = draft.of(AXIAL_T2)
    protocol = replace(left.protocol, layout=STACK, gap_mm=STACK_GAP_MM)
    right = scan(rng, draft.spine, protocol, draft.new_series_id())
    left.annotated_sides = ("Left",)
    right.annotated_sides = ("Right",)
    draft.scans.append(right)
    return f"left points on {left.series_id}, right points on {right.series_id}"


def missing_series(draft: Draft, rng: np.random.Generator) -> str:
    """One of the three series is not there."""
    gone = draft.of(str(rng.choice(SERIES)))
    draft.scans.remove(gone)
    return f"no {gone.name}"


def missing_tags(draft: Draft, rng: np.random.Generator) -> str:
    """DICOM files without the tags that a reader could do without."""
    for scanned in draft.scans:
        scanned.without_tags = OPTIONAL_TAGS
    return ", ".join(OPTIONAL_TAGS)


def mixed_sizes(draft: Draft, rng: np.random.Generator) -> str:
    """Images of two matrix sizes in one series."""
    axial = draft.of(AXIAL_T2)
    large = axial.protocol.matrix
    small = replace(axial.protocol, matrix=large * 3 // 4)
    half = len(axial.slices) // 2
    lower_planes = planes(rng, draft.spine, small)[half:]
    lower = scan(rng, draft.spine, small, axial.series_id, lower_planes)
    numbers = [image.instance for image in axial.slices]
    both = axial.slices[:half] + lower.slices
    axial.slices = [replace(image, instance=n) for image, n in zip(both, numbers)]
    return f"{large} px and {small.matrix} px in series {axial.series_id}"


def upside_down_order(draft: Draft, rng: np.random.Generator) -> str:
    """Axial instance numbers that rise towards the head."""
    axial = draft.of(AXIAL_T2)
    count = len(axial.slices)
    axial.slices = [replace(image, instance=count - k) for k, image in enumerate(axial.slices)]
    return f"series {axial.series_id} is numbered from the feet to the head"


def instances_from_5031(draft: Draft, rng: np.random.Generator) -> str:
    """Instance numbers that do not start at 1."""
    t2 = draft.of(SAGITTAL_T2)
    added = FIRST_INSTANCE - 1
    t2.slices = [replace(image, instance=image.instance + added) for image in t2.slices]
    return f"instances of series {t2.series_id} begin at {FIRST_INSTANCE}"


def truncated_file(draft: Draft, rng: np.random.Generator) -> str:
    """One file of which only the first half is there."""
    return _damage_one_file(draft, rng, "truncated")


def empty_file(draft: Draft, rng: np.random.Generator) -> str:
    """One file of 0 bytes."""
    return _damage_one_file(draft, rng, "empty")


def _damage_one_file(draft: Draft, rng: np.random.Generator, damage: str) -> str:
    chosen = draft.scans[rng.integers(len(draft.scans))]
    instance = int(rng.choice([image.instance for image in chosen.slices]))
    chosen.damaged[instance] = damage
    return f"{chosen.series_id}/{instance}.dcm is {damage}"


def cervical_series(draft: Draft, rng: np.random.Generator) -> str:
    """A neck in place of the sagittal T2 series; readers mark nothing on it."""
    lumbar = draft.of(SAGITTAL_T2)
    neck = make_neck(rng)
    wrong = scan(rng, neck, replace(lumbar.protocol, fov_mm=NECK_FOV_MM), lumbar.series_id)
    wrong.annotated_sides = ()
    draft.scans[draft.scans.index(lumbar)] = wrong
    return f"series {wrong.series_id} shows a neck"


def duplicate_instances(draft: Draft, rng: np.random.Generator) -> str:
    """Some slices a second time, under new instance numbers."""
    t1 = draft.of(SAGITTAL_T1)
    last = max(image.instance for image in t1.slices)
    chosen = sorted(rng.choice(len(t1.slices), COPIES, replace=False))
    copied = [t1.slices[i] for i in chosen]
    copies = [replace(image, instance=last + n) for n, image in enumerate(copied, start=1)]
    t1.slices = t1.slices + copies
    originals = ", ".join(str(image.instance) for image in copied)
    return f"{originals} of series {t1.series_id} again as {last + 1} to {last + COPIES}"
