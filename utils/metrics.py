"""The competition's score, term by term, and the two questions one asks next: is it calibrated, does it agree?

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
from sklearn.metrics import cohen_kappa_score

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
    row_ids,
    slug,
)

EPS = 1e-15  # probabilities are clipped to [EPS, 1 - EPS] in float64 before the logarithm
SUM_TOLERANCE = 1e-5  # a row written with six decimals still sums to 1 within this
UNIFORM = (1 / 3, 1 / 3, 1 / 3)


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
    """One row per scored label: study_id, condition, level, family, grade (0, 1, 2), weight and the three probabilities.

    truth is Tables.labels (long) or train.csv as it is (wide). Matching is by row_id, never by position; empty labels
    are not scored, and their rows may or may not be in the submission.
    """
    truth = truth if "condition" in truth.columns else long_labels(truth)
    scored = truth.dropna(subset=["grade"])
    ids = [row_id(*row) for row in zip(scored.study_id, scored.condition, scored.level)]
    allowed = {i for study in truth.study_id.unique() for i in row_ids(study)}
    values = check_submission(submission, ids, allowed).loc[ids]
    grade = scored.grade.map(GRADES.index).to_numpy(int)
    table = scored.assign(family=scored.condition.map(FAMILY), grade=grade, weight=np.take(GRADE_WEIGHTS, grade))
    return table.assign(**{name: values[name].to_numpy() for name in GRADE_COLUMNS}).reset_index(drop=True)


def rsna_score(truth: pd.DataFrame, submission: pd.DataFrame) -> Score:
    """The competition's score. Raises SubmissionError for nulls, negatives, missing or extra rows, wrong sums."""
    table = match(truth, submission)
    p_true = table[list(GRADE_COLUMNS)].to_numpy()[np.arange(len(table)), table.grade]
    loss = -np.log(np.clip(p_true, EPS, 1 - EPS))
    terms = {f: _weighted_mean(loss[table.family == f], table.weight[table.family == f]) for f in FAMILIES}
    return Score(**terms, any_severe=_any_severe(table[table.family == "spinal"]))


def _any_severe(spinal: pd.DataFrame) -> float:
    """Per study: is any canal level severe (y), and how sure was the surest row (q)? Cross-entropy, weighted by max w."""
    study = spinal.groupby("study_id").agg(grade=("grade", "max"), q=("severe", "max"), weight=("weight", "max"))
    q = np.clip(study.q.to_numpy(), EPS, 1 - EPS)
    return _weighted_mean(np.where(study.grade == 2, -np.log(q), -np.log1p(-q)), study.weight)


def score_table(scores: dict[str, Score]) -> pd.DataFrame:
    """Answers down, terms across."""
    return pd.DataFrame({name: vars(s) | {"total": s.total} for name, s in scores.items()}).T.rename_axis("answer")


def _weighted_mean(values, weights) -> float:
    return float(np.average(values, weights=weights)) if len(values) else float("nan")


def prior(labels: pd.DataFrame, weighted: bool = True, smoothing: float = 0.0) -> pd.DataFrame:
    """Share of each grade per condition and level, (25, 3), each label counted 1, 2 or 4 times if weighted.

    The weighted prior minimises the metric among answers that do not look at the images. smoothing adds so many
    labels of the overall mix to every target, so that a grade not met in a small set is not called impossible. A
    target with no label at all gets the uniform answer.
    """
    counts = labels.dropna(subset=["grade"]).groupby(["condition", "level", "grade"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=pd.MultiIndex.from_tuples(TARGETS), columns=list(GRADES), fill_value=0).astype(float)
    counts = (counts + smoothing * counts.sum() / max(counts.to_numpy().sum(), 1)) * (np.array(GRADE_WEIGHTS) if weighted else 1)
    shares = counts.div(counts.sum(axis=1), axis=0).fillna(1 / 3)
    return shares.set_axis(list(GRADE_COLUMNS), axis=1).rename_axis(["condition", "level"])


def constant_submission(shares: pd.DataFrame, study_ids: Iterable[int]) -> pd.DataFrame:
    """The same 25 x 3 answer for every study, as a submission."""
    answer = shares.set_axis([f"{slug(c)}_{slug(lv)}" for c, lv in shares.index])
    rows = [(f"{study}_{target}", *answer.loc[target]) for study in study_ids for target in answer.index]
    return pd.DataFrame(rows, columns=["row_id", *GRADE_COLUMNS])


def surest_mistakes(truth: pd.DataFrame, submission: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """The scored rows whose true grade was given the least probability: what was said, and how sure."""
    table = match(truth, submission)
    p = table[list(GRADE_COLUMNS)].to_numpy()
    table = table.assign(truth=np.take(GRADES, table.grade), said=np.take(GRADES, p.argmax(1)), p_said=p.max(1))
    table["p_true"] = p[np.arange(len(p)), table.grade]
    columns = ["study_id", "condition", "level", "truth", "said", "p_true", "p_said"]
    return table.nsmallest(count, "p_true")[columns].reset_index(drop=True)


def reliability(truth: pd.DataFrame, submission: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Per grade and bin of predicted probability: mean prediction, observed share, and count."""
    table = match(truth, submission)
    parts = [
        pd.DataFrame({"grade": name, "p": table[column], "hit": table.grade == k})
        for k, (name, column) in enumerate(zip(GRADES, GRADE_COLUMNS))
    ]
    long = pd.concat(parts, ignore_index=True)
    long["bin"] = np.minimum((long.p * bins).astype(int), bins - 1)
    grouped = long.groupby(["grade", "bin"], as_index=False)
    return grouped.agg(predicted=("p", "mean"), observed=("hit", "mean"), count=("p", "size"))


def agreement(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.Series:
    """Linearly weighted kappa per family between the label and the most probable grade (human readers reach about
    0.73 for the canal and 0.58 for the foramen; Lurie 2008)."""
    table = match(truth, submission)
    called = table[list(GRADE_COLUMNS)].to_numpy().argmax(1)
    kappa = {}
    for family in FAMILIES:
        rows = (table.family == family).to_numpy()
        grades = range(len(GRADES))
        kappa[family] = (
            cohen_kappa_score(table.grade[rows], called[rows], weights="linear", labels=grades) if rows.any() else np.nan
        )
    return pd.Series(kappa, name="kappa")


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
