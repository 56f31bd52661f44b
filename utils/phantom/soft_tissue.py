"""Painters of what surrounds the spine: psoas, great vessels, and the muscles of the back.

Positions and sizes in mm and strengths of textures were chosen by eye against two real studies.
"""

from __future__ import annotations

import numpy as np

from utils.phantom.region import OUTSIDE, Region
from utils.phantom.shapes import smoothstep, solid

_BIFURCATION = 3  # the aorta divides in front of L4: near the graded disc L4/L5
# Sign of u and radius in mm: aorta to the left, inferior vena cava to the right.
_VESSELS = ((1, 8.0), (-1, 9.0))


def paint_psoas(region: Region) -> None:
    """Psoas from T12 down beside the bodies, thicker towards the pelvis, and quadratus lumborum."""
    side = region.side
    v = region.v_unslipped
    top = np.float32(region.spine.discs[region.spine.column.first - 1, 0])
    down = smoothstep((region.s - top) / 130)
    lumbar = 1 - smoothstep((region.s - region.disc_s(-1) - 25) / 20)
    gain = 1 + 0.04 * region.noise
    psoas = solid((side - 26 - 11 * down, 6 + 12 * down), (v + 12 + 8 * down, 12 + 10 * down))
    region.put(np.where(down > 0.02, psoas, OUTSIDE) * lumbar - (1 - lumbar), "muscle", gain)
    region.put(solid((side - 54, 17), (v - 3, 7)), "muscle", gain)  # quadratus lumborum
    _paint_intertransverse(region, lumbar)


def _paint_intertransverse(region: Region, lumbar: np.ndarray) -> None:
    """Muscle from one transverse process to the next, streaked with fat."""
    v = region.v_unslipped
    muscle = solid((region.side - 36, 19), (v - 4, 7.5)) * lumbar - (1 - lumbar)
    region.put(muscle, "muscle", 1 + 0.08 * region.noise)
    fibres = region.texture("fibres", (region.s, region.u, v))
    streaks = fibres - 1.6 + 1.5 * np.float32(region.spine.body.infiltration)
    region.put(np.minimum(muscle, streaks), "fat", 0.9)


def paint_vessels(region: Region) -> None:
    """Aorta and vena cava in front of the bodies; they divide at L4 and diverge."""
    fork = smoothstep((region.s - region.disc_s(_BIFURCATION) + 12) / 55)
    behind = region.v_unslipped + region.along("body_depth") * (1 - 0.3 * fork) + 11
    for sign, radius in _VESSELS:
        across = region.u * sign - (9.5 + 19 * fork)
        depth = radius * (1 - 0.45 * fork) - np.hypot(across, behind)
        region.put(depth, "cortex")  # the dark wall
        region.put(depth - 1, "vessel")


def paint_back_muscles(region: Region) -> None:
    """Multifidus beside the spinous processes, erector spinae lateral to it, fat between them."""
    side = region.side
    v = region.v_unslipped
    down = smoothstep((region.s - region.disc_s(1)) / 110)
    towards_sacrum = smoothstep((region.s - region.disc_s(4) + 30) / 90)
    rear = 57 - 14 * towards_sacrum - 0.0045 * side**2
    region.put(np.minimum(0.8 - np.abs(v - rear), 64 - side), "cortex")  # thoracolumbar fascia
    erector = solid((side - 32 + 4 * down, 31 - 4 * down), (v - 33 - 2 * down, 24 - 3 * down))
    multifidus = solid((side - 12 - 3 * down, 12 + 4 * down), (v - 35, 20))
    muscles = np.minimum(np.maximum(erector, multifidus), rear - 1.5 - v)
    region.put(muscles, "muscle", 1 + 0.08 * region.noise)
    septum = np.minimum(0.6 + 0.3 * region.noise - np.abs(multifidus), side - 11)
    region.put(np.minimum(muscles, septum), "fat", 0.7)
    fibres = region.texture("fibres", (region.s, region.u, v))
    fraction = np.float32(region.spine.body.infiltration) * (0.6 + 0.8 * down)
    streaks = (fibres - 2.1 + 2.4 * fraction) * 1.2
    region.put(np.minimum(muscles, streaks), "fat", 0.7)
