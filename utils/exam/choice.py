"""Which scans of an exam are graded: of each kind the best, and the axial ones that go on where it
ends.

The order: no drawback before one, a lesser drawback before a greater (`recognition` has the list),
a sure kind before a doubtful one, more images before fewer. What a user says goes before all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utils.exam.files import ExamError
from utils.exam.recognition import Recognised, recognise
from utils.exam.scans import Scan
from utils.rsna import AXIAL_T2, NOT_USED, SAGITTAL_T1, SAGITTAL_T2, SERIES

SAME_HEIGHT_MM = 3.0  # axial images whose centres are nearer show the same
MOST_IN_COMMON = 0.3  # of its images that an axial scan may share with those used before it


@dataclass(frozen=True)
class Candidate:
    """A scan and the id it has in tables.

    recognised  what it was taken for
    said        what a user says instead
    used        whether it is graded
    beside      whether it is, though most of it is above or below the sagittal images
    """

    series_id: int
    scan: Scan
    recognised: Recognised
    said: Recognised | None = None
    used: bool = False
    beside: bool = False

    @property
    def taken_for(self) -> Recognised:
        return self.said or self.recognised

    @property
    def doubt(self) -> str:
        """What is doubtful about its kind or its place; "" if nothing is."""
        beside = "most of it is above or below the sagittal images" if self.beside else ""
        better = f"there is none without this: {self.taken_for.serious}"
        worse = better if self.used and self.taken_for.serious else ""
        return "; ".join(filter(None, [self.taken_for.doubt, worse, beside]))

    @property
    def description(self) -> str:
        """As in Tables.series: one of rsna.SERIES if it is graded."""
        return self.taken_for.kind if self.used else f"{self.taken_for.name}{NOT_USED}"


def candidates(scans: Mapping[int, Scan]) -> list[Candidate]:
    """The scans of one study by series id, each recognised; none is used yet."""
    return [Candidate(series_id, scan, recognise(scan)) for series_id, scan in scans.items()]


def choose(found: list[Candidate], kinds: Mapping[str, str]) -> list[Candidate]:
    """The same candidates, with those that are graded marked.

    kinds  what a user says: of a series, by its id or description, one of rsna.SERIES, or "" for
           one that must not be used
    """
    by_name = {_plain(key): kind for key, kind in kinds.items()}
    said = [_as_said(one, by_name) for one in found]
    used: list[Candidate] = []
    for kind in (SAGITTAL_T2, SAGITTAL_T1, AXIAL_T2):
        used += _best(kind, said, used)
    chosen = {one.series_id for one in used}
    sagittal = [one.scan for one in used if one.scan.orientation == "sagittal"]
    return [_marked(one, one.series_id in chosen, sagittal) for one in said]


def check_kinds(found: list[Candidate], kinds: Mapping[str, str]) -> None:
    """Raise ExamError for a kind that does not exist, or a series that is not there."""
    wrong = sorted(set(kinds.values()) - {*SERIES, ""})
    if wrong:
        raise ExamError(f"kinds: {wrong[0]!r} is none of {', '.join(SERIES)}, nor empty")
    names = {name for one in found for name in _names(one)}
    unknown = [key for key in kinds if _plain(key) not in names]
    if unknown:
        ids = ", ".join(str(one.series_id) for one in found)
        raise ExamError(f"kinds: no series {unknown[0]!r} here; there are {ids}")


def _as_said(one: Candidate, kinds: Mapping[str, str]) -> Candidate:
    found, said = one.recognised, None
    for name in _names(one):
        if name in kinds and kinds[name] != found.kind:
            kind = kinds[name]
            said = Recognised(kind or found.name, kind, f"{found.reason}; as you say")
        elif name in kinds:
            said = replace(found, doubt="")
    return replace(one, said=said)


def _names(one: Candidate) -> list[str]:
    return [str(one.series_id), _plain(one.scan.scanned.description)]


def _plain(name: object) -> str:
    return " ".join(str(name).lower().split())


def _best(kind: str, found: list[Candidate], used: list[Candidate]) -> list[Candidate]:
    """The candidates of a kind that are used, beside those used of other kinds."""
    of_kind = [one for one in found if one.taken_for.kind == kind]
    by_user = [one for one in of_kind if one.said]
    if by_user:
        return by_user
    sagittal = [one.scan for one in used if one.scan.orientation == "sagittal"]
    ranked = sorted(of_kind, key=lambda one: _rank(one, of_kind, sagittal))
    best = ranked[:1]
    if kind == AXIAL_T2:
        for one in ranked[1:]:
            goes_on = not _repeats(one.scan, best) and not _is_beside(one.scan, sagittal)
            if goes_on and one.taken_for.drawbacks == best[0].taken_for.drawbacks:
                best.append(one)
    return best


def _rank(one: Candidate, others: list[Candidate], sagittal: list[Scan]) -> tuple:
    """Less is better."""
    elsewhere = _lies_above(one.scan, [other.scan for other in others]) or (
        one.scan.orientation == "axial" and _is_beside(one.scan, sagittal)
    )
    found = one.taken_for
    return elsewhere, found.drawbacks, found.doubt != "", -len(one.scan.images)


def _lies_above(scan: Scan, others: list[Scan]) -> bool:
    """Whether the middle of a sagittal scan is above another one: then this is not the lumbar
    one."""
    middle = np.mean(scan.height_mm)
    return scan.orientation == "sagittal" and any(middle > one.height_mm[1] for one in others)


def _is_beside(axial: Scan, sagittal: list[Scan]) -> bool:
    """Whether most of an axial scan is above or below the sagittal images that are used."""
    if not sagittal:
        return False
    low, high = sagittal[0].height_mm
    heights = _heights(axial)
    return bool(np.mean((heights < low) | (heights > high)) > 0.5)


def _heights(scan: Scan) -> np.ndarray:
    return np.array([image.plane.centre[2] for image in scan.images])


def _repeats(scan: Scan, used: list[Candidate]) -> bool:
    """Whether an axial scan shows again what those used show."""
    before = np.concatenate([_heights(one.scan) for one in used])
    apart = np.abs(_heights(scan)[:, None] - before).min(1)
    return bool(np.mean(apart < SAME_HEIGHT_MM) > MOST_IN_COMMON)


def _marked(one: Candidate, used: bool, sagittal: list[Scan]) -> Candidate:
    beside = used and one.scan.orientation == "axial" and _is_beside(one.scan, sagittal)
    return replace(one, used=used, beside=beside)
