"""Charts of a data set: grades, points, intensities, findings of the audit."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from utils.course.plots.style import LEVEL_COLOURS, NO_GRADES, PALETTE, row_of_panels
from utils.dicom import Series
from utils.rsna import CANAL, FAMILIES, FAMILY, GRADES, LEVELS, SERIES

EVERY = 4  # rows and columns of an image that a histogram counts: enough, and 16 times as fast


def prevalence(labels: pd.DataFrame) -> Figure:
    """Proportion of each grade by level, one panel per family. labels: condition, level, grade."""
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.6), sharey=True, layout="constrained")
    known = labels.dropna(subset=["grade"])
    known = known.assign(position=known.level.map(LEVELS.index))
    family = known.condition.map(FAMILY)
    for ax, name in zip(axes, FAMILIES):
        _stack_proportions(ax, known[family == name])
        ax.set(title=name, xlabel="level", ylabel="proportion of labels", ylim=(0, 1))
        ax.set_xticks(range(len(LEVELS)), LEVELS)
        ax.set_xlim(-0.5, len(LEVELS) - 0.5)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    handles = [plt.Rectangle((0, 0), 1, 1, color=PALETTE[grade]) for grade in GRADES]
    fig.legend(handles, GRADES, loc="outside lower center", ncols=3)
    fig.suptitle("How often is each grade, level by level?")
    return fig


def _stack_proportions(ax: Axes, labels: pd.DataFrame) -> None:
    """One bar per level (position: 0 to 4), Normal/Mild at the bottom; none where no label is."""
    if labels.empty:
        return
    counts = {"multiple": "fill", "discrete": True, "binrange": (0, len(LEVELS) - 1)}
    colours = {"hue_order": GRADES[::-1], "palette": PALETTE, "alpha": 1, "edgecolor": "none"}
    bars = {"shrink": 0.8, "legend": False}
    sns.histplot(labels, x="position", hue="grade", ax=ax, **counts, **colours, **bars)


ROOMS = {
    "spinal": "depth of the sac, mm",
    "foraminal": "fat before and behind the root, mm",
    "subarticular": "depth of the recess, mm",
}


def rooms(measured: pd.DataFrame) -> Figure:
    """How much room each grade leaves, one panel per family: a violin, with its quartiles.

    measured  condition, grade, measure_mm
    """
    fig, axes = row_of_panels(len(FAMILIES), 4.3, 3.4)
    family = measured.condition.map(FAMILY)
    for ax, (name, unit) in zip(axes, ROOMS.items()):
        shape = {"order": GRADES, "hue_order": GRADES, "palette": PALETTE, "legend": False}
        quartiles = {"cut": 0, "inner": "quart", "saturation": 1, "linewidth": 1}
        of = {"data": measured[family == name], "x": "grade", "y": "measure_mm", "hue": "grade"}
        sns.violinplot(**of, ax=ax, **shape, **quartiles)
        ax.set(title=name, xlabel="", ylabel=unit, ylim=(0, None))
    fig.suptitle("How many millimetres does a grade leave?")
    return fig


def canal_points(points: pd.DataFrame) -> Figure:
    """Annotated canal points of all studies in their images, coloured by level; the title says how
    many get the right level by their row alone.

    points  Tables.points: condition, level, x and y (px: column, row)
    """
    canal = points[points.condition == CANAL]
    fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    colours = {"hue_order": LEVELS, "palette": LEVEL_COLOURS}
    dots = {"s": 14, "alpha": 0.7, "edgecolor": "none"}
    sns.scatterplot(canal, x="x", y="y", hue="level", ax=ax, **colours, **dots)
    title = f"Canal points of all studies: the row alone tells {_level_by_row(canal):.0%} of levels"
    ax.set(title=title, xlabel="column, px", ylabel="row, px")
    ax.invert_yaxis()
    ax.legend(title="level")
    return fig


def _level_by_row(canal: pd.DataFrame) -> float:
    """The proportion of points that are in the level whose median row is nearest to theirs."""
    if canal.empty:
        return 0.0
    rows = canal.groupby("level").y.median()
    off_px = np.abs(canal.y.to_numpy()[:, None] - rows.to_numpy())
    return float((rows.index.to_numpy()[off_px.argmin(1)] == canal.level).mean())


def intensity_histograms(before: dict[str, Series], after: dict[str, Series]) -> Figure:
    """Distribution of the pixel values of each series, as scanned and as prepared."""
    fig, axes = row_of_panels(2, 5.5, 3.4)
    colours = dict(zip(SERIES, NO_GRADES))
    for ax, all_series, title in zip(axes, (before, after), ("as scanned", "prepared")):
        for name, one in all_series.items():
            values = np.concatenate([image[::EVERY, ::EVERY].ravel() for image in one.pixels])
            line = {"element": "step", "fill": False, "color": colours.get(name)}
            sns.histplot(values, bins=60, label=name, ax=ax, **line)
        ax.set(title=title, xlabel="intensity (it has no unit)", ylabel="number of pixels")
        ax.set_yscale("log")
    axes[1].legend()
    return fig
