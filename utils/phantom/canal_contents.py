"""Painters of the canal: flavum, the thecal sac with cord and roots, the traversing roots.

What the grades leave open comes from `canal`; other sizes in mm were chosen by eye against two real
studies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from utils.phantom.canvas import Canvas
from utils.phantom.narrowing import RECESS_U, Sac
from utils.phantom.region import OUTSIDE, Region
from utils.phantom.shapes import solid

_EVERYWHERE = 9  # mm: a depth that cuts nothing away
_STRANDS = 12  # of the cauda equina
_STRAND_RADIUS = 0.75  # mm
_UNCROWDED = 0.25  # fraction of the sac's depth that may be lost before roots displace fluid


class _SacShape(NamedTuple):
    """The narrowed sac at every point: depth inside it, and its ellipse."""

    inside: np.ndarray  # mm
    middle: np.ndarray  # v of its centre
    half_depth: np.ndarray  # mm
    half_width: np.ndarray  # mm


class _InSac(NamedTuple):
    """The points inside the sac, where nerves are painted."""

    s: np.ndarray
    u: np.ndarray
    dv: np.ndarray  # mm behind the centre of the sac
    inside: np.ndarray  # mm
    half_depth: np.ndarray  # mm
    half_width: np.ndarray  # mm


def paint_canal(region: Region) -> None:
    """Flavum behind, the sac in the middle, the traversing roots in the recesses."""
    # mm by which the nearest flavum extends past the point, up or down
    reach = np.minimum(10.5 - np.abs(region.ds + 1), 9 - 18 * region.along("sacral"))
    front = region.spine.canal.front_wall(region.s, region.u)
    back = region.spine.canal.back_wall(region.s, region.u)
    back = back + 0.12 * np.clip(8 - reach, 0, None) ** 1.5
    inner = np.minimum(13.5 * region.k - region.side, region.v - front)
    _paint_flavum(region, reach, back, inner)
    sac = _sac_shape(region, reach, front, back)
    region.put(np.minimum(sac.inside + 0.6, inner), "ligament")  # the dura
    region.put(sac.inside, "csf")
    _paint_crowded_roots(region, sac)
    _paint_nerves(region, sac)
    _paint_traversing_roots(region)


def _paint_flavum(region: Region, reach: np.ndarray, back: np.ndarray, inner: np.ndarray) -> None:
    """Ligamentum flavum in front of the laminae, with epidural fat in front of it."""
    v = region.v
    lamina = 22.5 * region.k - 0.6 * region.side
    ends = np.minimum(14 * region.k - region.side, reach)
    flavum = np.minimum(np.minimum(v - back, lamina - v), ends)
    region.put(flavum, "ligament")
    fat = np.minimum(np.minimum(back - v, reach), np.minimum(v - 9, inner))
    region.put(fat, "fat")


def _sac_shape(region: Region, reach: np.ndarray, front: np.ndarray, back: np.ndarray) -> _SacShape:
    """The ellipse of the sac, cut by disc and flavum."""
    sac_front = region.along("sac_front")
    sac_back = region.along("sac_back")
    half_width = region.along("sac_half_width")
    middle = (sac_front + sac_back) / 2
    half_depth = np.maximum((sac_back - sac_front) / 2, 0.8)
    ellipse = solid((region.u, half_width), (region.v - middle, half_depth))
    before_flavum = np.where(reach > 0, back - 0.4 - region.v, _EVERYWHERE)
    between = np.minimum(region.v - front - 0.4, before_flavum)
    return _SacShape(np.minimum(ellipse, between), middle, half_depth, half_width)


def _paint_crowded_roots(region: Region, sac: _SacShape) -> None:
    """Roots keep the room they need: where the sac is narrow, it is the fluid that is lost."""
    lost = np.clip(region.along("lost") - _UNCROWDED, 0, None)
    filled = np.float32(region.spine.narrowing.crowding) * lost
    crowded = np.minimum(sac.inside, region.pixel * (filled - 0.5))
    region.put(crowded, "root", 1 + 0.1 * region.noise)


def _paint_nerves(region: Region, sac: _SacShape) -> None:
    """The cord above the conus, and the cauda equina below it."""
    at = np.flatnonzero(sac.inside > 0)
    if not len(at):
        return
    dv = region.v - sac.middle
    columns = (region.s, region.u, dv, sac.inside, sac.half_depth, sac.half_width)
    points = _InSac(*(column[at] for column in columns))
    part = Canvas(region.signal, region.image[at], region.pixel)
    _put_cord(part, points, region.spine.sac)
    _put_cauda_equina(part, points, region.spine.sac, region.spine.disc_s[-1])
    region.image[at] = part.image


def _put_cord(part: Canvas, points: _InSac, sac: Sac) -> None:
    """It tapers over the last 25 mm above the conus."""
    taper = np.clip((np.float32(sac.conus) - points.s) / 25, 0, 1)
    half_depth = 3.7 * taper + 0.1
    room = np.clip(points.half_depth - 0.6 - half_depth, 0, None)  # behind it
    behind = 0.6 + np.float32(sac.settled) * room
    cord = solid((points.u, 4.8 * taper + 0.1), (points.dv - behind, half_depth))
    part.put(np.minimum(points.inside - 1, np.where(taper > 0, cord, OUTSIDE)), "cord")


def _put_cauda_equina(part: Canvas, points: _InSac, sac: Sac, last_disc: np.floating) -> None:
    """Strands in the posterior half of the sac; the lateral ones move forward and leave first.

    last_disc  s of the disc L5/S1, below which the last strands leave
    """
    s, conus = points.s, sac.conus
    leaving = (s - np.float32(conus) + 12) / np.float32(last_disc + 30 - conus)
    leaving = np.clip(leaving, 0, 1)
    for strand in range(_STRANDS):
        angle = np.pi * (0.04 + 0.92 * strand / (_STRANDS - 1))
        aside = np.float32(np.cos(angle))
        behind = np.float32(np.sin(angle))
        lateral = 0.58 + 0.10 * np.sin(s / 21 + 1.7 * strand) + 0.12 * leaving
        across = aside * points.half_width * lateral
        posterior = behind * (0.50 + 0.22 * np.sin(s / 15 + 2.3 * strand))
        posterior = posterior + np.float32(sac.settled) * (0.9 * behind - posterior)
        back = points.half_depth * (posterior - 0.35 * abs(aside) * leaving)
        present = (s > conus - 10) & (leaving < 0.35 + 0.65 * behind)
        depth = _STRAND_RADIUS - np.hypot(points.u - across, points.dv - back)
        part.put(np.where(present, depth, OUTSIDE), "root")


def _paint_traversing_roots(region: Region) -> None:
    """At disc level between disc and facet: in fat while there is room, and then flattened."""
    k = region.k
    left = region.opening("subarticular")
    ds = region.ds + 1
    room = np.clip(left / 4.0, 0.22, 1)
    u = RECESS_U * k + 0.6 + 0.28 * np.clip(ds, -8, 2)  # it passes medial to the pedicle
    v = region.spine.canal.recess_root(region.s, region.u)
    near = np.minimum(ds + 9, 20 - ds) - 30 * region.along("sacral")
    root = solid((region.side - u, 2.0 + 0.9 * (1 - room)), (region.v - v, 1.9 * room))
    region.put(np.minimum(root + 1.1 * room, near), "fat")
    region.put(np.minimum(root, near), "root")
