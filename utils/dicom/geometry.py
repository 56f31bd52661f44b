"""Slices and series in the patient: from pixel to mm and back, in which order, which way up.

Patient space is DICOM LPS in mm: +x to the patient's left, +y to the back (posterior), +z to the
head. A pixel index (column, row) means the centre of that pixel. A series is slices that each carry
their own plane, not a box: an axial lumbar series is usually several oblique blocks, one per disc.

Pixel to mm: DICOM PS3.3, C.7.6.2.1.1 (image position, orientation and pixel spacing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BY_NAME, BY_TAG, BY_ORDER = "file names", "InstanceNumber", "order of the files"
_SAME_ORIENTATION = np.cos(np.radians(1.0))  # slices tilted by less belong to one stack


@dataclass(frozen=True)
class Slice:
    """One image and its plane in the patient.

    instance   its instance number
    pixels     (H, W)
    origin     (3,) mm, centre of pixel (0, 0)
    axes       (2, 3) unit directions of +column and +row
    spacing    (2,) mm per pixel along those axes
    series_id  of the series that it was read from; None where that is not known

    A sagittal slice 10 mm to the left, of half a millimetre per pixel, front to back and downwards:

    >>> downwards = np.array([[0, 1, 0], [0, 0, -1]])
    >>> one = Slice(1, np.zeros((200, 200)), np.array([10, -50, 100]), downwards, np.full(2, 0.5))
    >>> one.to_patient((100, 40)).tolist()  # y: -50 + 100 / 2; z: 100 - 40 / 2
    [10.0, 0.0, 80.0]
    >>> one.to_pixel((7, 0, 80)).tolist(), one.distance((7, 0, 80)).item()
    ([100.0, 40.0], 3.0)
    >>> one.letters
    ('A', 'P', 'S', 'I')
    """

    instance: int
    pixels: np.ndarray
    origin: np.ndarray
    axes: np.ndarray
    spacing: np.ndarray
    series_id: int | None = None

    @cached_property
    def normal(self) -> np.ndarray:
        """(3,) unit direction perpendicular to the plane."""
        return np.cross(*self.axes)

    @property
    def centre(self) -> np.ndarray:
        """(3,) mm, the middle of the image."""
        height, width = self.pixels.shape
        return self.to_patient(((width - 1) / 2, (height - 1) / 2))

    def to_patient(self, xy: ArrayLike) -> np.ndarray:
        """Pixels (…, 2) as (column, row) -> mm (…, 3)."""
        return self.origin + (np.asarray(xy, float) * self.spacing) @ self.axes

    def to_pixel(self, mm: ArrayLike) -> np.ndarray:
        """mm (…, 3) -> pixels (…, 2) of the foot of the perpendicular on this slice."""
        return (np.asarray(mm, float) - self.origin) @ self.axes.T / self.spacing

    def distance(self, mm: ArrayLike) -> np.ndarray:
        """Signed mm (…) from this slice's plane to the points (…, 3)."""
        return (np.asarray(mm, float) - self.origin) @ self.normal

    def beside(self, mm: ArrayLike) -> float:
        """mm in the plane, from the foot of the perpendicular from a point (3,) to the image.

        0 if the foot is on the image.
        """
        height, width = self.pixels.shape
        foot = self.to_pixel(mm)
        nearest = np.clip(foot, 0, (width - 1, height - 1))
        return float(np.linalg.norm((foot - nearest) * self.spacing))

    def distance_to_image(self, mm: ArrayLike) -> float:
        """mm from a point (3,) to the image itself: a plane has no end, an image has edges."""
        return float(np.hypot(self.distance(mm), self.beside(mm)))

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Where the left, right, upper and lower edge of the image are in the patient: RLAPSI."""
        right, down = self.axes
        return letter(-right), letter(right), letter(-down), letter(down)


class Numbering(NamedTuple):
    """Where instance numbers come from, and how many files say otherwise; see `stack.numbered`."""

    source: str = BY_TAG
    differing: int = 0


@dataclass(frozen=True)
class Series:
    """Slices in anatomical order (see `in_order`), by position along the normal.

    slices     right to left, front to back, or head to foot
    path       the folder they were read from
    left_out   (file name, reason) of each file that could not be used
    numbering  where the instance numbers come from
    aliases    the number of an image that was left out, and of the slice that shows the same plane
    """

    slices: tuple[Slice, ...]
    path: Path | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    numbering: Numbering = field(default_factory=Numbering)
    aliases: Mapping[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def pixels(self) -> list[np.ndarray]:
        """One (H, W) array per slice; sizes may differ."""
        return [s.pixels for s in self.slices]

    @property
    def instances(self) -> list[int]:
        """The instance number of each slice."""
        return [s.instance for s in self.slices]

    def shows(self, instance: int) -> bool:
        """Whether there is a slice of this instance number, or one that shows the same plane; never
        where numbers are only the order of the files."""
        if self.numbering.source == BY_ORDER:
            return False
        return self.aliases.get(int(instance), int(instance)) in self.instances

    def index(self, instance: int) -> int:
        """Position of an instance number, or of the slice that shows the same plane, in anatomical
        order. Raises KeyError if there is none."""
        try:
            return self.instances.index(self.aliases.get(int(instance), int(instance)))
        except ValueError:
            known = f"{min(self.instances)}..{max(self.instances)}"
            raise KeyError(f"{self.path}: no instance {instance} among {known}") from None

    def to_patient(self, i: int, xy: ArrayLike) -> np.ndarray:
        """Pixels (…, 2) as (column, row) of slice i -> mm (…, 3) in LPS."""
        return self.slices[i].to_patient(xy)

    def to_pixel(self, i: int, mm: ArrayLike) -> np.ndarray:
        """mm (…, 3) in LPS -> pixels (…, 2) of slice i, projected along its normal."""
        return self.slices[i].to_pixel(mm)

    def nearest_slice(self, mm: ArrayLike) -> int:
        """Index of the slice whose image is nearest to a point (3,).

        The image, not its plane: the plane of an oblique block far away may pass by the point.
        """
        return int(np.argmin([s.distance_to_image(mm) for s in self.slices]))

    @cached_property
    def stacks(self) -> list[list[int]]:
        """Slice indices by orientation; `in_order` has put each group's slices side by side."""
        groups = _by_orientation(self.slices)
        ends = np.cumsum([len(group) for group in groups])
        return [list(range(end - len(group), end)) for end, group in zip(ends, groups, strict=True)]

    @property
    def orientation(self) -> str:
        """'sagittal', 'coronal' or 'axial', from the mean normal, never from the series' name."""
        main = int(np.argmax(np.abs(_mean_normal(self.slices))))
        return ("sagittal", "coronal", "axial")[main]

    @property
    def gap_mm(self) -> float:
        """Median distance between neighbouring slices of one stack, from positions.

        nan where no stack has two slices.
        """
        gaps = []
        for stack in self.stacks:
            for a, b in pairwise(stack):
                gaps.append(abs(self.slices[a].distance(self.slices[b].origin)))
        return float(np.median(gaps)) if gaps else float("nan")

    def __repr__(self) -> str:
        name = self.path.name if self.path else ""
        sizes = sorted({s.pixels.shape for s in self.slices})
        matrices = " and ".join(f"{width}×{height}" for height, width in sizes)
        column_mm, row_mm = self.slices[0].spacing
        plural = "s" if len(self.stacks) > 1 else ""
        megabytes = sum(pixels.nbytes for pixels in self.pixels) / 1e6
        parts = [
            f"{len(self)} {self.orientation} slices of {matrices} px",
            f"{column_mm:.2f}×{row_mm:.2f} mm",
            f"{self.gap_mm:.1f} mm apart",
            f"{len(self.stacks)} stack{plural}",
            f"{megabytes:.1f} MB",
        ]
        if self.left_out:
            parts.append(f"{len(self.left_out)} left out")
        return f"Series({name}: {', '.join(parts)})"


def letter(direction: np.ndarray) -> str:
    """The patient's side that a direction (3,) points to most: R or L, A or P, I or S.

    >>> letter(np.array([0.1, 0.3, -0.9]))
    'I'
    """
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "IS")[axis][int(direction[axis] > 0)]


def in_order(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    """Slices by position: sagittal from right to left, coronal front to back, axial head to foot.

    Stack by stack: neighbouring oblique blocks may cross, and a crossing must not shuffle the
    slices of two blocks.
    """
    by_instance = sorted(slices, key=lambda s: s.instance)
    direction = _mean_normal(by_instance)
    if np.argmax(np.abs(direction)) == 2:
        direction = -direction
    stacks = _by_orientation(by_instance)
    for stack in stacks:
        stack.sort(key=lambda s: float(s.centre @ direction))
    stacks.sort(key=lambda stack: np.mean([s.centre @ direction for s in stack]))
    return tuple(s for stack in stacks for s in stack)


def _mean_normal(slices: Sequence[Slice]) -> np.ndarray:
    """(3,) mean of the normals, each turned to the same side of its main axis."""
    normals = np.array([s.normal for s in slices])
    main = int(np.argmax(np.abs(normals).sum(0)))
    signs = np.sign(normals[:, main : main + 1] + 1e-12)  # never 0
    return (normals * signs).mean(0)


def _by_orientation(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Slices of the same orientation together, in the order in which the orientations come up."""
    groups: list[list[Slice]] = []
    for one in slices:
        for group in groups:
            if abs(group[0].normal @ one.normal) > _SAME_ORIENTATION:
                group.append(one)
                break
        else:
            groups.append([one])
    return groups
