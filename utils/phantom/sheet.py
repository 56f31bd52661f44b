"""The phantom on one page: every condition at its three grades, and one study with its points.

python -m utils.phantom --sheet phantom.png
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from utils.dicom import Slice
from utils.phantom.anatomy import make_spine
from utils.phantom.planes import TO_BACK, TO_FEET, TO_LEFT, empty_slice
from utils.phantom.signal import Sequence, render
from utils.phantom.spine import Spine
from utils.rsna import (
    AXIAL_T2,
    CANAL,
    GRADE_COLOURS,
    GRADES,
    LEVELS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    TARGETS,
)

T1 = Sequence(550, 11, noise=0.01, coil_mm=95, bandwidth=200, ghost=0.005, sampled=0.85)
T2 = Sequence(3600, 100, noise=0.01, coil_mm=95, bandwidth=200, ghost=0.005, sampled=0.85)
LEFT_FORAMEN = "Left Neural Foraminal Narrowing"
LEFT_RECESS = "Left Subarticular Stenosis"
LEVEL = "L4/L5"
SHEET_SEED, STUDY_SEED = 21, 10  # patients in whom every structure is easy to see, chosen by eye
STUDY_GRADES = (0.6, 0.25, 0.15)  # probability of each grade in the study that is shown
WHITE = 99.7  # percentile of what is shown
NEAR_MM = 4  # points no further from the slice are shown on it


class Row(NamedTuple):
    """What is shown of a condition."""

    title: str
    condition: str
    plane: str  # "sagittal" or "axial"
    sequence: Sequence
    mm: float  # side of the field of view


ROWS = (
    Row("Spinal canal stenosis, Sagittal T2", CANAL, "sagittal", T2, 90),
    Row("Spinal canal stenosis, Axial T2", CANAL, "axial", T2, 80),
    Row("Left neural foraminal narrowing, Sagittal T1", LEFT_FORAMEN, "sagittal", T1, 80),
    Row("Left subarticular stenosis, Axial T2", LEFT_RECESS, "axial", T2, 64),
)


_PLANE = {CANAL: "sagittal", LEFT_FORAMEN: "sagittal", LEFT_RECESS: "axial"}  # as readers mark it


class View(NamedTuple):
    """One image of the study that is shown."""

    series: str
    title: str
    sequence: Sequence
    plane: Slice


def spine_with(seed: int, condition: str, grade: int) -> Spine:
    """The anatomy of a seed with one condition at a grade on every level, all else Normal/Mild."""
    grades = [grade * (target.condition == condition) for target in TARGETS]
    return make_spine(np.random.default_rng(seed), np.array(grades), "")


def plane_through(
    spine: Spine, s: float, u: float, v: float, plane: str, mm: float, px: int
) -> Slice:
    """A square slice of mm by mm, px by px, centred on a point (s, u, v) in spine coordinates.

    plane  "sagittal", or "axial": perpendicular to the spine at that point
    """
    centre = spine.to_patient(s, u, v)
    if plane == "sagittal":
        return empty_slice(centre, TO_BACK, TO_FEET, mm, px)
    tilt = spine.along(s, spine.tilt)
    down = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    return empty_slice(centre, TO_LEFT, down, mm, px)


def condition_image(
    condition: str,
    grade: int,
    plane: str,
    sequence: Sequence,
    mm: float,
    seed: int = SHEET_SEED,
    px: int = 256,
) -> np.ndarray:
    """(px, px) float32 of L4/L5 with one condition at a grade and everything else normal.

    plane  "sagittal" or "axial"
    mm     side of the field of view
    """
    spine = spine_with(seed, condition, grade)
    point = spine.point(condition, LEVEL).astype(np.float32)
    u = spine.to_spine(point[:, None])[1, 0]
    s = spine.disc_s[LEVELS.index(LEVEL)]
    if plane == "sagittal":
        where = plane_through(spine, s, u, 6.0, plane, mm, px)
    else:  # nearer to the mid-line, so that the whole canal is in view
        where = plane_through(spine, s, 0.35 * u, 8.0, plane, mm, px)
    return render(spine, sequence, where, 3.5, np.random.default_rng(seed))


def one_grade_changed(mm: float = 50.0, px: int = 160, seed: int = SHEET_SEED) -> np.ndarray:
    """(3, 3, px, px) in 0..1: L4/L5 of one patient with one condition at each grade (columns) and
    all else as it was; a row for canal, left foramen and left recess."""
    rows = [row for row in ROWS if row.plane == _PLANE[row.condition]]
    images = np.array([[_of(row, k, mm, seed, px) for k in range(len(GRADES))] for row in rows])
    white = np.percentile(images, WHITE, axis=(1, 2, 3), keepdims=True)
    return np.clip(images / white, 0, 1)


def _of(row: Row, grade: int, mm: float, seed: int, px: int) -> np.ndarray:
    return condition_image(row.condition, grade, row.plane, row.sequence, mm, seed, px)


def contact_sheet(path: str | Path) -> Path:
    """Write the sheet as a PNG; returns its path."""
    with plt.style.context("dark_background"):
        figure = plt.figure(figsize=(20, 13.2))
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(8.9, 11.1))[0]
        _draw_grades(left)
        _draw_study(right)
        figure.savefig(path, dpi=66)
        plt.close(figure)
    return Path(path)


def _draw_grades(figure: SubFigure) -> None:
    """One row per condition and plane, a column per grade."""
    axes = figure.subplots(len(ROWS), len(GRADES), gridspec_kw={"wspace": 0.03, "hspace": 0.2})
    figure.subplots_adjust(0.01, 0.03, 0.99, 0.97)
    for row_axes, row in zip(axes, ROWS):
        row_axes[0].set_title(f"{row.title}, {LEVEL}", loc="left", fontsize=11)
        for grade, ax in enumerate(row_axes):
            image = condition_image(row.condition, grade, row.plane, row.sequence, row.mm)
            _show(ax, image, WHITE)
            ax.set_xlabel(GRADES[grade], color=GRADE_COLOURS[grade], fontsize=11)


def _draw_study(figure: SubFigure) -> None:
    """The three series of one study, each on a slice that shows much, with the points near it."""
    rng = np.random.default_rng(STUDY_SEED)
    grades = rng.choice(len(GRADES), len(TARGETS), p=STUDY_GRADES)
    spine = make_spine(np.random.default_rng(STUDY_SEED), grades, "")
    axes = figure.subplots(2, 2, gridspec_kw={"wspace": 0.03, "hspace": 0.08})
    figure.subplots_adjust(0.02, 0.05, 0.99, 0.96)
    for ax, view in zip(axes.flat, _study_views(spine)):
        rng = np.random.default_rng(STUDY_SEED)
        _show(ax, render(spine, view.sequence, view.plane, 4.0, rng), white=98.5)
        ax.set_title(f"{view.series}, {view.title}", loc="left", fontsize=11)
        _mark_points(ax, spine, view, grades)
    caption = (
        "One study and its points, coloured by grade. "
        "The patient's left is on the right of axial images."
    )
    figure.text(0.02, 0.015, caption)


def _study_views(spine: Spine, px: int = 448) -> list[View]:
    l3, l4 = spine.disc_s[2], spine.disc_s[3]  # centres of the discs below L3 and below L4
    foramina = plane_through(spine, l3, 17, -25, "sagittal", 270, px)
    midline = plane_through(spine, l3, 0, -25, "sagittal", 270, px)
    disc = plane_through(spine, l4, 0, 8, "axial", 160, px)
    body = plane_through(spine, l3 + 13, 0, 8, "axial", 160, px)
    return [
        View(SAGITTAL_T1, "left foramina", T1, foramina),
        View(SAGITTAL_T2, "mid-line", T2, midline),
        View(AXIAL_T2, "disc L4/L5", T2, disc),
        View(AXIAL_T2, "body of L4", T2, body),
    ]


def _mark_points(ax: Axes, spine: Spine, view: View, grades: np.ndarray) -> None:
    """Rings round the points that readers mark on this kind of series, near the slice."""
    for target, grade in zip(TARGETS, grades):
        mm = spine.point(*target)
        if target.series == view.series and abs(view.plane.distance(mm)) < NEAR_MM:
            colour = GRADE_COLOURS[grade]
            ax.plot(*view.plane.to_pixel(mm), "o", ms=10, mfc="none", mec=colour, mew=2)


def _show(ax: Axes, image: np.ndarray, white: float) -> None:
    """The image in grey from 0 to a percentile of its own, without ticks."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, white))
    ax.set(xticks=[], yticks=[])
