"""What a scan is: one of the three kinds that are graded, or something else, with the reason.

The plane comes from the images' orientation, never from a description. A description is free text
of whoever was at the scanner: it helps only where nothing else speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utils.dicom import DicomError, read_series
from utils.exam import fluid
from utils.exam.headers import DERIVED, DIFFUSION, DIXON, PROJECTIONS, Parameters
from utils.exam.scans import Scan
from utils.exam.weighting import GRADIENT, STIR, T1, T2, UNCLEAR, weighting
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2

KINDS = {
    ("sagittal", T1): SAGITTAL_T1,
    ("sagittal", T2): SAGITTAL_T2,
    ("sagittal", STIR): SAGITTAL_T2,
    ("axial", T2): AXIAL_T2,
    ("axial", GRADIENT): AXIAL_T2,
}
FEWEST = {"sagittal": 5, "axial": 3, "coronal": 1}  # images of a scan that is no localizer
MOST_OF_A_LOCALIZER = 9  # images of one orientation, where its series has two
WIDEST_GAP_MM = 12  # of a localizer's images, between neighbours
WHOLE_SPINE_MM = 450
THIN_MM = 1.6  # a slice of a three-dimensional scan
# Codes of BodyPartExamined.
LUMBAR = re.compile("L.?SPINE|LUMB|LSS|LWS|SPINE|SPINAL|BACK|SACR|ABDO|PELV|TRUNK|^L$|^TL|^LS")
ELSEWHERE = re.compile("^[CT].?SPINE|CERV|THOR|CHEST|HEAD|BRAIN|NECK|KNEE|SHOULD|HIP|HWS|BWS")
# Words of descriptions in English, German, French, Spanish and Italian.
_CERVICAL = re.compile(r"cervi|\bhws\b|c-?spine|\bcsp|thora[ck]|dorsal|\bbws\b|t-?spine|hals|brust")
_LUMBAR_WORD = re.compile(r"lumb|lomb|\blws\b|l-?spine|\bls\b|sacr")
_AGENT = re.compile(r"\+ ?(c|km|gd|k)\b|\b(km|gd|gad|gado|post|contrast\w*|inject\w*|nach)\b")
_T1_WORD, _T2_WORD = re.compile(r"t1"), re.compile(r"t2|stir|tirm")


@dataclass(frozen=True)
class Recognised:
    """What a scan was taken for.

    name       what it shows, in words
    kind       one of rsna.SERIES if it can be used as such, else ""
    reason     what was read from the files, and what speaks against using it
    drawbacks  of a scan that is used only where there is no better one, the worst first
    doubt      why the kind is not sure; "" if it is
    serious    the drawbacks for which it is doubtful when it is used all the same
    """

    name: str
    kind: str
    reason: str
    drawbacks: tuple[int, ...] = ()
    doubt: str = ""
    serious: str = ""


def recognise(scan: Scan) -> Recognised:
    """Raises nothing: a scan that cannot be recognised says so."""
    for name, applies in _NEVER_USED.items():
        if applies(scan):
            return Recognised(name, "", _plane(scan))
    weighted, read, doubt = _weighted(scan)
    name = f"{scan.orientation.capitalize()} {weighted or 'of unknown weighting'}"
    kind = KINDS.get((scan.orientation, weighted), "")
    against = [(rank, why) for rank, (why, applies) in enumerate(_DRAWBACKS) if applies(scan)]
    reason = "; ".join([f"{_plane(scan)}; {read}", *(why for _, why in against)])
    ranks = tuple(sorted((rank for rank, _ in against), reverse=True))
    serious = ", ".join(why for rank, why in against if rank >= SERIOUS)
    return Recognised(kind or name, kind, reason, ranks, doubt if kind else "", serious)


def _plane(scan: Scan) -> str:
    count = len(scan.images)
    return f"{scan.orientation} by orientation, {count} image{'s' if count > 1 else ''}"


def _weighted(scan: Scan) -> tuple[str, str, str]:
    """The weighting, what it was read from, and why it is not sure."""
    found = weighting(scan.scanned)
    if found.name != UNCLEAR:
        return found.name, found.reason, ""
    if scan.orientation == "sagittal":
        name, read, doubt = _by_fluid(scan)
    else:
        name, read, doubt = _by_words(scan.scanned)
    return name, f"{found.reason}; {read}", doubt


def _by_fluid(scan: Scan) -> tuple[str, str, str]:
    """From the images; where these are not clear, from the description."""
    try:
        contrast = fluid.fluid_contrast(read_series(scan.files("scan")))
    except DicomError:
        return UNCLEAR, "its images cannot be read", ""
    name = T2 if contrast > (fluid.BRIGHT + fluid.DARK) / 2 else T1
    read = f"the canal is {contrast:+.0%} brighter than what is beside it"
    said = _said(scan.scanned)
    if said == name:
        return name, f"{read}, and {_word(said)}", ""
    if said and fluid.DARK < contrast < fluid.BRIGHT:
        return said, f"{read}, which is not clear; {_word(said)}", _FROM_WORDS
    return name, read, "the weighting is known from the images alone"


_FROM_WORDS = "the weighting is known from the description alone"


def _by_words(of: Parameters) -> tuple[str, str, str]:
    said = _said(of)
    if said:
        return said, _word(said), _FROM_WORDS
    return T2, "taken for T2, as most axial scans are", "the weighting is not given"


def _said(of: Parameters) -> str:
    """The weighting that the description names; "" for none or several."""
    said = [name for name, word in ((T1, _T1_WORD), (T2, _T2_WORD)) if word.search(of.words)]
    return said[0] if len(said) == 1 else ""


def _word(said: str) -> str:
    return f"the description has the word {said}"


def _is_localizer(scan: Scan) -> bool:
    count = len(scan.images)
    several = scan.orientations > 2 or (scan.orientations == 2 and count <= MOST_OF_A_LOCALIZER)
    few = count < FEWEST[scan.orientation] or several
    apart = scan.series.gap_mm > WIDEST_GAP_MM and scan.orientation == "sagittal"
    return "LOCALIZER" in scan.scanned.codes or few or apart


def _is_projection(scan: Scan) -> bool:
    return bool(PROJECTIONS & scan.scanned.codes)


def _is_diffusion(scan: Scan) -> bool:
    of = scan.scanned
    coded = (DIFFUSION | {"EP"}) & of.codes or of.contrast == "DIFFUSION"
    return bool(coded) or of.b_value is not None or "EP_B" in of.sequence or "EP2D" in of.sequence


def _is_derived(scan: Scan) -> bool:
    return bool(DERIVED & scan.scanned.codes)


_NEVER_USED: dict[str, Callable[[Scan], bool]] = {
    "Diffusion": _is_diffusion,
    "Projection (MIP)": _is_projection,
    "Derived images": _is_derived,
    "Localizer": _is_localizer,
}


def _is_elsewhere(scan: Scan) -> bool:
    part = scan.scanned.body_part
    if ELSEWHERE.search(part):
        return True
    words = scan.scanned.words
    is_lumbar = LUMBAR.search(part) or _LUMBAR_WORD.search(words)
    return not is_lumbar and bool(_CERVICAL.search(words))


def _is_suppressed(scan: Scan) -> bool:
    return bool({"FAT SUPPRESSED", "FS", "FATSAT", "FAT_SAT", "FS_GEMS"} & scan.scanned.codes)


def _has_agent(scan: Scan) -> bool:
    is_t1 = weighting(scan.scanned).name == T1
    return is_t1 and (scan.scanned.agent or bool(_AGENT.search(scan.scanned.words)))


def _is_reformatted(scan: Scan) -> bool:
    return bool({"MPR", "REFORMATTED", "COMPOSED", "COMP_SP", "COMPOSITE"} & scan.scanned.codes)


def _is_3d(scan: Scan) -> bool:
    thickness = scan.scanned.thickness or np.inf
    return scan.scanned.is_3d or thickness < THIN_MM or bool(scan.series.gap_mm < THIN_MM)


# What makes another scan of the same kind preferable, the least first.
_DRAWBACKS: list[tuple[str, Callable[[Scan], bool]]] = [
    ("fat suppressed", _is_suppressed),
    ("STIR", lambda scan: weighting(scan.scanned).name == STIR),
    ("three-dimensional, thin slices", _is_3d),
    ("Dixon", lambda scan: bool(DIXON & scan.scanned.codes)),
    ("put together or reformatted from other images", _is_reformatted),
    ("gradient echo", lambda scan: weighting(scan.scanned).name == GRADIENT),
    ("contrast agent", _has_agent),
    ("images of most of the spine", lambda scan: scan.size_mm > WHOLE_SPINE_MM),
    ("said to be of another region", _is_elsewhere),
]
SERIOUS = 5  # from this one on a scan that is used all the same is doubtful
