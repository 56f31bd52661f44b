"""The capstone: studies whose labels are hidden, and a board of one's own attempts at them.

The studies are phantoms of another kind than those of `demo`: grades as rare as in patients and as
hard to tell apart as for readers, intensities as mixed as those of several scanners. Their labels
lie in no folder: they are drawn again from the seed whenever a submission is scored.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from utils import metrics
from utils.course.workspace import Workspace
from utils.errors import LumbarError
from utils.files import csv_text, make_folder, read_table, write_atomic, writing
from utils.phantom import PhantomSpec, drawn_labels, make_dataset
from utils.rsna import GRADE_COLUMNS, grade_frequencies

# No preset and no benchmark has a phantom of this seed.
HIDDEN = PhantomSpec(
    studies=0,
    seed=2024,
    test_studies=12,
    prevalence="real",
    contrast="mixed",
    grading="readers",
    only_test=True,
)
PER_TEST_STUDY = 1.5  # hidden studies for each test study of the preset: 12 beside those of demo
ATTEMPTS = "attempts.csv"  # all submissions, one below the other
BOARD = "board.csv"
COLUMNS = ["attempt", "score", "low", "high", "better"]
NAME = re.compile(r"[^\W\d_][^\r\n]{0,99}")
_ADVICE = "delete it and enter your attempts again"


class CapstoneError(LumbarError):
    """An attempt that cannot be entered, or a file of attempts that is damaged."""


@dataclass(frozen=True)
class Capstone:
    """One set of hidden studies and the attempts at it.

    folder  holds the studies (data), attempts.csv and board.csv
    spec    what the studies were simulated from
    """

    folder: Path
    spec: PhantomSpec = HIDDEN

    @property
    def data(self) -> Path:
        """The studies in the competition's layout: test studies without any label."""
        return self.folder / "data"

    @cached_property
    def _truth(self) -> pd.DataFrame:
        return drawn_labels(self.spec)

    @property
    def guessing(self) -> float:
        """What the weighted prior of patients scores, which looks at no image."""
        prior = metrics.weighted_prior(grade_frequencies())
        studies = self._truth.study_id.unique()
        return metrics.rsna_score(self._truth, metrics.constant_submission(prior, studies)).total

    def simulate(self) -> Capstone:
        """Simulate the studies, unless they are there, and keep nothing of their truth."""
        make_folder(self.data.parent)
        make_dataset(self.data, self.spec, jobs=os.cpu_count() or 1)
        with writing(self.data):
            shutil.rmtree(self.data / "truth", ignore_errors=True)
        return self

    def enter(self, name: str, submission: pd.DataFrame | str | Path) -> pd.DataFrame:
        """Score a submission, keep it under a name, and return the board.

        submission  a table or a CSV file in the competition's form; predictions as
                    inference.predict_studies returns them are fine, too
        A name that is there already gets the new submission in place of the old one. Raises
        SubmissionError naming the first wrong row, CapstoneError for a name that is none, and
        OutputError; nothing is kept then.
        """
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise CapstoneError(
                f"{name!r}: an attempt's name begins with a letter and has at most 100 characters"
            )
        if not isinstance(submission, pd.DataFrame):
            wanted = ["row_id", *GRADE_COLUMNS]
            path, advice = Path(submission), "write it as submission.to_csv(path, index=False)"
            submission = read_table(path, wanted, metrics.SubmissionError, advice)
        metrics.rsna_score(self._truth, submission)
        attempts = self._attempts() | {name: submission[["row_id", *GRADE_COLUMNS]]}
        self._write(ATTEMPTS, pd.concat([of.assign(attempt=name) for name, of in attempts.items()]))
        board = self.board()
        self._write(BOARD, board)
        return board

    def board(self) -> pd.DataFrame:
        """The attempts, the best first: attempt, score with its 95 % interval (low, high), and in
        which fraction of resampled sets of patients it is better than the one entered first (nan
        for that one)."""
        attempts = self._attempts()
        rows = [(name, *self._row(of, attempts)) for name, of in attempts.items()]
        table = pd.DataFrame(rows, columns=COLUMNS).round(4)
        return table.sort_values(["score", "attempt"], ignore_index=True)

    def _row(self, submission: pd.DataFrame, attempts: dict[str, pd.DataFrame]) -> list[float]:
        """Score, low, high and better of one attempt."""
        first = next(iter(attempts.values()))
        total = metrics.bootstrap(self._truth, submission).loc["total"]
        if submission is first:
            return [*total, np.nan]
        return [*total, metrics.better(self._truth, submission, first)]

    def _attempts(self) -> dict[str, pd.DataFrame]:
        """Submissions by name, in the order in which they were first entered. Raises CapstoneError
        where the file is damaged."""
        path = self.folder / ATTEMPTS
        if not path.is_file():
            return {}
        columns = ["attempt", "row_id", *GRADE_COLUMNS]
        as_text = {"converters": {"attempt": str}}
        table = read_table(path, columns, CapstoneError, _ADVICE, **as_text)
        found = {str(name): of for name, of in table.groupby("attempt", sort=False)}
        try:
            for of in found.values():
                metrics.rsna_score(self._truth, of)
        except metrics.SubmissionError as error:
            raise CapstoneError(f"{path} is damaged ({error}); {_ADVICE}") from error
        return found

    def _write(self, name: str, table: pd.DataFrame) -> None:
        write_atomic(self.folder / name, csv_text(table))


def open_capstone(work: Workspace) -> Capstone:
    """The capstone of a workspace, its studies simulated (a few seconds): half as many again as
    its preset's phantom has test studies. Raises PhantomError, BusyError or OutputError."""
    studies = int(PER_TEST_STUDY * work.preset.phantom.test_studies)
    folder = work.home / f"capstone-{studies}"
    return Capstone(folder, replace(HIDDEN, test_studies=studies)).simulate()
