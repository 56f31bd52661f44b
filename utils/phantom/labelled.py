"""Slices of random spines with the structure of every pixel: what a segmentation learns from,
without the DICOM round it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from utils.phantom.anatomy import make_spine
from utils.phantom.grades import sample_grades
from utils.phantom.planes import TO_FEET, TO_LEFT, empty_slice
from utils.phantom.protocols import sample_protocols, with_contrast_jitter
from utils.phantom.signal import render
from utils.phantom.spine import Spine
from utils.phantom.structures import structures
from utils.structures import AXIAL, SAGITTAL, Plane

VERSION = 2  # raise when the same seed gives other slices
SLICES = 4  # of each spine
THICKNESS_MM = (0.9, 2.0, 3.0, 4.0, 5.0)  # from 3-D sequences to old scanners
AWAY_MM = (4.0, 10.0, 20.0)  # of slices from the middle, standard deviations
BEHIND_MM = 20.0  # of a slice's middle from the discs'
YAW_DEGREES = 3.0  # of a slice, standard deviation
# Of an axial slice, standard deviations: from its disc along the spine, from the canal's middle in
# either direction, and between the slice and the disc, to the front and to a side.
ALONG_MM, ASIDE_MM, TILT_DEGREES, ROLL_DEGREES = 5.0, 3.0, 8.0, 3.0
CANAL_V_MM = 8.0  # of the canal's middle
# What varies between patients more than between the spines of a data set: how far back cord and
# roots lie in the sac, the ligament in front of the bodies, and how curved the spine is.
SETTLED, LIGAMENT_MM, LORDOSIS = (0.3, 1.0), (0.0, 3.5), (1.0, 0.3)
BRIGHT = 99.0  # percentile of a slice that becomes 1


def labelled_slices(seed: int, kind: Plane = SAGITTAL) -> tuple[np.ndarray, np.ndarray]:
    """(SLICES, px, px) uint8 images of one random spine, of any contrast: Sagittal T2 or T1 of all
    levels, or Axial T2 near a disc; and their structures, uint8."""
    rng = np.random.default_rng(seed)
    (grades,) = sample_grades(rng, 1, str(rng.choice(["real", "balanced"])))
    spine = _patient(rng, grades)
    one_slice = _axial if kind == AXIAL else _sagittal
    images, masks = zip(*(one_slice(spine, rng) for _ in range(SLICES)))
    return np.array(images), np.array(masks)


def _patient(rng: np.random.Generator, grades: np.ndarray) -> Spine:
    spine = make_spine(rng, grades, lordosis=rng.normal(*LORDOSIS), grading="readers")
    sac = replace(spine.sac, settled=rng.uniform(*SETTLED))
    column = replace(spine.column, ligament=rng.uniform(*LIGAMENT_MM))
    return replace(spine, sac=sac, column=column)


def _sagittal(spine: Spine, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    *sagittal, _ = sample_protocols(rng, (SAGITTAL.px, SAGITTAL.px))
    protocol = sagittal[int(rng.integers(len(sagittal)))]
    protocol = with_contrast_jitter(protocol, str(rng.choice(["clinical", "random"])), rng)
    centre = spine.to_patient(spine.disc_s[2], 0.0, -BEHIND_MM)
    centre = centre + rng.normal(0, rng.choice(AWAY_MM)) * TO_LEFT
    yaw = np.radians(rng.normal(0, YAW_DEGREES))
    columns = np.array([np.sin(yaw), np.cos(yaw), 0.0])
    plane = empty_slice(centre, columns, TO_FEET, SAGITTAL.px * SAGITTAL.mm, SAGITTAL.px)
    image = render(spine, protocol.sequence, plane, float(rng.choice(THICKNESS_MM)), rng)
    return as_bytes(image), structures(spine, plane)


def _axial(spine: Spine, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    *_, protocol = sample_protocols(rng, (AXIAL.px, AXIAL.px))
    protocol = with_contrast_jitter(protocol, str(rng.choice(["clinical", "random"])), rng)
    s = rng.choice(spine.disc_s) + rng.normal(0, ALONG_MM)
    centre = spine.to_patient(s, rng.normal(0, ASIDE_MM), CANAL_V_MM + rng.normal(0, ASIDE_MM))
    plane = empty_slice(centre, *_across(spine, s, rng), AXIAL.px * AXIAL.mm, AXIAL.px)
    image = render(spine, protocol.sequence, plane, float(rng.choice(THICKNESS_MM)), rng)
    return as_bytes(image), structures(spine, plane, AXIAL)


def _across(spine: Spine, s: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions of increasing column, to the left, and of increasing row, to the back."""
    tilt = spine.along(s, spine.tilt) + np.radians(rng.normal(0, TILT_DEGREES))
    roll = np.radians(rng.normal(0, ROLL_DEGREES))
    rows = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    columns = np.cos(roll) * TO_LEFT + np.sin(roll) * np.cross(TO_LEFT, rows)
    return columns, rows


def as_bytes(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8, bright tissue near 255."""
    scaled = image * (255 / max(np.percentile(image, BRIGHT), 1e-6))
    return np.clip(scaled, 0, 255).astype(np.uint8)
