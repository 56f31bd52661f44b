"""Figures describe themselves in words, name parts only where they are, and give grades one colour
each."""

import re
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba, to_rgba_array

from utils import metrics, rsna
from utils.course import plots
from utils.dicom import Series, Slice


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def slice_at(x_mm: float) -> Slice:
    """A sagittal slice of 100 × 100 mm, x_mm to the patient's left."""
    axes = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    pixels = np.arange(10000, dtype=np.float32).reshape(100, 100)
    return Slice(1, pixels, np.array([x_mm, 0.0, 0.0]), axes, np.ones(2))


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


# --- style ----------------------------------------------------------------------------------------


def test_a_figure_in_words():
    fig, (left, right) = plt.subplots(1, 2)
    fig.suptitle("How far\noff?")
    left.set(title="canal", xlabel="mm", ylabel="points")
    right.set(title="canal", xlabel="mm", ylabel="points")  # said once
    assert plots.alt_text(fig) == "How far off?; canal, across: mm, up: points"
    assert plots.alt_text(plt.figure()) == "figure"


def test_house_style_keeps_figures_white_on_dark_pages():
    with mpl.rc_context({"figure.facecolor": "none", "savefig.facecolor": "none"}):
        plots.house_style()
        assert mpl.rcParams["figure.facecolor"] == "white"
        assert mpl.rcParams["savefig.facecolor"] == "white"


# --- images ---------------------------------------------------------------------------------------


def test_parts_are_named_in_the_slices_they_are_in():
    sac, foramen = np.array([0.0, 50.0, -50.0]), np.array([15.0, 40.0, -50.0])
    parts = {"sac": sac, "left foramen": foramen, "not annotated": np.full(3, np.nan)}
    slices = {"middle": slice_at(0.0), "left": slice_at(15.0), "right": slice_at(-15.0)}
    fig = plots.anatomy(slices, parts)
    named = [[text for text in words(ax) if text in parts] for ax in fig.axes]
    assert named == [["sac"], ["left foramen"], []]
    (arrow,) = [text for text in fig.axes[0].texts if text.get_text() == "sac"]
    assert arrow.xy == (50.0, 50.0)  # at its pixel


def test_crops_are_headed_by_grades_in_their_colours_and_missing_crops_stay_empty():
    stack = np.full((2, 3, 8, 8), np.nan)
    stack[0, 1] = 0.5
    fig = plots.crops(stack, ["canal", "foramen"], "Room", 50, columns=rsna.GRADES)
    heads = [(ax.get_title(), ax.title.get_color()) for ax in fig.axes[:3]]
    assert heads == list(zip(rsna.GRADES, rsna.GRADE_COLOURS))
    assert plots.alt_text(fig).startswith("Room (50 mm wide); Normal/Mild, up: canal")
    fig.canvas.draw()  # nothing of nan is drawn, and nothing is raised


@pytest.mark.parametrize(
    ("width_mm", "text", "px"), [(100, "25 mm", 25), (200, "50 mm", 25), (48, "12.5 mm", 26.04)]
)
def test_a_ruler_is_as_long_as_it_says_and_stays_in_the_image(width_mm, text, px):
    """Of 100 columns; a ruler ends before the letter in the middle of the lower edge."""
    one = replace(slice_at(0.0), spacing=np.full(2, width_mm / 100))
    ax = plots.draw_slice(plt.subplots()[1], one)
    (line,) = ax.lines
    assert text in words(ax)
    assert np.ptp(line.get_xdata()) == pytest.approx(px, abs=0.01)
    assert max(line.get_xdata()) < 50


def test_a_study_is_shown_on_the_slices_with_most_points():
    """Two of three points are on the left slice; an absent series is said to be absent."""
    series = Series((slice_at(-10.0), slice_at(0.0), slice_at(10.0)))
    points = pd.DataFrame({"x_mm": [10.0, 10.0, -10.0], "y_mm": 50.0, "z_mm": -50.0})
    points = points.assign(condition=rsna.CANAL, grade=rsna.GRADES)
    fig = plots.study_planes({rsna.SAGITTAL_T2: series}, points)
    t1, t2, axial = fig.axes
    drawn = [line for line in t2.lines if line.get_marker() == "o"]
    assert [line.get_markeredgecolor() for line in drawn] == list(rsna.GRADE_COLOURS[:2])
    assert words(t1) == ["no Sagittal T1 in this study"]
    assert words(axial) == ["no Axial T2 in this study"]


# --- charts ---------------------------------------------------------------------------------------


def grades(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])


def test_prevalence_stacks_the_proportions_of_grades_normal_at_the_bottom():
    """Of four canals at L4/L5 two are Normal/Mild, one is Moderate, one Severe; one at L2/L3 is
    Severe; other levels and families have no label."""
    of_canal = [rsna.GRADES[k] for k in (0, 0, 1, 2)]
    rows = [(s, rsna.CANAL, "L4/L5", grade) for s, grade in enumerate(of_canal)]
    rows += [(0, rsna.CANAL, "L1/L2", None), (0, rsna.CANAL, "L2/L3", "Severe")]
    fig = plots.prevalence(grades(*rows))
    canal = fig.axes[0]
    assert [label.get_text() for label in canal.get_xticklabels()] == list(rsna.LEVELS)
    drawn = [bar for bar in canal.patches if bar.get_height() > 0]
    at_l4 = [bar for bar in drawn if round(bar.get_x() + bar.get_width() / 2) == 3]
    assert len(drawn) == len(at_l4) + 1
    found = {bar.get_facecolor(): (bar.get_y(), bar.get_height()) for bar in at_l4}
    stacked = [(0, 0.5), (0.5, 0.25), (0.75, 0.25)]
    for colour, (bottom, height) in zip(rsna.GRADE_COLOURS, stacked):
        assert found[to_rgba(colour)] == pytest.approx((bottom, height))


def test_points_that_were_not_found_keep_the_curve_of_errors_below_100_percent():
    points = pd.DataFrame({"condition": rsna.CANAL, "error_mm": [1.0, 2.0, 3.0, np.inf]})
    (ax,) = plots.locator_errors(points).axes
    (curve,) = ax.lines
    within = [y for x, y in zip(*curve.get_data()) if x <= 45]
    assert max(within) == pytest.approx(75)
    assert ax.get_legend().get_texts()[0].get_text() == "spinal: median 2.5 mm"


def test_a_median_that_was_not_found_is_said():
    points = pd.DataFrame({"condition": rsna.CANAL, "error_mm": [1.0, np.nan, np.inf]})
    (ax,) = plots.locator_errors(points).axes
    assert ax.get_legend().get_texts()[0].get_text() == "spinal: median not found"


def test_canal_points_are_shown_head_to_foot_with_rows_downwards():
    rows = [(rsna.CANAL, level, 100, 50 * k) for k, level in enumerate(rsna.LEVELS)]
    rows.append((rsna.CONDITIONS[1], "L1/L2", 5, 5))
    points = pd.DataFrame(rows, columns=["condition", "level", "x", "y"])
    (ax,) = plots.canal_points(points).axes
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), points[["x", "y"]][:5])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(rsna.LEVELS)
    assert ax.yaxis_inverted()


def test_the_title_says_how_many_points_get_the_right_level_by_their_row_alone():
    """Median rows are 10 and 50; of five points the one in row 40 is nearer to the other level."""
    rows = [("L1/L2", 10), ("L1/L2", 10), ("L1/L2", 40), ("L2/L3", 50), ("L2/L3", 50)]
    points = pd.DataFrame(rows, columns=["level", "y"]).assign(condition=rsna.CANAL, x=1)
    (ax,) = plots.canal_points(points).axes
    assert ax.get_title().endswith("the row alone tells 80% of levels")


def test_intensities_are_shown_as_scanned_and_as_prepared():
    series = Series((slice_at(0.0),))
    left, right = plots.intensity_histograms({"T1": series}, {"T1": series}).axes
    assert (left.get_title(), right.get_title()) == ("as scanned", "prepared")
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["T1"]


def test_rooms_have_a_panel_per_family_in_millimetres_and_a_violin_per_grade():
    rows = [
        (target.condition, grade, 10.0 - 3 * k + 0.1 * n)
        for target in rsna.TARGETS
        for k, grade in enumerate(rsna.GRADES)
        for n in range(4)
    ]
    fig = plots.rooms(pd.DataFrame(rows, columns=["condition", "grade", "measure_mm"]))
    assert [ax.get_title() for ax in fig.axes] == list(rsna.FAMILIES)
    assert all(ax.get_ylabel().endswith(", mm") for ax in fig.axes)
    assert all(len(ax.collections) == 3 for ax in fig.axes)


def test_the_pipeline_says_where_one_is():
    assert plots.alt_text(plots.pipeline(2)).endswith("You are here: notebook 2, prepare")
    assert plots.pipeline(3).get_suptitle().endswith("notebook 3, locate, crop, grade")


def test_a_covered_patch_is_shown_beside_its_crop_on_one_scale():
    change = {0: np.zeros((3, 3)), 2: np.full((3, 3), -1.2)}
    fig = plots.covered(np.zeros((3, 1, 8, 8)), change, ["T2", "none", "axial"], "row")
    assert [ax.get_title() for ax in fig.axes[:4]] == ["T2", "T2", "axial", "axial"]
    assert fig.get_suptitle() == "row: no patch changes the log-odds by more than 1.2"


def test_variants_come_best_first_and_starts_have_a_line_each():
    parts = pd.DataFrame({"seed 0": [0.3, 0.1], "mean": [0.3, 0.1]}, index=["without", "recipe"])
    (ax,) = plots.leave_one_out(parts, "recipe").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["recipe", "without"]
    rows = [(n, start, 0.8, 0.7, 0.9) for n in (0, 10, 30) for start in ("random", "synthetic")]
    columns = ["patients", "start", "score", "least", "greatest"]
    (ax,) = plots.learning_from_few(pd.DataFrame(rows, columns=columns)).axes
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["from random weights", "from synthetic weights"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "10", "30"]


# --- units, and what grade colours stand for ------------------------------------------------------

SCORE = metrics.Score(0.5, 0.5, 0.5, 0.5)
AT_LEVELS = pd.DataFrame({"condition": rsna.CANAL, "level": rsna.LEVELS, "grade": rsna.GRADES[2]})
ROOM = pd.DataFrame({"condition": rsna.CONDITIONS, "grade": rsna.GRADES[2]})
ROOMS = pd.concat([ROOM.assign(measure_mm=mm) for mm in (1.0, 2.0, 3.0)])
POINTS = pd.DataFrame({"condition": rsna.CANAL, "level": rsna.LEVELS, "x": range(5), "y": range(5)})
RELIABILITY = pd.DataFrame(
    {"grade": rsna.GRADES, "predicted": 0.5, "observed": 0.5, "low": 0.2, "high": 0.8, "count": 9}
)
CURVE = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "held_out": [2.0, 1.0]})
PARTS = pd.DataFrame({"seed 0": [0.1, 0.3], "mean": [0.1, 0.3]}, index=["recipe", "without"])
FEW = pd.DataFrame({"patients": [0, 30], "score": 0.8, "least": 0.7, "greatest": 0.9})
STARTS = pd.concat([FEW.assign(start=start) for start in ("random", "synthetic", "ImageNet")])
KINDS = {kind: Series((slice_at(0.0),)) for kind in rsna.SERIES}
OF_GRADES = {
    "prevalence": lambda: plots.prevalence(AT_LEVELS),
    "rooms": lambda: plots.rooms(ROOMS),
    "reliability": lambda: plots.reliability(RELIABILITY),
}
OF_NO_GRADES = {
    "canal points": lambda: plots.canal_points(POINTS),
    "intensities": lambda: plots.intensity_histograms(KINDS, KINDS),
    "learning curves": lambda: plots.learning_curves({"locator": CURVE}),
    "locator errors": lambda: plots.locator_errors(POINTS.assign(error_mm=1.0)),
    "scores": lambda: plots.score_bars(dict.fromkeys("abcd", SCORE)),
    "parts": lambda: plots.leave_one_out(PARTS, "recipe"),
    "few patients": lambda: plots.learning_from_few(STARTS),
    "anatomy": lambda: plots.anatomy({"middle": slice_at(0.0)}, {"sac": np.array([0, 50, -50.0])}),
    "pipeline": lambda: plots.pipeline(2),
}
# What is counted, or has no unit.
NO_UNIT = {
    *("epoch", "loss", "weighted log loss", "weighted log loss, foramina"),
    *("predicted probability", "observed frequency", "intensity (it has no unit)"),
    *("number of pixels", "real patients to learn from", "level", "proportion of labels"),
    "score on forty other phantoms (lower is better, log scale); dots: seeds",
}


def numbered_axes(fig) -> list[str]:
    """The labels of all axes whose ticks are numbers."""
    fig.canvas.draw()
    axes = [axis for ax in fig.axes if ax.axison for axis in (ax.xaxis, ax.yaxis)]
    ticks = [[tick.get_text() for tick in axis.get_ticklabels()] for axis in axes]
    has_numbers = [any(re.match(r"[\d−$]", text) for text in texts) for texts in ticks]
    return [axis.get_label_text() for axis, numbers in zip(axes, has_numbers) if numbers]


@pytest.mark.parametrize("name", [*OF_GRADES, *OF_NO_GRADES])
def test_every_axis_of_numbers_says_its_unit_or_has_none(name):
    labels = numbered_axes((OF_GRADES | OF_NO_GRADES)[name]())
    assert labels or name in ("anatomy", "pipeline")
    assert [text for text in labels if not text.endswith((", mm", ", px", ", %"))] == [
        text for text in labels if text in NO_UNIT
    ]


def grades_coloured(fig) -> set[str]:
    """The grades whose colours are in a figure, or colours that one would take for them."""
    drawn = []
    for artist in fig.findobj():
        for get in ("get_color", "get_facecolor", "get_edgecolor"):
            colour = getattr(artist, get, lambda: "none")()
            drawn.append(to_rgba_array(colour)[:, :3])
    every = np.concatenate(drawn)
    near = {
        grade: np.abs(every - to_rgba(colour)[:3]).max(axis=1).min()
        for grade, colour in zip(rsna.GRADES, rsna.GRADE_COLOURS)
    }
    return {grade for grade, difference in near.items() if difference < 0.12}


@pytest.mark.parametrize("name", OF_NO_GRADES)
def test_what_is_no_grade_has_no_colour_of_a_grade(name):
    assert grades_coloured(OF_NO_GRADES[name]()) == set()


@pytest.mark.parametrize("name", OF_GRADES)
def test_grades_have_their_colours(name):
    assert rsna.GRADES[2] in grades_coloured(OF_GRADES[name]())


def test_a_small_dark_image_is_brightened_without_losing_black_and_white():
    image = np.linspace(0, 1, 100).reshape(10, 10)
    plain, bright = (
        plots.show_image(plt.subplots()[1], image, gamma=g).images[0] for g in (1, 0.5)
    )
    assert bright.norm(0.04) == pytest.approx(0.2)
    assert plain.norm(0.04) == pytest.approx(0.04)
    assert (bright.norm(0.0), bright.norm(1.0)) == (0, 1)


def test_tables_show_their_cells_whole():
    with pd.option_context("display.max_colwidth", 20):
        plots.house_style()
        long = "a note " * 20
        assert long.strip() in pd.DataFrame({"note": [long]}).to_html()
