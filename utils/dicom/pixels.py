"""From compressed bytes to pixel values: which decoder, greyscale direction, rescale.

RLE, which the competition's files use, goes straight to pylibjpeg-rle; JPEG of all kinds goes to
GDCM in a separate process (`jpeg`); uncompressed pixels are pydicom's.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import unpack_from
from typing import Any

import numpy as np
import rle
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from utils.dicom import jpeg
from utils.dicom.attributes import claimed_frames, value
from utils.dicom.header import Header

_RLE_HEADER = "<16I"  # the number of segments, then where each starts (DICOM PS3.5, annex G)
_RLE_HEADER_BYTES = 64
_MOST_SEGMENTS = 15


def pixel_values(header: Header, content: bytes, count: int) -> np.ndarray:
    """(count, H, W) pixel values of a file given as bytes, MONOCHROME1 inverted, rescale applied.

    Without rescale these are the stored integers, with it floats. Raises whatever a decoder raises.
    """
    attributes = header.attributes
    stored = _stored_values(header, content)
    pixels = stored.reshape(count, attributes["Rows"], attributes["Columns"])
    if attributes["PhotometricInterpretation"] == "MONOCHROME1":
        signed = attributes["PixelRepresentation"]
        greatest = -1 if signed else 2 ** attributes["BitsStored"] - 1
        pixels = greatest - pixels
    return _rescaled(pixels, attributes)


def _stored_values(header: Header, content: bytes) -> np.ndarray:
    """The pixels as they are stored, by the decoder for their transfer syntax."""
    if header.frames is not None:
        return _decode_rle(header.frames, header.attributes)
    data = header.dataset
    assert data is not None  # a Header has either frames or a dataset
    syntax = data.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        if data.BitsAllocated in (8, 16):
            count = claimed_frames(header.attributes)
            frames = generate_frames(data.PixelData, number_of_frames=count)
            return _decode_rle(frames, header.attributes)
        return data.pixel_array
    return jpeg.decode(content) if syntax.is_compressed else data.pixel_array


def _decode_rle(frames: Iterable[bytes], attributes: dict[str, Any]) -> np.ndarray:
    """Straight to the decoder: pydicom's own way to it takes twice as long."""
    bits = attributes["BitsAllocated"]
    kind = "i" if attributes["PixelRepresentation"] else "u"
    dtype = np.dtype(f"<{kind}{bits // 8}")
    shape = {"rows": attributes["Rows"], "columns": attributes["Columns"], "bits_allocated": bits}
    decoded = []
    for frame in frames:
        _check_segments(frame)
        raw = rle.decode_pixel_data(frame, version=2, **shape)
        decoded.append(np.frombuffer(raw, dtype))
    return decoded[0] if len(decoded) == 1 else np.stack(decoded)  # one frame is not copied


def _check_segments(frame: bytes) -> None:
    """Raise ValueError if the table of segments does not fit the frame: the decoder would panic."""
    count, *table = unpack_from(_RLE_HEADER, frame)
    starts = table[:count]
    possible = 1 <= count <= _MOST_SEGMENTS and starts[0] == _RLE_HEADER_BYTES
    if not possible or starts != sorted(starts) or starts[-1] >= len(frame):
        raise ValueError("the segments of its RLE image do not fit the file")


def _rescaled(pixels: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Slope and intercept of each frame applied, if the file has any."""
    frames = range(len(pixels))
    slopes = [value(attributes, "RescaleSlope", frame) for frame in frames]
    intercepts = [value(attributes, "RescaleIntercept", frame) for frame in frames]
    if all(number is None for number in slopes + intercepts):
        return pixels
    return pixels * _per_frame(slopes, 1) + _per_frame(intercepts, 0)


def _per_frame(values: list, default: float) -> np.ndarray:
    """(frames, 1, 1) float32, to be multiplied with or added to (frames, H, W)."""
    numbers = [default if number is None else float(np.squeeze(number)) for number in values]
    return np.array(numbers, np.float32)[:, None, None]
