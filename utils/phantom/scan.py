"""The scanner: images one series of a spine, numbers its slices, and files them as DICOM."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from utils.dicom import Series, Slice, in_order
from utils.phantom.dicom_writer import BRIGHTEST, write_dicom
from utils.phantom.planes import planes
from utils.phantom.protocols import Protocol
from utils.phantom.signal import render
from utils.phantom.spine import Spine
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SIDES

# Proportion of series numbered against anatomical order. Real data: 36 % of the sagittal T1 series,
# 222 of 1,783 axial ones; sagittal T2 is taken to be as T1.
REVERSED = {SAGITTAL_T1: 0.36, SAGITTAL_T2: 0.36, AXIAL_T2: 0.12}
WHITE = (300, 1000)  # (least, most) pixel value of a series' 99th percentile, chosen by judgement
ALL_SIDES = (*SIDES, "")  # of rsna.side: "" is the canal


@dataclass
class Scan:
    """One series as it will be filed: its slices with their instance numbers, and its anomalies."""

    series_id: int
    protocol: Protocol
    slices: list[Slice]
    name: str  # series_description in the tables
    annotated_sides: tuple[str, ...] = ALL_SIDES  # whose points readers marked on this series
    without_tags: tuple[str, ...] = ()
    damaged: dict[int, str] = field(default_factory=dict)  # instance -> "truncated" or "empty"
    gain: float = 1.0  # pixel value of a signal of 1

    @property
    def series(self) -> Series:
        """The same slices as they would be read from disk."""
        return Series(tuple(self.slices), Path(str(self.series_id)))


def scan(
    rng: np.random.Generator,
    spine: Spine,
    protocol: Protocol,
    series_id: int,
    empty: list[Slice] | None = None,
) -> Scan:
    """Image one series of a spine.

    empty  the planes to image; those of the protocol unless given
    """
    chosen = planes(rng, spine, protocol) if empty is None else empty
    ordered = in_order(chosen)
    thickness = protocol.thickness_mm
    images = [render(spine, protocol.sequence, plane, thickness, rng) for plane in ordered]
    gain = _sample_gain(rng, images)
    numbers = _sample_numbering(rng, protocol.name, len(ordered))
    slices = [
        replace(plane, instance=number, pixels=_to_pixels(image, gain))
        for number, plane, image in zip(numbers, ordered, images)
    ]
    return Scan(series_id, protocol, slices, protocol.name, gain=float(gain))


def _sample_gain(rng: np.random.Generator, images: list[np.ndarray]) -> np.floating:
    """A factor from signal to pixel value, one for all images of a series."""
    white = rng.uniform(*WHITE)
    some_pixels = np.concatenate([image[::4, ::4].ravel() for image in images])
    return white / np.percentile(some_pixels, 99)


def _sample_numbering(rng: np.random.Generator, name: str, count: int) -> range:
    """Instance numbers, 1 to count, of slices in anatomical order: upwards or downwards."""
    if rng.random() < REVERSED[name]:
        return range(count, 0, -1)
    return range(1, count + 1)


def _to_pixels(image: np.ndarray, gain: np.floating) -> np.ndarray:
    return np.clip(image * gain, 0, BRIGHTEST).astype(np.uint16)


def write_scan(scanned: Scan, folder: Path) -> None:
    """Write a series as DICOM files named by instance number; damage those in its `damaged`."""
    folder.mkdir(parents=True)
    for image in scanned.slices:
        path = folder / f"{image.instance}.dcm"
        write_dicom(path, image, scanned.protocol, scanned.gain, scanned.without_tags)
        if image.instance in scanned.damaged:
            _damage(path, scanned.damaged[image.instance])


def _damage(path: Path, damage: str) -> None:
    """Cut a file to nothing ("empty") or to its first half ("truncated")."""
    data = path.read_bytes()
    path.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
