"""What the operator chose for each series: sequence, field of view, matrix, slices.

Protocols are sampled as varied as in the real data. Domain randomisation (`CONTRASTS`) then takes
them beyond what scanners show, so that a model cannot rely on absolute intensities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utils.phantom.signal import Sequence
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2

BLOCKS, STACK = "a block per disc", "one stack"

# (least, most) of what is sampled uniformly: the span of usual clinical protocols, by judgement.
NOISE = (0.008, 0.03)
COIL_MM = (65, 115)
BANDWIDTH_HZ = (130, 350)
GHOST = (0, 0.012)
SAMPLED = (0.7, 1.0)
SATURATION_MM = (45, 75)
T1_TR_MS, T1_TE_MS = (450, 700), (8, 14)
T2_TR_MS, T2_TE_MS = (2800, 4800), (85, 115)
STIR_TE_MS, STIR_TI_MS = (45, 70), (150, 170)
SAGITTAL_FOV_MM, AXIAL_FOV_MM = (240, 300), (150, 200)
SAGITTAL_GAP_MM, STACK_GAP_MM, BLOCK_GAP_MM = (4.0, 5.0), (4.0, 5.0), (3.3, 4.2)
BETWEEN_SLICES_MM = (0.3, 1)  # sagittal: gap less thickness
SAGITTAL_SLICES = (12, 17)  # the upper end is exclusive
AXIAL_THICKNESS_MM = 3.5

# Probabilities, by judgement; matrices span those of the real studies.
SATURATED = 0.5  # of a saturation band in front of the spine
FAT_TREATMENTS = {"bright": 0.55, "suppressed": 0.25, "stir": 0.20}  # of the sagittal T2
IN_BLOCKS = 0.65  # of an axial series in oblique blocks
MATRICES = {256: 0.15, 320: 0.25, 384: 0.2, 448: 0.15, 512: 0.2, 640: 0.05}  # px

# How far the field of view varies at Contrast.frame 1.
LOG_ZOOM = 0.2  # logarithm of size and of slice spacing: a fifth
SAGITTAL_SHIFT_MM, AXIAL_SHIFT_MM = (6, 25, 40), (0, 20, 0)  # LPS
EXTRA_SLICES = (-3, 5)


@dataclass(frozen=True)
class Protocol:
    """What the operator chose for one series."""

    name: str  # as in series_description
    sequence: Sequence
    fov_mm: float
    matrix: int  # px
    thickness_mm: float
    gap_mm: float  # from one slice's centre to the next
    slices: int  # sagittal: how many
    layout: str = ""  # axial: BLOCKS or STACK
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # LPS, of the field of view's centre


@dataclass(frozen=True)
class Contrast:
    """How far the series of a data set vary beyond clinical ones.

    jitter      least and most Sequence.contrast_jitter of a series that has any
    proportion  of the series that have contrast jitter
    frame       of the field of view: 0 unchanged, 1 moved by up to 40 mm, resized by up to a fifth
    """

    jitter: tuple[float, float] = (0.0, 0.0)
    proportion: float = 0.0
    frame: float = 0.0


CONTRASTS = {
    "clinical": Contrast(),
    "mixed": Contrast(jitter=(0.1, 0.8), proportion=0.6, frame=0.5),
    "random": Contrast(jitter=(1.0, 1.0), proportion=1.0, frame=1.0),
}


def sample_protocols(rng: np.random.Generator, size: tuple[int, int] | None) -> list[Protocol]:
    """The three series of a study, in the order Sagittal T1, Sagittal T2/STIR, Axial T2.

    size  matrix (sagittal, axial) in px; None samples it from MATRICES
    """
    scanner = _sample_scanner(rng)
    t1 = Sequence(rng.uniform(*T1_TR_MS), rng.uniform(*T1_TE_MS), **scanner)
    t2 = Sequence(rng.uniform(*T2_TR_MS), rng.uniform(*T2_TE_MS), **scanner)
    sagittal_t2 = _sample_fat_treatment(rng, t2)
    axial_t2 = replace(t2, saturation_mm=np.inf, phase_axis=1)
    sagittal_px, axial_px = size or _sample_matrices(rng)
    fov = rng.uniform(*SAGITTAL_FOV_MM)
    gap = rng.uniform(*SAGITTAL_GAP_MM)
    count = int(rng.integers(*SAGITTAL_SLICES))
    layout, axial_gap = _sample_axial_layout(rng)
    t1_mm = round(gap - rng.uniform(*BETWEEN_SLICES_MM), 1)
    t2_mm = round(gap - rng.uniform(*BETWEEN_SLICES_MM), 1)
    axial_fov = rng.uniform(*AXIAL_FOV_MM)
    axial_mm = AXIAL_THICKNESS_MM
    return [
        Protocol(SAGITTAL_T1, t1, fov, sagittal_px, t1_mm, gap, count),
        Protocol(SAGITTAL_T2, sagittal_t2, fov, sagittal_px, t2_mm, gap, count),
        Protocol(AXIAL_T2, axial_t2, axial_fov, axial_px, axial_mm, axial_gap, 0, layout),
    ]


def _sample_scanner(rng: np.random.Generator) -> dict[str, Any]:
    """The fields of Sequence that the series of one study have in common."""
    scanner = {
        "noise": rng.uniform(*NOISE),
        "coil_mm": rng.uniform(*COIL_MM),
        "bandwidth": rng.uniform(*BANDWIDTH_HZ),
        "ghost": rng.uniform(*GHOST),
        "sampled": rng.uniform(*SAMPLED),
    }
    saturated = rng.random() < SATURATED
    scanner["saturation_mm"] = rng.uniform(*SATURATION_MM) if saturated else np.inf
    return scanner


def _sample_fat_treatment(rng: np.random.Generator, t2: Sequence) -> Sequence:
    """A sagittal T2 with bright fat, with spectral fat suppression, or as STIR."""
    treatment = rng.choice(list(FAT_TREATMENTS), p=list(FAT_TREATMENTS.values()))
    if treatment == "stir":
        return replace(t2, te=rng.uniform(*STIR_TE_MS), ti=rng.uniform(*STIR_TI_MS))
    return replace(t2, fat_suppressed=treatment == "suppressed")


def _sample_matrices(rng: np.random.Generator) -> list[int]:
    """(sagittal, axial) px."""
    return rng.choice(list(MATRICES), 2, p=list(MATRICES.values())).tolist()


def _sample_axial_layout(rng: np.random.Generator) -> tuple[str, float]:
    """Layout and distance between slices in mm of an axial series."""
    if rng.random() < IN_BLOCKS:
        return BLOCKS, rng.uniform(*BLOCK_GAP_MM)
    return STACK, rng.uniform(*STACK_GAP_MM)


def with_contrast_jitter(protocol: Protocol, contrast: str, rng: np.random.Generator) -> Protocol:
    """The protocol with contrast jitter and another field of view, spacing and number of slices.

    Tissues get intensities that no scanner shows (after SynthSeg, Billot 2023), so that a model
    trained on such images cannot rely on absolute intensities.

    contrast  a name in CONTRASTS; raises KeyError for another
    """
    settings = CONTRASTS[contrast]
    jittered = rng.random() < settings.proportion
    jitter = rng.uniform(*settings.jitter) if jittered else 0.0
    seed = int(rng.integers(2**31))
    sequence = replace(protocol.sequence, contrast_jitter=jitter, jitter_seed=seed)
    protocol = replace(protocol, sequence=sequence)
    return _with_moved_frame(protocol, settings.frame, rng) if settings.frame else protocol


def _with_moved_frame(protocol: Protocol, frame: float, rng: np.random.Generator) -> Protocol:
    """Another size and centre of the field of view, slice spacing and number of sagittal slices."""
    zoom, stretch = np.exp(rng.uniform(-LOG_ZOOM, LOG_ZOOM, 2) * frame)
    most = AXIAL_SHIFT_MM if protocol.name == AXIAL_T2 else SAGITTAL_SHIFT_MM
    x, y, z = rng.uniform(-1, 1, 3) * most * frame
    slices = protocol.slices
    if slices:
        slices += round(rng.uniform(*EXTRA_SLICES) * frame)
    return replace(
        protocol,
        fov_mm=protocol.fov_mm * zoom,
        gap_mm=protocol.gap_mm * stretch,
        thickness_mm=round(protocol.thickness_mm * stretch, 1),
        slices=slices,
        offset_mm=(x, y, z),
    )
