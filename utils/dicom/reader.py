"""DICOM files to a Series: any greyscale MR file, each slice with its plane in the patient.

Whatever is wrong with a file ends in a DicomError that names it. In a series folder such files are
left out and listed with the reason.
"""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from utils.dicom.attributes import (
    contrast,
    frame_count,
    instance_number,
    parse,
    plane,
    quiet_pydicom,
)
from utils.dicom.content import read_content
from utils.dicom.errors import NOT_READ, DicomError, naming, printable
from utils.dicom.geometry import Series, Slice, in_order
from utils.dicom.header import quick_header
from utils.dicom.pixels import pixel_values
from utils.dicom.stack import NO_NUMBER, Image, numbered, one_stack
from utils.files import reason


def read_series(folder: str | Path | Traversable) -> Series:
    """The stack of slices of one series folder, in anatomical order, whatever the names of the
    files. The folder may be one in an archive (zipfile.Path).

    Files that cannot be used, further images of a plane that is there already, and images in
    another plane than most (`stack` says which) are in `left_out` with the reason. The slices have
    the folder's name as their `series_id` if it is a decimal number, as it is in the competition.
    Raises DicomError if the folder or every file in it cannot be used.
    """
    folder = Path(folder) if isinstance(folder, str) else folder
    series_id = int(folder.name) if folder.name.isdecimal() else None
    found: list[Image] = []
    left_out = []
    with quiet_pydicom():
        for path in _files(folder):
            try:
                found += _read(path, series_id)
            except DicomError as error:
                left_out.append((printable(path.name), error.reason))
    if not found:
        raise DicomError(folder, _no_image(left_out))
    images, numbering = numbered(found)
    kept, dropped, aliases = one_stack(images)
    slices = in_order(image.slice for image in kept)
    return Series(slices, Path(str(folder)), tuple(left_out + dropped), numbering, aliases)


def _no_image(left_out: list[tuple[str, str]]) -> str:
    """Why a folder has no usable image; begins with NOT_READ if that is the disk's fault."""
    unread = [reason for _, reason in left_out if reason.startswith(NOT_READ)]
    start = f"{NOT_READ}: " if unread else ""
    first = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
    return f"{start}no usable image among {len(left_out)} files{first}"


def read_file(path: str | Path, series_id: int | None = None) -> list[Slice]:
    """The slices of one DICOM file: one, or one per frame of a multi-frame file.

    series_id  is given to every slice
    Raises DicomError with the path and the reason.
    """
    with quiet_pydicom():
        return [image.slice for image in _read(Path(path), series_id)]


def _files(folder: Traversable) -> list[Traversable]:
    """The files of a folder by name, without hidden ones (.DS_Store). Raises DicomError."""
    try:
        if not folder.is_dir():
            raise DicomError(folder, "no such folder")
        files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
        return sorted(files, key=lambda path: path.name)
    except OSError as error:
        raise DicomError(folder, f"{NOT_READ} ({reason(error)})") from error


def _read(path: Traversable, series_id: int | None) -> list[Image]:
    """The images of one file. Raises DicomError."""
    with naming(path):
        content = read_content(path)  # all: a damaged length can then not exceed what is there
        header = quick_header(content) or parse(content)
        attributes = header.attributes
        count = frame_count(attributes, len(content))
        planes = [plane(attributes, frame) for frame in range(count)]
        pixels = pixel_values(header, content, count)
        # A multi-frame file has one instance number for all its frames: they are numbered from 1.
        number = instance_number(attributes) if count == 1 else 1
        first = NO_NUMBER if number is None else number
        images = []
        for frame in range(count):
            one = Slice(first + frame, pixels[frame], *planes[frame], series_id)
            images.append(Image(printable(path.name), count, one, contrast(attributes, frame)))
        return images
