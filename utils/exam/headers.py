"""What a file says of its images, before any pixel is decoded: where they are in the patient, which
series they belong to, and how they were scanned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.dicom import ImageFile, Slice
from utils.dicom.attributes import (
    FRAME_TAGS,
    GROUPS,
    dataset,
    frame_count,
    instance_number,
    plane,
    value,
)
from utils.dicom.content import read_content
from utils.dicom.errors import Unusable, naming

# All that is ever read. Descriptions are compared with words and never shown; the patient's name,
# number and birthday are not among it.
TAGS = [
    *FRAME_TAGS,
    *GROUPS,
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesDescription",
    "ProtocolName",
    "ScanningSequence",
    "ScanOptions",
    "SequenceName",
    "PulseSequenceName",
    "EchoPulseSequence",
    "MRAcquisitionType",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "BodyPartExamined",
]
# Codes of ImageType that make another image of the same echo.
DIXON = frozenset(("WATER", "IN_PHASE"))
DERIVED = frozenset(
    ("SUBTRACTION", "SUB", "P", "PHASE", "OPP_PHASE", "OUT_PHASE", "FAT", "FAT_FRACTION")
)
DIFFUSION = frozenset(("ADC", "DIFFUSION", "TRACEW", "DWI"))
PROJECTIONS = frozenset(
    ("PROJECTION IMAGE", "MIP", "MAX_IP", "MAXIMUM INTENSITY PROJECTION", "MIN_IP", "MNIP")
)
_DISTINGUISHING = DIXON | DERIVED | DIFFUSION | PROJECTIONS
_START = 132  # bytes: the preamble and "DICM"
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # with which a file without a preamble begins
_NO_AGENT = {"", "NO", "NONE", "N", "OFF", "0", "FALSE"}


@dataclass(frozen=True)
class Parameters:
    """How an image was scanned; None or empty where the file does not say. Times in ms, angle in
    degrees, thickness in mm; codes are upper-case, words lower-case."""

    te: float | None
    tr: float | None
    ti: float | None
    flip: float | None
    b_value: float | None
    thickness: float | None
    codes: frozenset[str]  # of ImageType, ScanningSequence, ScanOptions …
    sequence: str  # the maker's name of the sequence, upper-case
    contrast: str  # AcquisitionContrast of a multi-frame file
    is_3d: bool
    agent: bool
    body_part: str
    description: str
    protocol: str

    @property
    def words(self) -> str:
        return f"{self.description} {self.protocol}"


@dataclass(frozen=True)
class Image:
    """One image of an exam.

    plane    its place in the patient; its pixels have the right shape and no content
    echo     what distinguishes it from other images of the same plane: number and time of the echo,
             kind of image
    """

    file: ImageFile
    frame: int
    frames: int
    uid: str
    study: str
    series: str
    plane: Slice
    echo: tuple
    scanned: Parameters

    @property
    def identity(self) -> tuple:
        """Of the image, whatever file it is in."""
        return self.series, self.uid or self.file, self.frame


def read_images(file: ImageFile) -> list[Image]:
    """The images of one file; none if it is no DICOM file. Raises DicomError for one that cannot be
    used."""
    with naming(file.name):
        if not _looks_like_dicom(file):
            return []
        content = read_content(file.at)
        attributes = _attributes(content)
        if "Rows" not in attributes:
            return []  # a directory, a report, a presentation state
        if str(attributes.get("Modality", "MR")).upper() != "MR":
            raise Unusable(f"is no MR image but {_code(attributes.get('Modality'))}")
        count = frame_count(attributes, len(content))
        return list(_images(file, attributes, count))


def _looks_like_dicom(file: ImageFile) -> bool:
    with file.at.open("rb") as stream:
        start = stream.read(_START)
    return start[128:] == b"DICM" or start[:4] == b"DICM" or start[:2] in _FIRST_GROUPS


def _attributes(content: bytes) -> dict[str, Any]:
    data = dataset(content, TAGS, pixels=False)
    return {name: data[name].value for name in TAGS if name in data}


def _images(file: ImageFile, attributes: dict[str, Any], count: int) -> Iterator[Image]:
    """Raises Unusable where an image has no place in the patient."""
    text = {name: str(attributes.get(name) or "") for name in TAGS}
    shape = (int(attributes["Rows"]), int(attributes["Columns"]))
    number = instance_number(attributes) or 1
    nothing = np.broadcast_to(np.uint8(0), shape)
    for frame in range(count):
        scanned = _parameters(attributes, frame)
        yield Image(
            file,
            frame,
            count,
            text["SOPInstanceUID"],
            text["StudyInstanceUID"],
            text["SeriesInstanceUID"],
            Slice(number + frame, nothing, *plane(attributes, frame)),
            _echo(attributes, frame, scanned),
            scanned,
        )


def _echo(attributes: dict[str, Any], frame: int, scanned: Parameters) -> tuple:
    """Times within a millisecond are the same echo."""
    te = None if scanned.te is None else round(scanned.te)
    return str(attributes.get("EchoNumbers")), te, tuple(sorted(scanned.codes & _DISTINGUISHING))


def _parameters(attributes: dict[str, Any], frame: int) -> Parameters:
    of_frame = {tag: value(attributes, tag, frame) for tag in GROUPS}
    kind = [*_codes(of_frame["ImageType"]), *_codes(attributes.get("ImageType"))]
    listed = ("ScanningSequence", "ScanOptions", "EchoPulseSequence")
    others = [code for tag in listed for code in _codes(attributes.get(tag))]
    suppressed = _codes(of_frame["SpectrallySelectedSuppression"])
    names = ("SequenceName", "PulseSequenceName")
    return Parameters(
        te=_positive(of_frame["EchoTime"]),
        tr=_positive(of_frame["RepetitionTime"]),
        ti=_positive(of_frame["InversionTime"]),
        flip=_positive(of_frame["FlipAngle"]),
        b_value=_positive(of_frame["DiffusionBValue"]),
        thickness=_positive(of_frame["SliceThickness"]),
        codes=frozenset((*kind, *others, *(f"{code} SUPPRESSED" for code in suppressed))),
        sequence=" ".join(_code(attributes.get(name)) for name in names).strip(),
        contrast=_code(of_frame["AcquisitionContrast"]),
        is_3d=_code(attributes.get("MRAcquisitionType")) == "3D",
        agent=_has_agent(attributes),
        body_part=_code(attributes.get("BodyPartExamined")),
        description=_code(attributes.get("SeriesDescription")).lower(),
        protocol=_code(attributes.get("ProtocolName")).lower(),
    )


def _codes(found: Any) -> list[str]:
    parts = [found] if isinstance(found, str) else list(found or ())
    return [_code(part) for part in parts]


def _code(found: Any) -> str:
    return " ".join(str(found or "").upper().split())


def _positive(found: Any) -> float | None:
    """A number above 0; of several the first. Scanners write 0 where there is none."""
    try:
        number = float(np.ravel(np.asarray(found, float))[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _has_agent(attributes: dict[str, Any]) -> bool:
    named = _code(attributes.get("ContrastBolusAgent")) not in _NO_AGENT
    return named or bool(attributes.get("ContrastBolusAgentSequence"))
