"""Smooth shapes: a bump, a step, and how deep a point is inside a rounded solid."""

from __future__ import annotations

import numpy as np

Real = np.ndarray | np.floating | float

_LEAST_HALF_AXIS = np.float32(1e-3)  # mm: keeps the division finite where a shape tapers to nothing
_LEAST_SLOPE = np.float32(1e-6)  # the same at the centre of a solid, where the slope is 0


def bump(x: Real, width: Real) -> np.ndarray:
    """exp(-(x / width)²): 1 at x = 0, falling smoothly to 0 over about twice the width."""
    return np.exp(-((x / width) ** 2))


def smoothstep(x: Real) -> np.ndarray:
    """0 up to x = 0, 1 from x = 1, and 3x² - 2x³ between: a step whose ends have slope 0."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def solid(*axes: tuple, power: int = 2) -> np.ndarray:
    """mm by which a point is inside an ellipse or ellipsoid (negative: outside), float32.

    axes   (offset from the centre, half-axis) in mm, one pair per axis, arrays or numbers
    power  2 for an ellipsoid; 3 and 4 are squarer

    The level of the implicit function over its slope: exact to first order at the surface
    (Taubin 1994). Deep inside, it is at most the smallest half-axis.
    """
    level = np.float32(1)
    slope = _LEAST_SLOPE
    smallest = np.inf
    for offset, half_axis in axes:
        half_axis = np.maximum(_LEAST_HALF_AXIS, half_axis)
        ratio = np.abs(offset / half_axis)
        derivative = ratio
        for _ in range(power - 2):
            derivative = derivative * ratio
        level = level - derivative * ratio
        slope = slope + (derivative / half_axis) ** 2
        smallest = np.minimum(smallest, half_axis)
    depth = np.minimum(level / (np.float32(power) * np.sqrt(slope)), smallest)
    return depth.astype(np.float32, copy=False)
