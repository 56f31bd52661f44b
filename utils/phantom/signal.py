"""From tissue to an MR image: each tissue's signal in a sequence, and what coil and k-space add.

Spin echo:                S = PD (1 - exp(-TR/T1)) exp(-TE/T2)
Inversion pulse (STIR):   S = PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)

Artefacts arise in k-space, as in a scanner: fat is shifted along the readout (chemical shift),
lines of the phase direction are modulated by breathing (ghosts), the edge of k-space is not sampled
(truncation), and the noise is complex, so that its magnitude is Rician.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft

from utils.dicom import Slice
from utils.phantom.spine import SKIN_MARGIN_MM, Spine
from utils.phantom.tissue import paint, points_of


class Tissue(NamedTuple):
    """What a tissue's MR signal depends on."""

    density: float  # of protons; 1 = free water
    t1: float  # ms at 1.5 T
    t2: float  # ms at 1.5 T
    fat: float  # fraction of the signal that comes from fat


# After Bottomley 1984 and de Bazelaire 2004, adjusted so that the contrast of T1 and T2 is that of
# clinical turbo spin echo, in which fat stays bright.
TISSUES = {
    "air": Tissue(0.0, 1000, 50, 0.0),
    "fat": Tissue(0.90, 280, 155, 1.0),
    "marrow": Tissue(0.80, 480, 80, 0.5),
    "muscle": Tissue(0.80, 900, 56, 0.0),
    "cortex": Tissue(0.12, 900, 20, 0.0),
    "annulus": Tissue(0.68, 1050, 50, 0.0),
    "nucleus": Tissue(0.88, 1300, 118, 0.0),
    "dry nucleus": Tissue(0.72, 1050, 54, 0.0),
    "csf": Tissue(1.00, 1950, 1500, 0.0),
    "cord": Tissue(0.85, 950, 105, 0.0),
    "root": Tissue(0.80, 950, 82, 0.0),
    "ligament": Tissue(0.40, 900, 34, 0.0),
    "interspinous": Tissue(0.70, 620, 68, 0.4),
    "synovia": Tissue(0.90, 1800, 250, 0.0),
    "vein": Tissue(0.85, 1300, 190, 0.0),
    "vessel": Tissue(0.06, 1500, 60, 0.0),
    "kidney": Tissue(0.85, 950, 100, 0.0),
    "liver": Tissue(0.75, 600, 48, 0.0),
    "spleen": Tissue(0.80, 1000, 85, 0.0),
    "bowel": Tissue(0.80, 900, 85, 0.1),
    "fluid": Tissue(1.00, 2600, 600, 0.0),
}
RESIDUAL_FAT = 0.10  # fraction of the fat signal that survives spectral suppression
SHIFT_HZ = 220.0  # fat against water at 1.5 T

# Chosen by judgement.
SATURATION = 0.9  # fraction of the signal that a saturation band removes
SATURATION_EDGE_MM = 6  # width of the band's soft edge
BREATHS_PER_LINE = (0.15, 0.35)  # breathing cycles per acquired line (least, most)


@dataclass(frozen=True)
class Sequence:
    """How one series was acquired. The defaults add no artefact: they show tissue alone."""

    tr: float  # ms
    te: float  # ms
    ti: float = 0.0  # ms; an inversion pulse (STIR) if not 0
    fat_suppressed: bool = False
    noise: float = 0.0  # standard deviation; 1 = signal of CSF or fat, whichever is brighter
    coil_mm: float = np.inf  # depth at which the surface coil's sensitivity has fallen to a half
    bandwidth: float = np.inf  # Hz per pixel: the larger, the less fat is shifted
    ghost: float = 0.0  # fraction of the signal that breathing repeats along the phase direction
    sampled: float = 1.0  # fraction of k-space acquired in the phase direction
    phase_axis: int = 0  # of the image: 0 down the columns, 1 along the rows
    saturation_mm: float = np.inf  # a band darkens everything further in front of the spine
    contrast_jitter: float = 0.0  # standard deviation of the logarithm of each tissue's signal
    jitter_seed: int = 0

    def signal(self) -> dict[str, complex]:
        """Signal of water (real part) and of fat (imaginary part) of every tissue.

        contrast_jitter multiplies each by a log-normal factor; at 1 little is left of the contrast
        that relaxation times give.
        """
        rng = np.random.default_rng(self.jitter_seed)
        visible_fat = RESIDUAL_FAT if self.fat_suppressed else 1
        signals = {}
        for name, tissue in TISSUES.items():
            signal = self._echo(tissue) * np.exp(self.contrast_jitter * rng.normal())
            signals[name] = complex(signal * (1 - tissue.fat), signal * tissue.fat * visible_fat)
        return signals

    def _echo(self, tissue: Tissue) -> float:
        """The formulas of this module's docstring."""
        if self.ti:
            relaxed = 1 + np.exp(-self.tr / tissue.t1) - 2 * np.exp(-self.ti / tissue.t1)
        else:
            relaxed = 1 - np.exp(-self.tr / tissue.t1)
        return tissue.density * abs(relaxed) * np.exp(-self.te / tissue.t2)


def render(
    spine: Spine, sequence: Sequence, plane: Slice, thickness: float, rng: np.random.Generator
) -> np.ndarray:
    """One slice as the scanner reconstructs it: float32 (H, W), about 1 near the coil for what is
    brightest (CSF on T2, fat on T1).

    plane      its pixels give only the size (H, W)
    thickness  mm
    """
    signal = sequence.signal()
    image = paint(spine, signal, plane, thickness) * coil(spine, sequence, plane)
    image /= np.float32(max(signal["fat"].imag, signal["csf"].real))
    return acquire(image, sequence, rng)


def coil(spine: Spine, sequence: Sequence, plane: Slice) -> np.ndarray:
    """Sensitivity (H, W) of a surface coil under the back: 1 at the skin, falling with depth, and
    lower still in a saturation band in front of the spine."""
    _, y, z = points_of(plane)
    skin = spine.skin(z)
    depth = np.maximum(skin - y, 0) * np.float32(1 / sequence.coil_mm)
    sensitivity = 1 / (1 + depth * depth * depth)
    if np.isfinite(sequence.saturation_mm):
        edge = np.float32(spine.skin_mm + SKIN_MARGIN_MM + sequence.saturation_mm)
        ahead = skin - edge - y  # mm inside the band
        sensitivity *= 1 - SATURATION / (1 + np.exp(-ahead / SATURATION_EDGE_MM))
    return sensitivity


def acquire(image: np.ndarray, sequence: Sequence, rng: np.random.Generator) -> np.ndarray:
    """Water + i fat (H, W) complex64 -> magnitude (H, W) float32, by way of k-space."""
    phase, readout = _frequencies(image.shape, sequence.phase_axis)
    fat_px = SHIFT_HZ / sequence.bandwidth  # how far fat is moved along the readout
    shift = np.exp(-2j * np.pi * readout * fat_px).astype(np.complex64)
    k = fft.fft2(image.real) + fft.fft2(image.imag) * shift
    breaths = rng.uniform(*BREATHS_PER_LINE) * image.shape[sequence.phase_axis]
    k *= 1 + np.float32(2 * sequence.ghost) * np.cos(np.float32(2 * np.pi * breaths) * phase)
    k += _complex_noise(image.shape, rng) * np.float32(sequence.noise * np.sqrt(image.size))
    k *= np.abs(phase) <= sequence.sampled / 2
    return np.abs(fft.ifft2(k))


def _frequencies(shape: tuple[int, ...], phase_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Cycles per pixel, float32, along phase and readout direction; they broadcast to shape."""
    phase = fft.fftfreq(shape[phase_axis]).astype(np.float32)
    readout = fft.fftfreq(shape[1 - phase_axis]).astype(np.float32)
    if phase_axis == 0:
        return phase[:, None], readout[None, :]
    return phase[None, :], readout[:, None]


def _complex_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """complex64 whose real and imaginary parts are standard normal."""
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
