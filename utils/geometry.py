"""Slices and series in the patient: from pixel to mm and back, in which order, which way up.

Patient space is DICOM LPS in mm: +x to the patient's left, +y to the back (posterior), +z to the head.
A pixel index (column, row) means the centre of that pixel. A series is slices that each carry their own
plane, not a box: an axial lumbar series is usually several oblique blocks, one per disc.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

_SAME_ORIENTATION = np.cos(np.radians(1.0))  # slices tilted by less belong to one stack


@dataclass(frozen=True)
class Slice:
    """One image: pixels (H, W), origin (3,) mm of pixel (0, 0), axes (2, 3) unit directions of +column and +row,
    spacing (2,) mm per pixel along those axes."""

    instance: int
    pixels: np.ndarray
    origin: np.ndarray
    axes: np.ndarray
    spacing: np.ndarray

    @cached_property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)

    @property
    def centre(self) -> np.ndarray:
        height, width = self.pixels.shape
        return self.to_patient(((width - 1) / 2, (height - 1) / 2))

    def to_patient(self, xy) -> np.ndarray:
        """Pixels (…, 2) as (column, row) -> mm (…, 3)."""
        return self.origin + (np.asarray(xy, float) * self.spacing) @ self.axes

    def to_pixel(self, mm) -> np.ndarray:
        """mm (…, 3) -> pixels (…, 2) of the foot of the perpendicular on this slice."""
        return (np.asarray(mm, float) - self.origin) @ self.axes.T / self.spacing

    def distance(self, mm) -> np.ndarray:
        """Signed mm (…) from this slice's plane to the points (…, 3)."""
        return (np.asarray(mm, float) - self.origin) @ self.normal

    def beside(self, mm) -> float:
        """mm in the plane from the foot of the perpendicular from a point (3,) to the image: 0 if it falls on the image."""
        height, width = self.pixels.shape
        foot = self.to_pixel(mm)
        return float(np.linalg.norm((foot - np.clip(foot, 0, (width - 1, height - 1))) * self.spacing))

    def distance_to_image(self, mm) -> float:
        """mm from a point (3,) to the image itself: a plane goes on for ever, an image does not."""
        return float(np.hypot(self.distance(mm), self.beside(mm)))

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Which way the left, right, upper and lower edge of the image lie in the patient: R L A P S I."""
        right, down = self.axes
        return letter(-right), letter(right), letter(-down), letter(down)


@dataclass(frozen=True)
class Series:
    """Slices in anatomical order: right to left, front to back, or head to foot, by position along the normal.

    left_out names each file that could not be used: (file name, reason).
    """

    slices: tuple[Slice, ...]
    path: Path | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def pixels(self) -> list[np.ndarray]:
        return [s.pixels for s in self.slices]

    @property
    def instances(self) -> list[int]:
        return [s.instance for s in self.slices]

    def index(self, instance: int) -> int:
        """Position of an instance number in anatomical order. Raises KeyError when there is none."""
        try:
            return self.instances.index(int(instance))
        except ValueError:
            raise KeyError(f"{self.path}: no instance {instance} among {min(self.instances)}..{max(self.instances)}") from None

    def to_patient(self, i: int, xy) -> np.ndarray:
        """Pixels (…, 2) as (column, row) of slice i -> mm (…, 3) in LPS."""
        return self.slices[i].to_patient(xy)

    def to_pixel(self, i: int, mm) -> np.ndarray:
        """mm (…, 3) in LPS -> pixels (…, 2) of slice i, projected along its normal."""
        return self.slices[i].to_pixel(mm)

    def nearest_slice(self, mm) -> int:
        """Index of the slice whose image comes nearest to a point (3,): an oblique block far away does not win because its
        plane happens to pass by."""
        return int(np.argmin([s.distance_to_image(mm) for s in self.slices]))

    @cached_property
    def stacks(self) -> list[list[int]]:
        """Slice indices grouped by orientation; in_order has put each group's slices next to each other."""
        groups = _by_orientation(self.slices)
        ends = np.cumsum([len(group) for group in groups])
        return [list(range(end - len(group), end)) for end, group in zip(ends, groups, strict=True)]

    @property
    def orientation(self) -> str:
        """'sagittal', 'coronal' or 'axial', from the mean normal, never from the series' name."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(_mean_normal(self.slices))))]

    @property
    def gap_mm(self) -> float:
        """Median distance between neighbouring slices of one stack, from positions; nan for single slices."""
        gaps = [abs(self.slices[a].distance(self.slices[b].origin)) for s in self.stacks for a, b in pairwise(s)]
        return float(np.median(gaps)) if gaps else float("nan")

    def __repr__(self) -> str:
        sizes = sorted({s.pixels.shape for s in self.slices})
        spacing = self.slices[0].spacing
        return (
            f"Series({self.path.name if self.path else ''}: {len(self)} {self.orientation} slices of "
            f"{' and '.join(f'{w}×{h}' for h, w in sizes)} px, {spacing[0]:.2f}×{spacing[1]:.2f} mm, gap {self.gap_mm:.1f} mm, "
            f"{len(self.stacks)} stack{'s' * (len(self.stacks) > 1)}, {sum(p.nbytes for p in self.pixels) / 1e6:.1f} MB"
            + (f", {len(self.left_out)} left out" if self.left_out else "")
            + ")"
        )


def letter(direction: np.ndarray) -> str:
    """The patient's side that a direction (3,) points to most: R or L, A or P, I or S."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "IS")[axis][int(direction[axis] > 0)]


def _mean_normal(slices) -> np.ndarray:
    """Mean of the normals, each turned to the same side of its main axis."""
    normals = np.array([s.normal for s in slices])
    main = int(np.argmax(np.abs(normals).sum(0)))
    return (normals * np.sign(normals[:, main : main + 1] + 1e-12)).mean(0)


def _by_orientation(slices) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for s in slices:
        group = next((g for g in groups if abs(g[0].normal @ s.normal) > _SAME_ORIENTATION), None)
        groups.append([s]) if group is None else group.append(s)
    return groups


def in_order(slices) -> tuple[Slice, ...]:
    """Slices sorted by position: sagittal from the patient's right to left, coronal front to back, axial head to foot.

    Stack by stack: neighbouring oblique blocks may cross, and a crossing must not shuffle the slices of two blocks.
    """
    slices = sorted(slices, key=lambda s: s.instance)
    direction = _mean_normal(slices)
    if np.argmax(np.abs(direction)) == 2:
        direction = -direction
    stacks = [sorted(stack, key=lambda s: float(s.centre @ direction)) for stack in _by_orientation(slices)]
    stacks.sort(key=lambda stack: np.mean([s.centre @ direction for s in stack]))
    return tuple(s for stack in stacks for s in stack)
