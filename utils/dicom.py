"""DICOM files to a Series: every kind of grey MR file a learner may meet, with each slice's place in the patient.

pydicom reads the headers and plain pixels; RLE, which the competition's files use, goes straight to pylibjpeg-rle, and
JPEG of all kinds to GDCM, in a process of its own. Whatever is wrong with a file ends in a DicomError that names it,
never in anything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from struct import unpack_from

import numpy as np
import pydicom
import rle
from pydicom import config
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from utils import jpeg
from utils.geometry import Series, Slice, in_order
from utils.header import quick

# Where each value lies in a multi-frame file, which keeps them per frame or shared by all.
GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
# All that is ever read: no patient's name, number or birthday among it.
TAGS = [
    *GROUPS,
    *("InstanceNumber", "NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]
PLAIN = {(True, True): ImplicitVRLittleEndian, (False, True): ExplicitVRLittleEndian, (False, False): ExplicitVRBigEndian}
SMALL, GROWTH = 2**26, 1000  # a file may claim 64 MB of pixels, or more if that is at most 1000 times its own size


class DicomError(ValueError):
    """A file or series that cannot be used. `path` is the file or folder, `reason` says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason


def read_series(folder: str | Path) -> Series:
    """All slices of one series folder; files that cannot be used are in left_out, with the reason.

    Raises DicomError if not one of its files can be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DicomError(folder, "no such folder")
    found, left_out = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        try:
            found += [(path.name, one) for one in read_file(path)]
        except DicomError as error:
            left_out.append((path.name, error.reason))
    if not found:
        reason = f"no usable image among {len(left_out)} files" + (f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else "")
        raise DicomError(folder, reason)
    slices, twins = _without_twins(found)
    return Series(in_order(slices), folder, tuple(left_out + twins))


def _without_twins(found: list[tuple[str, Slice]]) -> tuple[list[Slice], list[tuple[str, str]]]:
    """One of each slice that is there twice (same place, same pixels); the others as left out."""
    slices, twins, seen = [], [], {}
    for name, one in sorted(found, key=lambda pair: pair[1].instance):
        place = (*np.round([*one.origin, *one.axes.ravel(), *one.spacing], 3).tolist(), *one.pixels.shape)
        twin = next((other for other, its in seen.get(place, []) if np.array_equal(its.pixels, one.pixels)), None)
        if twin is None:
            slices.append(one)
            seen.setdefault(place, []).append((name, one))
        else:
            twins.append((name, f"shows the same as {twin}"))
    return slices, twins


def read_file(path: str | Path) -> list[Slice]:
    """The slices of one DICOM file: one, or one per frame of a multi-frame file. Raises DicomError with the reason."""
    path = Path(path)
    with _named(path):
        content = path.read_bytes()  # as a whole: then no length in it can ask for more than there is
        if not content:
            raise DicomError(path, "is empty")
        head = quick(content) or _parse(path, content)
        count = _frame_count(path, head, len(content))
        places = [_place(path, head, frame) for frame in range(count)]
        pixels = _pixels(head, count)
        first = int(head.get("InstanceNumber") or 0) if count == 1 else 1
        return [Slice(first + k, pixels[k], *place) for k, place in enumerate(places)]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Any failure inside becomes a DicomError with the file's name.

    Decoders raise what they like; one in Rust panics with a BaseException, which `except Exception` would let through.
    """
    try:
        yield
    except (DicomError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise DicomError(path, f"cannot be read ({type(error).__name__}: {_first_line(error)})") from error


def _parse(path: Path, content: bytes) -> dict:
    """The needed tags of any file, by pydicom; under "pixels" a function that decodes them, if they are not RLE."""
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them becomes a DicomError with the file's name
        try:
            data = pydicom.dcmread(BytesIO(content), specific_tags=TAGS)
        except InvalidDicomError:  # perhaps only the preamble is missing, or all that comes before the tags
            whole = b"\0" * 128 + content if content.startswith(b"DICM") else content
            data = pydicom.dcmread(BytesIO(whole), specific_tags=TAGS, force=True)
            if "Rows" not in data:
                raise DicomError(path, "is not a DICOM file") from None
        if "PixelData" not in data:
            raise DicomError(path, "holds no image, or ends before it")
        head = {name: data[name].value for name in TAGS if name in data}
    if "TransferSyntaxUID" not in data.file_meta:  # then only one of the plain encodings can be read at all
        implicit, little = data.original_encoding
        data.file_meta.TransferSyntaxUID = PLAIN[bool(implicit), bool(little)]
    syntax = data.file_meta.TransferSyntaxUID
    if syntax == RLELossless and data.BitsAllocated in (8, 16):
        return head | {"frames": generate_frames(data.PixelData, number_of_frames=_frames(head))}
    compressed = syntax.is_compressed and syntax != RLELossless
    return head | {"pixels": (lambda: jpeg.decode(content)) if compressed else (lambda: data.pixel_array)}


def _frames(head: dict) -> int:
    return max(1, int(head.get("NumberOfFrames") or 1))


def _frame_count(path: Path, head: dict, size: int) -> int:
    """How many grey images a file holds, if it can hold them."""
    if head.get("SamplesPerPixel", 1) != 1 or not str(head.get("PhotometricInterpretation")).startswith("MONOCHROME"):
        raise DicomError(path, "holds a colour image, not a grey one")
    claimed = _frames(head) * head["Rows"] * head["Columns"] * -(-head["BitsAllocated"] // 8)
    if claimed > max(SMALL, GROWTH * size):
        raise DicomError(path, f"claims {claimed / 1e6:,.0f} MB of pixels in {size / 1e6:.1f} MB")
    return _frames(head)


def _value(head: dict, tag: str, frame: int):
    """A value that may stand in the file itself, in a frame's own group, or in the group shared by all frames."""
    if head.get(tag) is not None:
        return head[tag]
    per_frame, shared = head.get("PerFrameFunctionalGroupsSequence"), head.get("SharedFunctionalGroupsSequence")
    for groups in (per_frame[frame] if per_frame else None, shared[0] if shared else None):
        if groups is not None and groups.get(GROUPS[tag]):
            return groups[GROUPS[tag]][0].get(tag)
    return None


def _place(path: Path, head: dict, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """origin (3,), axes (2, 3) and spacing (2,) of a frame, checked."""
    values = []
    for tag, size in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        value = _value(head, tag, frame)
        if value is None:
            raise DicomError(path, f"has no {tag}, so its place in the patient is unknown")
        numbers = np.array(value, float)
        if numbers.shape != (size,) or not np.isfinite(numbers).all():
            raise DicomError(path, f"has no usable {tag}: {_first_line(value)}")
        values.append(numbers)
    origin, axes, spacing = values[0], values[1].reshape(2, 3), values[2]
    lengths = np.sqrt((axes * axes).sum(1))
    if max(abs(lengths - 1)) > 0.05 or abs(axes[0] @ axes[1]) > 0.05:
        raise DicomError(path, "has an ImageOrientationPatient that is no pair of right-angled directions")
    if min(spacing) < 1e-3 or max(spacing) > 100:
        raise DicomError(path, f"has a PixelSpacing of {spacing[0]:g} by {spacing[1]:g} mm")
    return origin, axes / lengths[:, None], spacing[::-1].copy()  # DICOM gives the step between rows first


def _pixels(head: dict, count: int) -> np.ndarray:
    """(frames, H, W) with MONOCHROME1 turned round and rescale applied; the stored integers where there is neither."""
    pixels = _decode_rle(head) if "frames" in head else head["pixels"]()
    pixels = pixels.reshape(count, head["Rows"], head["Columns"])
    if head["PhotometricInterpretation"] == "MONOCHROME1":
        pixels = (-1 if head["PixelRepresentation"] else 2 ** head["BitsStored"] - 1) - pixels
    slopes, shifts = ([_value(head, tag, k) for k in range(count)] for tag in ("RescaleSlope", "RescaleIntercept"))
    if any(v is not None for v in slopes + shifts):
        pixels = pixels * _per_frame(slopes, 1) + _per_frame(shifts, 0)
    return pixels


def _per_frame(values: list, default: float) -> np.ndarray:
    """(frames, 1, 1) float32."""
    return np.array([default if value is None else float(np.squeeze(value)) for value in values], np.float32)[:, None, None]


def _decode_rle(head: dict) -> np.ndarray:
    """Straight to the decoder: pydicom's own way to it takes twice as long."""
    shape = {"rows": head["Rows"], "columns": head["Columns"], "bits_allocated": head["BitsAllocated"]}
    dtype = np.dtype(f"<{'i' if head['PixelRepresentation'] else 'u'}{head['BitsAllocated'] // 8}")
    decoded = [np.frombuffer(rle.decode_pixel_data(_sound(frame), version=2, **shape), dtype) for frame in head["frames"]]
    return decoded[0] if len(decoded) == 1 else np.stack(decoded)  # one frame is not copied


def _sound(frame: bytes) -> bytes:
    """The frame, if its table of segments fits it: the decoder panics where it does not (DICOM PS3.5, annex G)."""
    count, *starts = unpack_from("<16I", frame)
    starts = starts[:count]
    if not 1 <= count <= 15 or starts[0] != 64 or starts != sorted(starts) or starts[-1] >= len(frame):
        raise ValueError("the segments of its RLE image do not fit the file")
    return frame


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason given"
