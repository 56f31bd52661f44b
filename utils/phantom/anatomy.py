"""One patient's lumbar spine as geometry: a curved axis, the sizes of its parts, and how the disease has changed them.

The spine's own coordinates make curved anatomy simple. For a point in patient space (LPS mm):
    s  mm along the posterior wall of the vertebral bodies, from T9 down
    u  mm to the patient's left of the mid-line
    v  mm behind the posterior wall (the canal has v > 0, the bodies v < 0)
A disc is then a slab of s, the canal a tube of constant v, and bending the axis bends all of them alike.

Dimensions: adult lumbar morphometry, adjusted to two real studies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from utils.phantom.grades import OPENING, SAC_DEPTH
from utils.rsna import CONDITIONS, FAMILY, GRADES, LEVELS, TARGETS

RECESS_U, FORAMEN_U, FORAMEN_S = 9.0, 17.0, -7.0  # mm: where the recess and the foramen sit beside a disc's centre
FORAMEN_RIM = (3.2, 8.0)  # mm of fat round the root of an open foramen: front and back, above and below
STEP = 0.5  # mm between samples of the axis

BODIES = ("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2", "S3", "S4", "S5")
BODY_HEIGHTS = np.array([21.5, 22.0, 22.5, 24.0, 26.5, 27.0, 27.0, 27.0, 26.5, 28.0, 23.0, 19.0, 17.0, 14.0])
BODY_DEPTHS = np.array([28.0, 29.0, 30.0, 31.0, 33.0, 34.0, 34.0, 34.5, 35.0, 31.0, 22.0, 16.0, 13.0, 10.0])
BODY_WIDTHS = np.array([30.0, 32.0, 34.0, 38.0, 41.0, 43.0, 45.0, 48.0, 51.0, 52.0, 44.0, 38.0, 32.0, 26.0])
BODY_WEDGES = np.array([-3.0, -3.0, -3.0, -3.0, -3.0, -1.0, 1.0, 3.0, 8.0, -6.0, -12.0, -14.0, -12.0, -10.0])
DISC_HEIGHTS = np.array([4.5, 5.0, 5.5, 7.0, 8.5, 9.5, 10.5, 11.0, 10.0, 2.5, 1.5, 1.2, 1.0])
DISC_WEDGES = np.array([0.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 0.0, 0.0, 0.0, 0.0])  # degrees of lordosis each adds
SIXTH_LUMBAR, SACRALISED = "sixth lumbar vertebra", "sacralised L5"
TRANSITIONAL = {SIXTH_LUMBAR: 0.02, SACRALISED: 0.03}


@dataclass(frozen=True)
class Spine:
    """The anatomy of one study. Arrays along the axis have one entry per STEP of s; n bodies have n - 1 discs."""

    axis: np.ndarray  # (k, 3) mm, the posterior wall's mid-line
    tilt: np.ndarray  # (k,) radians; 0 where the spine runs straight to the feet, positive where it runs backwards
    slide: np.ndarray  # (k,) mm that slipped vertebrae carry everything forward (negative) or back
    discs: np.ndarray  # (n - 1, 2) s of upper and lower endplate of every disc
    depths: np.ndarray  # (n,) mm of the bodies, front to back
    widths: np.ndarray  # (n,) mm, side to side
    first: int  # index of the disc L1/L2
    scale: float  # body size
    transitional: str  # "", SIXTH_LUMBAR or SACRALISED
    age: float  # years
    hydration: np.ndarray  # (n - 1,) 0 black disc .. 1 bright nucleus
    opening: dict[tuple[str, str], float]  # what is left of each target's structure, in the units of OPENING
    anterior: np.ndarray  # (n - 1,) share of each narrowing that comes from the disc; the rest from flavum and facets
    protrusion: np.ndarray  # (n - 1,) mm to the left of the mid-line where the disc bulges most
    facets: np.ndarray  # (n - 1, 2) growth of the left and right facet joint, 0 none
    osteophytes: np.ndarray  # (n - 1,) mm of bone at the disc's rim
    ahead: np.ndarray  # (n - 1, 2) share of a foramen's narrowing, left and right, that comes from the front
    low: np.ndarray  # (n - 1, 2) how much more of it comes from below than from above, 0 alike
    lining: np.ndarray  # (n - 1, 2) mm of capsule and ligament between its fat and the bone that has come near
    sac_depth: float  # mm, front to back, where nothing narrows it
    sac_width: float  # mm, half the width
    crowding: float  # how much of the fluid nerve roots replace where the sac is narrow
    conus: float  # s where the cord ends
    skin_mm: float  # canal to skin at the back
    fat_mm: float  # subcutaneous fat at the back
    infiltration: float  # share of fat in the muscles of the back
    grain: np.ndarray  # (3,) where in the tissue textures this patient lies, cells

    @cached_property
    def graded(self) -> slice:
        """The five graded discs among all."""
        return slice(self.first, self.first + len(LEVELS))

    @cached_property
    def disc_s(self) -> np.ndarray:
        """(5,) s of the centres of the five graded discs."""
        return self.discs[self.graded].mean(1)

    @cached_property
    def left_over(self) -> dict[tuple[str, str], np.ndarray]:
        """(n - 1,) opening at every disc by family and side ("Left", "Right"; both for the canal)."""
        table = {}
        for family, ranges in OPENING["textbook"].items():
            for side in ("Left", "Right"):
                whole = np.full(len(self.discs), ranges[0][1])
                of = next(c for c in CONDITIONS if FAMILY[c] == family and (family == "spinal" or c.startswith(side)))
                whole[self.graded] = [self.opening[of, level] for level in LEVELS]
                table[family, side] = whole
        return table

    def along(self, s, values) -> np.ndarray:
        """Values per STEP of s (k,) read off at any s."""
        return np.interp(np.asarray(s, float) / STEP, np.arange(len(values)), values)

    def to_patient(self, s, u, v) -> np.ndarray:
        """Spine coordinates -> LPS mm (…, 3)."""
        centre = np.stack([self.along(s, self.axis[:, k]) for k in range(3)], -1)
        tilt = self.along(s, self.tilt)
        back = np.stack([np.zeros_like(tilt), np.cos(tilt), np.sin(tilt)], -1)
        behind = np.asarray(v, float) + self.along(s, self.slide)
        return centre + np.asarray(u, float)[..., None] * (1.0, 0.0, 0.0) + behind[..., None] * back

    @cached_property
    def lookup(self) -> tuple[np.ndarray, float, np.ndarray]:
        """(origin (2,), spacing, index (Y, Z) of the axis sample nearest to each (y, z) of a grid), for to_spine.

        The axis bends in the y-z plane only (scoliosis shifts it sideways), so one table serves all x.
        """
        spacing = 2.0
        low, high = self.axis[:, 1:].min(0) - 130, self.axis[:, 1:].max(0) + 110
        ticks = [np.arange(a, b, spacing) for a, b in zip(low, high)]
        _, nearest = cKDTree(self.axis[:, 1:]).query(np.stack(np.meshgrid(*ticks, indexing="ij"), -1), workers=1)
        return low, spacing, nearest.astype(np.int32)

    @cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """What depends on s alone, one float32 per STEP: reading it off there is faster than working it out per point."""
        s, middles = np.arange(len(self.axis)) * STEP, self.discs.mean(1)
        x, y, z = self.axis.T
        disc = np.searchsorted((middles[1:] + middles[:-1]) / 2, s)
        front, back, width = self.sac(s)
        lost, ahead = self.narrowing(s)
        columns = {"x": x, "y": y, "z": z, "sin": np.sin(self.tilt), "cos": np.cos(self.tilt), "slide": self.slide}
        columns |= {"bend": np.gradient(self.tilt, STEP), "disc": disc}
        columns |= {"middle": middles[disc], "half": (np.diff(self.discs, axis=1)[:, 0] / 2)[disc]}
        columns |= {"front": front, "back": back, "width": width, "lost": np.clip(lost, 0, 1), "ahead": ahead}
        columns |= {"sacral": smoothstep((s - self.disc_s[-1]) / 12)}
        across = smoothstep(0.5 + (s - columns["middle"]) / (2 * columns["half"]))  # from one body's size to the next
        for name, sizes in (("depth", self.depths), ("wide", self.widths)):
            columns[name] = sizes[disc] + (sizes[disc + 1] - sizes[disc]) * across
        return {name: np.ascontiguousarray(values, np.float32) for name, values in columns.items()}

    @cached_property
    def skin_curve(self) -> tuple[float, np.ndarray]:
        """(lowest z, y of the skin of the back every quarter mm upward): it follows the spine's curve, flattened."""
        heights = np.arange(-300.0, 301.0, 4.0) + self.axis[:, 2].mean()
        head_up = self.axis[::-1]
        back = np.interp(heights, head_up[:, 2], head_up[:, 1])
        flat = np.convolve(np.pad(back, 15, mode="edge"), np.hanning(31) / np.hanning(31).sum(), "valid")
        fine = np.arange(heights[0], heights[-1], 0.25)
        curve = np.interp(fine, heights, 0.7 * flat + 0.3 * flat.mean() + self.skin_mm + 10)
        return float(heights[0]), curve.astype(np.float32)

    def skin(self, z: np.ndarray) -> np.ndarray:
        """y (mm) of the skin of the back at height z."""
        lowest, curve = self.skin_curve
        return curve[np.clip((z - np.float32(lowest)) * 4 + np.float32(0.5), 0, len(curve) - 1).astype(np.int32)]

    def step_of(self, s: np.ndarray) -> np.ndarray:
        """Index into the tables for s (n,)."""
        return np.clip(s * np.float32(1 / STEP) + np.float32(0.5), 0, len(self.axis) - 1).astype(np.int32)

    def to_spine(self, points: np.ndarray) -> np.ndarray:
        """LPS mm (3, n) -> s, u, v (3, n) as float32; the reverse of to_patient within 10 cm of the spine."""
        low, spacing, nearest = self.lookup
        cells = ((points[1:].T - low) * (1 / spacing) + 0.5).astype(np.int32).T
        y, z = (np.clip(c, 0, n - 1) for c, n in zip(cells, nearest.shape))
        i, table = nearest[y, z], self.tables
        sin, cos = table["sin"][i], table["cos"][i]
        dy, dz = points[1] - table["y"][i], points[2] - table["z"][i]
        behind = dy * cos + dz * sin
        stretch = np.maximum(1 - table["bend"][i] * behind, np.float32(0.3))  # lengths grow on the outside of a curve
        s = i * np.float32(STEP) + (dy * sin - dz * cos) / stretch
        j = self.step_of(s)
        return np.stack([s, points[0] - table["x"][j], behind - table["slide"][j]])

    def sac(self, s) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Front (v), back (v) and half-width of the thecal sac at s, with every level's narrowing applied."""
        lost, ahead = self.narrowing(s)
        end = smoothstep((s - self.disc_s[-1] - 12) / 50)  # the sac ends at S2
        front = 1.2 + 3.5 * smoothstep((s - self.disc_s[-1]) / 15) + ahead * lost * self.sac_depth
        back = front + np.clip((1 - lost) * (1 - 0.8 * end), 0.05, None) * self.sac_depth
        return front, back, self.sac_width * (1 - 0.3 * np.clip(lost, 0, 1)) * (1 - end)

    def narrowing(self, s) -> tuple[np.ndarray, np.ndarray]:
        """Share of the sac's depth lost at s, and the share of that which the disc in front has taken."""
        lost, ahead = np.zeros(np.shape(s)), np.full(np.shape(s), 0.5)
        for centre, left, share in zip(self.disc_s, self.left_over["spinal", "Left"][self.graded], self.anterior[self.graded]):
            here = (1 - left) * bump(s - centre, 6.0)
            ahead = np.where(np.abs(here) > np.abs(lost), share, ahead)
            lost = np.where(np.abs(here) > np.abs(lost), here, lost)
        return lost, ahead

    def front_wall(self, s: np.ndarray, u: np.ndarray) -> np.ndarray:
        """How far (mm of v) disc tissue stands back into canal, recesses and foramina at s, u (n,)."""
        at = self.step_of(s)
        table, j = self.tables, self.tables["disc"][at].astype(np.int32)
        lost, ahead = table["lost"][at], table["ahead"][at]
        central = (1 + ahead * lost * np.float32(self.sac_depth)) * smoothstep(lost / np.float32(0.15))
        central = central * bump(u - self.protrusion.astype(np.float32)[j], np.float32(9))
        lateral = self.shut(u, j) * self.anterior.astype(np.float32)[j]
        lateral = lateral * bump(np.abs(u) - np.float32(RECESS_U * self.scale), np.float32(4))
        bulge = 1.5 * (1 - self.hydration.astype(np.float32)[j])
        away = bump(s - table["middle"][at], table["half"][at] + 2)
        return np.maximum(np.maximum(central, lateral), bulge) * away

    def back_wall(self, s: np.ndarray, u: np.ndarray) -> np.ndarray:
        """v of the canal's back wall at disc level, (n,): flavum at the mid-line, facets at the sides."""
        at = self.step_of(s)
        j, open_mid = self.tables["disc"][at].astype(np.int32), np.float32(19.5 * self.scale)
        lost, back = self.tables["lost"][at], self.tables["back"][at]
        middle = open_mid + smoothstep(lost / np.float32(0.3)) * (back + 0.6 - open_mid)
        side = 0.5 + self.shut(u, j) * self.anterior.astype(np.float32)[j] + self.open_at("subarticular", u, j)
        across = np.clip(np.abs(u) / np.float32(RECESS_U * self.scale), 0, 1.15)
        return middle + (np.minimum(side, middle) - middle) * across**2

    def open_at(self, family: str, u: np.ndarray, j: np.ndarray) -> np.ndarray:
        """What is left of a family's structure at disc j on the side of u, (n,)."""
        sides = np.concatenate([self.left_over[family, side] for side in ("Right", "Left")]).astype(np.float32)
        return sides[j + len(self.discs) * (u > 0)]

    def shut(self, u: np.ndarray, j: np.ndarray) -> np.ndarray:
        """mm that the recess on the side of u has lost, (n,)."""
        return np.clip(5.5 - self.open_at("subarticular", u, j), 0, None)

    def recess_root(self, s: np.ndarray, u: np.ndarray) -> np.ndarray:
        """v of the traversing root in its recess, (n,)."""
        left = self.open_at("subarticular", u, self.tables["disc"][self.step_of(s)].astype(np.int32))
        return self.front_wall(s, u) + np.minimum(left / 2, 2.6) + 0.2

    def point(self, condition: str, level: str) -> np.ndarray:
        """Where a reader would put the mark, LPS mm (3,)."""
        s, family = self.disc_s[LEVELS.index(level)], FAMILY[condition]
        sign = 1.0 if condition.startswith("Left") else -1.0
        if family == "spinal":
            front, back, _ = self.sac(s)
            return self.to_patient(s, 0.0, (front + back) / 2)
        if family == "foraminal":
            return self.to_patient(s + FORAMEN_S * self.scale, sign * FORAMEN_U * self.scale, 4.2)
        u = np.float32([sign * (RECESS_U * self.scale + 0.6)])
        return self.to_patient(s, u[0], self.recess_root(np.float32([s]), u)[0])

    def measure_mm(self, condition: str, level: str) -> float:
        """The graded structure's size in mm: sac depth, fat before and behind the exiting root (an open foramen has more,
        up to the bones), recess depth."""
        unit = {"spinal": self.sac_depth, "foraminal": 2 * FORAMEN_RIM[0], "subarticular": 1.0}
        return self.opening[condition, level] * unit[FAMILY[condition]]


def bump(x, width):
    """1 at 0, falling smoothly to 0 over about twice the width."""
    return np.exp(-((x / width) ** 2))


def smoothstep(x):
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def make_spine(
    rng: np.random.Generator,
    grades: np.ndarray,
    transitional: str | None = None,
    scale: float | None = None,
    lordosis: float | None = None,
    grading: str = "textbook",
) -> Spine:
    """Anatomy (random within normal variation) whose narrowings have the given grades (25,).

    transitional  None draws one in a few percent of spines; "", SIXTH_LUMBAR and SACRALISED ask for it
    scale         size of the body, about 0.93; lordosis: curvature, about 1; None draws them
    grading       how far grades lie apart: a name out of OPENING
    """
    drawn_scale, age, drawn_lordosis = rng.normal(0.93, 0.06), rng.uniform(25, 85), rng.normal(1, 0.2)
    scale, lordosis = scale or drawn_scale, drawn_lordosis if lordosis is None else lordosis
    drawn = rng.choice(["", *TRANSITIONAL], p=[1 - sum(TRANSITIONAL.values()), *TRANSITIONAL.values()])
    transitional = str(drawn) if transitional is None else transitional
    heights, depths, widths, wedges, gaps, disc_wedges = _segments(transitional)
    n, first = len(heights), len(heights) - 10  # five discs above S1 are graded, and five sacral bodies follow
    opening = {t: rng.uniform(*OPENING[grading][FAMILY[t[0]]][g]) for t, g in zip(TARGETS, grades)}
    worn = _wear(rng, n - 1, first, age, np.asarray(grades))
    hydration = np.clip(1.0 - 0.8 * worn - rng.uniform(0, 0.15, n - 1), 0.03, 1)
    heights, gaps = heights * scale * rng.normal(1, 0.03, n), gaps * scale * rng.normal(1, 0.06, n - 1) * (1 - 0.5 * worn)
    lengths, bends = _alternate(heights, gaps), _alternate(wedges, disc_wedges) * lordosis + rng.normal(0, 1, 2 * n - 1)
    ends = np.cumsum(lengths)
    axis, tilt = _axis(rng, ends, lengths, bends, first)
    discs = np.stack([ends[0:-1:2], ends[1::2]], 1)
    return Spine(
        axis=axis,
        tilt=tilt,
        slide=_slide(rng, discs, first, worn, len(axis)),
        discs=discs,
        depths=depths * scale * rng.normal(1, 0.03),
        widths=widths * scale * rng.normal(1, 0.04),
        first=first,
        scale=scale,
        transitional=transitional,
        age=age,
        hydration=hydration,
        opening=opening,
        anterior=rng.uniform(0.3, 0.75, n - 1),
        protrusion=rng.normal(0, 1.5, n - 1),
        facets=worn[:, None] * rng.uniform(0.0, 0.35, (n - 1, 2)),
        osteophytes=worn * rng.uniform(0, 3.5, n - 1),
        sac_depth=max(9.0, rng.normal(*SAC_DEPTH[grading])),
        sac_width=rng.uniform(9.0, 11.0) * scale,
        conus=discs[first].mean() + rng.uniform(-28, 22),
        skin_mm=rng.uniform(56, 76),
        fat_mm=rng.uniform(7, 30),
        infiltration=np.clip(rng.normal(0.05 + 0.3 * (age - 25) / 60, 0.08), 0.01, 0.6),
        grain=rng.integers(0, 128, 3).astype(np.int32),
        ahead=rng.uniform(0.2, 0.8, (n - 1, 2)),
        low=rng.uniform(0.0, 0.9, (n - 1, 2)),
        lining=rng.uniform(0.5, 4.0, (n - 1, 2)),
        crowding=rng.uniform(0.3, 1.1),
    )


def _segments(transitional: str):
    """Heights, depths, widths and wedges of the bodies; heights and wedges of the discs; from T9 down."""
    bodies = [BODY_HEIGHTS, BODY_DEPTHS, BODY_WIDTHS, BODY_WEDGES]
    discs = [DISC_HEIGHTS, DISC_WEDGES]
    if transitional == SIXTH_LUMBAR:
        at = BODIES.index("L4")
        bodies, discs = [np.insert(b, at, b[at]) for b in bodies], [np.insert(d, at, d[at]) for d in discs]
    heights, wedges = (d.copy() for d in discs)
    if transitional == SACRALISED:
        heights[len(heights) - 5] *= 0.4
        wedges[len(heights) - 5] *= 0.5
    return *bodies, heights, wedges


def _wear(rng: np.random.Generator, discs: int, first: int, age: float, grades: np.ndarray) -> np.ndarray:
    """Degeneration 0 .. 1 of every disc: with age, more at the lower levels, and always where something is narrowed."""
    at = np.arange(discs) - first
    worn = rng.uniform(0, 0.3, discs) + (age - 25) / 60 * rng.uniform(0, 0.8, discs) * (at >= -2)
    for k, level in enumerate(LEVELS):
        worst = max(grade for grade, (_, lv) in zip(grades, TARGETS) if lv == level)
        worn[first + k] += rng.uniform(0.1, 0.35) * worst + 0.05 * k
    return np.clip(worn, 0, 1)


def _alternate(bodies: np.ndarray, discs: np.ndarray) -> np.ndarray:
    """body, disc, body … body"""
    return np.insert(bodies, np.arange(1, len(bodies)), discs)


def _axis(rng: np.random.Generator, ends, lengths, wedges, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the tilt of each segment into a smooth curve; the third graded disc lies near the isocentre."""
    s = np.arange(0, ends[-1], STEP)
    segment = np.minimum(np.searchsorted(ends, s, side="right"), len(ends) - 1)
    bend = gaussian_filter1d(np.radians(wedges / lengths)[segment], 10 / STEP)  # radians per mm
    tilt = np.cumsum(bend) * STEP
    top, middle = (int(ends[2 * k] / STEP) for k in (first, first + 2))
    tilt += np.radians(rng.normal(-9, 5)) - tilt[top]
    curve = rng.normal(0, 3) if rng.random() < 0.85 else rng.choice([-1, 1]) * rng.uniform(6, 14)
    scoliosis = curve * np.sin(2 * np.pi * s / 320 + rng.uniform(0, 2 * np.pi))
    axis = np.stack([scoliosis, np.cumsum(np.sin(tilt)) * STEP, -np.cumsum(np.cos(tilt)) * STEP], 1)
    return axis - axis[middle] + rng.normal(0, (5, 15, 12)), tilt


def _slide(rng: np.random.Generator, discs: np.ndarray, first: int, worn: np.ndarray, samples: int) -> np.ndarray:
    """Slipped vertebrae: above a slip everything stands a few mm further forward (rarely further back)."""
    s, slide = np.arange(samples) * STEP, np.zeros(samples)
    for k in range(first + 1, first + len(LEVELS)):
        if rng.random() < 0.12 * worn[k]:
            slip = rng.uniform(2.5, 7.0) * rng.choice([-1, 1], p=[0.8, 0.2])
            top, bottom = discs[k]
            slide += slip * (1 - smoothstep((s - top) / (bottom - top)))
    return slide


def truth_rows(study_id: int, spine: Spine, grades: np.ndarray) -> list[dict]:
    """One row per target: its grade, its size in mm, and its point in mm."""
    rows = []
    for (condition, level), grade in zip(TARGETS, grades):
        x, y, z = np.round(spine.point(condition, level), 3)
        row = {"study_id": study_id, "condition": condition, "level": level, "grade": GRADES[grade]}
        rows.append(row | {"measure_mm": round(spine.measure_mm(condition, level), 3), "x_mm": x, "y_mm": y, "z_mm": z})
    return rows


def anatomy_row(study_id: int, spine: Spine) -> dict:
    """What else is known of a study: who lies there, and what is unusual."""
    row = {"study_id": study_id, "age": round(spine.age), "scale": round(spine.scale, 3), "transitional": spine.transitional}
    row |= {"slip_mm": round(float(np.ptp(spine.slide)), 1), "sideways_mm": round(float(np.ptp(spine.axis[:, 0])), 1)}
    return row | {"curve_degrees": round(float(np.degrees(np.ptp(spine.tilt))))}
