"""Which tags of a DICOM file are read, where multi-frame files keep them, and what is refused.

Attributes are looked up by keyword (DICOM PS3.6). `parse` reads them with pydicom from any file;
`frame_count` and `plane` check them and raise `Unusable` with the reason.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from pydicom import config
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from utils.dicom.errors import Unusable, first_line
from utils.dicom.header import Header

# The functional group of each value in a multi-frame file, which has one group per frame or one
# shared by all frames (DICOM PS3.3, C.7.6.16).
GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
# All that is ever read. The patient's name, number and birthday are not among it.
TAGS = [
    *GROUPS,
    "InstanceNumber",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]
# The transfer syntax of a file that does not name its own, by (implicit VR, little-endian).
UNCOMPRESSED = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
# A file may claim 64 MB of pixels, or more if that is at most 1000 times its own size. A greater
# claim is taken for damage: it would fill the memory. Both chosen generously, not measured.
ALWAYS_ALLOWED = 2**26  # bytes
HIGHEST_COMPRESSION = 1000
UNIT_TOLERANCE = 0.05  # of axes: by how much lengths and right angles may be off
SPACING_MM = (1e-3, 100.0)  # least and greatest possible distance between pixels


def parse(content: bytes) -> Header:
    """The tags of any DICOM file, given as bytes, by pydicom.

    Raises Unusable, or whatever pydicom raises.
    """
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters becomes a DicomError with the file's name
        data = _dataset(content)
        if "PixelData" not in data:
            raise Unusable("holds no image, or ends before it")
        attributes = {name: data[name].value for name in TAGS if name in data}
    if "TransferSyntaxUID" not in data.file_meta:  # then only an uncompressed file can be read
        implicit, little_endian = data.original_encoding
        data.file_meta.TransferSyntaxUID = UNCOMPRESSED[bool(implicit), bool(little_endian)]
    return Header(attributes, dataset=data)


def _dataset(content: bytes) -> pydicom.FileDataset:
    """pydicom's dataset, also of files that lack the preamble or the whole meta information."""
    try:
        return pydicom.dcmread(BytesIO(content), specific_tags=TAGS)
    except InvalidDicomError:
        whole = b"\0" * 128 + content if content.startswith(b"DICM") else content
        data = pydicom.dcmread(BytesIO(whole), specific_tags=TAGS, force=True)
        if "Rows" not in data:
            raise Unusable("is not a DICOM file") from None
        return data


def claimed_frames(attributes: dict[str, Any]) -> int:
    """The number of frames that a file claims, at least 1."""
    return max(1, int(attributes.get("NumberOfFrames") or 1))


def frame_count(attributes: dict[str, Any], file_size: int) -> int:
    """How many greyscale frames a file of so many bytes holds. Raises Unusable if it cannot."""
    colours = str(attributes.get("PhotometricInterpretation"))
    if attributes.get("SamplesPerPixel", 1) != 1 or not colours.startswith("MONOCHROME"):
        raise Unusable("holds a colour image, not a grey one")
    count = claimed_frames(attributes)
    bytes_per_pixel = -(-attributes["BitsAllocated"] // 8)  # rounded up
    claimed = count * attributes["Rows"] * attributes["Columns"] * bytes_per_pixel
    if claimed > max(ALWAYS_ALLOWED, HIGHEST_COMPRESSION * file_size):
        claim = f"claims {claimed / 1e6:,.0f} MB of pixels in {file_size / 1e6:.1f} MB"
        raise Unusable(claim)
    return count


def value(attributes: dict[str, Any], tag: str, frame: int) -> Any:
    """The value of a tag of GROUPS for one frame; None where there is none.

    It may be at the top of the file, in the frame's own group, or in the one that all frames share.
    """
    if attributes.get(tag) is not None:
        return attributes[tag]
    per_frame = attributes.get("PerFrameFunctionalGroupsSequence")
    shared = attributes.get("SharedFunctionalGroupsSequence")
    for groups in (per_frame[frame] if per_frame else None, shared[0] if shared else None):
        if groups is not None and groups.get(GROUPS[tag]):
            return groups[GROUPS[tag]][0].get(tag)
    return None


def plane(attributes: dict[str, Any], frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a frame is in the patient: origin (3,) mm LPS, axes (2, 3) unit, spacing (2,) mm.

    Axes and spacing are those of a Slice: along a row (+column) first. Raises Unusable.
    """
    origin = _numbers(attributes, "ImagePositionPatient", frame, 3)
    axes = _numbers(attributes, "ImageOrientationPatient", frame, 6).reshape(2, 3)
    row_spacing = _numbers(attributes, "PixelSpacing", frame, 2)  # DICOM: from row to row first
    lengths = np.sqrt((axes * axes).sum(1))
    if max(abs(lengths - 1)) > UNIT_TOLERANCE or abs(axes[0] @ axes[1]) > UNIT_TOLERANCE:
        raise Unusable("has an ImageOrientationPatient that is no pair of right-angled directions")
    least, greatest = SPACING_MM
    if min(row_spacing) < least or max(row_spacing) > greatest:
        raise Unusable(f"has a PixelSpacing of {row_spacing[0]:g} by {row_spacing[1]:g} mm")
    return origin, axes / lengths[:, None], row_spacing[::-1].copy()


def _numbers(attributes: dict[str, Any], tag: str, frame: int, size: int) -> np.ndarray:
    """(size,) finite numbers of a tag. Raises Unusable."""
    found = value(attributes, tag, frame)
    if found is None:
        raise Unusable(f"has no {tag}, so its place in the patient is unknown")
    numbers = np.array(found, float)
    if numbers.shape != (size,) or not np.isfinite(numbers).all():
        raise Unusable(f"has no usable {tag}: {first_line(found)}")
    return numbers
