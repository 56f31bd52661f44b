"""Charts of a run: how it trained, where it is wrong, what it scores."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.course.plots.style import FAMILY_COLOURS, NO_GRADES, PALETTE, row_of_panels
from utils.metrics import Score
from utils.rsna import FAMILY, GRADES

TRAINING_COLOUR = "#0072B2"
HELD_OUT_COLOUR = "#CC79A7"
OTHER_COLOUR = "#777777"
SUBMISSION_COLOURS = ("#999999", "#009E73", "#0072B2", "#CC79A7")
SCORES = (0.1, 0.2, 0.5, 1.0)  # ticks of a logarithmic axis
TERMS = ("spinal", "foraminal", "subarticular", "any_severe", "total")
FARTHEST_MM = 45  # the axis ends beyond the neighbouring level, 30 mm away
NOT_FOUND_MM = 1e6  # stands for a point that was not found: beyond the axis, but counted


def learning_curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Training and held-out loss by epoch, one panel per model.

    histories  by model: epoch, loss, held_out
    """
    fig, axes = row_of_panels(len(histories), 5.5, 3.4)
    for ax, (name, history) in zip(axes, histories.items()):
        epoch = history.epoch
        training = {"label": "training (augmented)", "color": TRAINING_COLOUR}
        held_out = {"label": "held-out studies", "color": HELD_OUT_COLOUR}
        ax.plot(epoch, history.loss, marker=".", **training)
        ax.plot(epoch, history.held_out, marker=".", **held_out)
        ax.set(title=name, xlabel="epoch", ylabel="loss")
        ax.legend()
    return fig


def locator_errors(points: pd.DataFrame) -> Figure:
    """Cumulative distribution of the distance between found and annotated points, per family.

    points  condition, error_mm; inf or nan for a point that was not found, so that a curve may end
            below 100 %
    """
    error_mm = points.error_mm.where(np.isfinite(points.error_mm), NOT_FOUND_MM)
    family = points.condition.map(FAMILY)
    fig, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    for name, colour in FAMILY_COLOURS.items():
        errors = error_mm[family == name]
        if len(errors):
            label = f"{name}: median {_distance(errors.median())}"
            sns.ecdfplot(x=errors, stat="percent", label=label, color=colour, ax=ax)
    ax.set(xlabel="distance to the annotated point, mm", ylabel="proportion of points, %")
    ax.set(xlim=(0, FARTHEST_MM), ylim=(0, 101))
    ax.set_title("How far off is the locator on studies it has not seen?")
    ax.legend(loc="lower right")
    return fig


def _distance(mm: float) -> str:
    return f"{mm:.1f} mm" if mm < NOT_FOUND_MM else "not found"


def score_bars(
    scores: dict[str, Score], intervals: dict[str, pd.DataFrame] | None = None
) -> Figure:
    """The terms of the score, submissions side by side; lower is better.

    intervals  by the same names (any may be absent), from metrics.bootstrap: thin lines
    """
    intervals = intervals or {}
    rows = [(name, term, getattr(score, term)) for name, score in scores.items() for term in TERMS]
    table = pd.DataFrame(rows, columns=["submission", "term", "loss"])
    fig, ax = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
    colours = sns.color_palette(SUBMISSION_COLOURS, len(scores))
    bars = {"palette": colours, "saturation": 1, "errorbar": None}
    sns.barplot(table, x="term", y="loss", hue="submission", ax=ax, **bars)
    for container, name in zip(ax.containers, scores):
        if name in intervals:
            _draw_intervals(ax, container, intervals[name])
    title = "The score, term by term (lower is better)"
    ax.set(title=title, xlabel="", ylabel="weighted log loss")
    ax.legend(ncols=len(scores), loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return fig


def _draw_intervals(ax: Axes, bars, interval: pd.DataFrame) -> None:
    """A thin line from low to high over each bar of one submission."""
    limits = interval.loc[list(TERMS), ["low", "high"]].to_numpy()
    middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    ax.vlines(middles, *limits.T, color="black", lw=1.2)


def reliability(table: pd.DataFrame) -> Figure:
    """Predicted against observed frequency per grade, with 95 % intervals; the diagonal is perfect
    calibration. The title says how far off it, on average over predictions.

    table  from metrics.reliability; the size of a dot grows with its number of predictions
    """
    fig, ax = plt.subplots(figsize=(4.8, 4.4), layout="constrained")
    ax.plot([0, 1], [0, 1], color="grey", lw=1, ls="--")
    for grade in GRADES:
        rows = table[table.grade == grade]
        size = 8 + 2 * np.sqrt(rows["count"])
        ax.vlines(rows.predicted, rows.low, rows.high, color=PALETTE[grade], lw=1)
        ax.plot(rows.predicted, rows.observed, color=PALETTE[grade], lw=1.5, label=grade)
        ax.scatter(rows.predicted, rows.observed, s=size, color=PALETTE[grade])
    ax.set(xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
    off = np.average((table.observed - table.predicted).abs(), weights=table["count"])
    ax.set_title(f"Does 0.7 mean seven out of ten?\nOn average a prediction is {off:.2f} off")
    ax.legend()
    return fig


def leave_one_out(parts: pd.DataFrame, recipe: str) -> Figure:
    """Scores of a recipe with one thing changed, best first; a dot for each seed, a dashed line at
    the mean of the recipe itself.

    parts  a row per variant, columns "seed …" and "mean"
    """
    ordered = parts.sort_values("mean")
    fig, ax = plt.subplots(figsize=(9, 0.3 * len(parts) + 1.2), layout="constrained")
    for seed in ordered.filter(like="seed"):
        ax.plot(ordered[seed], ordered.index, "o", color="grey", alpha=0.7)
    ax.axvline(ordered["mean"][recipe], color=FAMILY_COLOURS["spinal"], lw=1, ls="--")
    ax.set(
        xscale="log",
        xlabel="score on forty other phantoms (lower is better, log scale); dots: seeds",
    )
    ax.set_xticks(SCORES, list(map(str, SCORES)))
    ax.xaxis.minorticks_off()
    ax.invert_yaxis()
    ax.set_title("One thing changed: how much worse, or better, does it get?")
    return fig


def learning_from_few(table: pd.DataFrame) -> Figure:
    """What so many patients teach, from different first weights; bands from the best to the worst
    draw of patients.

    table  patients, start, score, least, greatest
    """
    fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for colour, (start, of) in zip(NO_GRADES, table.groupby("start", sort=False)):
        ax.plot(of.patients, of.score, "o-", color=colour, label=f"from {start} weights")
        ax.fill_between(of.patients, of.least, of.greatest, color=colour, alpha=0.2)
    counts = sorted(table.patients.unique())
    ax.set_xscale("symlog", linthresh=max(min(counts, key=lambda n: n or np.inf), 1))
    ax.set_xticks(counts, list(map(str, counts)))
    ax.set(xlabel="real patients to learn from", ylabel="weighted log loss, foramina")
    ax.set_title("How many real patients does a warm start save? (random with none: the prior)")
    ax.legend()
    return fig


def attempts(board: pd.DataFrame, guessing: float) -> Figure:
    """Scores of attempts at the same studies with their 95 % intervals, the best one at the top and
    in colour; lines at the one entered first and at guessing.

    board     attempt, score, low, high, better (nan for the one entered first), the best first
    guessing  what a prediction without images scores
    """
    fig, ax = plt.subplots(figsize=(9, 0.34 * len(board) + 1.4), layout="constrained")
    place = np.arange(len(board))
    colours = np.where(place == 0, TRAINING_COLOUR, OTHER_COLOUR)
    ax.hlines(place, board.low, board.high, color=colours, lw=1.5)
    ax.scatter(board.score, place, color=colours, zorder=3)
    first = board[board.better.isna()].iloc[0]
    lines = {f"{first.attempt}: {first.score:.2f}": ("--", first.score)}
    lines[f"the weighted prior, which sees no image: {guessing:.2f}"] = (":", guessing)
    for label, (style, score) in lines.items():
        ax.axvline(score, color=OTHER_COLOUR, lw=1, ls=style, label=label)
    ax.set_yticks(place, board.attempt)
    ax.set(xlim=(0, None), ylim=(len(board) - 0.4, -0.6), xlabel="score on the hidden studies")
    best = board.iloc[0]
    ax.set_title(f"Lower is better: the best attempt so far is {best.attempt}, {best.score:.2f}")
    fig.legend(loc="outside lower left", ncols=2)
    return fig
