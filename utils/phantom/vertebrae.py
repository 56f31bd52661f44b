"""Painters of vertebral bodies and discs, and of the pelvis beside the sacrum.

Positions and sizes in mm and strengths of textures were chosen by eye against two real studies.
"""

from __future__ import annotations

import numpy as np

from utils.phantom.region import OUTSIDE, Region
from utils.phantom.shapes import bump, smoothstep, solid


def _outline(region: Region, grow: np.ndarray | float = 0.0) -> np.ndarray:
    """Depth inside the common axial outline of bodies and discs: a kidney, hollow behind.

    grow  mm by which the outline is larger
    """
    depth = region.along("body_depth")
    width = region.along("body_width")
    across = (region.u, 0.54 * width + grow)
    along = (region.v + 0.47 * depth, 0.53 * depth + grow)
    hollow = 1.3 * bump(region.u, 8.0) * (1 - region.along("sacral"))
    return np.minimum(solid(across, along, power=3), grow - region.v - hollow)


def paint_bodies(region: Region) -> None:
    """Vertebral bodies with osteophytes, basivertebral veins, and degenerated endplates."""
    sacral = region.along("sacral")
    height = region.spine.column.body_heights[region.j + (region.ds > 0)]
    to_plate = np.abs(region.ds) - region.half  # mm into the body; negative inside the disc
    waist = 1.8 * np.sin(np.pi * np.clip(to_plate / height, 0, 1)) * (1 - 0.7 * sacral)
    osteophytes = region.of_disc(region.spine.degeneration.osteophytes)
    lips = osteophytes * bump(to_plate, 4.0) * (region.v < -6)
    outline = _outline(region)
    plates = to_plate + 0.3 - 0.6 * bump(outline, 3.0)
    wall = _put_ligament(region, outline - waist + lips, plates)
    body = np.minimum(wall, plates)
    region.put_bone(body, 0.9)
    from_middle = np.abs(to_plate - height / 2)
    vein = np.minimum(0.25 * (8 + region.v) - from_middle, 5.0 - region.side)
    region.put(np.where(sacral > 0.5, OUTSIDE, vein), "vein")
    _paint_endplate_changes(region, body, to_plate)


def _put_ligament(region: Region, wall: np.ndarray, plates: np.ndarray) -> np.ndarray:
    """The anterior longitudinal ligament; the depth of what is left of the wall behind it."""
    ligament = np.float32(region.spine.column.ligament)
    if not ligament:
        return wall
    in_front = region.v < -0.55 * region.along("body_depth")
    region.put(np.where(in_front, np.minimum(wall, plates), OUTSIDE), "ligament")
    return wall - ligament * in_front


def _paint_endplate_changes(region: Region, body: np.ndarray, to_plate: np.ndarray) -> None:
    """Patches of altered marrow beside dry discs (Modic-type change)."""
    dryness = 1 - region.of_disc(region.spine.degeneration.hydration)
    patch = np.minimum(body - 1.5, (2.5 + 1.5 * region.noise) * dryness - to_plate)
    region.put(patch, "marrow", 1 + 0.35 * region.noise * dryness)


def paint_discs(region: Region) -> None:
    """A dark annulus, which may bulge or protrude, round a nucleus that dries with age."""
    hydration = region.of_disc(region.spine.degeneration.hydration)
    flat = region.half - np.abs(region.ds)
    ring = np.minimum(_outline(region, 0.8 + 1.2 * (1 - hydration)), flat)
    front_wall = region.spine.canal.front_wall(region.s, region.u)
    overhang = flat + 1.0 + 0.4 * np.clip(region.v, 0, 5)
    protrusion = np.minimum(front_wall - region.v, overhang)
    protrusion = np.minimum(protrusion, np.minimum(region.v + 4, 16 - region.side))
    protrusion = np.where(region.along("sacral") > 0.6, OUTSIDE, protrusion)
    region.put(np.maximum(ring, protrusion), "annulus", 1 + 0.1 * region.noise)
    _paint_nucleus(region, hydration, flat)


def _paint_nucleus(region: Region, hydration: np.ndarray, flat: np.ndarray) -> None:
    """It passes gradually into the annulus; while it is young, a cleft shows."""
    depth = region.along("body_depth")
    width = region.along("body_width")
    nucleus = solid((region.u, 0.42 * width), (region.v + 0.49 * depth, 0.38 * depth))
    nucleus = np.minimum(0.3 * nucleus, flat - 0.6)
    region.put(nucleus, "dry nucleus", 1 + 0.08 * region.noise)
    cleft = 1 - 0.35 * hydration * bump(region.ds, 1.0)
    hydrated = np.where(hydration > 0.02, nucleus, OUTSIDE) + region.pixel * (hydration - 1)
    region.put(hydrated, "nucleus", cleft * (1 + 0.08 * region.noise))


def paint_pelvis(region: Region) -> None:
    """The sacral wings with their foramina, and the iliac bones lateral to them."""
    below = region.s - np.float32(region.sacrum_s)
    half_width = 52 * (1 - smoothstep(below / 95) * 0.75)
    wing = solid((region.side, half_width), (region.v + 9, 15), power=4)
    region.put_bone(np.minimum(wing, below))
    foramen = 3.5 - np.hypot(region.side - 17, 0.5 * (region.v + 6))
    tall = 6 - np.abs(region.ds - 4)
    region.put(np.minimum(foramen, tall), "fat")
    region.put(np.minimum(foramen - 1.3, tall), "root")
    in_front = np.clip(8 - region.v, 0, None)
    behind = np.clip(region.v - 8, 0, None)
    slant = region.side - 56 - 0.5 * in_front + 0.3 * behind
    ilium = solid((slant, 5.5 + 0.03 * region.v), (region.v + 8, 42), power=4)
    region.put_bone(np.minimum(ilium, below + 22), 1.2)
