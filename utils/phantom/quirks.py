"""The faults and oddities of the real data set, made on purpose, one per study, so that the rest can be tested on them.

Each quirk changes the scans or the points of one study before they are written, and says what it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from utils.phantom.anatomy import Spine, make_spine
from utils.phantom.scan import STACK, Scan, planes, scan
from utils.rsna import AXIAL_T2, CANAL, FAMILY, SAGITTAL_T1, SAGITTAL_T2, SERIES_OF, TARGETS

REACH_MM = 6.0  # so far beside a series' last slice a reader still sets a mark on it


@dataclass
class Draft:
    """One study on its way to the disk."""

    spine: Spine
    scans: list[Scan]
    ungraded: list[tuple[str, str]]  # targets without label and point
    points: list[dict]

    def of(self, name: str) -> Scan:
        return next(one for one in self.scans if one.name == name)

    def new_series_id(self) -> int:
        return max(one.series_id for one in self.scans) + 1


Quirk = Callable[[Draft, np.random.Generator], str]


def annotate(draft: Draft) -> list[dict]:
    """The points of one study: each on the slice nearest to its true place, in the series that shows its condition."""
    rows = []
    for condition, level in TARGETS:
        fitting = [one for one in draft.scans if one.name == SERIES_OF[condition] and condition.startswith(one.side)]
        if not fitting or (condition, level) in draft.ungraded:
            continue
        mm = draft.spine.point(condition, level)
        one = min(fitting, key=lambda one: _distance(one, mm))
        i = one.series.nearest_slice(mm)
        if not _shows(one, i, mm):  # outside the picture: there is nothing to mark
            continue
        x, y = one.slices[i].to_pixel(mm)
        row = {"series_id": one.series_id, "instance_number": one.slices[i].instance, "condition": condition, "level": level}
        rows.append(row | {"x": round(float(x), 4), "y": round(float(y), 4)})
    return rows


def _shows(one: Scan, i: int, mm: np.ndarray) -> bool:
    """Does the point lie on slice i, or near enough beside it?"""
    return one.slices[i].beside(mm) == 0 and abs(one.slices[i].distance(mm)) <= max(1.2 * one.protocol.gap_mm, REACH_MM)


def _distance(one: Scan, mm: np.ndarray) -> float:
    return abs(one.slices[one.series.nearest_slice(mm)].distance(mm))


# --- in the images ---------------------------------------------------------------------------------------------------


def several_axial_series(draft: Draft, rng: np.random.Generator) -> str:
    axial = draft.of(AXIAL_T2)
    draft.scans.remove(axial)
    parts = int(rng.integers(2, 5))
    for k, slices in enumerate(np.array_split(np.arange(len(axial.slices)), parts)):
        renumbered = [replace(axial.slices[i], instance=n) for n, i in enumerate(slices, start=1)]
        draft.scans.append(replace(axial, series_id=axial.series_id + k, slices=renumbered))
    return f"{parts} axial series, one below the other"


def sides_on_different_series(draft: Draft, rng: np.random.Generator) -> str:
    left = draft.of(AXIAL_T2)
    other = replace(left.protocol, layout=STACK, gap_mm=4.5)
    right = scan(rng, draft.spine, other, draft.new_series_id())
    left.side, right.side = "Left", "Right"
    draft.scans.append(right)
    return f"left points on {left.series_id}, right points on {right.series_id}"


def missing_series(draft: Draft, rng: np.random.Generator) -> str:
    gone = draft.of(str(rng.choice([SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2])))
    draft.scans.remove(gone)
    return f"no {gone.name}"


def missing_tags(draft: Draft, rng: np.random.Generator) -> str:
    tags = ("SliceThickness", "SpacingBetweenSlices", "WindowCenter", "WindowWidth", "PatientPosition")
    for one in draft.scans:
        one.without_tags = tags
    return ", ".join(tags)


def mixed_sizes(draft: Draft, rng: np.random.Generator) -> str:
    one = draft.of(AXIAL_T2)
    small, cut = replace(one.protocol, matrix=one.protocol.matrix * 3 // 4), len(one.slices) // 2
    empty = planes(rng, draft.spine, small)[cut:]
    again = scan(rng, draft.spine, small, one.series_id, empty)
    numbers = [piece.instance for piece in one.slices]
    one.slices = [replace(p, instance=n) for p, n in zip(one.slices[:cut] + again.slices, numbers)]
    return f"{one.protocol.matrix} px and {small.matrix} px in series {one.series_id}"


def upside_down_order(draft: Draft, rng: np.random.Generator) -> str:
    one = draft.of(AXIAL_T2)
    one.slices = [replace(p, instance=len(one.slices) - k) for k, p in enumerate(one.slices)]
    return f"series {one.series_id} is numbered from the feet to the head"


def instances_from_5031(draft: Draft, rng: np.random.Generator) -> str:
    one = draft.of(SAGITTAL_T2)
    one.slices = [replace(piece, instance=piece.instance + 5030) for piece in one.slices]
    return f"instances of series {one.series_id} begin at 5031"


def truncated_file(draft: Draft, rng: np.random.Generator) -> str:
    return _spoil(draft, rng, "truncated")


def empty_file(draft: Draft, rng: np.random.Generator) -> str:
    return _spoil(draft, rng, "empty")


def _spoil(draft: Draft, rng: np.random.Generator, damage: str) -> str:
    one = draft.scans[rng.integers(len(draft.scans))]
    instance = int(rng.choice([piece.instance for piece in one.slices]))
    one.spoiled[instance] = damage
    return f"{one.series_id}/{instance}.dcm is {damage}"


def cervical_series(draft: Draft, rng: np.random.Generator) -> str:
    """A neck is near enough a small straight spine with a cord all the way down, on a smaller field of view."""
    lumbar = draft.of(SAGITTAL_T2)
    neck = make_spine(rng, np.zeros(len(TARGETS), int), "", scale=0.55, lordosis=0.4)
    neck = replace(neck, conus=1e4, sac_depth=11.0, fat_mm=6.0, skin_mm=48.0)
    wrong = scan(rng, neck, replace(lumbar.protocol, fov_mm=200.0), lumbar.series_id)
    draft.scans[draft.scans.index(lumbar)] = replace(wrong, side="nobody marked it")
    return f"series {wrong.series_id} shows a neck"


def duplicate_instances(draft: Draft, rng: np.random.Generator) -> str:
    one = draft.of(SAGITTAL_T1)
    last = max(piece.instance for piece in one.slices)
    copied = [one.slices[i] for i in sorted(rng.choice(len(one.slices), 3, replace=False))]
    one.slices = one.slices + [replace(piece, instance=last + n) for n, piece in enumerate(copied, start=1)]
    return f"{', '.join(str(p.instance) for p in copied)} of series {one.series_id} again as {last + 1} to {last + 3}"


# --- in the points ---------------------------------------------------------------------------------------------------


def swapped_sides(draft: Draft, rng: np.random.Generator) -> str:
    for row in draft.points:
        if FAMILY[row["condition"]] == "foraminal":
            side, other = ("Left", "Right") if row["condition"].startswith("Left") else ("Right", "Left")
            row["condition"] = row["condition"].replace(side, other)
    return "left and right exchanged on Sagittal T1"


def placeholder_points(draft: Draft, rng: np.random.Generator) -> str:
    canal = [row for row in draft.points if row["condition"] == CANAL]
    chosen = [canal[i] for i in sorted(rng.choice(len(canal), 2, replace=False))]
    for row in chosen:
        row |= {"x": round(float(rng.uniform(4.5, 5.5)), 4), "y": round(float(rng.uniform(4.5, 5.5)), 4)}
    return f"canal points of {' and '.join(row['level'] for row in chosen)} lie at about (5, 5)"


def label_without_point(draft: Draft, rng: np.random.Generator) -> str:
    row = draft.points.pop(rng.integers(len(draft.points)))
    return f"no point for {row['condition']} {row['level']}"


def point_without_label(draft: Draft, rng: np.random.Generator) -> str:
    row = draft.points[rng.integers(len(draft.points))]
    draft.ungraded.append((row["condition"], row["level"]))
    return f"no label for {row['condition']} {row['level']}"


def _by_name(*functions: Quirk) -> dict[str, Quirk]:
    return {f.__name__.replace("_", " "): f for f in functions}


IN_IMAGES = _by_name(
    several_axial_series,
    sides_on_different_series,
    missing_series,
    missing_tags,
    mixed_sizes,
    upside_down_order,
    instances_from_5031,
    truncated_file,
    empty_file,
    cervical_series,
    duplicate_instances,
)
IN_POINTS = _by_name(swapped_sides, placeholder_points, label_without_point, point_without_label)
QUIRKS = (*IN_IMAGES, *IN_POINTS)


def dealt(quirks: tuple[str, ...], split: str, k: int) -> str:
    """The quirk of the k-th study of a split: they are dealt in order, one to a study, until there are none left.

    Test studies have no points, so that only faults of the images are dealt to them.
    """
    if unknown := set(quirks) - set(QUIRKS):
        raise ValueError(f"no such quirk: {', '.join(sorted(unknown))}; there are {', '.join(QUIRKS)}")
    possible = [name for name in quirks if split == "train" or name in IN_IMAGES]
    return possible[k] if k < len(possible) else ""
