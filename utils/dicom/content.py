"""The bytes of a file, never many more than its header promises: a small file can be made to fill
the memory, by deflation or by holes on the disk.

Deflated files (DICOM PS3.5, A.5) are inflated here, so that all that follows sees a plain one.
"""

from __future__ import annotations

import zlib
from importlib.resources.abc import Traversable
from io import BytesIO
from struct import error as StructError
from typing import Any

import pydicom

from utils.dicom.errors import Unusable
from utils.dicom.files import size_of
from utils.dicom.header import PREAMBLE, read_tag

MB = 10**6
MOST_FRAMES = 3000  # in one file; a series of the spine has at most a few hundred
# A file may claim 64 MB of pixels, or more if that is at most 1000 times its own size, and never
# more than 1 GB: a greater claim is taken for damage. All three chosen generously, not measured.
ALWAYS_ALLOWED = 2**26  # bytes
HIGHEST_COMPRESSION = 1000
MOST_PIXEL_BYTES = 2**30
HEADER_BYTES = 2**24  # more than the header of any multi-frame file that was seen

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PLAIN = b"1.2.840.10008.1.2.1".ljust(len(_DEFLATED), b"\0")
_TRANSFER_SYNTAX = 0x00020010
_SIZE_TAGS = ["Rows", "Columns", "BitsAllocated", "NumberOfFrames"]


def read_content(path: Traversable) -> bytes:
    """All bytes of a file, inflated if it is deflated. Raises Unusable, OSError, or whatever
    pydicom raises."""
    size = size_of(path)
    if not size:
        raise Unusable("is empty")
    if size > ALWAYS_ALLOWED:
        _check_size(path, size)
    return _inflated(path.read_bytes())


def claimed_frames(attributes: Any) -> int:
    """The number of frames that a file claims, at least 1."""
    count = max(1, int(attributes.get("NumberOfFrames") or 1))
    if count > MOST_FRAMES:
        raise Unusable(f"claims {count:,} frames")
    return count


def claimed_bytes(attributes: Any) -> int:
    """The size of the pixels that a file claims. Raises Unusable if there are none."""
    rows, columns = (int(attributes.get(name) or 0) for name in ("Rows", "Columns"))
    if not rows or not columns:
        raise Unusable(f"is an image of {columns} by {rows} pixels")
    bytes_per_pixel = -(-int(attributes.get("BitsAllocated") or 0) // 8)  # rounded up
    return claimed_frames(attributes) * rows * columns * bytes_per_pixel


def check_claim(claimed: int, file_size: int) -> None:
    """Raise Unusable if a file of so many bytes cannot hold the pixels that it claims."""
    limit = max(ALWAYS_ALLOWED, min(HIGHEST_COMPRESSION * file_size, MOST_PIXEL_BYTES))
    if claimed > limit:
        raise Unusable(f"claims {claimed / MB:,.0f} MB of pixels in {file_size / MB:.1f} MB")


def _check_size(path: Traversable, size: int) -> None:
    """A large file has to have a header that promises as much; only the header is read."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if _deflated_data_set(start):
        raise Unusable(f"is a deflated file of {size / MB:,.0f} MB")
    promised = _promised_bytes(start)
    if size > promised + ALWAYS_ALLOWED:
        raise Unusable(f"has {size / MB:,.0f} MB and promises {promised / MB:,.1f} MB of pixels")


def _promised_bytes(start: bytes) -> int:
    """The size of the pixels that the first bytes of a file claim."""
    if b"DICM" not in start[: PREAMBLE + 4]:
        raise Unusable("is not a DICOM file")
    data = pydicom.dcmread(BytesIO(start), stop_before_pixels=True, specific_tags=_SIZE_TAGS)
    if "Rows" not in data:
        raise Unusable(f"does not say within {HEADER_BYTES / MB:,.0f} MB how large its image is")
    return claimed_bytes(data)


def _inflated(content: bytes) -> bytes:
    """The same file with a data set that is not deflated."""
    found = _deflated_data_set(content)
    if found is None:
        return content
    value, data_set = found
    head = content[:value] + _PLAIN + content[value + len(_PLAIN) : data_set]
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    start = decoder.decompress(content[data_set:], HEADER_BYTES)
    if not decoder.unconsumed_tail:
        return head + start
    promised = _promised_bytes(head + start)
    check_claim(promised, len(content))
    rest = decoder.decompress(decoder.unconsumed_tail, promised)
    if decoder.unconsumed_tail:
        raise Unusable(f"inflates to more than the {promised / MB:,.1f} MB of pixels it promises")
    return head + start + rest


def _deflated_data_set(content: bytes) -> tuple[int, int] | None:
    """In a deflated file, where the value of the transfer syntax is and where the data set starts;
    None in any other file. Raises Unusable if the meta information says both."""
    position = PREAMBLE + 4 if content[PREAMBLE : PREAMBLE + 4] == b"DICM" else 4
    found = None
    try:
        while content[position : position + 2] == b"\x02\x00":
            tag, _, start, length = read_tag(content, position)
            if tag == _TRANSFER_SYNTAX:
                found = start
            position = start + length
    except StructError:
        found = None
    if found is not None and content[found : found + len(_DEFLATED)] == _DEFLATED:
        return found, position
    if found is None and _DEFLATED in content[:position]:
        raise Unusable("has damaged meta information")
    return None
