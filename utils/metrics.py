"""The competition's score, term by term, and the answers that look at no image.

    python -m utils.metrics TRAIN_CSV SUBMISSION_CSV

Rows are pooled into three families; each family's term is a log loss in which a row weighs 1, 2 or 4 by its true
grade. A fourth term asks per study "is any canal level severe?". The score is the mean of the four. Source: the
competition's evaluation page and metric notebook; worked by hand in tests/test_metrics.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.rsna import (
    FAMILIES,
    FAMILY,
    GRADE_COLUMNS,
    GRADE_WEIGHTS,
    GRADES,
    SCHEMAS,
    TARGETS,
    TableError,
    long_labels,
    read_table,
    row_id,
    slug,
)

EPS = 1e-15  # probabilities are clipped to [EPS, 1 - EPS] in float64 before the logarithm
SUM_TOLERANCE = 1e-5  # a row written with six decimals still sums to 1 within this
UNIFORM = (1 / 3, 1 / 3, 1 / 3)
TERMS = (*FAMILIES, "any_severe")
_ENDINGS = {target: row_id("", *target) for target in TARGETS}  # of a row id, made once and not for each of 50,000 rows


class SubmissionError(ValueError):
    """A submission that must not be scored; the message names the row."""


@dataclass(frozen=True)
class Score:
    """The four terms and their mean; lower is better. nan for a term without a single scored row."""

    spinal: float
    foraminal: float
    subarticular: float
    any_severe: float

    @property
    def total(self) -> float:
        return float(np.mean([self.spinal, self.foraminal, self.subarticular, self.any_severe]))

    def __str__(self) -> str:
        terms = ("total", "spinal", "foraminal", "subarticular", "any_severe")
        return "  ".join(f"{name} {getattr(self, name):.10f}" for name in terms)


def check_submission(submission: pd.DataFrame, required: Iterable[str], allowed: Iterable[str] | None = None) -> pd.DataFrame:
    """The submission as float64, indexed by row_id, or SubmissionError naming the first row that is wrong.

    required  row ids that must be there; allowed: row ids that may be there (default: only the required ones)
    """
    columns = ["row_id", *GRADE_COLUMNS]
    absent = [name for name in columns if name not in submission.columns]
    if absent:
        raise SubmissionError(f"column {absent[0]!r} is missing; a submission has {', '.join(columns)}")
    required = pd.Index(required)
    table = submission[columns].set_index("row_id")
    _refuse(table.index.duplicated(), table.index, "appears twice")
    _refuse(~required.isin(table.index), required, "is missing")
    _refuse(~table.index.isin(required if allowed is None else list(allowed)), table.index, "is not asked for (an extra row)")
    values = table.apply(pd.to_numeric, errors="coerce").astype(float)
    _refuse(~np.isfinite(values).all(axis=1), values.index, "has an empty or non-numeric probability")
    _refuse((values < 0).any(axis=1), values.index, "has a negative probability")
    total = values.sum(axis=1)
    _refuse((total - 1).abs() > SUM_TOLERANCE, values.index, "does not sum to 1")
    return values


def _refuse(bad, rows: pd.Index, what: str) -> None:
    bad = np.asarray(bad)
    if bad.any():
        more = f" (and {bad.sum() - 1} more)" if bad.sum() > 1 else ""
        raise SubmissionError(f"row {rows[int(bad.argmax())]!r} {what}{more}")


def match(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.DataFrame:
    """One row per scored label: study_id, condition, level, family, grade (0, 1, 2), weight, three probabilities, loss.

    truth is Tables.labels (long) or train.csv as it is (wide). Matching is by row_id, never by position; empty labels
    are not scored, and their rows may or may not be in the submission. loss is the weight times -log of the true
    grade's probability: a family's term is its sum of losses over its sum of weights.
    """
    truth = truth if "condition" in truth.columns else long_labels(truth)
    scored = truth.dropna(subset=["grade"])
    ids = [f"{study}{_ENDINGS[c, lv]}" for study, c, lv in zip(*(scored[k].tolist() for k in ("study_id", "condition", "level")))]
    allowed = {f"{study}{ending}" for study in truth.study_id.unique() for ending in _ENDINGS.values()}
    p = check_submission(submission, ids, allowed).loc[ids].to_numpy()
    grade = scored.grade.map(GRADES.index).to_numpy(int)
    weight = np.take(GRADE_WEIGHTS, grade)
    loss = -weight * np.log(np.clip(p[np.arange(len(p)), grade], EPS, 1 - EPS))
    table = scored.assign(family=scored.condition.map(FAMILY), grade=grade, weight=weight)
    return table.assign(**dict(zip(GRADE_COLUMNS, p.T)), loss=loss).reset_index(drop=True)


def rsna_score(truth: pd.DataFrame, submission: pd.DataFrame) -> Score:
    """The competition's score. Raises SubmissionError for nulls, negatives, missing or extra rows, wrong sums."""
    return score_rows(match(truth, submission))


def score_rows(table: pd.DataFrame) -> Score:
    """The score of rows already matched, or of some of them."""
    terms = {family: _weighted_mean(table[table.family == family]) for family in FAMILIES}
    return Score(**terms, any_severe=_weighted_mean(any_severe(table)))


def any_severe(table: pd.DataFrame) -> pd.DataFrame:
    """Per study of matched rows: is any canal level severe, and how sure was the surest row (q)? Its weight and loss.

    A cross-entropy, weighted by the heaviest of the study's canal rows.
    """
    canal = table[table.family == "spinal"].groupby("study_id")
    study = canal.agg(grade=("grade", "max"), q=("severe", "max"), weight=("weight", "max"))
    q = np.clip(study.q, EPS, 1 - EPS)
    return study.assign(loss=study.weight * np.where(study.grade == 2, -np.log(q), -np.log1p(-q)))


def _weighted_mean(rows: pd.DataFrame) -> float:
    return float(rows.loss.sum() / rows.weight.sum()) if len(rows) else float("nan")


def score_table(scores: dict[str, Score]) -> pd.DataFrame:
    """Answers down, terms across."""
    return pd.DataFrame({name: vars(s) | {"total": s.total} for name, s in scores.items()}).T.rename_axis("answer")


def prior(labels: pd.DataFrame, weighted: bool = True, smoothing: float = 0.0) -> pd.DataFrame:
    """Share of each grade per condition and level, (25, 3), each label counted 1, 2 or 4 times if weighted.

    Among answers that do not look at the images the weighted prior minimises the three families' terms; the any-severe term,
    and so the whole, only nearly. smoothing adds so many labels of the overall mix to every target, so that a grade not met in
    a small set is not called impossible. A target with no label at all gets the uniform answer.
    """
    counts = labels.dropna(subset=["grade"]).groupby(["condition", "level", "grade"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=pd.MultiIndex.from_tuples(TARGETS), columns=list(GRADES), fill_value=0).astype(float)
    counts = (counts + smoothing * counts.sum() / max(counts.to_numpy().sum(), 1)) * (np.array(GRADE_WEIGHTS) if weighted else 1)
    shares = counts.div(counts.sum(axis=1), axis=0).fillna(1 / 3)
    return shares.set_axis(list(GRADE_COLUMNS), axis=1).rename_axis(["condition", "level"])


def weighted(shares: np.ndarray) -> pd.DataFrame:
    """Shares of the grades (25, 3) in a population -> its weighted prior, in the form of `prior`."""
    counted = np.asarray(shares) * GRADE_WEIGHTS
    index = pd.MultiIndex.from_tuples(TARGETS, names=["condition", "level"])
    return pd.DataFrame(counted / counted.sum(1, keepdims=True), index, list(GRADE_COLUMNS))


def constant_submission(shares: pd.DataFrame, study_ids: Iterable[int]) -> pd.DataFrame:
    """The same 25 x 3 answer for every study, as a submission."""
    answer = shares.set_axis([f"{slug(c)}_{slug(lv)}" for c, lv in shares.index])
    rows = [(f"{study}_{target}", *answer.loc[target]) for study in study_ids for target in answer.index]
    return pd.DataFrame(rows, columns=["row_id", *GRADE_COLUMNS])


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m utils.metrics TRAIN_CSV SUBMISSION_CSV", file=sys.stderr)
        return 2
    try:
        truth = read_table(Path(arguments[0]), SCHEMAS["train.csv"])
        submission = pd.read_csv(arguments[1])
        print(rsna_score(truth, submission))
    except (TableError, SubmissionError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
