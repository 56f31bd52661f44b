"""Exercises in which the learner writes a function, and the tests it has to pass.

Each test is a short function that asserts; read it before you begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from utils.dicom import Slice
from utils.rsna import GRADE_WEIGHTS, GRADES

NEAR_PX = 0.75  # a point may be off by so much after an image has been resampled
NEAR_LOSS = 0.01
_SEVERE = GRADES.index("Severe")


def attempt(name: str, function: Callable[..., Any]) -> None:
    """Try a learner's function on the test of this name; prints ✓, or what went wrong."""
    try:
        TESTS[name](function)
    except AssertionError as failed:
        print(f"✗ Not yet: {failed}")
    except Exception as error:  # noqa: BLE001, whatever the learner's code raises
        print(f"✗ It raised {type(error).__name__}: {error}")
    else:
        print("✓ It passes.")


def _written(answer: Any) -> Any:
    """What the function returned, unless its body is still to be written."""
    assert answer is not ..., "replace the ... by your own lines"
    return answer


def test_by_position(by_position: Callable[[list[Slice]], list[Slice]]) -> None:
    """Sagittal slices, in any order, come back from the patient's right to their left."""
    slices = _sagittal(9, turn=0.2)
    mixed = [slices[k] for k in (3, 8, 1, 5, 0, 7, 2, 6, 4)]
    found = [one.instance for one in _written(by_position(list(mixed)))]
    right = [one.instance for one in slices]
    assert sorted(found) == sorted(right), "each slice has to come back once"
    assert found != sorted(right), "that is the order of the instance numbers"
    assert found != right[::-1], "these run from the left to the right: in LPS, +x is left"
    assert found == right, "the order is not that of their positions along x"


def _sagittal(count: int, turn: float) -> list[Slice]:
    """Parallel slices, turned by so many radians about the body's axis, numbered as scanners that
    interleave do: every second one first."""
    axes = np.array([[-np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, -1.0]])
    normal = np.array([np.cos(turn), np.sin(turn), 0.0])
    place = np.array([-20.0, 40.0, 10.0])
    pixels = np.zeros((4, 4), np.float32)
    along = [place + 4.5 * k * normal for k in range(count)]
    numbers = np.argsort(np.r_[0:count:2, 1:count:2]) + 1
    return [Slice(int(n), pixels, at, axes, np.ones(2)) for n, at in zip(numbers, along)]


def test_turned(turned: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    """An image turned about its middle, and its points with it: each still marks what it marked."""
    points = np.array([[20.0, 30.0], [44.0, 18.0], [40.0, 47.0]])  # column, row
    for degrees in (20.0, -35.0):
        for k, point in enumerate(points):
            image, moved = _written(turned(_spot(point), points.copy(), degrees))
            assert np.shape(image) == (64, 64), "the image keeps its shape"
            assert np.shape(moved) == points.shape, "every point comes back"
            off = np.linalg.norm(_middle_of(np.asarray(image)) - moved[k])
            assert off < NEAR_PX, f"point {k} is {off:.1f} px from what it marked"
        arms = points - 31.5, np.asarray(moved) - 31.5
        angle = np.degrees(np.angle(complex(*arms[1][0]) / complex(*arms[0][0])))
        assert abs(abs(angle) - abs(degrees)) < 1, f"that turns by {angle:.0f}°, not {degrees:.0f}°"


def _spot(point: np.ndarray) -> np.ndarray:
    """(64, 64) with a bright spot at a column and a row."""
    rows, columns = np.mgrid[:64, :64]
    return np.exp(-((columns - point[0]) ** 2 + (rows - point[1]) ** 2) / 8)


def _middle_of(image: np.ndarray) -> np.ndarray:
    """(2,) column and row of what is bright in it."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = np.clip(image, 0, None) ** 2
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def test_any_severe(any_severe: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The fourth term of the metric, of canal probabilities (n, 5, 3) and grades (n, 5)."""
    p = np.full((2, 5, 3), [0.7, 0.2, 0.1])
    p[0, 3], p[1, 1] = [0.2, 0.3, 0.5], [0.5, 0.3, 0.2]
    grades = np.array([[0, 0, 1, 2, 0], [0, 1, 0, 0, 0]])
    by_hand = (4 * -np.log(0.5) + 2 * -np.log(0.8)) / 6
    found = float(_written(any_severe(p, grades)))
    assert abs(found - by_hand) < 1e-6, f"of two patients it is {by_hand:.4f}, not {found:.4f}"
    rng = np.random.default_rng(0)
    p, grades = rng.dirichlet(np.ones(3), (40, 5)), rng.integers(3, size=(40, 5))
    expected, found = _any_severe(p, grades), float(any_severe(p, grades))
    assert abs(found - expected) < 1e-6, f"of 40 patients it is {expected:.4f}, not {found:.4f}"


def _any_severe(p: np.ndarray, grades: np.ndarray) -> float:
    worst = grades.max(1)
    q = p[:, :, _SEVERE].max(1)
    weight = np.take(GRADE_WEIGHTS, worst)
    loss = -np.log(np.where(worst == _SEVERE, q, 1 - q))
    return float((weight * loss).sum() / weight.sum())


def test_calibrated(calibrated: Callable[..., np.ndarray]) -> None:
    """Probabilities (m, 3) that are too sure, made honest with the help of other patients', (n, 3),
    and their grades (n,)."""
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([2.0, 1.0, 1.0], 8000)
    grades = np.array([rng.choice(3, p=row) for row in honest])
    too_sure = honest**2.5 / (honest**2.5).sum(1, keepdims=True)
    given, others = too_sure[:3000].copy(), too_sure[3000:].copy()
    honest, grades, given_grades = honest[3000:], grades[3000:], grades[:3000]
    found = np.asarray(_written(calibrated(given, given_grades, others.copy())))
    assert found.shape == honest.shape, "three probabilities for each of the others"
    assert np.allclose(found.sum(1), 1), "each row has to sum to 1"
    same = (found.argmax(1) == others.argmax(1)).mean()
    assert same > 0.99, "calibration changes how sure one is, not which grade is likeliest"
    loss, best = (-np.log(q[np.arange(len(q)), grades]).mean() for q in (found, honest))
    assert loss < best + NEAR_LOSS, f"the log loss is {loss:.3f}; {best:.3f} can be reached"


TESTS: dict[str, Callable[[Callable[..., Any]], None]] = {
    "by position": test_by_position,
    "turned": test_turned,
    "any severe": test_any_severe,
    "calibrated": test_calibrated,
}
