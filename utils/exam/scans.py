"""Images to scans: a scan is one stack of images that were made alike, seen from one side.

A folder, even a series, holds several: a localizer has three orientations, a dual-echo scan two
images of every plane, a Dixon scan four. Where the images of a series differ and do not share a
plane, they are one scan: blocks may be scanned with slightly different times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utils.dicom import Files, ImageFile, Series, Slice, in_order
from utils.dicom.stack import MOST_TILT, by_plane, main_direction
from utils.exam.headers import Image, Parameters


@dataclass(frozen=True)
class Scan:
    """One stack of an exam's images.

    orientations  of how many orientations its series has images
    """

    images: tuple[Image, ...]
    orientations: int = 1

    @property
    def study(self) -> str:
        return self.images[0].study

    @property
    def scanned(self) -> Parameters:
        """Of the image in the middle."""
        return self.images[len(self.images) // 2].scanned

    @cached_property
    def series(self) -> Series:
        """The planes without their pixels."""
        return Series(in_order(image.plane for image in self.images))

    @cached_property
    def orientation(self) -> str:
        return self.series.orientation

    @cached_property
    def size_mm(self) -> float:
        """The longer side of an image."""
        plane = self.images[0].plane
        return float(max(np.array(plane.pixels.shape[::-1]) * plane.spacing))

    @cached_property
    def height_mm(self) -> tuple[float, float]:
        """Lowest and highest centre of the images, or, of a sagittal scan, their edges (z, mm)."""
        return _height(image.plane for image in self.images)

    def middle(self, name: str) -> Files:
        """The image in the middle, as read_series takes it."""
        ordered = sorted(
            self.images, key=lambda image: image.plane.centre @ self.images[0].plane.normal
        )
        return Scan((ordered[len(ordered) // 2],)).files(name)

    def files(self, name: str) -> Files:
        """The same images as read_series takes them."""
        frames: dict[ImageFile, set[int]] = defaultdict(set)
        counts = {image.file: image.frames for image in self.images}
        for image in self.images:
            frames[image.file].add(image.frame)
        chosen = (
            file._replace(frames=None if len(of) == counts[file] else frozenset(of))
            for file, of in frames.items()
        )
        return Files(name, tuple(chosen))


def _height(planes: Iterable[Slice]) -> tuple[float, float]:
    heights: list[float] = []
    for plane in planes:
        height, width = plane.pixels.shape
        middles = [(0, (height - 1) / 2), (width - 1, (height - 1) / 2)]
        middles += [((width - 1) / 2, 0), ((width - 1) / 2, height - 1)]
        sagittal = abs(plane.normal[2]) < 0.5
        heights += plane.to_patient(middles)[:, 2].tolist() if sagittal else [plane.centre[2]]
    return min(heights), max(heights)


def scans_of(images: Iterable[Image]) -> list[Scan]:
    """The scans of an exam, in the order of its files. An image that was exported twice is taken
    once; SOPInstanceUID alone does not tell, because anonymised exams repeat it."""
    once = {(*image.identity, *image.plane.origin): image for image in images}
    by_series: dict[tuple[str, str], list[Image]] = defaultdict(list)
    for image in once.values():
        by_series[image.study, image.series].append(image)
    return [scan for group in by_series.values() for scan in _scans_of_series(group)]


def _scans_of_series(images: list[Image]) -> list[Scan]:
    stacks = _by_orientation(images)
    return [Scan(tuple(part), len(stacks)) for stack in stacks for part in _by_echo(stack)]


def _by_orientation(images: list[Image]) -> list[list[Image]]:
    """Images that are seen from about the same side, those of most images first."""
    stacks, rest = [], images
    while rest:
        direction = main_direction([image.plane for image in rest])
        seen = [abs(float(image.plane.normal @ direction)) >= MOST_TILT for image in rest]
        stacks.append([image for image, yes in zip(rest, seen) if yes])
        rest = [image for image, yes in zip(rest, seen) if not yes]
    return stacks


def _by_echo(images: list[Image]) -> list[list[Image]]:
    """Images of one echo together; echoes that share no plane with each other are one scan."""
    echoes: dict[tuple, list[Image]] = defaultdict(list)
    for image in images:
        echoes[image.echo].append(image)
    scans: list[list[Image]] = []
    for echo in echoes.values():
        for scan in scans:
            if not _share_a_plane(scan, echo):
                scan += echo
                break
        else:
            scans.append(list(echo))
    return scans


def _share_a_plane(scan: list[Image], echo: list[Image]) -> bool:
    """Whether any image of one shows the plane of one of the other."""
    planes = by_plane([image.plane for image in (*scan, *echo)])
    first = len(scan)
    return any(min(plane) < first <= max(plane) for plane in planes)
