"""Which structure each pixel of a slice shows: what a segmentation learns from a phantom.

The slice is painted with tissues that are 1 where one group of tissues is and 0 elsewhere, which
gives how much of each pixel that group fills; where in the spine a pixel lies tells the rest: bone
in front of the canal is a vertebral body, bone behind it the arch, bone below the last graded disc
the sacrum. Bone is its marrow: the dark cortex is background, as those who draw masks leave it.
Axial slices also show what lies round the sac: ligament, fat, and the roots that have left it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from utils.dicom import Slice
from utils.phantom.axis import step_of
from utils.phantom.signal import TISSUES
from utils.phantom.spine import Spine
from utils.phantom.tissue import paint, points_of
from utils.structures import (
    ARCH,
    AXIAL,
    BODY,
    DISC,
    FAT,
    LIGAMENT,
    ROOT,
    SAC,
    SACRUM,
    SAGITTAL,
    Plane,
)

# Tissues that are told apart, two groups to a painting: of water and of fat, as an image has both.
_BONE, _DISC = ("marrow", "vein"), ("annulus", "nucleus", "dry nucleus")
_FLUID, _ROOT = ("csf", "cord"), ("root",)
_LIGAMENT, _FAT = ("ligament",), ("fat",)
THIN_MM = 0.5  # of the slice: of neighbouring structures the one in its middle counts
MOSTLY = 0.5  # of a pixel
# As hands draw them: a disc without its endplates and outermost fibres, a sac with its dura. Of a
# disc and a sac blurred by BLUR_MM this share makes the one smaller on every side, by DISC_EDGE_MM,
# and the other 0.5 mm larger; a disc of 2 mm is still one.
BLUR_MM, WITHIN_DISC, WITHIN_SAC = 0.7, 0.8, 0.25
DISC_EDGE_MM = 0.6
BEHIND_BODIES_MM = 1.0  # v: what is further behind is arch; the posterior wall is at 0
BESIDE_SAC_MM, BEHIND_SAC_MM = 14.0, 24.0  # u and v: within them a root is one in the sac
SPINE_MM = (40.0, 48.0)  # u on either side, and greatest v, of all structures
IN_FRONT_MM = 4.0  # of the bodies' depth, with osteophytes: what lies further in front is a vessel
DURA_MM = 0.6  # round the sac
CANAL_MM = (26.0, -4.0, 24.0)  # u on either side, range of v: canal, recesses and foramina


def structures(spine: Spine, plane: Slice, kind: Plane = SAGITTAL) -> np.ndarray:
    """(H, W) uint8, positions in STRUCTURES, of a slice whose pixels give only its size."""
    bone, disc = _filled(spine, plane, _BONE, _DISC)
    fluid, root = _filled(spine, plane, _FLUID, _ROOT)
    s, u, v = spine.to_spine(points_of(plane).reshape(3, -1)).reshape(3, *bone.shape)
    side, behind = SPINE_MM
    front = spine.tables["body_depth"][step_of(s.ravel(), spine.axis.samples)].reshape(s.shape)
    near = (np.abs(u) < side) & (v < behind) & (v > -front - IN_FRONT_MM)
    is_sacral = s > spine.discs[spine.graded][-1, 1]
    in_sac = (np.abs(u) < BESIDE_SAC_MM) & (v > -2) & (v < BEHIND_SAC_MM)
    found = np.zeros(bone.shape, np.uint8)
    if kind == AXIAL:
        in_sac = _in_sac(spine, s, u, v)
        found = _round_sac(spine, plane, u, v, root)
    for code, where in (
        (BODY, near & (bone > MOSTLY) & (v <= BEHIND_BODIES_MM)),
        (ARCH, near & (bone > MOSTLY) & (v > BEHIND_BODIES_MM)),
        (DISC, near & (_blurred(disc > MOSTLY, plane) > WITHIN_DISC)),
        (SACRUM, near & is_sacral & (bone + disc > MOSTLY)),
        (SAC, near & in_sac & (_blurred(fluid + root > MOSTLY, plane) > WITHIN_SAC)),
    ):
        found[where] = code
    return found


def _in_sac(spine: Spine, s: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(H, W): within the ellipse of the sac and its dura; roots beside it have left the sac."""
    tables, at = spine.tables, step_of(s.ravel(), spine.axis.samples)
    front, back, half_width = (
        tables[f"sac_{name}"][at].reshape(s.shape) for name in ("front", "back", "half_width")
    )
    across = u / (half_width + DURA_MM)
    along = (v - (front + back) / 2) / ((back - front) / 2 + DURA_MM)
    return across**2 + along**2 < 1


def _round_sac(
    spine: Spine, plane: Slice, u: np.ndarray, v: np.ndarray, root: np.ndarray
) -> np.ndarray:
    """(H, W) uint8: ligament, fat and roots in canal, recesses and foramina."""
    ligament, fat = _filled(spine, plane, _LIGAMENT, _FAT)
    side, front, behind = CANAL_MM
    near = (np.abs(u) < side) & (v > front) & (v < behind)
    found = np.zeros(root.shape, np.uint8)
    for code, share in ((LIGAMENT, ligament), (FAT, fat), (ROOT, root)):
        found[near & (share > MOSTLY)] = code
    return found


def _blurred(mask: np.ndarray, plane: Slice) -> np.ndarray:
    return gaussian_filter(mask.astype(np.float32), BLUR_MM / plane.spacing[::-1])


def _filled(
    spine: Spine, plane: Slice, group: tuple[str, ...], other: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) and (H, W): how much of each pixel two groups of tissues fill."""
    signal = {name: complex(name in group, name in other) for name in TISSUES}
    painted = paint(spine, signal, plane, THIN_MM)
    return painted.real, painted.imag
