"""The figures of the notebooks. Each returns its matplotlib figure; grades have the same three colours everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from utils.geometry import Series, Slice
from utils.rsna import CONDITIONS, FAMILIES, FAMILY, GRADE_COLOURS, GRADES, LEVELS, SERIES, SERIES_OF

PALETTE = dict(zip(GRADES, GRADE_COLOURS))
NO_ANSWER = "#DDDDDD"
SHORT = dict(zip(CONDITIONS, ("canal", "Left foramen", "Right foramen", "Left recess", "Right recess"), strict=True))
MARKERS = {"spinal": "o", "foraminal": "^", "subarticular": "s"}
FAMILY_COLOURS = dict(zip(FAMILIES, ("#0072B2", "#009E73", "#CC79A7"), strict=True))  # Okabe and Ito's, as the grades'
MARK = "#F0E442"  # what is pointed at on an image
LOOK = {
    "figure.facecolor": "white",  # a dark page must not shine through: black letters would vanish
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
}


def house_style() -> None:
    """One look for all figures that follow; in a notebook each also gets a text for those who cannot see it."""
    plt.rcParams.update(LOOK)
    shell = get_ipython()
    if shell is not None:
        plt.close(plt.figure())  # loads the notebook's backend, which says how figures become pictures
        pictures = shell.display_formatter.formatters["image/png"]
        draw = pictures.type_printers.get(Figure)
        if draw and getattr(draw, "__name__", "") != "with_text":  # not a second time

            def with_text(figure):
                return draw(figure), {"alt": alt_text(figure)}

            pictures.for_type(Figure, with_text)


def alt_text(figure: Figure) -> str:
    """What a figure shows, in words: its title, then its panels with their axes."""
    panels = []
    for ax in figure.axes:
        axes = [f"{name}: {label}" for name, label in (("across", ax.get_xlabel()), ("up", ax.get_ylabel())) if label]
        panels.append(", ".join(filter(None, [ax.get_title(), *axes])))
    parts = [figure.get_suptitle(), *dict.fromkeys(filter(None, panels))]
    return "; ".join(" ".join(part.split()) for part in parts if part) or "figure"


def picture(ax, image: np.ndarray, title: str = "", **style):
    """A grey image without axes."""
    ax.imshow(image, **{"cmap": "gray"} | style)
    ax.set(title=title, xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def draw_slice(ax, one: Slice, title: str = "", ruler_mm: float = 50.0):
    """One slice true to mm, windowed at its own 1–99.5 percentiles, with direction letters and a ruler, shorter in a crop."""
    low, high = np.percentile(one.pixels, (1, 99.5))
    height, width = one.pixels.shape
    picture(ax, one.pixels, title, vmin=low, vmax=max(high, low + 1), aspect=one.spacing[1] / one.spacing[0])
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    sides = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, place, (ha, va) in zip(one.letters, places, sides):
        ax.text(*place, letter, transform=ax.transAxes, ha=ha, va=va, color="white", fontsize=9)
    while ruler_mm > 0.4 * width * one.spacing[0]:  # to the letter in the middle and no further
        ruler_mm /= 2
    x0 = width * 0.04
    ax.plot([x0, x0 + ruler_mm / one.spacing[0]], [height * 0.96] * 2, color="white", lw=2)
    ax.text(x0, height * 0.945, f"{ruler_mm:g} mm", color="white", fontsize=7, va="bottom")
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return ax


def side_by_side(slices: list[Slice], titles: list[str], mark_mm: np.ndarray | None = None) -> Figure:
    """Slices next to each other, with a cross at a point (3,) in mm if given."""
    fig, axes = plt.subplots(1, len(slices), figsize=(4.4 * len(slices), 4.5), layout="constrained", squeeze=False)
    for ax, one, title in zip(axes[0], slices, titles):
        draw_slice(ax, one, title)
        if mark_mm is not None:
            ax.plot(*one.to_pixel(mark_mm), "+", color=MARK, ms=22, mew=2)
    return fig


def anatomy(slices: dict[str, Slice], parts: dict[str, np.ndarray]) -> Figure:
    """Slices by title with parts by name, points (3,) in mm: each is named where it lies in a slice."""
    fig, axes = plt.subplots(1, len(slices), figsize=(4.6 * len(slices), 3.9), layout="constrained", squeeze=False)
    for ax, (title, one) in zip(axes[0], slices.items()):
        draw_slice(ax, one, title)
        shown = sorted((one.to_pixel(mm)[1], *one.to_pixel(mm), name) for name, mm in parts.items() if abs(one.distance(mm)) < 4)
        at = {"textcoords": "axes fraction", "va": "center", "fontsize": 11}
        for k, (_, x, y, name) in enumerate(shown):
            at["xytext"] = 1.02, 0.9 - 0.8 * k / max(len(shown) - 1, 1)
            ax.annotate(name, (x, y), arrowprops={"arrowstyle": "-", "color": "#E69F00", "lw": 1}, **at)
            ax.plot(x, y, "o", color=MARK, ms=4)
    return fig


def draw_points(ax, one: Slice, points: pd.DataFrame, within_mm: float = 3.0, **style) -> None:
    """Points (x_mm, y_mm, z_mm, condition and, if there, grade) that lie within a few mm of this slice."""
    for row in points.itertuples():
        mm = np.array([row.x_mm, row.y_mm, row.z_mm], float)
        if np.isfinite(mm).all() and abs(one.distance(mm)) <= within_mm:
            colour = PALETTE.get(getattr(row, "grade", None), "#FFFFFF")
            look = {"marker": MARKERS[FAMILY[row.condition]], "ms": 7, "mfc": "none", "mec": colour, "mew": 1.8}
            ax.plot(*one.to_pixel(mm), ls="none", **(look | style))


def study_planes(
    series: dict[str, Series], points: pd.DataFrame | None = None, title: str = "", annotated: pd.DataFrame | None = None
) -> Figure:
    """One slice of each of the three series side by side: the one that holds most points, else the middle one.

    points are drawn by condition and grade; annotated ones, if given beside them, as a white +.
    """
    fig, axes = plt.subplots(1, 3, figsize=(13, 4.8), layout="constrained")
    for ax, name in zip(axes, SERIES):
        if name not in series:
            ax.text(0.5, 0.5, f"no {name} in this study", ha="center", transform=ax.transAxes)
            ax.set_axis_off()
            continue
        own = None if points is None else points[points.condition.map(SERIES_OF) == name]
        one = series[name].slices[busiest(series[name], own)]
        draw_slice(ax, one, f"{name}, instance {one.instance}")
        if own is not None:
            draw_points(ax, one, own, within_mm=max(2.0, series[name].gap_mm / 2))
        if annotated is not None:
            draw_points(ax, one, annotated[annotated.condition.map(SERIES_OF) == name], marker="+", mec="white", ms=10)
    _legend(fig)
    fig.suptitle(title)
    return fig


def busiest(series: Series, points: pd.DataFrame | None) -> int:
    """Index of the slice that most points lie on; the middle one without points."""
    if points is None or points.empty:
        return len(series) // 2
    mm = points[["x_mm", "y_mm", "z_mm"]].dropna().to_numpy(float)
    near = [int((np.abs(s.distance(mm)) < max(2.0, series.gap_mm / 2)).sum()) if len(mm) else 0 for s in series.slices]
    return int(np.argmax(near))


def _legend(fig) -> None:
    kinds = [plt.Line2D([], [], marker=m, ls="none", mfc="none", mec="grey", label=f) for f, m in MARKERS.items()]
    grades = [plt.Line2D([], [], marker="o", ls="none", color=c, label=g) for g, c in PALETTE.items()]
    fig.legend(handles=kinds + grades, loc="outside lower center", ncols=6)


def prevalence(labels: pd.DataFrame) -> Figure:
    """Share of each grade by level, one panel per family."""
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.6), sharey=True, layout="constrained")
    known = labels.dropna(subset=["grade"]).assign(family=lambda t: t.condition.map(FAMILY))
    for ax, family in zip(axes, FAMILIES):
        table = known[known.family == family].groupby(["level", "grade"]).size().unstack(fill_value=0)
        share = table.reindex(index=list(LEVELS), columns=list(GRADES), fill_value=0)
        share = 100 * share.div(share.sum(axis=1).clip(lower=1), axis=0)
        share.plot.bar(stacked=True, ax=ax, color=list(GRADE_COLOURS), legend=False, width=0.8, rot=0)
        ax.set(title=family, xlabel="level", ylabel="share of labels, %", ylim=(0, 100))
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    fig.suptitle("How often is each grade, level by level?")
    return fig


def grade_grid(study_labels: pd.DataFrame) -> Figure:
    """The 5 × 5 table of one study: levels down, conditions across; letter and colour say the grade."""
    fig, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    grades = study_labels.set_index(["level", "condition"]).grade
    grid = [[grades.get((level, condition)) for condition in CONDITIONS] for level in LEVELS]
    words = [[grade[0] if isinstance(grade, str) else "–" for grade in row] for row in grid]
    colours = [[PALETTE.get(grade, NO_ANSWER) for grade in row] for row in grid]
    _cells(ax, colours, words, LEVELS, SHORT.values()).set_title("All 25 grades of one study: Normal/Mild, Moderate, Severe")
    return fig


def _cells(ax, colours: list[list], words: list[list[str]], rows, columns):
    """A table of coloured cells with words in them, rows down, columns across."""
    for i in range(len(rows)):
        for j in range(len(columns)):
            ax.add_patch(Rectangle((j, i), 0.96, 0.92, facecolor=colours[i][j]))
            ax.text(j + 0.48, i + 0.46, words[i][j], ha="center", va="center", color="black")
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    ax.set_xticks(np.arange(len(columns)) + 0.48, columns)
    ax.set_yticks(np.arange(len(rows)) + 0.46, rows)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def _tint(colour: str, strength: float) -> np.ndarray:
    """The colour mixed with white: 1 is the colour itself, 0 so little of it that a cell is still seen as one."""
    return 1 - (0.1 + 0.9 * strength) * (1 - np.array(to_rgb(colour)))


def brightness(before: dict[str, Series], after: dict[str, Series]) -> Figure:
    """How often each brightness occurs per series, as scanned and as prepared."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for ax, all_series, title in zip(axes, (before, after), ("as scanned", "prepared")):
        for name, one in all_series.items():
            ax.hist(np.concatenate([p[::4, ::4].ravel() for p in one.pixels]), bins=60, histtype="step", label=name)
        ax.set(title=title, xlabel="brightness", ylabel="pixels", yscale="log")
    axes[1].legend()
    return fig


def crops(
    stack: np.ndarray,
    titles: list[str],
    title: str = "",
    size_mm: float | None = None,
    columns: Sequence[str] = (),
    inches: float = 1.7,
) -> Figure:
    """Rows of crops: stack (rows, slices, px, px); one that is nan throughout stays empty."""
    rows, across = stack.shape[:2]
    size = inches * across + 1.6, inches * rows + 0.5
    fig, axes = plt.subplots(rows, across, figsize=size, layout="constrained", squeeze=False)
    for row, name, line in zip(axes, titles, stack):
        for ax, image in zip(row, line):
            picture(ax, image, vmin=0, vmax=np.nanmax(line) if np.isfinite(line).any() else 1)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, name in zip(axes[0], columns):
        ax.set_title(name, color=PALETTE.get(name, "black"), fontweight="bold")
    fig.suptitle(title + (f" ({size_mm:.0f} mm wide)" if size_mm else ""))
    return fig


def learning_curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Training and held-out loss by epoch, one panel per model."""
    fig, axes = plt.subplots(1, len(histories), figsize=(5.5 * len(histories), 3.4), layout="constrained", squeeze=False)
    for ax, (name, history) in zip(axes[0], histories.items()):
        ax.plot(history.epoch, history.loss, marker=".", label="training (jittered)", color="#0072B2")
        ax.plot(history.epoch, history.held_out, marker=".", label="held-out studies", color="#CC79A7")
        ax.set(title=name, xlabel="epoch", ylabel="loss")
        ax.legend()
    return fig


def locator_errors(points: pd.DataFrame) -> Figure:
    """How far found points lie from annotated ones, per family, as the share within so many mm."""
    fig, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    family = points.condition.map(FAMILY)
    for name, colour in FAMILY_COLOURS.items():
        errors = np.sort(points.error_mm[family == name])
        if len(errors):
            share = 100 * np.arange(1, len(errors) + 1) / len(errors)
            ax.step(errors, share, label=f"{name}: median {np.median(errors):.1f} mm", color=colour)
    ax.set(xlabel="distance to the annotated point, mm", ylabel="share of points, %", xlim=(0, 45), ylim=(0, 101))
    ax.set_title("How far off is the locator on studies it has not seen?")
    ax.legend(loc="lower right")
    return fig


def score_bars(scores: dict[str, object], intervals: dict[str, pd.DataFrame] | None = None) -> Figure:
    """The four terms of the score, answers side by side; lower is better.

    intervals, by the same names (any may be absent), come from evaluation.bootstrap and are drawn as thin lines.
    """
    terms = ("spinal", "foraminal", "subarticular", "any_severe", "total")
    table = pd.DataFrame({name: {t: getattr(score, t) for t in terms} for name, score in scores.items()})
    ax = table.plot.bar(figsize=(8.5, 3.6), rot=0, width=0.8, color=["#999999", "#009E73", "#0072B2", "#CC79A7"][: len(scores)])
    for bars, name in zip(ax.containers, scores):
        if name in (intervals or {}):
            limits = intervals[name].loc[list(terms), ["low", "high"]].to_numpy()
            ax.vlines([bar.get_x() + bar.get_width() / 2 for bar in bars], *limits.T, color="black", lw=1.2)
    ax.set(title="The score, term by term (lower is better)", ylabel="weighted log loss")
    ax.legend(ncols=len(scores), loc="upper center", bbox_to_anchor=(0.5, -0.1))
    ax.figure.set_layout_engine("constrained")
    return ax.figure


def reliability(table: pd.DataFrame) -> Figure:
    """Predicted against observed frequency per grade; the diagonal is perfect calibration. From evaluation.reliability."""
    fig, ax = plt.subplots(figsize=(4.8, 4.4), layout="constrained")
    ax.plot([0, 1], [0, 1], color="grey", lw=1, ls="--")
    for grade, rows in table.groupby("grade"):
        ax.plot(rows.predicted, rows.observed, color=PALETTE[grade], lw=1.5, label=grade)
        ax.scatter(rows.predicted, rows.observed, s=8 + 6 * np.sqrt(rows["count"]), color=PALETTE[grade])
    ax.set(xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
    ax.set_title("Does 0.7 mean seven out of ten?")
    ax.legend()
    return fig


def confusion_grids(table: pd.DataFrame) -> Figure:
    """What was said of each true grade, one panel per family: share of the row, and count. From evaluation.confusion."""
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
    for ax, family in zip(axes, FAMILIES):
        counts = table.loc[family].reindex(index=GRADES, columns=GRADES).to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        colours = [[_tint(colour, share) for share in row] for colour, row in zip(GRADE_COLOURS, shares)]
        words = [[f"{100 * share:.0f} %\n{count:,}" for share, count in zip(*rows)] for rows in zip(shares, counts)]
        _cells(ax, colours, words, GRADES, GRADES).set(title=family, xlabel="most probable grade")
    axes[0].set_ylabel("true grade")
    fig.suptitle("Which grade is taken for which? Each row adds up to 100 %")
    return fig


def auroc_grid(table: pd.DataFrame) -> Figure:
    """Area under the ROC curve by level and condition, and how many rows were to be found. From evaluation.auroc."""
    fig, axes = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    titles = {"moderate_or_severe": "Moderate or Severe, against Normal/Mild", "severe": "Severe, against the rest"}
    for ax, (side, title), colour in zip(axes, titles.items(), GRADE_COLOURS[1:]):
        areas, counts = (table[name].unstack("condition").loc[list(LEVELS), list(CONDITIONS)] for name in (side, f"n_{side}"))
        strength = (2 * areas - 1).clip(lower=0) ** 2  # squared, for most areas lie near 1
        colours = [[NO_ANSWER if np.isnan(s) else _tint(colour, s) for s in row] for row in strength.to_numpy()]
        cells = zip(areas.to_numpy(), counts.to_numpy())
        words = [["–" if np.isnan(a) else f"{a:.2f}\n{n} to find" for a, n in zip(*row)] for row in cells]
        _cells(ax, colours, words, LEVELS, SHORT.values()).set(title=title)
    fig.suptitle("How well are narrowed places told from the others? (AUROC: 0.5 is guessing, 1 is perfect)")
    return fig


def finding_bars(findings: pd.DataFrame) -> Figure:
    """How many studies each kind of finding of an audit touches."""
    counts = findings.groupby("kind").study_id.nunique().sort_values()
    fig, ax = plt.subplots(figsize=(8, 0.32 * len(counts) + 0.9), layout="constrained")
    ax.barh(counts.index, counts, color="#56B4E9")
    ax.bar_label(ax.containers[0], padding=3)
    ax.set(xlabel="studies", title="What the audit found")
    return fig
