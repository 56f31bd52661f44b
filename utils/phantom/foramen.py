"""Painters of epidural fat and of the neural foramina with their exiting roots.

A grade takes the fat round the root first, longest under the pedicle, and then the root's shape
(Lee 2010). Other sizes in mm were chosen by eye against two real studies.
"""

from __future__ import annotations

import numpy as np

from utils.phantom.narrowing import FORAMEN_RIM, FORAMEN_S, FORAMEN_U, FORAMEN_V
from utils.phantom.region import Region
from utils.phantom.shapes import bump, smoothstep, solid

_ROOT_HALF_AXIS = 2.7  # mm, of the ganglion in the foramen


def paint_epidural_space(region: Region) -> None:
    """Fat in canal and foramina, which everything else is painted on; veins behind the bodies."""
    beside = np.clip(region.side - 16, 0, None)  # lateral to the facets muscle comes near
    room = np.minimum(region.v + 1.5 - 0.3 * beside, 13 - region.v - beside)
    width = 24 - 9 * region.along("sacral") - region.side
    region.put(np.minimum(room, width), "fat", 1 + 0.05 * region.noise)
    away = np.abs(region.ds) - region.half - 3
    vein = np.minimum(np.minimum(away, 2.6 - region.v), 1.5 - np.abs(region.side - 4.5))
    region.put(vein, "vein")


def paint_foramina(region: Region) -> None:
    """Between the pedicles: fat round the root, and what narrows it.

    In front, disc and osteophytes come near; behind, flavum and facet.
    """
    k = region.k
    dv = region.v - FORAMEN_V
    ds = region.ds - FORAMEN_S * k
    left = region.opening("foraminal")
    squeeze = 0.45 + 0.55 * smoothstep(left / 0.15)  # 1 where the root keeps its shape
    fat = _fat_round_root(region, dv, ds, left, squeeze)
    foramen = solid((region.side - 15.5 * k, 6.5), (dv, 9.0), (ds - 2, 17.0))
    closed = np.minimum(foramen, -fat)
    region.put(closed, "ligament")
    region.put_bone(closed - region.of_side(region.spine.foramina.lining), 0.8)
    disc = np.minimum(1 - dv, region.half + 1.5 - np.abs(region.ds))
    region.put(np.minimum(closed, disc), "annulus", 1 + 0.15 * region.noise)
    _paint_exiting_root(region, squeeze)


def _fat_round_root(
    region: Region, dv: np.ndarray, ds: np.ndarray, left: np.ndarray, squeeze: np.ndarray
) -> np.ndarray:
    """Depth inside the fat that the grade leaves, at dv behind and ds below the root."""
    anterior = region.of_side(region.spine.foramina.anterior)
    inferior = region.of_side(region.spine.foramina.inferior)
    wide = left + 1.3 * smoothstep((left - 0.5) / 0.4)  # an open one has fat up to the bones
    rim_v = 2 * FORAMEN_RIM[0] * wide * np.where(dv < 0, 1 - anterior, anterior)
    above = np.minimum(wide * (1 + 1.5 * inferior), wide.clip(1))
    below = wide * (1 - inferior)
    rim_s = FORAMEN_RIM[1] * np.where(ds < 0, above, below)
    return solid((dv, _ROOT_HALF_AXIS * squeeze + rim_v), (ds, _ROOT_HALF_AXIS + rim_s))


def _paint_exiting_root(region: Region, squeeze: np.ndarray) -> None:
    """Down and laterally under the pedicle, its ganglion in the foramen, then forward."""
    k = region.k
    side = region.side
    ds = region.ds - FORAMEN_S * k
    lateral = FORAMEN_U * k + 0.62 * ds + 0.02 * np.clip(ds, 0, None) ** 2
    forward = FORAMEN_V - 0.03 * np.clip(side - 20, 0, None) ** 2
    radius = 1.7 + 1.0 * bump(side - FORAMEN_U * k, 4.5)
    across = np.hypot((side - lateral) * 0.85, (region.v - forward) / squeeze)
    within = np.minimum(ds + 14, 16 - ds)
    depth = np.minimum(radius - across, within)
    region.put(depth - 20 * region.along("sacral"), "root")
