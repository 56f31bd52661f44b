"""From compressed bytes to pixel values: which decoder, which bits, greyscale direction, rescale.

RLE, which the competition's files use, goes straight to pylibjpeg-rle; JPEG of all kinds goes to
GDCM in a separate process (`jpeg`); uncompressed pixels are pydicom's.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import unpack_from
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless
from rle.rle import decode_segment

from utils.dicom import jpeg
from utils.dicom.attributes import value
from utils.dicom.content import claimed_bytes, claimed_frames
from utils.dicom.errors import Unusable
from utils.dicom.header import Header

_RLE_HEADER = "<16I"  # the number of segments, then where each starts (DICOM PS3.5, annex G)
_RLE_HEADER_BYTES = 64


def pixel_values(header: Header, content: bytes, count: int) -> np.ndarray:
    """(count, H, W) pixel values of a file given as bytes, MONOCHROME1 inverted, rescale or the
    Modality LUT applied, padding as dark as the darkest pixel that is none.

    Without rescale these are the stored integers, with it finite floats. Raises Unusable, or
    whatever a decoder raises.
    """
    attributes = header.attributes
    _check_bits(attributes)
    has_table, is_inverted = bool(attributes.get("ModalityLUTSequence")), _is_inverted(attributes)
    if has_table and is_inverted:
        raise Unusable("has a Modality LUT and is MONOCHROME1, which together are not read")
    cells = _stored_cells(header, content)
    cells = cells.reshape(count, attributes["Rows"], attributes["Columns"])
    stored = _stored_bits(cells, attributes)
    padding = _is_padding(cells, stored, attributes)
    pixels = _inverted(stored, attributes) if is_inverted else stored
    pixels = _looked_up(pixels, header) if has_table else _rescaled(pixels, attributes)
    if padding is not None and not padding.all():
        pixels = np.where(padding, pixels[~padding].min(), pixels)
    return pixels


def _stored_cells(header: Header, content: bytes) -> np.ndarray:
    """The pixels with all their allocated bits, by the decoder for their transfer syntax."""
    if header.frames is not None:
        return _decode_rle(header.frames, header.attributes)
    data = header.dataset
    assert data is not None  # a Header has either frames or a dataset
    syntax = data.file_meta.TransferSyntaxUID
    count = claimed_frames(header.attributes)
    if syntax == RLELossless:
        if data.BitsAllocated in (8, 16, 32):
            frames = generate_frames(data.PixelData, number_of_frames=count)
            return _decode_rle(frames, header.attributes)
        return data.pixel_array
    if syntax.is_compressed:
        return jpeg.decode(content, count, claimed_bytes(header.attributes))
    if data["PixelData"].is_undefined_length:
        raise Unusable("holds compressed pixels and says that they are not")
    if data.BitsAllocated in (16, 32) or (syntax.is_little_endian and data.BitsAllocated == 8):
        return _plain_cells(data, claimed_bytes(header.attributes))
    return data.pixel_array


def _plain_cells(data: Dataset, size: int) -> np.ndarray:
    """Uncompressed cells as they are; pydicom would already interpret their unused bits."""
    if len(data.PixelData) < size:
        raise Unusable(f"ends early: {len(data.PixelData):,} of {size:,} bytes of its image")
    kind = "i" if data.PixelRepresentation else "u"
    order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
    dtype = np.dtype(f"{order}{kind}{data.BitsAllocated // 8}")
    cells = np.frombuffer(data.PixelData, dtype, size // dtype.itemsize)
    return cells.astype(dtype.newbyteorder("="), copy=False)


def _check_bits(attributes: dict[str, Any]) -> None:
    """Raise Unusable if the bits that are stored are not among those allocated."""
    allocated, stored = attributes["BitsAllocated"], attributes["BitsStored"]
    high = attributes.get("HighBit", stored - 1)
    if not 0 < stored <= high + 1 <= allocated:
        raise Unusable(f"has {stored} bits stored up to bit {high} of {allocated}")


def _stored_bits(cells: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """The bits of each cell that are the pixel's value, with its sign.

    Nothing may be assumed of the others (DICOM PS3.5, 8.1.1): they may be an overlay, or zeros
    above a negative number. A shift up removes those above; the shift down brings the sign.
    """
    allocated = 8 * cells.dtype.itemsize
    stored, high = attributes["BitsStored"], attributes.get("HighBit", attributes["BitsStored"] - 1)
    if stored == allocated:
        return cells
    return cells << (allocated - 1 - high) >> (allocated - stored)


def _is_padding(
    cells: np.ndarray, stored: np.ndarray, attributes: dict[str, Any]
) -> np.ndarray | None:
    """Which pixels carry no image (DICOM PS3.3, C.7.5.1.1.2); None in a file without padding.

    They are those between the padding value and its limit. The value may use all allocated bits.
    """
    first = attributes.get("PixelPaddingValue")
    if first is None:
        return None
    last = attributes.get("PixelPaddingRangeLimit", first)
    ends = [_as_cell(end, stored.dtype) for end in (first, last)]
    is_padding = (stored >= min(ends)) & (stored <= max(ends))
    return is_padding | (cells == ends[0])


def _as_cell(number: int, dtype: np.dtype) -> int:
    """A 16-bit number that is written as unsigned or signed, as it reads in a cell of this type."""
    if dtype.kind == "i" and number >= 2**15:
        number -= 2**16
    return int(np.array(int(number) & (2 ** (8 * dtype.itemsize) - 1)).astype(dtype))


def _is_inverted(attributes: dict[str, Any]) -> bool:
    return attributes["PhotometricInterpretation"] == "MONOCHROME1"


def _inverted(stored: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """The highest possible value for the lowest, the same way for every file of a series."""
    greatest = -1 if attributes["PixelRepresentation"] else 2 ** attributes["BitsStored"] - 1
    return greatest - stored


def _decode_rle(frames: Iterable[bytes], attributes: dict[str, Any]) -> np.ndarray:
    """Straight to the decoder: pydicom's own way to it takes twice as long."""
    bits = attributes["BitsAllocated"]
    kind = "i" if attributes["PixelRepresentation"] else "u"
    dtype = np.dtype(f"<{kind}{bits // 8}")
    count = attributes["Rows"] * attributes["Columns"]
    decoded = [_decode_rle_frame(frame, count, dtype) for frame in frames]
    return decoded[0] if len(decoded) == 1 else np.stack(decoded)  # one frame is not copied


def _decode_rle_frame(frame: bytes, count: int, dtype: np.dtype) -> np.ndarray:
    """One frame's cells, flat, from its segments: one per byte of a cell, the highest byte first.

    Segment by segment, because the decoder of whole frames (in Rust) panics on damaged ones, and
    prints that.
    """
    segments, *table = unpack_from(_RLE_HEADER, frame)
    starts = table[:segments]
    fits = segments == dtype.itemsize and starts[0] == _RLE_HEADER_BYTES
    if not fits or starts != sorted(starts) or starts[-1] >= len(frame):
        raise Unusable("has an RLE image whose segments do not fit the file")
    cells = np.zeros(count, f"<u{segments}")
    for start, end in zip(starts, [*starts[1:], len(frame)]):
        unpacked = decode_segment(frame[start:end])
        if len(unpacked) < count:
            raise Unusable("has an RLE image that ends early")
        cells <<= 8
        cells |= np.frombuffer(unpacked, np.uint8)[:count]
    return cells.view(dtype)


def _looked_up(pixels: np.ndarray, header: Header) -> np.ndarray:
    """The values that the file's Modality LUT has for these pixels (DICOM PS3.3, C.11.1): its first
    for all below those it maps, its last for all above. Raises Unusable."""
    table = header.attributes["ModalityLUTSequence"][0]
    count, first, _ = (int(number) for number in table.LUTDescriptor)
    count = count or 2**16  # which 16 bits cannot hold
    entries = _entries(table.LUTData, count, header)
    if len(entries) < count:
        raise Unusable(f"has a Modality LUT of {len(entries)} instead of {count} values")
    return entries[np.clip(pixels.astype(np.int64) - first, 0, count - 1)]


def _entries(data: Any, count: int, header: Header) -> np.ndarray:
    """The values of a table: numbers already, or words of 16 bits, or bytes, two in a word."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.array(data, np.uint16))
    assert header.dataset is not None  # which has the table
    order = "<" if header.dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype("<u2")
    return words if len(words) >= count else words.view(np.uint8)


def _rescaled(pixels: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Slope and intercept of each frame applied, if the file has any. Raises Unusable."""
    frames = range(len(pixels))
    slopes = [value(attributes, "RescaleSlope", frame) for frame in frames]
    intercepts = [value(attributes, "RescaleIntercept", frame) for frame in frames]
    if all(number is None for number in slopes + intercepts):
        return pixels
    with np.errstate(over="ignore", invalid="ignore"):
        rescaled = pixels * _per_frame(slopes, 1) + _per_frame(intercepts, 0)
    if not np.isfinite(rescaled).all():
        raise Unusable("has a rescale that leaves no finite pixel values")
    return rescaled


def _per_frame(values: list, default: float) -> np.ndarray:
    """(frames, 1, 1) float32, to be multiplied with or added to (frames, H, W)."""
    numbers = [default if number is None else float(np.squeeze(number)) for number in values]
    return np.array(numbers, np.float32)[:, None, None]
