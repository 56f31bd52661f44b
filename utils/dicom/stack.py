"""One folder is one stack: one image per plane, all seen from the same side, each with its number.

Exports hold more: second echoes, in-phase and opposed-phase images, lossy copies, scouts, and
instance numbers that are empty or the same. Left as they are, they would put slices 0 mm apart,
mix two contrasts, and move annotated points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.dicom.geometry import BY_NAME, BY_ORDER, BY_TAG, Numbering, Slice
from utils.files import number_named

SAME_PLANE_MM = 0.05  # parallel planes that are nearer are the same
SAME_DIRECTION = np.cos(np.radians(1.0))  # normals that differ by less are parallel
SAME_GRID_MM = 0.1
# An axial block through L5/S1 may be tilted by 45°; a scout is perpendicular to the others.
MOST_TILT = np.cos(np.radians(60.0))
NO_NUMBER = -1  # the instance of a slice whose file has no InstanceNumber
# How the reason starts for which an image was left out.
SAME_IMAGE, SAME_PLANE, OTHER_PLANE = "shows the same", "shows the same plane", "in another plane"


class Image(NamedTuple):
    """A slice and where it was read: the file's name, how many frames that has, what distinguishes
    it from other images of the same plane (see attributes.contrast), and its SeriesInstanceUID."""

    file: str
    frames: int
    slice: Slice
    contrast: tuple[str, ...]
    series: str = ""

    def __str__(self) -> str:
        return f"{self.file} frame {self.slice.instance}" if self.frames > 1 else self.file


def numbered(images: list[Image]) -> tuple[list[Image], Numbering]:
    """Images with the numbers that tables mean, and where these come from.

    Tables mean `{instance_number}.dcm`. Where not every name is a number, InstanceNumber counts if
    it is there and no two images share it; else the images are numbered from 1 in the order of
    files and frames, and no row of a table can be trusted to mean one of them.
    """
    named = [number_named(Path(image.file).stem) for image in images]
    tags = [image.slice.instance for image in images]
    numbers = [number for number in named if number is not None]
    are_single = all(image.frames == 1 for image in images)
    if are_single and len(numbers) == len(set(numbers)) == len(images):
        differing = sum(number != tag for number, tag in zip(numbers, tags))
        return _with_numbers(images, numbers), Numbering(BY_NAME, differing)
    if len(set(tags)) == len(tags) and NO_NUMBER not in tags:
        return images, Numbering(BY_TAG)
    return _with_numbers(images, list(range(1, len(images) + 1))), Numbering(BY_ORDER)


def _with_numbers(images: list[Image], numbers: list[int]) -> list[Image]:
    return [
        image._replace(slice=replace(image.slice, instance=number))
        for image, number in zip(images, numbers)
    ]


def one_stack(
    images: list[Image],
) -> tuple[list[Image], list[tuple[str, str]], Mapping[int, int]]:
    """The images of one stack; those left out, as (file, reason); and for the number of an image
    left out whose plane and size are those of one that is kept, the number of that one."""
    aligned, left_out = _in_main_planes(images)
    rank = _contrasts_by_use(aligned)
    kept = []
    aliases = {}
    for members in by_plane([image.slice for image in aligned]):
        plane = [aligned[k] for k in members]
        plane.sort(key=lambda image: (rank[image.contrast], image.slice.instance))
        first, *others = plane
        kept.append(first)
        for other in others:
            left_out.append((str(other), _why_second(other, first)))
            if _same_grid(other.slice, first.slice):
                aliases[other.slice.instance] = first.slice.instance
    return kept, left_out, aliases


def _contrasts_by_use(images: list[Image]) -> dict[tuple[str, ...], int]:
    """The rank of each contrast in the whole series: that of most images first, of equally many the
    one with the lowest instance number."""
    count = Counter(image.contrast for image in images)
    first: dict[tuple[str, ...], int] = {}
    for image in sorted(images, key=lambda image: image.slice.instance):
        first.setdefault(image.contrast, len(first))
    order = sorted(count, key=lambda contrast: (-count[contrast], first[contrast]))
    return {contrast: rank for rank, contrast in enumerate(order)}


def _in_main_planes(images: list[Image]) -> tuple[list[Image], list[tuple[str, str]]]:
    """The images that are seen from about the same side as most, and the others with the reason."""
    direction = main_direction([image.slice for image in images])
    kept, left_out = [], []
    for image in images:
        cosine = abs(float(image.slice.normal @ direction))
        if cosine >= MOST_TILT:
            kept.append(image)
        else:
            tilt = np.degrees(np.arccos(cosine))
            left_out.append((str(image), f"{OTHER_PLANE}, tilted by {tilt:.0f}°"))
    return kept, left_out


def main_direction(slices: list[Slice]) -> np.ndarray:
    """(3,) unit mean normal of the slices whose main axis is that of most."""
    axes = [int(np.argmax(np.abs(one.normal))) for one in slices]
    main = Counter(axes).most_common(1)[0][0]
    normals = np.array([one.normal for one, axis in zip(slices, axes) if axis == main])
    mean = (normals * np.sign(normals[:, main : main + 1])).mean(0)
    return mean / np.linalg.norm(mean)


def by_plane(slices: list[Slice]) -> list[list[int]]:
    """Positions of slices of the same plane together, if the middle of one is also in the other."""
    centres = np.array([one.centre for one in slices])
    normals = np.array([one.normal for one in slices])
    half_mm = np.array([_shorter_side_mm(one) / 2 for one in slices])
    firsts: list[int] = []
    planes: list[list[int]] = []
    for k in range(len(slices)):
        offsets = centres[firsts] - centres[k]
        parallel = np.abs(normals[firsts] @ normals[k]) > SAME_DIRECTION
        coincide = np.abs(offsets @ normals[k]) < SAME_PLANE_MM
        overlap = np.linalg.norm(offsets, axis=1) < np.maximum(half_mm[firsts], half_mm[k])
        same = np.flatnonzero(parallel & coincide & overlap)
        if len(same):
            planes[same[0]].append(k)
        else:
            firsts.append(k)
            planes.append([k])
    return planes


def _shorter_side_mm(one: Slice) -> float:
    height, width = one.pixels.shape
    return float(min(np.array([width, height]) * one.spacing))


def _same_grid(one: Slice, other: Slice) -> bool:
    """Whether a pixel means the same point in both."""
    if one.pixels.shape != other.pixels.shape:
        return False
    height, width = one.pixels.shape
    corners = [(0, 0), (width - 1, 0), (0, height - 1)]
    return bool(np.abs(one.to_patient(corners) - other.to_patient(corners)).max() < SAME_GRID_MM)


def _why_second(other: Image, first: Image) -> str:
    if np.array_equal(other.slice.pixels, first.slice.pixels):
        return f"{SAME_IMAGE} as {first}"
    return f"{SAME_PLANE} as {first} (another echo, contrast or copy)"
