"""Colours, symbols and settings that all figures share, and each figure's text for readers who
cannot see it.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.rsna import CONDITIONS, FAMILIES, GRADE_COLOURS, GRADES, LEVELS

PALETTE = dict(zip(GRADES, GRADE_COLOURS))
# Whatever is no grade has other colours than the grades.
NO_GRADES = ("#0072B2", "#009E73", "#CC79A7")
FAMILY_COLOURS = dict(zip(FAMILIES, NO_GRADES, strict=True))
LEVEL_COLOURS = dict(zip(LEVELS, sns.color_palette("viridis", len(LEVELS)), strict=True))
MARKERS = dict(zip(FAMILIES, ("o", "^", "s"), strict=True))
UNKNOWN = "#DDDDDD"  # a cell without a grade or a number
MARK = "#F0E442"  # what a figure points at in an image
LEADER = "#CC79A7"  # lines from a name to its point
_SHORT_NAMES = ("canal", "Left foramen", "Right foramen", "Left recess", "Right recess")
SHORT = dict(zip(CONDITIONS, _SHORT_NAMES, strict=True))
STYLE: dict[Any, Any] = {
    # On a dark page a transparent figure would show black letters on black.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
}


def house_style() -> None:
    """Set the style of all figures that follow, each of which gets an alt text in a notebook; and
    let tables show their cells whole, without "…"."""
    plt.rcParams.update(STYLE)
    pd.set_option("display.max_colwidth", None, "display.max_columns", None)
    shell = get_ipython()
    if shell is not None:
        plt.close(plt.figure())  # loads the notebook's backend, which registers how figures render
        _add_alt_texts(shell.display_formatter.formatters["image/png"])


def _add_alt_texts(png_formatter: Any) -> None:
    """IPython's PNG formatter hands out alt_text with every figure; once is enough."""
    render = png_formatter.type_printers.get(Figure)
    if render is None or getattr(render, "__name__", "") == "with_text":
        return

    def with_text(figure: Figure) -> tuple:
        return render(figure), {"alt": alt_text(figure)}

    png_formatter.for_type(Figure, with_text)


def row_of_panels(count: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of panels (count,) side by side, each of so many inches."""
    size = (width * count, height)
    fig, axes = plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)
    return fig, axes[0]


def alt_text(figure: Figure) -> str:
    """What a figure shows, in words: its title, then its panels with their axes."""
    panels = [_panel_text(ax) for ax in figure.axes]
    each_once = dict.fromkeys(filter(None, panels))
    parts = [figure.get_suptitle(), *each_once]
    return "; ".join(" ".join(part.split()) for part in parts if part) or "figure"


def _panel_text(ax: Axes) -> str:
    """'title, across: label, up: label', without what the panel lacks."""
    words = [ax.get_title()]
    if ax.get_xlabel():
        words.append(f"across: {ax.get_xlabel()}")
    if ax.get_ylabel():
        words.append(f"up: {ax.get_ylabel()}")
    return ", ".join(filter(None, words))
