"""Every figure that more than one cell of the notebooks shows, in one style.

In: slices, tables of points and grades, results of `utils.metrics`. Out: matplotlib figures with a
title that says what to see, units on their axes, and grades always in the same three colours. Read
`style` first, then `images` (slices and crops), `points` (what is marked on slices), `data` (charts
of a data set), `results` (charts of a run), `grids` (tables as coloured cells) and `pipeline` (the
way through the course).
"""

from utils.course.plots.data import (
    canal_points,
    intensity_histograms,
    prevalence,
    rooms,
)
from utils.course.plots.grids import auroc_grid, confusion_grids
from utils.course.plots.images import (
    covered,
    crops,
    draw_slice,
    middle_slices,
    show_image,
    side_by_side,
)
from utils.course.plots.pipeline import pipeline
from utils.course.plots.points import anatomy, draw_points, study_planes
from utils.course.plots.results import (
    attempts,
    learning_curves,
    learning_from_few,
    leave_one_out,
    locator_errors,
    reliability,
    score_bars,
)
from utils.course.plots.style import MARK, alt_text, house_style

__all__ = [
    "MARK",
    "alt_text",
    "anatomy",
    "attempts",
    "auroc_grid",
    "canal_points",
    "confusion_grids",
    "covered",
    "crops",
    "draw_points",
    "draw_slice",
    "house_style",
    "intensity_histograms",
    "learning_curves",
    "learning_from_few",
    "leave_one_out",
    "locator_errors",
    "middle_slices",
    "pipeline",
    "prevalence",
    "reliability",
    "rooms",
    "score_bars",
    "show_image",
    "side_by_side",
    "study_planes",
]
