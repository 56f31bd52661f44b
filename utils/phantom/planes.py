"""Where the slices of a series are: planes placed on a spine as a radiographer plans them.

Planes are `Slice`s without an image; positions are LPS mm.
"""

from __future__ import annotations

import numpy as np

from utils.dicom import Slice
from utils.phantom.protocols import BLOCKS, Protocol
from utils.phantom.spine import Spine
from utils.rsna import AXIAL_T2

TO_LEFT = np.array([1.0, 0.0, 0.0])  # LPS: +x is the patient's left
TO_BACK = np.array([0.0, 1.0, 0.0])
TO_FEET = np.array([0.0, 0.0, -1.0])

# Chosen by judgement.
YAW_DEGREES = 2  # standard deviation: no patient is perfectly straight in the scanner
MIDDLE_V_MM = (-25, 5)  # behind the posterior wall: where a sagittal field of view is centred
MISPLACED_MM = (1, 3, 8)  # LPS, standard deviation of that centre
AXIAL_MIDDLE_V_MM = 22.0  # behind the posterior wall: where an axial field of view is centred
BLOCK_SLICES = (-2, -1, 0, 1, 2)  # in gaps from the disc's centre
BEYOND_DISCS_MM = 10  # how far a straight stack reaches above L1/L2 and below L5/S1


def planes(rng: np.random.Generator, spine: Spine, protocol: Protocol) -> list[Slice]:
    """Slices without an image, in anatomical order, each with its position in the patient."""
    if protocol.name != AXIAL_T2:
        return _sagittal(rng, spine, protocol)
    if protocol.layout == BLOCKS:
        return _axial_blocks(spine, protocol)
    return _axial_stack(spine, protocol)


def empty_slice(
    centre: np.ndarray, columns: np.ndarray, rows: np.ndarray, fov_mm: float, px: int
) -> Slice:
    """A square slice without an image.

    centre   (3,) LPS mm
    columns  (3,) unit direction of increasing column, rows: of increasing row
    fov_mm   the side of the square, px: the same in pixels
    """
    spacing = fov_mm / px
    origin = centre - (columns + rows) * spacing * (px - 1) / 2
    axes = np.stack([columns, rows])
    return Slice(0, np.empty((px, px), np.uint16), np.round(origin, 6), axes, np.full(2, spacing))


def _sagittal(rng: np.random.Generator, spine: Spine, protocol: Protocol) -> list[Slice]:
    """Slices from the patient's right to left, centred near the disc L3/L4."""
    yaw = np.radians(rng.normal(0, YAW_DEGREES))
    columns = np.array([np.sin(yaw), np.cos(yaw), 0.0])
    planned = spine.to_patient(spine.disc_s[2], 0.0, rng.uniform(*MIDDLE_V_MM))
    centre = planned + rng.normal(0, MISPLACED_MM) + protocol.offset_mm
    offsets = (np.arange(protocol.slices) - (protocol.slices - 1) / 2) * protocol.gap_mm
    return [_plane(protocol, centre + offset * TO_LEFT, columns, TO_FEET) for offset in offsets]


def _axial_blocks(spine: Spine, protocol: Protocol) -> list[Slice]:
    """Five oblique slices through each disc, the most usual protocol."""
    slices = []
    for s in spine.disc_s:
        tilt = spine.along(s, spine.tilt)
        rows = np.array([0.0, np.cos(tilt), np.sin(tilt)])
        to_feet = np.cross(rows, TO_LEFT)
        middle = spine.to_patient(s, 0.0, AXIAL_MIDDLE_V_MM) + protocol.offset_mm
        centres = [middle + to_feet * protocol.gap_mm * k for k in BLOCK_SLICES]
        slices += [_plane(protocol, centre, TO_LEFT, rows) for centre in centres]
    return slices


def _axial_stack(spine: Spine, protocol: Protocol) -> list[Slice]:
    """Straight slices from above L1/L2 to below L5/S1."""
    ends = spine.to_patient(spine.disc_s[[0, -1]], np.zeros(2), np.full(2, AXIAL_MIDDLE_V_MM))
    top, bottom = ends + protocol.offset_mm
    height = top[2] - bottom[2] + 2 * BEYOND_DISCS_MM
    count = int(np.ceil(height / protocol.gap_mm))
    beyond = (0, 0, BEYOND_DISCS_MM)
    centres = np.linspace(top + beyond, bottom - beyond, count)
    return [_plane(protocol, centre, TO_LEFT, TO_BACK) for centre in centres]


def _plane(protocol: Protocol, centre: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> Slice:
    return empty_slice(centre, columns, rows, protocol.fov_mm, protocol.matrix)
