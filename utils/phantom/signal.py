"""From tissue to an MR picture: how bright a tissue is on a sequence, and what coil, gradients and time add.

Spin echo S = PD (1 - exp(-TR/T1)) exp(-TE/T2); with an inversion pulse (STIR) PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2).
The rest happens where it happens in a scanner, in k-space: fat is shifted along the readout (chemical shift), lines of
the phase direction are modulated by breathing (ghosts), the edge of k-space is never sampled (truncation), and the
noise is complex, so that its magnitude is Rician.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from utils.geometry import Slice
from utils.phantom.anatomy import Spine
from utils.phantom.tissue import paint, points_of

# Proton density, T1 ms, T2 ms at 1.5 T (after Bottomley 1984 and de Bazelaire 2004), set so that brightness on T1 and
# T2 is that of clinical turbo spin echo, in which fat stays bright; the share of the signal that is fat.
TISSUES = {
    "air": (0.0, 1000, 50, 0.0),
    "fat": (0.90, 280, 155, 1.0),
    "marrow": (0.80, 480, 80, 0.5),
    "muscle": (0.80, 900, 56, 0.0),
    "cortex": (0.12, 900, 20, 0.0),
    "annulus": (0.68, 1050, 50, 0.0),
    "nucleus": (0.88, 1300, 118, 0.0),
    "dry nucleus": (0.72, 1050, 54, 0.0),
    "csf": (1.00, 1950, 1500, 0.0),
    "cord": (0.85, 950, 105, 0.0),
    "root": (0.80, 950, 82, 0.0),
    "ligament": (0.40, 900, 34, 0.0),
    "interspinous": (0.70, 620, 68, 0.4),
    "synovia": (0.90, 1800, 250, 0.0),
    "vein": (0.85, 1300, 190, 0.0),
    "vessel": (0.06, 1500, 60, 0.0),
    "kidney": (0.85, 950, 100, 0.0),
    "liver": (0.75, 600, 48, 0.0),
    "spleen": (0.80, 1000, 85, 0.0),
    "bowel": (0.80, 900, 85, 0.1),
    "fluid": (1.00, 2600, 600, 0.0),
}
FAT_LEFT = 0.10  # share of the fat signal that survives spectral suppression
SHIFT_HZ = 220.0  # fat against water at 1.5 T


@dataclass(frozen=True)
class Sequence:
    """How one series was acquired. The defaults add nothing, so that a plain Sequence shows tissue alone."""

    tr: float  # ms
    te: float  # ms
    ti: float = 0.0  # ms; an inversion pulse (STIR) if not 0
    fat_suppressed: bool = False
    noise: float = 0.0  # deviation, of the brightness of CSF or fat, whichever is brighter
    coil_mm: float = np.inf  # depth at which the surface coil's sensitivity has fallen to a half
    bandwidth: float = np.inf  # Hz per pixel: how little fat is shifted
    ghost: float = 0.0  # share of the signal that breathing repeats along the phase direction
    sampled: float = 1.0  # share of k-space acquired in the phase direction
    phase_axis: int = 0  # 0: rows, 1: columns
    saturation_mm: float = np.inf  # a band that darkens everything further in front of the spine than this
    stray: float = 0.0  # each tissue's brightness strays from its physics: deviation of its logarithm; 1 leaves little of it
    chance: int = 0  # the seed it strays by

    def signal(self) -> dict[str, complex]:
        """Signal of water (real part) and of fat (imaginary part) of every tissue."""
        out, rng = {}, np.random.default_rng(self.chance)
        for tissue, (density, t1, t2, fat) in TISSUES.items():
            relaxed = 1 + np.exp(-self.tr / t1) - 2 * np.exp(-self.ti / t1) if self.ti else 1 - np.exp(-self.tr / t1)
            s = density * abs(relaxed) * np.exp(-self.te / t2)
            s *= np.exp(self.stray * rng.normal())
            out[tissue] = complex(s * (1 - fat), s * fat * (FAT_LEFT if self.fat_suppressed else 1))
        return out


def picture(spine: Spine, sequence: Sequence, plane: Slice, thickness: float, rng: np.random.Generator) -> np.ndarray:
    """One slice as the scanner gives it: float32 (H, W), CSF on T2 or fat on T1 about 1 near the coil."""
    signal = sequence.signal()
    image = paint(spine, signal, plane, thickness) * coil(spine, sequence, plane)
    image /= np.float32(max(signal["fat"].imag, signal["csf"].real))
    return acquire(image, sequence, rng)


def coil(spine: Spine, sequence: Sequence, plane: Slice) -> np.ndarray:
    """Sensitivity (H, W) of a surface coil under the back, with the saturation band in front if there is one."""
    _, y, z = points_of(plane)
    depth = np.maximum(spine.skin(z) - y, 0) * np.float32(1 / sequence.coil_mm)
    level = 1 / (1 + depth * depth * depth)
    if np.isfinite(sequence.saturation_mm):
        ahead = spine.skin(z) - np.float32(spine.skin_mm + 10 + sequence.saturation_mm) - y
        level *= 1 - 0.9 / (1 + np.exp(-ahead / 6))
    return level


def acquire(image: np.ndarray, sequence: Sequence, rng: np.random.Generator) -> np.ndarray:
    """Water + i fat (H, W) -> magnitude (H, W) float32, by way of k-space."""
    shape, phase = image.shape, sequence.phase_axis
    line, read = (fft.fftfreq(n).astype(np.float32) for n in (shape[phase], shape[1 - phase]))
    line, read = (line[:, None], read[None, :]) if phase == 0 else (line[None, :], read[:, None])
    shift = SHIFT_HZ / sequence.bandwidth  # px that fat is moved along the readout
    k = fft.fft2(image.real) + fft.fft2(image.imag) * np.exp(-2j * np.pi * read * shift).astype(np.complex64)
    breaths = rng.uniform(0.15, 0.35) * shape[phase]
    k *= 1 + np.float32(2 * sequence.ghost) * np.cos(np.float32(2 * np.pi * breaths) * line)
    noise = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    k += noise * np.float32(sequence.noise * np.sqrt(noise.size))
    k *= np.abs(line) <= sequence.sampled / 2
    return np.abs(fft.ifft2(k))
