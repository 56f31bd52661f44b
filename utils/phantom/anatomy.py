"""Sample one patient's spine: normal variation, degeneration with age, and the given narrowings.

The order of the random draws is part of the contract: the same seed gives the same spine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from utils.phantom.axis import Axis
from utils.phantom.canvas import TEXTURE_CELLS
from utils.phantom.column import TRANSITIONAL, Column, Segments, segments_of
from utils.phantom.curvature import sample_axis
from utils.phantom.grades import OPENING, SAC_DEPTH
from utils.phantom.narrowing import Degeneration, Foramina, Narrowing, Sac
from utils.phantom.spine import Body, Spine
from utils.rsna import LEVELS, TARGETS

AGES = (25, 85)  # years
_SCALE = (0.93, 0.06)  # mean and standard deviation of body size
_NECK_SCALE = 0.55
_NECK_LORDOSIS = 0.4
_LEAST_SAC_MM = 9.0  # depth of the narrowest normal sac


@dataclass(frozen=True)
class _Build:
    """What sets the proportions of a spine."""

    scale: float
    age: float  # years
    lordosis: float  # times the typical wedges
    transitional: str


def make_spine(
    rng: np.random.Generator,
    grades: np.ndarray,
    transitional: str | None = None,
    scale: float | None = None,
    lordosis: float | None = None,
    grading: str = "textbook",
) -> Spine:
    """A spine, random within normal variation, whose narrowings have the given grades (25,).

    transitional     "" or a key of column.TRANSITIONAL; None samples it, in a few percent of spines
    scale, lordosis  size of the body (about 0.93), curvature (about 1); None samples them
    grading          how far apart grades are: a name out of grades.OPENING; KeyError for another
    """
    build = _sample_build(rng, transitional, scale, lordosis)
    segments = segments_of(build.transitional)
    n_discs = len(segments.disc_heights)
    opening = _sample_opening(rng, grades, grading)
    degenerated = _sample_degenerated(rng, n_discs, segments.first, build.age, grades)
    hydration = np.clip(1.0 - 0.8 * degenerated - rng.uniform(0, 0.15, n_discs), 0.03, 1)
    axis, discs = sample_axis(rng, segments, build.scale, build.lordosis, degenerated)
    column = _sample_column(rng, build, segments, axis, discs)
    anterior = rng.uniform(0.3, 0.75, n_discs)
    protrusion = rng.normal(0, 1.5, n_discs)
    degeneration = _sample_degeneration(rng, hydration, degenerated)
    sac = _sample_sac(rng, column, grading)
    body = _sample_body(rng, build.age)
    foramina = _sample_foramina(rng, n_discs)
    narrowing = Narrowing(opening, anterior, protrusion, crowding=rng.uniform(0.3, 1.1))
    return Spine(axis, column, degeneration, narrowing, foramina, sac, body)


def make_neck(rng: np.random.Generator) -> Spine:
    """A neck, nearly: a small, straight, healthy spine with cord all the way down."""
    healthy = np.zeros(len(TARGETS), int)
    spine = make_spine(rng, healthy, "", _NECK_SCALE, _NECK_LORDOSIS)
    sac = replace(spine.sac, depth=11.0, conus=1e4)
    body = replace(spine.body, fat_mm=6.0, skin_mm=48.0)
    return replace(spine, sac=sac, body=body)


def _sample_build(
    rng: np.random.Generator,
    transitional: str | None,
    scale: float | None,
    lordosis: float | None,
) -> _Build:
    """Everything is sampled, then replaced by what the caller gives: later draws stay the same."""
    sampled_scale = rng.normal(*_SCALE)
    age = rng.uniform(*AGES)
    sampled_lordosis = rng.normal(1, 0.2)
    sampled_transitional = _sample_transitional(rng)
    return _Build(
        scale=scale or sampled_scale,
        age=age,
        lordosis=sampled_lordosis if lordosis is None else lordosis,
        transitional=sampled_transitional if transitional is None else transitional,
    )


def _sample_column(
    rng: np.random.Generator, build: _Build, segments: Segments, axis: Axis, discs: np.ndarray
) -> Column:
    """Bodies of typical size, give or take a few percent, round the given discs."""
    return Column(
        discs=discs,
        depths=segments.depths * build.scale * rng.normal(1, 0.03),
        widths=segments.widths * build.scale * rng.normal(1, 0.04),
        first=segments.first,
        scale=build.scale,
        transitional=build.transitional,
        samples=axis.samples,
    )


def _sample_transitional(rng: np.random.Generator) -> str:
    """No transitional vertebra in all but a few percent of spines."""
    usual = 1 - sum(TRANSITIONAL.values())
    return str(rng.choice(["", *TRANSITIONAL], p=[usual, *TRANSITIONAL.values()]))


def _sample_opening(
    rng: np.random.Generator, grades: np.ndarray, grading: str
) -> dict[tuple[str, str], float]:
    """What each grade leaves of its structure, uniformly within the range of the grade."""
    opening = {}
    for target, grade in zip(TARGETS, grades):
        narrowest, widest = OPENING[grading][target.family][grade]
        opening[target.condition, target.level] = rng.uniform(narrowest, widest)
    return opening


def _aged(age: float) -> float:
    """0 at the youngest age, 1 at the oldest."""
    youngest, oldest = AGES
    return (age - youngest) / (oldest - youngest)


def _sample_degenerated(
    rng: np.random.Generator, discs: int, first: int, age: float, grades: np.ndarray
) -> np.ndarray:
    """Degeneration 0 .. 1 of every disc (n - 1,).

    It grows with age (from two discs above L1/L2 down), towards the lower levels, and with the
    worst grade of the level.
    """
    at = np.arange(discs) - first
    degenerated = rng.uniform(0, 0.3, discs)
    degenerated = degenerated + _aged(age) * rng.uniform(0, 0.8, discs) * (at >= -2)
    for k, level in enumerate(LEVELS):
        worst = max(grade for grade, target in zip(grades, TARGETS) if target.level == level)
        degenerated[first + k] += rng.uniform(0.1, 0.35) * worst + 0.05 * k
    return np.clip(degenerated, 0, 1)


def _sample_degeneration(
    rng: np.random.Generator, hydration: np.ndarray, degenerated: np.ndarray
) -> Degeneration:
    """Facet joints and osteophytes grow with the degeneration of the disc (n - 1,)."""
    facets = degenerated[:, None] * rng.uniform(0.0, 0.35, (len(degenerated), 2))
    osteophytes = degenerated * rng.uniform(0, 3.5, len(degenerated))
    return Degeneration(hydration, facets, osteophytes)


def _sample_sac(rng: np.random.Generator, column: Column, grading: str) -> Sac:
    """A sac that is narrow by nature is not a stenosis: its depth has a lower limit."""
    return Sac(
        depth=max(_LEAST_SAC_MM, rng.normal(*SAC_DEPTH[grading])),
        half_width=rng.uniform(9.0, 11.0) * column.scale,
        conus=column.discs[column.first].mean() + rng.uniform(-28, 22),
    )


def _sample_body(rng: np.random.Generator, age: float) -> Body:
    """The patient round the spine; fat infiltrates the muscles with age."""
    youngest, oldest = AGES
    # Not 0.3 * _aged(age), which rounds differently: the same seed must give the same bytes.
    usual_infiltration = 0.05 + 0.3 * (age - youngest) / (oldest - youngest)
    return Body(
        age=age,
        skin_mm=rng.uniform(56, 76),
        fat_mm=rng.uniform(7, 30),
        infiltration=np.clip(rng.normal(usual_infiltration, 0.08), 0.01, 0.6),
        texture_origin=rng.integers(0, TEXTURE_CELLS, 3).astype(np.int32),
    )


def _sample_foramina(rng: np.random.Generator, discs: int) -> Foramina:
    """From where each foramen is narrowed, if it is."""
    return Foramina(
        anterior=rng.uniform(0.2, 0.8, (discs, 2)),
        inferior=rng.uniform(0.0, 0.9, (discs, 2)),
        lining=rng.uniform(0.5, 4.0, (discs, 2)),
    )
