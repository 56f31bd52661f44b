"""Figures say in words what they show, name parts only where they lie, and give grades one colour each."""

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from utils import plots, rsna
from utils.geometry import Slice


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def slice_at(x_mm: float) -> Slice:
    """A sagittal slice of 100 × 100 mm, x_mm to the patient's left."""
    axes = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    pixels = np.arange(10000, dtype=np.float32).reshape(100, 100)
    return Slice(1, pixels, np.array([x_mm, 0.0, 0.0]), axes, np.ones(2))


def test_a_figure_in_words():
    fig, (left, right) = plt.subplots(1, 2)
    fig.suptitle("How far\noff?")
    left.set(title="canal", xlabel="mm", ylabel="points")
    right.set(title="canal", xlabel="mm", ylabel="points")  # said once
    assert plots.alt_text(fig) == "How far off?; canal, across: mm, up: points"
    assert plots.alt_text(plt.figure()) == "figure"


def test_parts_are_named_in_the_slices_they_lie_in():
    parts = {"sac": np.array([0.0, 50.0, -50.0]), "left foramen": np.array([15.0, 40.0, -50.0])}
    fig = plots.anatomy({"middle": slice_at(0.0), "left": slice_at(15.0), "right": slice_at(-15.0)}, parts)
    named = [[text.get_text() for text in ax.texts if text.get_text() in parts] for ax in fig.axes]
    assert named == [["sac"], ["left foramen"], []]
    (arrow,) = [text for text in fig.axes[0].texts if text.get_text() == "sac"]
    assert arrow.xy == (50.0, 50.0)  # at its pixel


def test_crops_stand_under_their_grades_in_the_colours_of_grades_and_gaps_stay_empty():
    stack = np.full((2, 3, 8, 8), np.nan)
    stack[0, 1] = 0.5
    fig = plots.crops(stack, ["canal", "foramen"], "Room", 50, columns=rsna.GRADES)
    heads = [(ax.get_title(), ax.title.get_color()) for ax in fig.axes[:3]]
    assert heads == list(zip(rsna.GRADES, rsna.GRADE_COLOURS))
    assert plots.alt_text(fig).startswith("Room (50 mm wide); Normal/Mild, up: canal")
    fig.canvas.draw()  # nothing of nan is drawn, and nothing is raised


@pytest.mark.parametrize(("width_mm", "told", "px"), [(100, "25 mm", 25), (200, "50 mm", 25), (48, "12.5 mm", 26.04)])
def test_a_ruler_is_as_long_as_it_says_and_stays_in_the_picture(width_mm, told, px):
    """Of 100 columns; a ruler ends before the letter in the middle of the lower edge."""
    one = replace(slice_at(0.0), spacing=np.full(2, width_mm / 100))
    ax = plots.draw_slice(plt.subplots()[1], one)
    (line,) = ax.lines
    assert told in [text.get_text() for text in ax.texts]
    assert np.ptp(line.get_xdata()) == pytest.approx(px, abs=0.01)
    assert max(line.get_xdata()) < 50


def test_house_style_keeps_figures_white_on_dark_pages():
    with mpl.rc_context({"figure.facecolor": "none", "savefig.facecolor": "none"}):
        plots.house_style()
        assert mpl.rcParams["figure.facecolor"] == mpl.rcParams["savefig.facecolor"] == "white"
