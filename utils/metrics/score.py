"""The competition's score, term by term.

Rows are pooled into three families; each family's term is a log loss in which a row weighs 1, 2 or
4 by its true grade. A fourth term, per study, is for "is any canal level severe?". The score is the
mean of the four. Source: the competition's evaluation page and metric notebook; worked by hand in
tests/test_metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from utils.metrics.submission import check_submission
from utils.rsna import FAMILIES, FAMILY, GRADE_COLUMNS, GRADE_WEIGHTS, GRADES, TARGETS, long_labels

EPS = 1e-15  # probabilities are clipped to [EPS, 1 - EPS] in float64 before the logarithm
TERMS = (*FAMILIES, "any_severe")
SEVERE = GRADES.index("Severe")
# The end of a row id, made once and not for each of 50,000 rows.
_ENDINGS = {tuple(target): f"_{target.column}" for target in TARGETS}


@dataclass(frozen=True)
class Score:
    """The four terms and their mean; lower is better. nan for a term without a single scored
    row."""

    spinal: float
    foraminal: float
    subarticular: float
    any_severe: float

    @property
    def total(self) -> float:
        """The competition's score: the mean of the four terms."""
        return float(np.mean([self.spinal, self.foraminal, self.subarticular, self.any_severe]))

    def __str__(self) -> str:
        return "  ".join(f"{name} {getattr(self, name):.10f}" for name in ("total", *TERMS))


def match(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.DataFrame:
    """One row per scored label: study_id, condition, level, family, grade (0, 1, 2), weight, three
    probabilities, loss.

    truth  Tables.labels (long) or train.csv as it is (wide)
    Matching is by row_id, never by position; empty labels are not scored, and their rows may or may
    not be in the submission. loss is the weight times -log of the true grade's probability: a
    family's term is its sum of losses over its sum of weights.
    """
    truth = truth if "condition" in truth.columns else long_labels(truth)
    scored = truth.dropna(subset=["grade"])
    allowed = {f"{study}{end}" for study in truth.study_id.unique() for end in _ENDINGS.values()}
    ids = _row_ids(scored)
    p = check_submission(submission, ids, allowed).loc[ids].to_numpy()
    grade = scored.grade.map(GRADES.index).to_numpy(int)
    weight = np.take(GRADE_WEIGHTS, grade)
    p_true = np.clip(p[np.arange(len(p)), grade], EPS, 1 - EPS)
    columns = {"family": scored.condition.map(FAMILY), "grade": grade, "weight": weight}
    probabilities = dict(zip(GRADE_COLUMNS, p.T))
    table = scored.assign(**columns, **probabilities, loss=-weight * np.log(p_true))
    return table.reset_index(drop=True)


def rsna_score(truth: pd.DataFrame, submission: pd.DataFrame) -> Score:
    """The competition's score. Raises SubmissionError for nulls, negatives, missing or extra rows
    and wrong sums.

    One healthy study, a third for each grade: every family costs ln 3, and that no canal is severe
    was said with 2/3, so it costs ln 1.5. The mean of the four:

    >>> from utils.metrics import constant_submission, weighted_prior
    >>> thirds = weighted_prior([[4 / 7, 2 / 7, 1 / 7]] * 25)
    >>> truth = pd.DataFrame(TARGETS).assign(study_id=7, grade="Normal/Mild")
    >>> score = rsna_score(truth, constant_submission(thirds, [7]))
    >>> round(score.spinal, 4), round(score.any_severe, 4), round(score.total, 4)
    (1.0986, 0.4055, 0.9253)
    """
    return score_rows(match(truth, submission))


def score_rows(table: pd.DataFrame) -> Score:
    """The score of rows already matched, or of some of them."""
    terms = {family: _weighted_mean(table[table.family == family]) for family in FAMILIES}
    return Score(**terms, any_severe=_weighted_mean(any_severe(table)))


def any_severe(table: pd.DataFrame) -> pd.DataFrame:
    """Per study of matched rows: the highest canal grade, the highest probability of Severe (q),
    and their binary cross-entropy, weighted by the heaviest of the study's canal rows (loss,
    weight)."""
    canal = table[table.family == "spinal"].groupby("study_id")
    study = canal.agg(grade=("grade", "max"), q=("severe", "max"), weight=("weight", "max"))
    q = np.clip(study.q, EPS, 1 - EPS)
    cross_entropy = np.where(study.grade == SEVERE, -np.log(q), -np.log1p(-q))
    return study.assign(loss=study.weight * cross_entropy)


def score_table(scores: dict[str, Score]) -> pd.DataFrame:
    """Submissions down, terms and total across."""
    rows = {name: vars(score) | {"total": score.total} for name, score in scores.items()}
    return pd.DataFrame(rows).T.rename_axis("prediction")


def _row_ids(rows: pd.DataFrame) -> list[str]:
    keys = zip(rows.study_id.tolist(), rows.condition.tolist(), rows.level.tolist())
    return [f"{study}{_ENDINGS[condition, level]}" for study, condition, level in keys]


def _weighted_mean(rows: pd.DataFrame) -> float:
    return float(rows.loss.sum() / rows.weight.sum()) if len(rows) else float("nan")
