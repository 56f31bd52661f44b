"""From the files of an exam to tables: which series there are, what they are, and which are
graded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pandas as pd
from tqdm.auto import tqdm

from utils.dicom import DicomError, Files, ImageFile
from utils.dicom.attributes import quiet_pydicom, short_id
from utils.exam.choice import Candidate, candidates, check_kinds, choose
from utils.exam.files import ExamError, files_of
from utils.exam.headers import Image, read_images
from utils.exam.scans import Scan, scans_of
from utils.rsna import Tables, is_data_folder, load_tables, no_rows

SPLIT = "test"  # an exam has no grades
SHOWN_FROM = 100  # files: fewer are read before a bar is seen


@dataclass(frozen=True, repr=False)
class Exam(Tables):
    """Tables of one or more studies whose images lie anywhere. root is what was named.

    candidates  the scans of each study
    notes       what else is to be said, a line each
    """

    candidates: Mapping[int, list[Candidate]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """In place of the name of the folder, which may be a patient's."""
        return "own exam"

    @property
    def found(self) -> pd.DataFrame:
        """What each series was taken for: study_id, series_id, images, taken_for, used, why,
        doubt."""
        rows = [
            {
                "study_id": study,
                "series_id": one.series_id,
                "images": len(one.scan.images),
                "taken_for": one.taken_for.name,
                "used": one.used,
                "why": one.taken_for.reason,
                "doubt": one.doubt,
            }
            for study, group in self.candidates.items()
            for one in group
        ]
        return pd.DataFrame(rows)

    def with_kinds(self, kinds: Mapping[str | int, str]) -> Exam:
        """The same exam with what a user says of its series; see import_study."""
        said = {str(key): kind for key, kind in kinds.items()}
        check_kinds([one for group in self.candidates.values() for one in group], said)
        chosen = {study: choose(group, said) for study, group in self.candidates.items()}
        return replace(self, candidates=chosen, series=_series_table(chosen))

    def folder(self, study_id: int, series_id: int | None = None) -> Path:
        """The files of one series."""
        for one in self.candidates.get(int(study_id), []):
            if one.series_id == series_id:
                return cast(Path, one.scan.files(str(series_id)))
        return cast(Path, Files(str(series_id), ()))

    def studies(self, split: str = SPLIT) -> list[int]:
        """Ids of the studies, ascending; an exam has none to train on."""
        return sorted(self.candidates) if split == SPLIT else []

    def series_on_disk(self, study_id: int) -> list[int]:
        """Ids of all series of a study."""
        return [one.series_id for one in self.candidates.get(int(study_id), [])]

    def __repr__(self) -> str:
        used = int(self.found.used.sum())
        studies = _count(len(self.candidates), "study", "studies")
        return f"Exam({studies}: {len(self.found)} series, {used} of them graded)"

    def __str__(self) -> str:
        """A line for each series, those that are graded first, and what else is to be said."""
        found = self.found.sort_values("used", ascending=False, kind="stable")
        lines = [
            f"  {'graded' if row.used else 'not used':8}  {row.series_id:>10}  {row.taken_for}: "
            f"{row.why}{f' (doubtful: {row.doubt})' if row.doubt else ''}"
            for row in found.itertuples()
        ]
        return "\n".join([repr(self), *lines, *self.notes])


def import_study(path: str | Path, kinds: Mapping[str | int, str] | None = None) -> Exam:
    """An exam from a folder of any depth, a zip or a CD: files with any name, other series, reports
    and programs between them. Several patients or dates become a study each.

    kinds  what you know better: {series id or description: one of rsna.SERIES, or "" to leave it
           out}

    Raises ExamError where there is no MR image, or for kinds that do not fit.
    """
    files = files_of(path)
    images, problems, others = _read(files)
    if not images:
        raise ExamError(f"{path}: no MR image that can be used{_first(problems, len(files))}")
    found = {study: candidates(scans) for study, scans in _by_study(images).items()}
    notes = tuple(_notes(found, problems, others))
    exam = Exam(Path(path).expanduser(), **no_rows(), candidates=found, notes=notes)
    return exam.with_kinds(kinds or {})


def tables_of(path: str | Path, kinds: Mapping[str | int, str] | None = None) -> Tables:
    """Tables of a data folder in the competition's layout, or of an exam in any other."""
    return load_tables(path) if is_data_folder(path) else import_study(path, kinds)


def _read(files: list[ImageFile]) -> tuple[list[Image], list[DicomError], int]:
    """The images of all files; the files that cannot be used; and how many are no images."""
    images: list[Image] = []
    problems, others = [], 0
    with quiet_pydicom():
        for file in tqdm(files, "looking at files", unit="file", disable=len(files) < SHOWN_FROM):
            try:
                of_file = read_images(file)
            except DicomError as error:
                problems.append(error)
                continue
            images += of_file
            others += not of_file
    return images, problems, others


def _by_study(images: Iterable[Image]) -> dict[int, dict[int, Scan]]:
    """The scans of each study by their ids, which are short hashes."""
    studies: dict[int, dict[int, Scan]] = defaultdict(dict)
    for scan in scans_of(images):
        of_study, series = studies[short_id(scan.study)], scan.images[0].series
        parts = sum(other.images[0].series == series for other in of_study.values())
        of_study[short_id(series, *[str(parts)] * bool(parts))] = scan
    return dict(studies)


def _series_table(chosen: Mapping[int, list[Candidate]]) -> pd.DataFrame:
    rows = [
        (study, one.series_id, one.description, SPLIT)
        for study, group in chosen.items()
        for one in group
    ]
    return pd.DataFrame(rows, columns=["study_id", "series_id", "series_description", "split"])


def _notes(found: dict, problems: list[DicomError], others: int) -> Iterable[str]:
    if len(found) > 1:
        yield f"{len(found)} exams (of several patients or dates): each is graded on its own."
    for why, count in Counter(error.reason for error in problems).most_common():
        yield f"{_count(count, 'file')} left out: {why}."
    if others:
        yield f"{_count(others, 'file')} beside them: no DICOM images."


def _first(problems: list[DicomError], files: int) -> str:
    why = f"; {problems[0].reason}" if problems else ""
    return f" among {_count(files, 'file')}{why}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
