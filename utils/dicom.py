"""One series from disk: its pixels, and each slice's place in the patient.

Patient space is DICOM LPS in mm: +x to the patient's left, +y to the back (posterior), +z to the head.
A pixel index (column, row) means the centre of that pixel. A series is slices that each carry their own
plane, not a box: an axial lumbar series is usually several oblique blocks, one per disc.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

_SAME_ORIENTATION = np.cos(np.radians(1.0))  # slices tilted by less belong to one stack


class DicomError(ValueError):
    """A series that cannot be used. `path` is the file or folder, `reason` says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason


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

    def resampled(self, spacing_mm: float, pixels: np.ndarray) -> Slice:
        """The same place on a new grid: the outer edges of the first pixel stay where they are."""
        shift = (spacing_mm - self.spacing) / 2
        return replace(self, pixels=pixels, origin=self.origin + shift @ self.axes, spacing=np.full(2, float(spacing_mm)))


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
        """Index of the slice whose image comes nearest to a point (3,).

        A plane goes on for ever, an image does not: the distance is to the rectangle, so that an oblique block far
        away does not win because its plane happens to pass by.
        """
        return int(np.argmin([_distance_to_image(s, np.asarray(mm, float)) for s in self.slices]))

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


def _distance_to_image(s: Slice, mm: np.ndarray) -> float:
    height, width = s.pixels.shape
    inside = np.clip(s.to_pixel(mm), 0, (width - 1, height - 1))
    return float(np.linalg.norm(s.to_patient(inside) - mm))


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


def read_series(folder: str | Path) -> Series:
    """All slices of one series folder. Raises DicomError if not one of its files can be used."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DicomError(folder, "no such folder")
    slices, left_out = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        try:
            slices.append(read_slice(path))
        except DicomError as error:
            left_out.append((path.name, error.reason))
    if not slices:
        reason = f"no usable image among {len(left_out)} files" + (f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else "")
        raise DicomError(folder, reason)
    return Series(in_order(slices), folder, tuple(left_out))


def read_slice(path: Path) -> Slice:
    """One DICOM file. Raises DicomError with the reason it cannot be used."""
    try:
        data = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError) as error:
        raise DicomError(path, f"not a readable DICOM file ({_first_line(error)})") from error
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if data.get(tag) is None:
            raise DicomError(path, f"has no {tag}, so its place in the patient is unknown")
    axes = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    row_mm, column_mm = map(float, data.PixelSpacing)  # DICOM gives the step between rows first
    return Slice(
        instance=int(data.get("InstanceNumber") or 0),
        pixels=_decode(path, data),
        origin=np.array(data.ImagePositionPatient, float),
        axes=axes,
        spacing=np.array([column_mm, row_mm]),
    )


def _decode(path: Path, data: pydicom.Dataset) -> np.ndarray:
    """Pixels (H, W) with rescale and MONOCHROME1 applied; the stored integer type where neither is present."""
    try:
        pixels = data.pixel_array
    except Exception as error:  # decoders raise what they like; the reason goes on with the file's name
        raise DicomError(path, f"pixels cannot be decoded ({_first_line(error)})") from error
    if pixels.ndim != 2:
        raise DicomError(path, f"holds an image of shape {pixels.shape}; one grey image per file is expected")
    if "RescaleSlope" in data or "RescaleIntercept" in data:
        pixels = pixels * np.float32(data.get("RescaleSlope", 1)) + np.float32(data.get("RescaleIntercept", 0))
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = pixels.max() - pixels
    return pixels


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
