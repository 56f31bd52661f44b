"""The way of a study through the four notebooks, as one picture."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch


class Step(NamedTuple):
    """What a notebook leaves, and how many numbers a study is then."""

    notebook: int
    title: str
    what: str


STEPS = (
    Step(1, "look", "three series of DICOM,\nfive tables"),
    Step(2, "prepare", "slices in patient mm,\none scale of greys"),
    Step(3, "locate", "25 points\n(x, y, z) in mm"),
    Step(3, "crop", "a few slices of 48 mm\nround each point"),
    Step(3, "grade", "25 × 3\nprobabilities"),
    Step(4, "predict", "submission, report,\nand what to doubt"),
)
WIDE, HIGH, APART = 1.72, 0.95, 2.1  # of a box, and from one to the next
HERE, DONE, AHEAD = "#0072B2", "#CFE3F1", "white"


def pipeline(notebook: int) -> Figure:
    """All steps; those of this notebook are filled, those before it tinted."""
    width = APART * len(STEPS)
    fig, ax = plt.subplots(figsize=(width, 1.7), layout="constrained")
    for k, step in enumerate(STEPS):
        _box(ax, APART * k, step, notebook)
        if k:
            start, end = (APART * (k - 1) + WIDE, HIGH / 2), (APART * k, HIGH / 2)
            ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#555555"})
    ax.set(xlim=(-0.1, width - APART + WIDE + 0.1), ylim=(-0.1, HIGH + 0.4))
    ax.set_axis_off()
    here = ", ".join(step.title for step in STEPS if step.notebook == notebook)
    fig.suptitle(f"From a study to its grades. You are here: notebook {notebook}, {here}")
    return fig


def _box(ax: Axes, left: float, step: Step, notebook: int) -> None:
    is_here = step.notebook == notebook
    face = HERE if is_here else DONE if step.notebook < notebook else AHEAD
    rounded = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((left, 0), WIDE, HIGH, boxstyle=rounded, ec=HERE, fc=face))
    middle = left + WIDE / 2
    centred: Any = {"ha": "center", "va": "center"}
    colour = "white" if is_here else "black"
    ax.text(middle, HIGH / 2, step.what, color=colour, fontsize=9, **centred)
    ax.text(middle, HIGH + 0.18, f"{step.notebook} · {step.title}", fontsize=10, **centred)
