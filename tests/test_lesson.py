"""Check-yourself cells answer every kind of answer kindly."""

import pytest

from utils.lesson import check


@pytest.mark.parametrize(
    ("answer", "right", "tolerance", "begins"),
    [
        (..., 5, 0, "✎ Replace the ..."),
        (5, 5, 0, "✓ Yes."),
        (4.6, 5, 0.5, "✓ Yes."),
        (4, 5, 0.5, "✗ Not yet. Hint: count"),
        ("five", 5, 0, "✗ A number is expected here, not str. Hint: count"),
        (" Left", "left", 0, "✓ Yes."),
        (None, "left", 0, "✗ Not yet."),
    ],
)
def test_answers(capsys, answer, right, tolerance, begins):
    assert check(answer, right, "count", tolerance) is None
    assert capsys.readouterr().out.startswith(begins)
