"""DICOM files to a Series: any greyscale MR file, each slice with its plane in the patient.

Whatever is wrong with a file ends in a DicomError that names it. In a series folder such files are
left out and listed with the reason.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utils.dicom.attributes import frame_count, parse, plane
from utils.dicom.errors import DicomError, naming
from utils.dicom.geometry import Series, Slice, in_order
from utils.dicom.header import quick_header
from utils.dicom.pixels import pixel_values

_SAME_PLANE_DECIMALS = 3  # planes that agree to so many decimals of a mm are the same


def read_series(folder: str | Path) -> Series:
    """All slices of one series folder, in anatomical order, whatever the names of the files.

    Files that cannot be used, and second copies of a slice, are in `left_out` with the reason. The
    slices have the folder's name as their `series_id` if it is a decimal number, as it is in the
    competition. Raises DicomError if not one file can be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DicomError(folder, "no such folder")
    series_id = int(folder.name) if folder.name.isdecimal() else None
    found = []
    left_out = []
    for path in _files(folder):
        try:
            found += [(path.name, one) for one in read_file(path, series_id)]
        except DicomError as error:
            left_out.append((path.name, error.reason))
    if not found:
        first = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise DicomError(folder, f"no usable image among {len(left_out)} files{first}")
    slices, duplicates = _without_duplicates(found)
    return Series(in_order(slices), folder, tuple(left_out + duplicates))


def _files(folder: Path) -> list[Path]:
    """The files of a folder by name, without hidden ones (.DS_Store)."""
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def _without_duplicates(
    found: list[tuple[str, Slice]],
) -> tuple[list[Slice], list[tuple[str, str]]]:
    """One of each slice that is there twice (same plane, same pixels); the others as left out."""
    slices = []
    duplicates = []
    seen: dict[tuple, list[tuple[str, Slice]]] = {}
    for name, one in sorted(found, key=lambda pair: pair[1].instance):
        others = seen.setdefault(_plane_key(one), [])
        same = (other for other, its in others if np.array_equal(its.pixels, one.pixels))
        original = next(same, None)
        if original is None:
            slices.append(one)
            others.append((name, one))
        else:
            duplicates.append((name, f"shows the same as {original}"))
    return slices, duplicates


def _plane_key(one: Slice) -> tuple:
    """Equal for slices of the same plane, spacing and size."""
    numbers = [*one.origin, *one.axes.ravel(), *one.spacing]
    return (*np.round(numbers, _SAME_PLANE_DECIMALS).tolist(), *one.pixels.shape)


def read_file(path: str | Path, series_id: int | None = None) -> list[Slice]:
    """The slices of one DICOM file: one, or one per frame of a multi-frame file.

    series_id  is given to every slice
    Raises DicomError with the path and the reason.
    """
    path = Path(path)
    with naming(path):
        content = path.read_bytes()  # all of it: a damaged length can then not exceed what is there
        if not content:
            raise DicomError(path, "is empty")
        header = quick_header(content) or parse(content)
        count = frame_count(header.attributes, len(content))
        planes = [plane(header.attributes, frame) for frame in range(count)]
        pixels = pixel_values(header, content, count)
        # A multi-frame file has one instance number for all its frames: they are numbered from 1.
        first = int(header.attributes.get("InstanceNumber") or 0) if count == 1 else 1
        return [Slice(first + k, pixels[k], *planes[k], series_id) for k in range(count)]
