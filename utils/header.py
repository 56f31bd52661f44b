"""The shortest way through a DICOM header: for the files of the competition, seven times as fast as a full parser.

`quick` walks over one RLE-compressed file of explicit little-endian tags and picks out what a slice needs. Whatever it
does not know for certain (other encodings, several frames, nested sequences of unknown length, a broken file), it leaves
to pydicom by returning None; on the files it does read, tests hold it to pydicom's answers.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_TEXT, _NUMBERS, _WORD, _INTEGER = "text", "numbers", "word", "integer"
WANTED = {
    0x00020010: ("TransferSyntaxUID", _TEXT),
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
    0x00280103: ("PixelRepresentation", _WORD),
    0x00281052: ("RescaleIntercept", _NUMBERS),
    0x00281053: ("RescaleSlope", _NUMBERS),
}
NEEDED = {name for name, _ in WANTED.values()} - {"InstanceNumber", "NumberOfFrames", "RescaleIntercept", "RescaleSlope"}
_PIXELS, _ITEM, _END, _UNKNOWN = 0x7FE00010, 0xFFFEE000, 0xFFFEE0DD, 0xFFFFFFFF
_SHORT, _LONG, _PIECE = Struct("<HH2sH"), Struct("<I"), Struct("<HHI")
_LONG_FORM = {b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


def quick(content: bytes) -> dict | None:
    """Values by keyword, and under "frames" a list with the compressed frame; None for pydicom to decide."""
    if content[128:132] != b"DICM":
        return None
    try:
        found, at = _tags(content)
        if not set(found) >= NEEDED or found["TransferSyntaxUID"] != RLE_LOSSLESS or found.get("NumberOfFrames", 1) != 1:
            return None
        return found | {"frames": [_frame(content, at)]}
    except (StructError, ValueError):
        return None


def _tags(content: bytes) -> tuple[dict, int]:
    """The wanted values, and where the pixel data's first item begins."""
    found, at, last = {}, 132, 0
    while True:
        group, element, kind, length = _SHORT.unpack_from(content, at)
        at += 8
        if kind in _LONG_FORM:
            (length,) = _LONG.unpack_from(content, at)
            at += 4
        tag = group << 16 | element
        if tag == _PIXELS and length == _UNKNOWN:
            return found, at
        if not last < tag < _PIXELS or length == _UNKNOWN or not kind.isalpha():
            raise ValueError("not as expected")
        if tag in WANTED and length:
            name, how = WANTED[tag]
            found[name] = _value(content[at : at + length], how)
        at, last = at + length, tag


def _value(raw: bytes, how: str):
    if how == _WORD:
        return int.from_bytes(raw, "little")
    text = raw.decode("ascii").strip(" \0")
    if how == _TEXT:
        return text
    return int(text) if how == _INTEGER else [float(part) for part in text.split("\\")]


def _frame(content: bytes, at: int) -> bytes:
    """The items of one encapsulated frame, joined; the first item is the offset table."""
    pieces = []
    while True:
        group, element, length = _PIECE.unpack_from(content, at)
        tag, at = group << 16 | element, at + 8
        if tag == _END:
            return b"".join(pieces[1:])
        if tag != _ITEM or at + length > len(content):
            raise ValueError("not as expected")
        pieces.append(content[at : at + length])
        at += length
