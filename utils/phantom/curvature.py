"""Sample the axis of one spine: lengths and wedges of its segments, scoliosis and listhesis.

Ranges were chosen by eye against two real studies.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils.phantom.axis import STEP, Axis
from utils.phantom.column import Segments
from utils.phantom.shapes import smoothstep
from utils.rsna import LEVELS

_SMOOTHING_MM = 10  # over which the axis bends from one segment into the next
_TILT_DEGREES = (-9, 5)  # of the body above L1/L2: mean and standard deviation
_ISOCENTRE_MM = (5, 15, 12)  # standard deviation of the distance of L3/L4 from it, LPS
_SLIGHT_SCOLIOSIS = 0.85  # proportion of spines
_SCOLIOSIS_WAVE_MM = 320
_LISTHESIS_RISK = 0.12  # of a fully degenerated disc
_SLIP_DIRECTIONS = {-1: 0.8, 1: 0.2}  # proportion of slips: forward, backward


def sample_axis(
    rng: np.random.Generator,
    segments: Segments,
    scale: float,
    lordosis: float,
    degenerated: np.ndarray,
) -> tuple[Axis, np.ndarray]:
    """The curved axis, and s of the endplates of its discs (n - 1, 2).

    scale        size of the body
    lordosis     factor on the typical wedges
    degenerated  (n - 1,) 0 .. 1: such discs are thinner, and may let the body above slip
    """
    lengths = _sample_lengths(rng, segments, scale, degenerated)
    wedges = _alternate(segments.wedges, segments.disc_wedges) * lordosis
    wedges = wedges + rng.normal(0, 1, len(wedges))
    ends = np.cumsum(lengths)
    discs = np.stack([ends[0:-1:2], ends[1::2]], 1)
    points, tilt = _sample_curve(rng, ends, wedges / lengths, segments.first)
    slip = _sample_slip(rng, discs, segments.first, degenerated, len(points))
    return Axis(points, tilt, slip), discs


def _sample_lengths(
    rng: np.random.Generator, segments: Segments, scale: float, degenerated: np.ndarray
) -> np.ndarray:
    """mm along the axis of body, disc, body … body: (2 n - 1,)."""
    count = len(segments.heights)
    thinned = 1 - 0.5 * degenerated
    heights = segments.heights * scale * rng.normal(1, 0.03, count)
    gaps = segments.disc_heights * scale * rng.normal(1, 0.06, count - 1) * thinned
    return _alternate(heights, gaps)


def _alternate(bodies: np.ndarray, discs: np.ndarray) -> np.ndarray:
    """body, disc, body … body"""
    return np.insert(bodies, np.arange(1, len(bodies)), discs)


def _sample_curve(
    rng: np.random.Generator, ends: np.ndarray, degrees_per_mm: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points (k, 3) in LPS mm and tilt (k,) of the axis, with L3/L4 near the isocentre.

    The bend of each segment, which ends at s = ends (mm), is smoothed and integrated.
    """
    s = np.arange(0, ends[-1], STEP)
    segment = np.minimum(np.searchsorted(ends, s, side="right"), len(ends) - 1)
    radians_per_mm = np.radians(degrees_per_mm)[segment]
    tilt = np.cumsum(gaussian_filter1d(radians_per_mm, _SMOOTHING_MM / STEP)) * STEP
    top = int(ends[2 * first] / STEP)
    middle = int(ends[2 * (first + 2)] / STEP)
    tilt += np.radians(rng.normal(*_TILT_DEGREES)) - tilt[top]
    x = _sample_scoliosis(rng, s)
    y = np.cumsum(np.sin(tilt)) * STEP
    z = -np.cumsum(np.cos(tilt)) * STEP
    points = np.stack([x, y, z], 1)
    return points - points[middle] + rng.normal(0, _ISOCENTRE_MM), tilt


def _sample_scoliosis(rng: np.random.Generator, s: np.ndarray) -> np.ndarray:
    """mm to the left at s (k,): a few in most spines, an amplitude of 6 to 14 in the others."""
    if rng.random() < _SLIGHT_SCOLIOSIS:
        amplitude = rng.normal(0, 3)
    else:
        amplitude = rng.choice([-1, 1]) * rng.uniform(6, 14)
    return amplitude * np.sin(2 * np.pi * s / _SCOLIOSIS_WAVE_MM + rng.uniform(0, 2 * np.pi))


def _sample_slip(
    rng: np.random.Generator, discs: np.ndarray, first: int, degenerated: np.ndarray, samples: int
) -> np.ndarray:
    """mm (k,) of listhesis: everything above a slip is further forward (rarely further back)."""
    s = np.arange(samples) * STEP
    slip = np.zeros(samples)
    for k in range(first + 1, first + len(LEVELS)):
        if rng.random() < _LISTHESIS_RISK * degenerated[k]:
            size = rng.uniform(2.5, 7.0)
            direction = rng.choice([*_SLIP_DIRECTIONS], p=[*_SLIP_DIRECTIONS.values()])
            top, bottom = discs[k]
            slip += size * direction * (1 - smoothstep((s - top) / (bottom - top)))
    return slip
