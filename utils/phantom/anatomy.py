"""One patient's lumbar spine as geometry: a curved axis, and every structure as a simple shape round it.

The spine's own coordinates make curved anatomy simple. For a point in patient space (LPS mm):
    s  mm along the posterior wall of the vertebral bodies, from T11 down
    u  mm to the patient's left of the mid-line
    v  mm behind the posterior wall (the canal has v > 0, the bodies v < 0)
A disc is then a slab of s, the canal a tube of constant v, and bending the axis bends all of them alike.

Dimensions: adult lumbar morphometry, adjusted to two real studies; the grades follow published criteria: canal by the
share of the sac lost (Lurie 2008: a third, two thirds), foramen by the perineural fat left (Lee 2010), lateral recess
by depth and root contact (Bartynski 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree
from scipy.special import ndtr

from utils.rsna import CONDITIONS, FAMILY, GRADES, LEVELS, TARGETS

# Share of Normal/Mild and of Moderate, per level from L1/L2 to L5/S1, in the 1,975 real studies.
PREVALENCE = {
    "spinal": ((0.955, 0.897, 0.822, 0.751, 0.965), (0.034, 0.077, 0.117, 0.120, 0.026)),
    "foraminal": ((0.964, 0.910, 0.770, 0.612, 0.642), (0.032, 0.086, 0.209, 0.319, 0.258)),
    "subarticular": ((0.930, 0.827, 0.671, 0.451, 0.714), (0.056, 0.132, 0.230, 0.316, 0.205)),
}
BALANCED = (0.40, 0.30)
# What is left of the structure, by grade: sac depth (share), foraminal fat (share), recess depth (mm).
OPENING = {
    "spinal": ((0.76, 1.02), (0.42, 0.62), (0.14, 0.34)),
    "foraminal": ((0.72, 1.00), (0.34, 0.52), (0.02, 0.16)),
    "subarticular": ((4.2, 6.0), (2.0, 3.0), (0.3, 1.1)),
}
RECESS_U, FORAMEN_U, FORAMEN_S = 8.5, 17.5, -6.0  # mm: where the recess and the foramen sit beside a disc's centre

BODY_HEIGHTS = np.array([22.5, 24.0, 26.5, 27.0, 27.0, 27.0, 26.5, 28.0, 23.0, 19.0])  # T11 T12 L1..L5 S1 S2 S3, mm
BODY_DEPTHS = np.array([30.0, 31.0, 33.0, 34.0, 34.0, 34.5, 35.0, 31.0, 23.0, 17.0])
BODY_WEDGES = np.array([-3.0, -3.0, -3.0, -1.0, 1.0, 3.0, 8.0, -6.0, -12.0, -16.0])  # degrees of lordosis each adds
DISC_HEIGHTS = np.array([5.5, 7.0, 8.5, 9.5, 10.5, 11.0, 10.0, 2.5, 1.5])  # T11/T12 ... L5/S1, then two sacral rests
DISC_WEDGES = np.array([1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 0.0, 0.0])
FIRST_DISC = 2  # index of L1/L2 among the discs
STEP = 0.5  # mm between samples of the axis


@dataclass(frozen=True)
class Spine:
    """The anatomy of one study. Arrays along the axis have one entry per STEP of s; per-level arrays one per LEVELS."""

    axis: np.ndarray  # (n, 3) mm, the posterior wall's mid-line
    tilt: np.ndarray  # (n,) radians; 0 where the spine runs straight to the feet, positive where it runs backwards
    discs: np.ndarray  # (9, 2) s of upper and lower endplate of every disc
    scale: float  # body size
    hydration: np.ndarray  # (9,) 0 black disc .. 1 bright nucleus
    opening: dict[tuple[str, str], float]  # what is left of each target's structure, in the units of OPENING
    sac_depth: float  # mm, front to back, where nothing narrows it
    sac_width: float  # mm, half the width
    conus: float  # s where the cord ends
    skin_mm: float  # canal to skin at the back
    fat_mm: float  # subcutaneous fat at the back
    texture: np.ndarray  # (k, 4) wave vectors and phases of the tissue texture

    @property
    def disc_s(self) -> np.ndarray:
        """(5,) s of the centres of the five graded discs."""
        return self.discs[FIRST_DISC : FIRST_DISC + len(LEVELS)].mean(1)

    def side(self, family: str, side: str) -> np.ndarray:
        """(5,) opening of one family on one side, from L1/L2 down."""
        condition = next(c for c in CONDITIONS if FAMILY[c] == family and (family == "spinal" or c.startswith(side)))
        return np.array([self.opening[condition, level] for level in LEVELS])

    def to_patient(self, s, u, v) -> np.ndarray:
        """Spine coordinates -> LPS mm (…, 3)."""
        at = np.asarray(s, float) / STEP
        grid = np.arange(len(self.axis))
        centre = np.stack([np.interp(at, grid, self.axis[:, k]) for k in range(3)], -1)
        tilt = np.interp(at, grid, self.tilt)
        back = np.stack([np.zeros_like(tilt), np.cos(tilt), np.sin(tilt)], -1)
        return centre + np.asarray(u, float)[..., None] * (1.0, 0.0, 0.0) + np.asarray(v, float)[..., None] * back

    @cached_property
    def lookup(self):
        """s and v on a regular (y, z) grid, for fast interpolation: (origin (2,), spacing, s (Y, Z), v (Y, Z)).

        The axis bends in the y-z plane only, so two coordinates serve all x.
        """
        spacing = 1.5
        low, high = self.axis[:, 1:].min(0) - 160, self.axis[:, 1:].max(0) + np.array([120, 60])
        shape = np.ceil((high - low) / spacing).astype(int)
        yz = low + np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing
        _, nearest = cKDTree(self.axis[:, 1:]).query(yz)
        offset, tilt = yz - self.axis[nearest, 1:], self.tilt[nearest]
        along = offset[..., 0] * np.sin(tilt) - offset[..., 1] * np.cos(tilt)
        behind = offset[..., 0] * np.cos(tilt) + offset[..., 1] * np.sin(tilt)
        return low, spacing, (nearest * STEP + along).astype(np.float32), behind.astype(np.float32)

    def sac(self, s) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Front (v), back (v) and half-width of the thecal sac at s, with every level's narrowing applied."""
        loss = np.zeros_like(np.asarray(s, float))
        for centre, left in zip(self.disc_s, self.side("spinal", "")):
            loss = np.maximum(loss, (1 - left) * bump(s - centre, 5.5))
        front = 1.5 + 3.5 * smoothstep((s - self.disc_s[-1]) / 15) + 0.5 * loss * self.sac_depth
        back = front + np.clip(1 - loss, 0.05, None) * self.sac_depth
        return front, back, self.sac_width * (1 - 0.35 * np.clip(loss, 0, 1))

    def point(self, condition: str, level: str) -> np.ndarray:
        """Where a reader would put the mark, LPS mm (3,)."""
        s, family = self.disc_s[LEVELS.index(level)], FAMILY[condition]
        sign = 1.0 if condition.startswith("Left") else -1.0
        if family == "spinal":
            front, back, _ = self.sac(s)
            return self.to_patient(s, 0.0, (front + back) / 2)
        if family == "foraminal":
            return self.to_patient(s + FORAMEN_S * self.scale, sign * FORAMEN_U * self.scale, 4.0)
        return self.to_patient(s, sign * RECESS_U * self.scale, 3.0)

    def measure_mm(self, condition: str, level: str) -> float:
        """The graded structure's size in mm: sac depth, height of the foraminal fat, recess depth."""
        opening = self.opening[condition, level]
        return opening * {"spinal": self.sac_depth, "foraminal": FORAMEN_FAT_MM[1] * 2, "subarticular": 1.0}[FAMILY[condition]]


FORAMEN_FAT_MM = (5.0, 8.5)  # half depth and half height of the open foramen


def bump(x, width):
    """1 at 0, falling smoothly to 0 over about twice the width."""
    return np.exp(-((x / width) ** 2))


def smoothstep(x):
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def sample_grades(rng: np.random.Generator, studies: int, prevalence: str = "real") -> np.ndarray:
    """Grades (studies, 25) as 0, 1, 2 in the order of TARGETS, correlated within study, level and between the sides.

    A Gaussian copula: the share of each grade is exactly the table's, the sharing of causes is in the correlation.
    """
    if prevalence not in ("real", "balanced"):
        raise ValueError(f"prevalence is 'real' or 'balanced', not {prevalence!r}")
    whole = rng.standard_normal((studies, 1))
    level = {lv: rng.standard_normal((studies, 1)) for lv in LEVELS}
    pair = {(FAMILY[c], lv): rng.standard_normal((studies, 1)) for c, lv in TARGETS}
    columns = []
    for condition, lv in TARGETS:
        own = rng.standard_normal((studies, 1))
        latent = np.sqrt([0.25, 0.20, 0.20, 0.35]) @ np.stack([whole, level[lv], pair[FAMILY[condition], lv], own])[..., 0]
        normal, moderate = _shares(condition, lv, prevalence)
        columns.append(np.digitize(ndtr(latent), (normal, normal + moderate)))
    return np.stack(columns, 1)


def _shares(condition: str, level: str, prevalence: str) -> tuple[float, float]:
    table = PREVALENCE[FAMILY[condition]]
    k = LEVELS.index(level)
    return BALANCED if prevalence == "balanced" else (table[0][k], table[1][k])


def make_spine(rng: np.random.Generator, grades: np.ndarray) -> Spine:
    """Anatomy (random within normal variation) whose narrowings have the given grades (25,)."""
    scale = rng.normal(0.94, 0.05)
    heights = BODY_HEIGHTS * scale * rng.normal(1, 0.03, 10)
    hydration = np.clip(rng.normal(0.75, 0.25) - rng.uniform(0, 0.6, 9) * (rng.random(9) < 0.5), 0.05, 1)
    gaps = DISC_HEIGHTS * scale * rng.normal(1, 0.06, 9) * (0.6 + 0.4 * hydration)
    lordosis = rng.normal(1, 0.2)
    lengths = np.insert(heights[1:], np.arange(9), gaps)  # disc, body, disc, body … below T11
    wedges = np.insert(BODY_WEDGES[1:], np.arange(9), DISC_WEDGES) * lordosis + rng.normal(0, 1, 18)
    lengths, wedges = np.r_[heights[0], lengths], np.r_[BODY_WEDGES[0], wedges]
    ends = np.cumsum(lengths)
    opening = {t: rng.uniform(*OPENING[FAMILY[t[0]]][g]) for t, g in zip(TARGETS, grades)}
    axis, tilt = _axis(rng, ends, lengths, wedges)
    discs = np.stack([ends[0:-1:2], ends[1::2]], 1)
    return Spine(
        axis=axis,
        tilt=tilt,
        discs=discs,
        scale=scale,
        hydration=hydration,
        opening=opening,
        sac_depth=rng.normal(14.0, 1.3),
        sac_width=rng.uniform(9.0, 11.0) * scale,
        conus=discs[FIRST_DISC].mean() + rng.uniform(-25, 20),
        skin_mm=rng.uniform(60, 80),
        fat_mm=rng.uniform(8, 30),
        texture=np.c_[rng.normal(0, 0.35, (6, 3)), rng.uniform(0, 2 * np.pi, 6)],
    )


def _axis(rng, ends, lengths, wedges) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the tilt of each segment into a smooth curve; L3's middle lies near the isocentre."""
    s = np.arange(0, ends[-1], STEP)
    segment = np.minimum(np.searchsorted(ends, s, side="right"), len(ends) - 1)
    bend = gaussian_filter1d(np.radians(wedges / lengths)[segment], 12 / STEP)  # radians per mm
    tilt = np.cumsum(bend) * STEP
    l1 = (ends[3] + ends[4]) / 2
    tilt += np.radians(rng.normal(-9, 5)) - tilt[int(l1 / STEP)]
    scoliosis = rng.normal(0, 3) * np.sin(2 * np.pi * s / ends[-1] + rng.uniform(0, 2 * np.pi))
    axis = np.stack([scoliosis, np.cumsum(np.sin(tilt)) * STEP, -np.cumsum(np.cos(tilt)) * STEP], 1)
    return axis - axis[int((ends[7] + ends[8]) / 2 / STEP)] + rng.normal(0, (6, 20, 40)), tilt


def truth_rows(study_id: int, spine: Spine, grades: np.ndarray) -> list[dict]:
    """One row per target: its grade, its size in mm, and its point in mm."""
    rows = []
    for (condition, level), grade in zip(TARGETS, grades):
        x, y, z = np.round(spine.point(condition, level), 3)
        row = {"study_id": study_id, "condition": condition, "level": level, "grade": GRADES[grade]}
        rows.append(row | {"measure_mm": round(spine.measure_mm(condition, level), 3), "x_mm": x, "y_mm": y, "z_mm": z})
    return rows
