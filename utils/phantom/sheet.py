"""The phantom on one page: every condition at its three grades, and one study with its points.

python -m utils.phantom --sheet phantom.png
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from utils.geometry import Slice
from utils.phantom.anatomy import Spine, make_spine
from utils.phantom.scan import empty_slice
from utils.phantom.signal import Sequence, picture
from utils.rsna import AXIAL_T2, CANAL, GRADE_COLOURS, GRADES, LEVELS, SAGITTAL_T1, SAGITTAL_T2, SERIES_OF, TARGETS

T1 = Sequence(550, 11, noise=0.01, coil_mm=95, bandwidth=200, ghost=0.005, sampled=0.85)
T2 = Sequence(3600, 100, noise=0.01, coil_mm=95, bandwidth=200, ghost=0.005, sampled=0.85)
LEFT_FORAMEN, LEFT_RECESS = "Left Neural Foraminal Narrowing", "Left Subarticular Stenosis"
# What is shown of each condition: title, condition, plane, sequence, field of view in mm.
ROWS = (
    ("Spinal canal stenosis, Sagittal T2", CANAL, "sagittal", T2, 90),
    ("Spinal canal stenosis, Axial T2", CANAL, "axial", T2, 80),
    ("Left neural foraminal narrowing, Sagittal T1", LEFT_FORAMEN, "sagittal", T1, 80),
    ("Left subarticular stenosis, Axial T2", LEFT_RECESS, "axial", T2, 64),
)
LEVEL = "L4/L5"


def spine_with(seed: int, condition: str, grade: int) -> Spine:
    """The same anatomy with one condition at a grade on every level; all else Normal/Mild."""
    return make_spine(np.random.default_rng(seed), np.array([grade * (c == condition) for c, _ in TARGETS]), "")


def plane_through(spine: Spine, s: float, u: float, v: float, plane: str, mm: float, px: int) -> Slice:
    """A square slice centred on a place in spine coordinates: "sagittal", or "axial" across the spine there."""
    tilt = spine.along(s, spine.tilt)
    down = (0.0, np.cos(tilt), np.sin(tilt))
    columns, rows = np.array([(0, 1.0, 0), (0, 0, -1.0)] if plane == "sagittal" else [(1.0, 0, 0), down])
    return empty_slice(spine.to_patient(s, u, v), columns, rows, mm, px)


def condition_picture(condition: str, grade: int, plane: str, sequence: Sequence, mm: float, seed=21, px=256) -> np.ndarray:
    """(px, px) of L4/L5 with one condition at a grade and everything else normal."""
    spine = spine_with(seed, condition, grade)
    _, u, v = spine.to_spine(spine.point(condition, LEVEL).astype(np.float32)[:, None])[:, 0]
    u, v = (u, 6.0) if plane == "sagittal" else (0.35 * u, 8.0)
    where = plane_through(spine, spine.disc_s[LEVELS.index(LEVEL)], u, v, plane, mm, px)
    return picture(spine, sequence, where, 3.5, np.random.default_rng(seed))


def contact_sheet(path: str | Path) -> Path:
    """Write the sheet as a PNG; returns its path."""
    with plt.style.context("dark_background"):
        figure = plt.figure(figsize=(20, 13.2))
        left, right = figure.subfigures(1, 2, width_ratios=(8.9, 11.1))
        _grades(left)
        _study(right)
        figure.savefig(path, dpi=66)
        plt.close(figure)
    return Path(path)


def _grades(figure: Figure) -> None:
    axes = figure.subplots(len(ROWS), 3, gridspec_kw={"wspace": 0.03, "hspace": 0.2})
    figure.subplots_adjust(0.01, 0.03, 0.99, 0.97)
    for row, (title, condition, plane, sequence, mm) in zip(axes, ROWS):
        row[0].set_title(f"{title}, {LEVEL}", loc="left", fontsize=11)
        for grade, ax in enumerate(row):
            image = condition_picture(condition, grade, plane, sequence, mm)
            ax.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 99.7))
            ax.set_xlabel(GRADES[grade], color=GRADE_COLOURS[grade], fontsize=11)
            ax.set(xticks=[], yticks=[])


def _study(figure: Figure, seed: int = 10, px: int = 448) -> None:
    """The three series of one study, each on a slice that shows much, with the points that lie near it."""
    grades = np.random.default_rng(seed).choice(3, len(TARGETS), p=(0.6, 0.25, 0.15))
    spine = make_spine(np.random.default_rng(seed), grades, "")
    top, disc, pedicle = spine.disc_s[2], spine.disc_s[3], spine.disc_s[2] + 13
    views = (
        (SAGITTAL_T1, "left foramina", T1, plane_through(spine, top, 17, -25, "sagittal", 270, px)),
        (SAGITTAL_T2, "mid-line", T2, plane_through(spine, top, 0, -25, "sagittal", 270, px)),
        (AXIAL_T2, "disc L4/L5", T2, plane_through(spine, disc, 0, 8, "axial", 160, px)),
        (AXIAL_T2, "body of L4", T2, plane_through(spine, pedicle, 0, 8, "axial", 160, px)),
    )
    axes = figure.subplots(2, 2, gridspec_kw={"wspace": 0.03, "hspace": 0.08})
    figure.subplots_adjust(0.02, 0.05, 0.99, 0.96)
    for ax, (name, where, sequence, plane) in zip(axes.flat, views):
        image = picture(spine, sequence, plane, 4.0, np.random.default_rng(seed))
        ax.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 98.5))
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{name}, {where}", loc="left", fontsize=11)
        for (condition, level), grade in zip(TARGETS, grades):
            place = spine.point(condition, level)
            if SERIES_OF[condition] == name and abs(plane.distance(place)) < 4:
                ax.plot(*plane.to_pixel(place), "o", ms=10, mfc="none", mec=GRADE_COLOURS[grade], mew=2)
    figure.text(0.02, 0.015, "One study and its points, coloured by grade. The patient's left is on the right of axial pictures.")
