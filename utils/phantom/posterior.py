"""Painters of the posterior elements: arch with facet joints, spinous processes, sacral roof.

Positions and sizes in mm and strengths of textures were chosen by eye against two real studies.
"""

from __future__ import annotations

import numpy as np

from utils.phantom.region import Region
from utils.phantom.shapes import bump, smoothstep, solid

_FACET_DEGREES = (32, 52)  # angle of the joints to the sagittal plane, at L1/L2 and at L5/S1


def paint_posterior_elements(region: Region) -> None:
    """Everything behind the canal, and the pedicles."""
    lumbar = region.s < region.sacrum_s + 24
    near_midline = (region.side < 6) & (region.v > 16)
    region.only(lumbar & near_midline, _paint_spinous_processes)
    region.only(lumbar & (region.v < 34), _paint_arch)
    region.only(~lumbar & (region.v < 40), _paint_sacral_roof)


def _paint_arch(region: Region) -> None:
    """Pedicles, articular pillars and laminae as one bone, whose marrow passes into the body's."""
    processes, joint = _facets(region)
    arch = np.maximum(np.maximum(_pillar(region), _lamina(region)), processes)
    arch = np.maximum(arch, np.minimum(_pedicle(region), 14 - region.v))
    region.put(np.minimum(arch, region.v + 4), "cortex")
    region.put(np.minimum(arch - 0.9, region.v + 9), "marrow", 1 + 0.09 * region.noise)
    joint = np.minimum(processes - 0.9, joint)
    region.put(joint, "cortex")
    region.put(joint - 0.9, "synovia")


def _pedicle(region: Region) -> np.ndarray:
    """Depth inside pedicles, from the upper half of each body, and transverse processes behind."""
    k = region.k
    heights = region.spine.column.body_heights
    below = region.half + 0.26 * heights[region.j + 1]
    above = region.half + 0.74 * heights[region.j]
    along = np.minimum(np.abs(region.ds - below), np.abs(region.ds + above))
    lumbar_level = np.clip(region.j - region.spine.column.first, 0, 5).astype(np.float32)
    half_width = 4.2 + 0.45 * lumbar_level
    pedicle = solid((region.side - (13.2 + 0.5 * half_width) * k, half_width * k), (along, 7.0 * k))
    process = solid((region.v - 11 * k, 3.2 * k), (along, 5.0 * k))
    ends = np.minimum(region.side - 16, 46 * k - region.side)
    return np.maximum(pedicle, np.minimum(process, ends))


def _pillar(region: Region) -> np.ndarray:
    """Depth inside the bone between the facets of one vertebra: under them, and the isthmus."""
    k = region.k
    ds = region.ds
    side = region.side
    below = solid((side - 16.0 * k, 5.0 * k), (region.v - 11.0 * k, 4.8 * k), (ds - 11, 12.0))
    isthmus = solid(
        (side - 15.5 * k, 5.2 * k),
        (region.v - 0.35 * (ds + 20) - 11.5 * k, 4.6 * k),
        (ds + 17 * k, 15 * k),
    )
    return np.maximum(below, isthmus)


def _lamina(region: Region) -> np.ndarray:
    """Depth inside the plates that close the canal behind, shingled like a roof."""
    k = region.k
    ds = region.ds + region.half
    slope = 21.5 * k - 0.45 * region.side + 0.22 * (ds + 8)
    plate = solid((region.v - slope - 1.5, 3.2), (ds + 4.5, 11.0), power=3)
    return np.minimum(plate, 15.5 * k - region.side)


def _facets(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Depth inside both articular processes, and inside the joint between them.

    The process of the vertebra below is in front and lateral.
    """
    k = region.k
    grown = 1 + region.of_side(region.spine.degeneration.facets)
    level = np.arange(len(region.spine.discs)) - region.spine.column.first
    angle = np.radians(np.interp(level, [0, 4], _FACET_DEGREES))
    sin = region.of_disc(np.sin(angle))
    cos = region.of_disc(np.cos(angle))
    du = region.side - 14.8 * k
    dv = region.v - 14.6 * k - 0.2 * region.ds
    along = du * sin + dv * cos  # along the joint, laterally
    across = du * cos - dv * sin  # across it, towards the front
    across = across + 0.035 * along**2 - 0.8  # the superior process is concave
    tall = np.where(across > 0, region.ds - 3, region.ds + 4)
    processes = solid((along, 8.4 * k * grown), (across, 7.6 * k * grown), (tall, 12.5 * k))
    return processes, np.minimum(1.4 - np.abs(across), 9 - np.abs(region.ds + 1))


def _paint_spinous_processes(region: Region) -> None:
    """Blades with a thicker tip, ligament and fat between, the supraspinous ligament behind."""
    k = region.k
    side = region.side
    back = region.v - 23 * k
    length = 29 * k
    between = np.minimum(3.4 - side, np.minimum(back, length - back))
    region.put(between, "interspinous", 1 + 0.3 * region.noise)
    region.put(np.minimum(3.0 - side, 1.4 - np.abs(back - length)), "ligament")
    ds = region.ds + region.half + 3 - 0.22 * back
    half_height = (7.5 + 2.5 * smoothstep(back / length)) * k
    blade = solid((back - length / 2, length / 2 + 1), (ds, half_height), power=3)
    half_thickness = 2.6 + 1.6 * bump(back - 25 * k, 7)
    region.put_bone(np.minimum(half_thickness - side, blade), 0.9)


def _paint_sacral_roof(region: Region) -> None:
    """The roof of the sacral canal, thinning downwards, with the median sacral crest."""
    v = region.v
    below = np.clip(region.s - region.disc_s(-1), 0, None)
    roof = 18 - 15 * smoothstep(below / 120)
    region.put(np.minimum(roof - v, v + 1), "fat")
    plate = np.minimum(v - roof, roof + 5 - v)
    region.put_bone(np.minimum(plate, 17 - 0.08 * below - region.side))
    crest = np.minimum(v - roof, roof + 13 - 0.07 * below - v)
    crest = np.minimum(2.6 - region.side, crest)
    region.put_bone(np.minimum(crest, 9 - np.abs(region.ds + 8)))
