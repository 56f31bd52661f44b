"""What the exercises' tests accept, and what they say to the usual mistakes."""

import numpy as np
import pytest
from scipy import ndimage

from utils.course.exercises import TESTS, attempt
from utils.rsna import GRADE_WEIGHTS


def unwritten(*_):
    return ...


def by_number(slices):
    return sorted(slices, key=lambda one: one.instance)


def from_the_left(slices):
    return sorted(slices, key=lambda one: -one.centre[0])


def image_alone(image, points, degrees):
    return ndimage.rotate(image, degrees, reshape=False), points


def turned(image, points, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle = (np.array(image.shape[::-1]) - 1) / 2
    return ndimage.rotate(image, degrees, reshape=False), (points - middle) @ [
        [c, -s],
        [s, c],
    ] + middle


def unweighted(p, grades):
    severe, q = grades.max(1) == 2, p[..., 2].max(1)
    return -np.log(np.where(severe, q, 1 - q)).mean()


def any_severe(p, grades):
    weight, q = np.take(GRADE_WEIGHTS, grades.max(1)), p[..., 2].max(1)
    return np.average(-np.log(np.where(grades.max(1) == 2, q, 1 - q)), weights=weight)


def tempered(p, temperature):
    q = p ** (1 / temperature)
    return q / q.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "function", "reply"),
    [
        *((name, unwritten, "✗ Not yet: replace the ... by your own lines") for name in TESTS),
        ("by position", by_number, "✗ Not yet: that is the order of the instance numbers"),
        ("by position", from_the_left, "✗ Not yet: these run from the left"),
        ("by position", lambda slices: slices[1:], "✗ Not yet: each slice has to come back once"),
        ("by position", lambda slices: slices, "✗ Not yet: the order is not that of"),
        ("by position", lambda slices: from_the_left(slices)[::-1], "✓ It passes."),
        ("turned", image_alone, "✗ Not yet: point 0 is"),
        ("turned", lambda image, points, _: (image, points), "✗ Not yet: that turns by"),
        ("turned", turned, "✓ It passes."),
        ("any severe", unweighted, "✗ Not yet: of two patients it is"),
        ("any severe", any_severe, "✓ It passes."),
        ("calibrated", lambda p, grades, others: others, "✗ Not yet: the log loss is"),
        ("calibrated", lambda p, grades, others: tempered(others, 2.5), "✓ It passes."),
        ("calibrated", lambda p, grades, others: others / 2, "✗ Not yet: each row has to sum to 1"),
        (
            "calibrated",
            lambda p, grades, others: 1 / 0,
            "✗ It raised ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_reply_to_every_attempt(capsys, name, function, reply):
    attempt(name, function)
    assert capsys.readouterr().out.startswith(reply)
