"""Which tags of a DICOM file are read, where multi-frame files keep them, and what is refused.

Attributes are looked up by keyword (DICOM PS3.6). `parse` reads them with pydicom from any file;
`frame_count` and `plane` check them and raise `Unusable` with the reason.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
    ParametricMapStorage,
    RTDoseStorage,
    SegmentationStorage,
)

from utils.dicom.content import check_claim, claimed_bytes, claimed_frames
from utils.dicom.errors import Unusable, one_line
from utils.dicom.header import Header

# The functional group of each value in a multi-frame file, which has one group per frame or one
# shared by all frames, and the value's name there (DICOM PS3.3, C.7.6.16 and C.8.13).
GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "AcquisitionContrast": ("MRImageFrameTypeSequence", "AcquisitionContrast"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "SpectrallySelectedSuppression": ("MRModifierSequence", "SpectrallySelectedSuppression"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
}
# What `frame_count`, `value`, `contrast` and `plane` look up.
FRAME_TAGS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "Modality",
    "EchoNumbers",
    "InstanceNumber",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
)
# All that is ever read of a slice. The patient's name, number and birthday are not among it.
TAGS = [
    *FRAME_TAGS,
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "EchoTime", "ImageType"),
    "LossyImageCompression",
    "PlanarConfiguration",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
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
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # newer than pydicom 3.0
# Objects whose pixels are no image of the patient's tissue: drawn structures, doses, measurements.
NO_IMAGES: dict[str, str] = {
    SegmentationStorage: "a segmentation",
    LABEL_MAP: "a segmentation",
    RTDoseStorage: "a radiation dose",
    ParametricMapStorage: "a parametric map",
}
NO_IMAGE_MODALITIES = {"SEG": "a segmentation", "RTDOSE": "a radiation dose", "RWV": "a value map"}
_ID_DIGITS = 8  # hexadecimal
UNIT_TOLERANCE = 0.05  # of axes: by how much lengths and right angles may be off
SPACING_MM = (1e-3, 100.0)  # least and greatest possible distance between pixels
FARTHEST_MM = 1e5  # of an image from the origin, in each direction; a scanner's table has 2 m


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """What pydicom would warn of is read all the same, or becomes a DicomError."""
    level = config.logger.level
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config.logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            config.logger.setLevel(level)


def parse(content: bytes) -> Header:
    """The tags of any DICOM file, given as bytes, by pydicom.

    Raises Unusable, or whatever pydicom raises.
    """
    data = dataset(content, TAGS)
    if "PixelData" not in data:
        raise Unusable("holds no image, or ends before it")
    attributes = {name: data[name].value for name in TAGS if name in data}
    if "TransferSyntaxUID" not in data.file_meta:  # then only an uncompressed file can be read
        implicit, little_endian = data.original_encoding
        data.file_meta.TransferSyntaxUID = UNCOMPRESSED[bool(implicit), bool(little_endian)]
    return Header(attributes, dataset=data)


def dataset(content: bytes, tags: list[str], pixels: bool = True) -> pydicom.FileDataset:
    """pydicom's dataset, also of files that lack the preamble or the whole meta information.

    Raises Unusable, or whatever pydicom raises.
    """
    settings: dict[str, Any] = {"specific_tags": tags, "stop_before_pixels": not pixels}
    try:
        return pydicom.dcmread(BytesIO(content), **settings)
    except InvalidDicomError:
        whole = b"\0" * 128 + content if content.startswith(b"DICM") else content
        data = pydicom.dcmread(BytesIO(whole), force=True, **settings)
        if "Rows" not in data:
            raise Unusable("is not a DICOM file") from None
        return data


def short_id(*uids: str) -> int:
    """A number in place of identifiers, of which it tells nothing: at most ten digits."""
    digest = hashlib.sha256("\n".join(uids).encode("utf-8", "replace"))
    return int(digest.hexdigest()[:_ID_DIGITS], 16)


def frame_count(attributes: dict[str, Any], file_size: int) -> int:
    """How many greyscale frames a file of so many bytes holds. Raises Unusable if it cannot."""
    _check_object(attributes)
    colours = str(attributes.get("PhotometricInterpretation"))
    if attributes.get("SamplesPerPixel", 1) != 1 or not colours.startswith("MONOCHROME"):
        raise Unusable("holds a colour image, not a grey one")
    check_claim(claimed_bytes(attributes), file_size)
    count = claimed_frames(attributes)
    groups = attributes.get("PerFrameFunctionalGroupsSequence")
    if groups and len(groups) != count:
        raise Unusable(f"describes {len(groups)} frames and claims {count}")
    return count


def _check_object(attributes: dict[str, Any]) -> None:
    """Raise Unusable if the file is of a kind that holds no image of tissue."""
    of_class = NO_IMAGES.get(str(attributes.get("SOPClassUID")))
    what = of_class or NO_IMAGE_MODALITIES.get(str(attributes.get("Modality")).upper())
    if what:
        raise Unusable(f"holds {what}, not an image")


def value(attributes: dict[str, Any], tag: str, frame: int) -> Any:
    """The value of a tag of GROUPS for one frame; None where there is none.

    A frame's own group comes first, then the one that all frames share, then the top of the file:
    what a group says holds for its frame, whatever the top repeats.
    """
    group, name = GROUPS[tag]
    per_frame = attributes.get("PerFrameFunctionalGroupsSequence")
    shared = attributes.get("SharedFunctionalGroupsSequence")
    for groups in (per_frame[frame] if per_frame else None, shared[0] if shared else None):
        if groups is not None and groups.get(group):
            found = groups[group][0].get(name)
            if not _is_blank(found):
                return found
    found = attributes.get(tag)
    return None if _is_blank(found) else found


def _is_blank(found: Any) -> bool:
    return found is None or (isinstance(found, str) and not found.strip())


def contrast(attributes: dict[str, Any], frame: int) -> tuple[str, ...]:
    """What distinguishes two images of one plane: echo time, kind of image, number of the echo,
    lossy compression."""
    kind = value(attributes, "ImageType", frame)
    kind = kind if isinstance(kind, str) else "\\".join(map(str, kind or ()))
    rest = (attributes.get("EchoNumbers"), attributes.get("LossyImageCompression"))
    return _as_number(value(attributes, "EchoTime", frame)), kind, *map(str, rest)


def _as_number(found: Any) -> str:
    """A decimal number in one spelling; "" for what is none."""
    try:
        return f"{float(np.squeeze(found)):g}"
    except (TypeError, ValueError):
        return ""


def instance_number(attributes: dict[str, Any]) -> int | None:
    """InstanceNumber, where it is there and a number."""
    try:
        number = int(attributes["InstanceNumber"])
    except (KeyError, TypeError, ValueError):
        return None
    return number if abs(number) < 2**31 else None


def plane(attributes: dict[str, Any], frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a frame is in the patient: origin (3,) mm LPS, axes (2, 3) unit, spacing (2,) mm.

    Axes and spacing are those of a Slice: along a row (+column) first. Raises Unusable.
    """
    origin = _numbers(attributes, "ImagePositionPatient", frame, 3)
    axes = _numbers(attributes, "ImageOrientationPatient", frame, 6).reshape(2, 3)
    row_spacing = _numbers(attributes, "PixelSpacing", frame, 2)  # DICOM: from row to row first
    if max(abs(origin)) > FARTHEST_MM:
        raise Unusable(f"has an ImagePositionPatient of {max(abs(origin)):g} mm")
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
        raise Unusable(f"has no usable {tag}: {one_line(found)}")
    return numbers
