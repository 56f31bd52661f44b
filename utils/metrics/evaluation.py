"""Where are predictions wrong? Per fold, per grade, per level, per row; agreement beside that of
readers.

Every function takes `truth, submission` as `score.match` does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from utils.errors import LumbarError
from utils.metrics.resampling import intervals, resample
from utils.metrics.score import SEVERE, match, score_rows, score_table
from utils.rsna import FAMILIES, GRADE_COLUMNS, GRADES, TARGETS

# Linearly weighted kappa between readers of real MRI: Lurie 2008, Spine 33:1605.
HUMAN_KAPPA = {"spinal": 0.73, "foraminal": 0.58, "subarticular": 0.49}


def by_fold(truth: pd.DataFrame, submission: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Folds (study_id, fold) down, terms across, then their mean and standard deviation (std).

    The mean is not quite the score of all rows together: there a fold counts by its weights. Raises
    LumbarError if a scored study is in no fold.
    """
    table = match(truth, submission)
    fold = table.study_id.map(folds.set_index("study_id").fold)
    if fold.isna().any():
        lost = table.study_id[fold.isna()].unique()
        raise LumbarError(f"{len(lost)} scored studies are in no fold, the first is {lost[0]}")
    scores = score_table({k: score_rows(rows) for k, rows in table.groupby(fold)})
    return pd.concat([scores, scores.agg(["mean", "std"])]).rename_axis("fold")


def confusion(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.DataFrame:
    """Counts of rows, (9, 3): family and true grade down, most probable grade across."""
    counts = _counts(match(truth, submission)).sum(axis=0).astype(int)
    index = pd.MultiIndex.from_product([FAMILIES, GRADES], names=["family", "truth"])
    columns = pd.Index(GRADES, name="predicted")
    return pd.DataFrame(counts.reshape(-1, len(GRADES)), index=index, columns=columns)


def agreement(
    truth: pd.DataFrame,
    submission: pd.DataFrame,
    draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Linearly weighted kappa per family between the label and the most probable grade: columns
    kappa, low, high, human.

    human is what two readers of real MRI reach (HUMAN_KAPPA). kappa is nan where only one grade was
    both given and predicted: nothing could have disagreed.
    """
    counts = _counts(match(truth, submission))
    times = resample(len(counts), draws, seed)
    kappas = _kappa(np.tensordot(times, counts, axes=1))
    table = intervals(kappas, level, "kappa", FAMILIES).rename_axis("family")
    return table.assign(human=pd.Series(HUMAN_KAPPA))


def auroc(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.DataFrame:
    """Per condition and level (25 rows) the areas under two ROC curves, and how many positive rows
    each has (n_).

    severe: Severe against the rest; moderate_or_severe: the two against Normal/Mild. nan where one
    side is empty.
    """
    table = match(truth, submission)
    rows = dict(iter(table.groupby(["condition", "level"])))
    index = pd.MultiIndex.from_tuples(TARGETS, names=["condition", "level"])
    return pd.DataFrame([_areas(rows.get(target, table[:0])) for target in TARGETS], index=index)


def decisions(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.Series:
    """What it costs to name the most probable grade of every row.

    wrong rows; Severe called something else (missed); something else called Severe (false_alarms);
    and cost, the metric's weights of the true grades of the rows that are wrong.
    """
    table = match(truth, submission)
    predicted = table[list(GRADE_COLUMNS)].to_numpy().argmax(axis=1)
    wrong, severe = predicted != table.grade, table.grade == SEVERE
    counts = {
        "rows": len(table),
        "wrong": wrong.sum(),
        "missed": (wrong & severe).sum(),
        "false_alarms": (wrong & (predicted == SEVERE)).sum(),
        "cost": table.weight[wrong].sum(),
    }
    return pd.Series(counts).astype(int)


def worst_rows(truth: pd.DataFrame, submission: pd.DataFrame, count: int = 20) -> pd.DataFrame:
    """The rows that cost most, by loss (weight times -log p_true): truth, most probable grade,
    their probabilities and the row's weight.

    Is it the model, the label, or the position? These are the first to look at when labels are
    audited.
    """
    table = match(truth, submission).nlargest(count, "loss").reset_index(drop=True)
    p = table[list(GRADE_COLUMNS)].to_numpy()
    table = table.assign(
        truth=np.take(GRADES, table.grade),
        predicted=np.take(GRADES, p.argmax(axis=1)),
        p_true=p[np.arange(len(p)), table.grade],
        p_predicted=p.max(axis=1),
    )
    shown = ["truth", "predicted", "p_true", "p_predicted", "weight", "loss"]
    return table[["study_id", "condition", "level", *shown]]


def _counts(table: pd.DataFrame) -> np.ndarray:
    """(studies, 3 families, 3 true grades, 3 most probable grades): how many matched rows."""
    study, ids = table.study_id.factorize()
    family = table.family.map(FAMILIES.index).to_numpy(int)
    predicted = table[list(GRADE_COLUMNS)].to_numpy().argmax(axis=1)
    counts = np.zeros((len(ids), len(FAMILIES), len(GRADES), len(GRADES)))
    np.add.at(counts, (study, family, table.grade, predicted), 1)
    return counts


def _kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa with linear weights of count tables (..., 3, 3): 1 less the observed over the
    expected disagreement (Cohen 1968)."""
    steps = np.abs(np.subtract.outer(range(len(GRADES)), range(len(GRADES))))
    expected = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    observed = counts * counts.sum(axis=(-2, -1), keepdims=True)
    with np.errstate(invalid="ignore"):
        ratio = (observed * steps).sum(axis=(-2, -1)) / (expected * steps).sum(axis=(-2, -1))
    return 1 - ratio


def _areas(rows: pd.DataFrame) -> dict[str, float]:
    sides = {
        "severe": (rows.grade == SEVERE, rows.severe),
        # By -normal_mild, not 1 - normal_mild, in which small probabilities round to one number.
        "moderate_or_severe": (rows.grade > 0, -rows.normal_mild),
    }
    areas = {name: _area(positive, ranking) for name, (positive, ranking) in sides.items()}
    counts = {f"n_{name}": int(positive.sum()) for name, (positive, _) in sides.items()}
    return areas | counts


def _area(positive: pd.Series, ranking: pd.Series) -> float:
    return roc_auc_score(positive, ranking) if positive.nunique() == 2 else np.nan
