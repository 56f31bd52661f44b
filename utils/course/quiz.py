"""The viewer's quiz, scored: a learner beside a model, a prior and the readers of real MRI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from utils import metrics
from utils.files import write_atomic
from utils.rsna import FAMILIES, GRADE_COLUMNS, GRADES, row_id, studies_of

# What viewer.answers holds before anything is answered.
NO_ANSWERS = pd.DataFrame(columns=["row_id", "condition", "level", "answer", "label"])
EXAMPLE = "an example: every third narrowed one too mild"
KEYS = ["study_id", "condition", "level"]
_COLUMNS = ["targets", "right, %", "Severe missed", *(f"kappa, {family}" for family in FAMILIES)]


def compare(
    answered: pd.DataFrame,
    others: dict[str, pd.DataFrame],
    example: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A learner's grades beside other submissions for the same rows.

    answered  viewer.answers: row_id, condition, level, answer, label; rows without a label, or that
              another submission lacks (another data folder), do not count
    others    submissions by name; the most probable grade of a row counts
    example   labels (study_id, condition, level, grade): where nothing has been answered, an
              invented learner who has graded their first study stands in the row of "you"

    Returns a row for "you", one per submission, and last what two readers of real MRI reach
    (Lurie 2008); columns: targets, right (%), Severe graded as something else, linearly weighted
    kappa per family, nan where label and answer are one and the same grade throughout.
    """
    name = "you"
    if answered.empty and example is not None:
        answered, name = _invented(example), EXAMPLE
    known = _comparable(answered, others)
    rows = {}
    if len(known):
        truth = known.rename(columns={"label": "grade"})
        truth = truth.assign(study_id=studies_of(known.row_id))
        rows[name] = _row(truth, _submission(known))
        for other, submission in others.items():
            rows[other] = _row(truth, submission[submission.row_id.isin(known.row_id)])
    human = {f"kappa, {family}": kappa for family, kappa in metrics.HUMAN_KAPPA.items()}
    rows["two readers of real MRI"] = human
    return pd.DataFrame(rows).T.reindex(columns=_COLUMNS)


def _invented(labels: pd.DataFrame) -> pd.DataFrame:
    """Answers to the first study: every third narrowed target is one grade too mild."""
    known = labels.dropna(subset=["grade"])
    known = known[known.study_id == known.study_id.min()]
    grades = known.grade.map(GRADES.index).to_numpy(int, copy=True)
    grades[np.flatnonzero(grades)[::3]] -= 1
    answers = [GRADES[k] for k in grades]
    ids = [row_id(study, *target) for study, *target in known[KEYS].itertuples(index=False)]
    return known.assign(row_id=ids, answer=answers, label=known.grade)[[*NO_ANSWERS]]


def keep(answered: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add answers to those in the file (the last one of a row counts) and return them all.

    The file is written whole or not at all, and not if there is nothing to add.
    """
    if len(answered):
        before = [pd.read_csv(path)] if path.is_file() else []
        answers = pd.concat([*before, answered]).drop_duplicates("row_id", keep="last")
        write_atomic(path, lambda partial: answers.to_csv(partial, index=False))
    return pd.read_csv(path) if path.is_file() else answered


def _comparable(answered: pd.DataFrame, others: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The answers that have a label and a row in every other submission."""
    known = answered.dropna(subset=["label"])
    for other in others.values():
        known = known[known.row_id.isin(other.row_id)]
    return known


def _submission(known: pd.DataFrame) -> pd.DataFrame:
    """Grades as a submission: probability 1 for the grade that was given."""
    grades = [GRADES.index(answer) for answer in known.answer]
    probabilities = np.eye(len(GRADES))[grades]
    table = pd.DataFrame(probabilities, columns=list(GRADE_COLUMNS))
    return table.assign(row_id=known.row_id.to_numpy())


def _row(truth: pd.DataFrame, submission: pd.DataFrame) -> dict[str, float]:
    """One row of compare's table."""
    costs = metrics.decisions(truth, submission)
    kappa = metrics.agreement(truth, submission, draws=1).kappa
    right = 100 * (1 - costs.wrong / costs.rows)
    return dict(zip(_COLUMNS, (costs.rows, right, costs.missed, *kappa[list(FAMILIES)])))
