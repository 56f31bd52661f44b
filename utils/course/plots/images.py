"""Slices true to millimetres, and rows of crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from utils.course.plots.style import MARK, PALETTE, row_of_panels
from utils.dicom import Series, Slice
from utils.rsna import SERIES

DISPLAY_PERCENTILES = (1, 99.5)  # of a slice: black and white of its display window
OUTLINED = [withStroke(linewidth=2, foreground="black")]  # white that is seen on bright fat, too
RULER_SHARE = 0.4  # of the width, at most: the ruler must end before the letter in the middle
# As Slice.letters: position (fractions of the axes), horizontal and vertical alignment.
LETTERS = (
    ((0.02, 0.5), "left", "center"),
    ((0.98, 0.5), "right", "center"),
    ((0.5, 0.98), "center", "top"),
    ((0.5, 0.02), "center", "bottom"),
)


def show_image(
    ax: Axes, image: np.ndarray, title: str = "", gamma: float | None = None, **options
) -> Axes:
    """A grey image (H, W) without axes.

    gamma    below 1 what is dark becomes brighter: for images so small that one would not see it
    options  those of imshow
    """
    if gamma is not None:
        options["norm"] = PowerNorm(gamma, options.pop("vmin", None), options.pop("vmax", None))
    ax.imshow(image, **{"cmap": "gray"} | options)
    ax.set(title=title, xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def draw_slice(
    ax: Axes, one: Slice, title: str = "", ruler_mm: float = 50.0, gamma: float | None = None
) -> Axes:
    """One slice true to mm, with direction letters and a ruler.

    Its display window runs from its 1st to its 99.5th percentile; gamma as for show_image. The
    ruler is halved until it fits.
    """
    low, high = np.percentile(one.pixels, DISPLAY_PERCENTILES)
    height, width = one.pixels.shape
    aspect = one.spacing[1] / one.spacing[0]
    show_image(ax, one.pixels, title, gamma, vmin=low, vmax=max(high, low + 1), aspect=aspect)
    for letter, (position, ha, va) in zip(one.letters, LETTERS):
        text: dict[str, Any] = {"transform": ax.transAxes, "ha": ha, "va": va}
        ax.text(*position, letter, color="white", fontsize=9, path_effects=OUTLINED, **text)
    _draw_ruler(ax, one, ruler_mm)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return ax


def _draw_ruler(ax: Axes, one: Slice, ruler_mm: float) -> None:
    """A line of known length in the lower left corner."""
    height, width = one.pixels.shape
    while ruler_mm > RULER_SHARE * width * one.spacing[0]:
        ruler_mm /= 2
    left = width * 0.04
    right = left + ruler_mm / one.spacing[0]
    outlined: dict[str, Any] = {"color": "white", "path_effects": OUTLINED}
    ax.plot([left, right], [height * 0.96] * 2, lw=2, **outlined)
    ax.text(left, height * 0.945, f"{ruler_mm:g} mm", fontsize=7, va="bottom", **outlined)


def side_by_side(
    slices: list[Slice], titles: list[str], mark_mm: np.ndarray | None = None
) -> Figure:
    """Slices next to each other, with a cross at a point (3,) in mm if one is given."""
    fig, axes = row_of_panels(len(slices), 4.4, 4.5)
    for ax, one, title in zip(axes, slices, titles):
        draw_slice(ax, one, title)
        if mark_mm is not None:
            ax.plot(*one.to_pixel(mark_mm), "+", color=MARK, ms=22, mew=2)
    return fig


def middle_slices(patients: dict[str, dict[str, Series]]) -> Figure:
    """The middle slice of each kind of series (columns) of each patient (rows)."""
    kinds = [kind for kind in SERIES if any(kind in series for series in patients.values())]
    shape = (len(patients), len(kinds))
    size = (4.2 * shape[1], 4.4 * shape[0])
    fig, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    for row, (name, series) in zip(axes, patients.items()):
        for ax, kind in zip(row, kinds):
            if kind in series:
                found = series[kind]
                draw_slice(ax, found.slices[len(found) // 2], f"{name}: {kind}")
            else:
                ax.axis("off")
    return fig


def crops(
    stack: np.ndarray,
    titles: list[str],
    title: str = "",
    size_mm: float | None = None,
    columns: Sequence[str] = (),
    inches: float = 1.7,
) -> Figure:
    """Rows of crops.

    stack    (rows, slices, px, px), one display range per row; a crop that is nan throughout stays
             empty
    titles   of the rows
    size_mm  the width of a crop, said in the title
    columns  headings; a grade has its colour
    inches   the size of one crop on the page
    """
    rows, across = stack.shape[:2]
    figsize = (inches * across + 1.6, inches * rows + 0.5)
    fig, axes = plt.subplots(rows, across, figsize=figsize, layout="constrained", squeeze=False)
    for row_axes, name, row in zip(axes, titles, stack):
        brightest = np.nanmax(row) if np.isfinite(row).any() else 1
        for ax, image in zip(row_axes, row):
            show_image(ax, image, vmin=0, vmax=brightest)
        row_axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, name in zip(axes[0], columns):
        ax.set_title(name, color=PALETTE.get(name, "black"), fontweight="bold")
    fig.suptitle(f"{title} ({size_mm:.0f} mm wide)" if size_mm else title)
    return fig


def covered(
    views: np.ndarray, change: dict[int, np.ndarray], names: list[str], title: str
) -> Figure:
    """Crops, and beside each the same with what covering a patch there has changed.

    views   (V, S, px, px); the middle slice is shown
    change  for some views (steps, steps), see inference.explain.occlusion
    names   (V,) of all views
    """
    fig, axes = row_of_panels(2 * len(change), 3.5, 3.6)
    span = max(abs(of).max() for of in change.values()) + 1e-9
    for (view, of), (plain, marked) in zip(change.items(), axes.reshape(-1, 2)):
        for ax in (plain, marked):
            show_image(ax, views[view, views.shape[1] // 2], names[view], extent=(0, 1, 1, 0))
        colours = {"cmap": "PRGn", "vmin": -span, "vmax": span, "alpha": 0.55}
        drawn = marked.imshow(of, extent=(0, 1, 1, 0), interpolation="bilinear", **colours)
    fig.colorbar(drawn, label="change when covered, log-odds")
    fig.suptitle(f"{title}: no patch changes the log-odds by more than {span:.1f}")
    return fig
