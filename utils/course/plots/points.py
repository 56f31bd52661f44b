"""Points in patient space (mm), shown on the slices that they are on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from utils.course.plots.images import draw_slice
from utils.course.plots.style import LEADER, MARK, MARKERS, PALETTE, row_of_panels
from utils.dicom import Series, Slice
from utils.rsna import FAMILY, SERIES, SERIES_OF

NEAR_MM = 4.0  # a part is named on slices nearer than this: about one slice gap
NO_GRADE = "#FFFFFF"


def anatomy(slices: dict[str, Slice], parts: dict[str, np.ndarray]) -> Figure:
    """Slices by title, with the names of the parts that are in each.

    parts  points (3,) in mm by name; nan for a part that is not known
    """
    fig, axes = row_of_panels(len(slices), 4.6, 3.9)
    for ax, (title, one) in zip(axes, slices.items()):
        draw_slice(ax, one, title)
        _name_parts(ax, one, parts)
    return fig


def _name_parts(ax: Axes, one: Slice, parts: dict[str, np.ndarray]) -> None:
    """Names to the right of a slice from top to bottom, each with a line to its point."""
    near = {name: one.to_pixel(mm) for name, mm in parts.items() if abs(one.distance(mm)) < NEAR_MM}
    from_top = sorted(near, key=lambda name: (near[name][1], near[name][0], name))
    leader = {"arrowstyle": "-", "color": LEADER, "lw": 1}
    text: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "fontsize": 11}
    for k, name in enumerate(from_top):
        height = 0.9 - 0.8 * k / max(len(from_top) - 1, 1)
        x, y = near[name]
        ax.annotate(name, (x, y), xytext=(1.02, height), arrowprops=leader, **text)
        ax.plot(x, y, "o", color=MARK, ms=4)


def draw_points(
    ax: Axes, one: Slice, points: pd.DataFrame, within_mm: float = 3.0, **style
) -> None:
    """Mark the points that are within a few mm of a slice, by family and grade.

    points  x_mm, y_mm, z_mm, condition and, if there is one, grade; nan is not drawn
    style   of matplotlib's Line2D, in place of the usual one
    """
    for row in points.itertuples():
        mm = np.array([row.x_mm, row.y_mm, row.z_mm], float)
        if np.isfinite(mm).all() and abs(one.distance(mm)) <= within_mm:
            colour = PALETTE.get(getattr(row, "grade", ""), NO_GRADE)
            shape: dict[str, Any] = {"marker": MARKERS[FAMILY[row.condition]], "ms": 7}
            line = {"ls": "none", "mfc": "none", "mec": colour, "mew": 1.8}
            ax.plot(*one.to_pixel(mm), **(shape | line | style))


def study_planes(
    series: dict[str, Series],
    points: pd.DataFrame | None = None,
    title: str = "",
    annotated: pd.DataFrame | None = None,
) -> Figure:
    """One slice of each of the three series: the one with most points, or else the middle one.

    points     marked by family and grade on the series they belong to
    annotated  a reader's points beside them, as white crosses
    """
    fig, axes = row_of_panels(len(SERIES), 13 / 3, 4.8)
    for ax, name in zip(axes, SERIES):
        if name in series:
            own = _on_series(points, name)
            _draw_plane(ax, series[name], name, own, _on_series(annotated, name))
        else:
            ax.text(0.5, 0.5, f"no {name} in this study", ha="center", transform=ax.transAxes)
            ax.set_axis_off()
    _legend(fig)
    fig.suptitle(title)
    return fig


def _on_series(points: pd.DataFrame | None, name: str) -> pd.DataFrame | None:
    """The points of conditions that are marked on this kind of series."""
    return None if points is None else points[points.condition.map(SERIES_OF) == name]


def _draw_plane(
    ax: Axes,
    series: Series,
    name: str,
    points: pd.DataFrame | None,
    annotated: pd.DataFrame | None,
) -> None:
    one = series.slices[busiest(series, points)]
    draw_slice(ax, one, f"{name}, instance {one.instance}")
    if points is not None:
        draw_points(ax, one, points, within_mm=_half_gap(series))
    if annotated is not None:
        draw_points(ax, one, annotated, marker="+", mec="white", ms=10)


def busiest(series: Series, points: pd.DataFrame | None) -> int:
    """Index of the slice with most points; the middle one where no point is known."""
    columns = ["x_mm", "y_mm", "z_mm"]
    mm = np.empty((0, 3)) if points is None else points[columns].dropna().to_numpy(float)
    if not len(mm):
        return len(series) // 2
    near = [np.abs(one.distance(mm)) < _half_gap(series) for one in series.slices]
    return int(np.argmax([hits.sum() for hits in near]))


def _half_gap(series: Series) -> float:
    """How near a point must be to count as on a slice, mm."""
    return max(2.0, series.gap_mm / 2)


def _legend(fig: Figure) -> None:
    """Shapes are families, colours are grades."""
    handles = []
    for family, marker in MARKERS.items():
        shape = Line2D([], [], ls="none", marker=marker, mfc="none", mec="grey", label=family)
        handles.append(shape)
    for grade, colour in PALETTE.items():
        handles.append(Line2D([], [], ls="none", marker="o", color=colour, label=grade))
    fig.legend(handles=handles, loc="outside lower center", ncols=6)
