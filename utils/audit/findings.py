"""What a finding is, and every kind of finding there is.

To add a check, start here: name its kind in KINDS and say what the rest of this package does about
it. Then write it in `tables` or `images`.
"""

from __future__ import annotations

from typing import NamedTuple

# Kind of finding -> what the rest of this package does about it.
KINDS = {
    # found in the tables
    "unusable cell": "its row is left out; of a grade only the grade",
    "unknown description": "the series is left out",
    "folder in no table": "not used; the viewer shows a series of a listed study",
    "study without images": "the study is skipped",
    "series without images": "treated as if the series did not exist",
    "missing series": "its views are masked; a target that no view shows gets the weighted prior",
    "several axial series": "each point is located in the series nearest to it",
    "several sagittal series": "the locator uses the longest, crops come from the nearest one",
    "sides on different series": "each side is cropped from the series nearest to its point",
    "missing label": "neither scored nor trained on",
    "label without point": "graded where the locator finds the level; no crop in training",
    "point without label": "used to train the locator only",
    "placeholder point": "left out",
    "known fault": "see the action in known_faults.csv",
    # found in the images
    "unreadable series": "treated as if the series did not exist",
    "unreadable file": "left out; the rest of the series is used",
    "duplicate instances": "one of each is kept",
    "several images of one plane": "one of each is kept: of the contrast that most slices have",
    "other planes in one series": "left out; the rest of the series is used",
    "instance numbers unlike file names": "the file's name counts, as in the tables",
    "unclear instance numbers": "slices are ordered by position; points on them are left out",
    "missing tags": "spacing and thickness are taken from the slices' positions",
    "instances do not start at 1": "instance numbers are only names",
    "order against anatomy": "slices are ordered by position",
    "mixed sizes": "each slice keeps its own position and size",
    "wrong plane": "left out if only one of name and images is sagittal; else look at it",
    "wrong body part": "look at it; if it is one, drop the series in known_faults.csv",
    "point outside the image": "left out",
    "point on a missing slice": "left out",
    "several points for one target": "all are left out, or all but one where they agree",
    "sides exchanged": "both points are left out, or the only one",
    "levels out of order": "both points are left out",
}


class Finding(NamedTuple):
    """One row of the audit; the fields are the columns of audit.csv."""

    kind: str  # a key of KINDS
    study_id: int | None = None  # None: of the whole data folder
    series_id: int | None = None  # None: of the whole study
    level: str = ""
    seen: str = ""  # the evidence, for the reader
    done: str = ""  # what is done about it, if it is not what KINDS says of the kind

    def complete(self) -> Finding:
        """With `done` filled in from KINDS. Raises KeyError for a kind that is not there."""
        return self._replace(done=self.done or KINDS[self.kind])
