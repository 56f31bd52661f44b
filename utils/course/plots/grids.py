"""Tables as coloured cells, with the words of each cell in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from utils.course.plots.style import PALETTE, SHORT, UNKNOWN, row_of_panels
from utils.rsna import CONDITIONS, FAMILIES, GRADE_COLOURS, GRADES, LEVELS

MISSING = -1  # below every colour scale: seaborn leaves the words of a nan cell out
CELLS = {"fmt": "", "cbar": False, "linewidths": 2, "annot_kws": {"color": "black"}}


def confusion_grids(table: pd.DataFrame) -> Figure:
    """The predicted grades of each true grade, one panel per family: proportion of the row, count.

    table  from metrics.confusion
    """
    fig, axes = row_of_panels(len(FAMILIES), 13 / 3, 3.4)
    for ax, family in zip(axes, FAMILIES):
        counts = table.loc[family].reindex(index=GRADES, columns=GRADES)
        proportions = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        percents = proportions.map(lambda proportion: f"{100 * proportion:.0f} %")
        words = percents + "\n" + counts.map(lambda count: f"{count:,}")
        for grade in GRADES:  # each row in the colour of its true grade
            others = np.repeat((proportions.index != grade)[:, None], len(GRADES), axis=1)
            _heatmap(ax, proportions, words, _tints(PALETTE[grade]), mask=others)
        ax.set(title=family, xlabel="most probable grade")
    axes[0].set_ylabel("true grade")
    fig.suptitle("Which grade is taken for which? Each row adds up to 100 %")
    return fig


def auroc_grid(table: pd.DataFrame) -> Figure:
    """Area under the ROC curve by level and condition, and the number of positive rows.

    table  from metrics.auroc
    """
    fig, axes = row_of_panels(2, 6.5, 4)
    titles = {
        "moderate_or_severe": "Moderate or Severe, against Normal/Mild",
        "severe": "Severe, against the rest",
    }
    for ax, (name, title), colour in zip(axes, titles.items(), GRADE_COLOURS[1:]):
        areas = _levels_by_conditions(table[name])
        counts = _levels_by_conditions(table[f"n_{name}"])
        tint = (2 * areas - 1).clip(lower=0) ** 2  # squared, because most areas are near 1
        words = areas.map(lambda area: f"{area:.2f}\n") + counts.map(str) + " positive"
        words = words.where(areas.notna(), "–")
        _heatmap(ax, tint.fillna(MISSING), words, _tints(colour))
        ax.set_xticklabels(SHORT.values())
        ax.set_title(title)
    fig.suptitle(
        "How well are narrowed levels ranked above the others? (AUROC: 0.5 is chance, 1 is perfect)"
    )
    return fig


def _levels_by_conditions(column: pd.Series) -> pd.DataFrame:
    """A column indexed by condition and level as a table, in the order of the vocabulary."""
    return column.unstack("condition").loc[list(LEVELS), list(CONDITIONS)]


def _tints(colour: str) -> Colormap:
    """From white to a colour."""
    return sns.blend_palette(["white", colour], as_cmap=True)


def _heatmap(
    ax: Axes,
    values: pd.DataFrame,
    words: pd.DataFrame,
    colours: Colormap,
    vmax: float = 1,
    mask: np.ndarray | None = None,
) -> None:
    """Cells coloured by value from 0 to vmax, grey where it is MISSING, with words in them."""
    scale = {"cmap": colours.with_extremes(under=UNKNOWN), "vmin": 0, "vmax": vmax}
    sns.heatmap(values, annot=words, mask=mask, ax=ax, **scale, **CELLS)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, rotation=0)
