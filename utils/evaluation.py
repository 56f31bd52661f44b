"""How far may one trust out-of-fold answers: how wide is the score, where is it wrong, is it as sure as it should be?

Every question takes `truth, submission` as metrics.match does. Intervals come from drawing whole studies with
replacement (Efron's percentile bootstrap): the 25 rows of one patient are not independent, so rows must not be drawn.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from utils import metrics
from utils.rsna import FAMILIES, GRADE_COLUMNS, GRADE_WEIGHTS, GRADES, TARGETS

HUMAN_KAPPA = {"spinal": 0.73, "foraminal": 0.58}  # between readers of real MRI: Lurie 2008, Spine 33:1605


def bootstrap(
    truth: pd.DataFrame, submission: pd.DataFrame, draws: int = 1000, seed: int = 0, share: float = 0.95
) -> pd.DataFrame:
    """Each term and the total with the interval that holds this share of the draws: columns score, low, high.

    A draw without a single row of a term does not count for that term, nor for the total. One study has no spread to
    draw from: its interval is a point, and says nothing.
    """
    values = _drawn_scores(truth, submission, draws, seed)
    return _intervals(values, share, "score", [*metrics.TERMS, "total"]).rename_axis("term")


def better(truth: pd.DataFrame, submission: pd.DataFrame, other: pd.DataFrame, draws: int = 1000, seed: int = 0) -> float:
    """In which share of the draws does a submission score lower than another? Both are asked about the same studies, so that
    a gain too small for two intervals to part can still be seen, or be seen to be luck."""
    one, two = (_drawn_scores(truth, answer, draws, seed)[1:, -1] for answer in (submission, other))
    known = np.isfinite(one) & np.isfinite(two)
    return float((one < two)[known].mean()) if known.any() else 0.0


def _drawn_scores(truth: pd.DataFrame, submission: pd.DataFrame, draws: int, seed: int) -> np.ndarray:
    """Terms and total of the data, then of each draw: (1 + draws, 5)."""
    loss, weight = _sums_by_study(metrics.match(truth, submission))
    times = _draws(len(loss), draws, seed)
    with np.errstate(invalid="ignore"):  # 0 / 0, no row of this term in this draw, is nan
        terms = times @ loss / (times @ weight)
    return np.column_stack([terms, terms.mean(axis=1)])


def _sums_by_study(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Summed loss and weight of each study, (studies, 4 terms) each: all that a draw needs to know of a study."""
    severe = metrics.any_severe(table).reset_index().assign(family="any_severe")
    columns = ["study_id", "family", "loss", "weight"]
    sums = pd.concat([table[columns], severe[columns]]).groupby(["study_id", "family"]).sum()
    wide = [sums[name].unstack(fill_value=0).reindex(columns=metrics.TERMS, fill_value=0) for name in ("loss", "weight")]
    return wide[0].to_numpy(), wide[1].to_numpy()


def _draws(studies: int, draws: int, seed: int) -> np.ndarray:
    """How often each study counts, (1 + draws, studies). The first line is the data themselves: each study once."""
    picks = np.random.default_rng(seed).integers(studies, size=(draws, studies))
    return np.vstack([np.ones(studies), *(np.bincount(pick, minlength=studies) for pick in picks)])


def _intervals(values: np.ndarray, share: float, name: str, index) -> pd.DataFrame:
    """Value of the data (the first line) and the limits of the draws, one row per column of values (1 + draws, columns)."""
    low, high = pd.DataFrame(values[1:]).quantile([(1 - share) / 2, (1 + share) / 2]).to_numpy()  # pandas leaves nan out
    return pd.DataFrame({name: values[0], "low": low, "high": high}, index=index)


def by_fold(truth: pd.DataFrame, submission: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Folds (study_id, fold) down, terms across, then their mean and their spread (standard deviation).

    The mean is not quite the score of all rows together: there a fold counts by its weights. Raises ValueError if a
    scored study is in no fold.
    """
    table = metrics.match(truth, submission)
    fold = table.study_id.map(folds.set_index("study_id").fold)
    if fold.isna().any():
        lost = table.study_id[fold.isna()].unique()
        raise ValueError(f"{len(lost)} scored studies are in no fold, the first is {lost[0]}")
    scores = metrics.score_table({k: metrics.score_rows(rows) for k, rows in table.groupby(fold)})
    return pd.concat([scores, scores.agg(["mean", "std"]).rename({"std": "spread"})]).rename_axis("fold")


def _counts(table: pd.DataFrame) -> np.ndarray:
    """(studies, 3 families, 3 true grades, 3 grades said): how many matched rows; the most probable grade is said."""
    study, ids = table.study_id.factorize()
    family = table.family.map(FAMILIES.index).to_numpy(int)
    said = table[list(GRADE_COLUMNS)].to_numpy().argmax(axis=1)
    counts = np.zeros((len(ids), len(FAMILIES), len(GRADES), len(GRADES)))
    np.add.at(counts, (study, family, table.grade, said), 1)
    return counts


def confusion(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.DataFrame:
    """Counts of rows, (9, 3): family and true grade down, most probable grade across."""
    counts = _counts(metrics.match(truth, submission)).sum(axis=0).astype(int)
    index = pd.MultiIndex.from_product([FAMILIES, GRADES], names=["family", "truth"])
    return pd.DataFrame(counts.reshape(-1, len(GRADES)), index=index, columns=pd.Index(GRADES, name="said"))


def agreement(
    truth: pd.DataFrame, submission: pd.DataFrame, draws: int = 200, seed: int = 0, share: float = 0.95
) -> pd.DataFrame:
    """Linearly weighted kappa per family between the label and the most probable grade: columns kappa, low, high, human.

    human is what two readers of real MRI reach (HUMAN_KAPPA); nan for the recess, for which there is no figure here.
    kappa is nan where only one grade was both given and said: nothing could have disagreed.
    """
    counts = _counts(metrics.match(truth, submission))
    kappas = _kappa(np.tensordot(_draws(len(counts), draws, seed), counts, axes=1))
    table = _intervals(kappas, share, "kappa", FAMILIES).rename_axis("family")
    return table.assign(human=pd.Series(HUMAN_KAPPA))


def _kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa with linear weights of count tables (..., 3, 3): 1 less the disagreement over that of chance."""
    steps = np.abs(np.subtract.outer(range(len(GRADES)), range(len(GRADES))))
    chance = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    seen = counts * counts.sum(axis=(-2, -1), keepdims=True)
    with np.errstate(invalid="ignore"):
        return 1 - (seen * steps).sum(axis=(-2, -1)) / (chance * steps).sum(axis=(-2, -1))


def auroc(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.DataFrame:
    """Per condition and level (25 rows) the areas under two ROC curves, and how many rows each is to find (n_).

    severe: Severe against the rest; moderate_or_severe: the two against Normal/Mild. nan where one side is empty.
    """
    table = metrics.match(truth, submission)
    rows = dict(iter(table.groupby(["condition", "level"])))
    index = pd.MultiIndex.from_tuples(TARGETS, names=["condition", "level"])
    return pd.DataFrame([_areas(rows.get(target, table[:0])) for target in TARGETS], index=index)


def _areas(rows: pd.DataFrame) -> dict[str, float]:
    # Ranked by -normal_mild and not by 1 - normal_mild, in which small probabilities would round to the same number.
    sides = {"severe": (rows.grade == 2, rows.severe), "moderate_or_severe": (rows.grade > 0, -rows.normal_mild)}
    areas = {name: roc_auc_score(y, p) if y.nunique() == 2 else np.nan for name, (y, p) in sides.items()}
    return areas | {f"n_{name}": int(y.sum()) for name, (y, _) in sides.items()}


def reliability(truth: pd.DataFrame, submission: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Per grade and bin of predicted probability: mean prediction, observed share, and count."""
    table = metrics.match(truth, submission)
    parts = [
        pd.DataFrame({"grade": name, "p": table[column], "hit": table.grade == k})
        for k, (name, column) in enumerate(zip(GRADES, GRADE_COLUMNS))
    ]
    long = pd.concat(parts, ignore_index=True)
    long["bin"] = np.minimum((long.p * bins).astype(int), bins - 1)
    grouped = long.groupby(["grade", "bin"], as_index=False)
    return grouped.agg(predicted=("p", "mean"), observed=("hit", "mean"), count=("p", "size"))


def calibration_error(truth: pd.DataFrame, submission: pd.DataFrame, bins: int = 8) -> pd.Series:
    """Expected calibration error per grade: how far observed lies from predicted, on average over the answers.

    Naeini 2015, one grade at a time. Coarse bins hide errors that cancel within a bin; many bins add noise.
    """
    table = reliability(truth, submission, bins)
    off = (table.observed - table.predicted).abs() * table["count"]
    error = off.groupby(table.grade).sum() / table.groupby("grade")["count"].sum()
    return error.reindex(GRADES).rename("calibration_error")


def unweighted(submission: pd.DataFrame) -> pd.DataFrame:
    """The submission with the metric's weights taken out again: p over weight, scaled to sum to 1.

    The metric counts a severe row four times, so the answer that scores best calls Severe more often than it is. Is
    the model right seven times of ten when it says 0.7? That is a question for reliability(truth, unweighted(answer)).
    """
    p = submission[list(GRADE_COLUMNS)] / list(GRADE_WEIGHTS)
    return submission.assign(**p.div(p.sum(axis=1), axis=0))


def decisions(truth: pd.DataFrame, submission: pd.DataFrame) -> pd.Series:
    """What it costs to name the most probable grade of every row: rows wrong, Severe called something else (missed), something
    else called Severe (false_alarms), and cost, the metric's weights of the true grades of the rows that are wrong."""
    table = metrics.match(truth, submission)
    said = table[list(GRADE_COLUMNS)].to_numpy().argmax(axis=1)
    wrong, severe = said != table.grade, table.grade == 2
    counts = {"rows": len(table), "wrong": wrong.sum(), "missed": (wrong & severe).sum()}
    counts |= {"false_alarms": (wrong & (said == 2)).sum(), "cost": table.weight[wrong].sum()}
    return pd.Series(counts).astype(int)


def worst_rows(truth: pd.DataFrame, submission: pd.DataFrame, count: int = 20) -> pd.DataFrame:
    """The rows that cost most: what was said, how sure, the row's weight, and its loss (weight times -log p_true).

    Is it the model, the label, or the place it looked at? Sorted by loss, the first to look at when labels are audited.
    """
    table = metrics.match(truth, submission).nlargest(count, "loss").reset_index(drop=True)
    p = table[list(GRADE_COLUMNS)].to_numpy()
    table = table.assign(truth=np.take(GRADES, table.grade), said=np.take(GRADES, p.argmax(axis=1)))
    table = table.assign(p_true=p[np.arange(len(p)), table.grade], p_said=p.max(axis=1))
    return table[["study_id", "condition", "level", "truth", "said", "p_true", "p_said", "weight", "loss"]]
