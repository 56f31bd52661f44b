"""DICOM files to a Series: any greyscale MR file, each slice with its plane in the patient.

Whatever is wrong with a file ends in a DicomError that names it. In a series folder such files are
left out and listed with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from importlib.resources.abc import Traversable
from pathlib import Path

from utils.dicom.attributes import (
    contrast,
    frame_count,
    instance_number,
    parse,
    plane,
    quiet_pydicom,
    short_id,
)
from utils.dicom.content import read_content
from utils.dicom.errors import NOT_READ, DicomError, naming, printable
from utils.dicom.files import Files, ImageFile, files_in
from utils.dicom.geometry import Series, Slice, in_order
from utils.dicom.header import quick_header
from utils.dicom.pixels import pixel_values
from utils.dicom.stack import NO_NUMBER, Image, numbered, one_stack


def read_series(
    folder: str | Path | Traversable | Files, series: int | None = None, as_one: bool = False
) -> Series:
    """The stack of slices of one series folder, in anatomical order, whatever the names of the
    files. The folder may be one in an archive (zipfile.Path), or a list of files that lie anywhere.

    series  of a folder that holds several series, the one to read, by the number that the error
            about it names
    as_one  the folder is one series by its place, as in the competition's layout, whatever series
            its files say they belong to

    Files that cannot be used, further images of a plane that is there already, and images in
    another plane than most (`stack` says which) are in `left_out` with the reason. The slices have
    the folder's name as their `series_id` if it is a decimal number, as it is in the competition.
    Raises DicomError if the folder or every file in it cannot be used, and for several series.
    """
    folder = Path(folder) if isinstance(folder, str) else folder
    series_id = int(folder.name) if folder.name.isdecimal() else None
    found: list[Image] = []
    left_out = []
    with quiet_pydicom():
        for file in files_in(folder).files:
            try:
                found += _read(file, series_id)
            except DicomError as error:
                left_out.append((printable(file.name), error.reason))
    if not found:
        raise DicomError(folder, _no_image(left_out))
    images, numbering = numbered(found if as_one else _of_series(found, series, folder))
    kept, dropped, aliases = one_stack(images)
    slices = in_order(image.slice for image in kept)
    return Series(slices, Path(str(folder)), tuple(left_out + dropped), numbering, aliases)


def _of_series(images: list[Image], chosen: int | None, folder: Traversable | Files) -> list[Image]:
    """The images of the series chosen, or of the only one. Raises DicomError."""
    series: dict[int, list[Image]] = defaultdict(list)
    for image in images:
        series[short_id(image.series)].append(image)
    if chosen is None and len(series) == 1:
        return images
    if chosen in series:
        return series[chosen]
    listed = ", ".join(f"{number} ({_seen(of)})" for number, of in series.items())
    raise DicomError(
        folder,
        f"holds {len(series)} series: {listed}. Choose one: read_series(folder, series="
        f"{next(iter(series))}); or take all of them as an exam: utils.exam.import_study(folder)",
    )


def _seen(images: list[Image]) -> str:
    """ "11 sagittal images" """
    orientation = Series(tuple(image.slice for image in images)).orientation
    return f"{len(images)} {orientation} image{'s' if len(images) > 1 else ''}"


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
        path = Path(path)
        return [image.slice for image in _read(ImageFile(path.name, path), series_id)]


def _read(file: ImageFile, series_id: int | None) -> list[Image]:
    """The images of one file that belong to its series. Raises DicomError."""
    with naming(file.at):
        content = read_content(file.at)  # all: a damaged length can then not exceed what is there
        header = quick_header(content) or parse(content)
        attributes = header.attributes
        count = frame_count(attributes, len(content))
        planes = [plane(attributes, frame) for frame in range(count)]
        pixels = pixel_values(header, content, count)
        # A multi-frame file has one instance number for all its frames: they are numbered from 1.
        number = instance_number(attributes) if count == 1 else 1
        first = NO_NUMBER if number is None else number
        name, series = printable(file.name), str(attributes.get("SeriesInstanceUID") or "")
        images = []
        for frame in sorted(file.frames) if file.frames else range(count):
            one = Slice(first + frame, pixels[frame], *planes[frame], series_id)
            images.append(Image(name, count, one, contrast(attributes, frame), series))
        return images
