"""Where each tissue lies: the structures of one spine, painted back to front on the points of a slice.

Every structure is a depth: the mm from a point to its surface, positive inside. A depth makes a soft edge one pixel wide
(partial volume in the plane), the smaller of two depths is what two shapes share, the larger is both together.
A canvas holds the signal of water and of fat apart, since a scanner shifts and suppresses fat alone: as the real and
the imaginary part of one array, which paints both in one stroke.
"""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
from scipy.ndimage import gaussian_filter

from utils.geometry import Slice
from utils.phantom.anatomy import FORAMEN_RIM, FORAMEN_S, FORAMEN_U, RECESS_U, STEP, Spine, bump, smoothstep

SPINE_BOX = (72.0, -80.0, 74.0)  # mm: how far to the side, in front and behind the spine's own structures reach
CORE_BOX = (31.0, -10.0, 56.0)  # the part with fine structures, which is sampled twice through the slice
TEXTURES = {"grain": 1.8, "cloud": 4.0, "fibres": (10.0, 1.6, 1.6), "folds": 7.0}  # smoothness in cells
# Organs (centre: mm from L3's back wall to the left, behind, towards the head; half-axes; tissue).
ORGANS = (
    ((0, -104, -20), (105, 52, 150), "bowel"),
    ((62, -28, 40), (29, 25, 56), "kidney"),
    ((-62, -28, 30), (29, 25, 56), "kidney"),
    ((-88, -75, 90), (72, 78, 74), "liver"),
    ((82, -52, 105), (36, 42, 55), "spleen"),
    ((0, -72, -165), (42, 38, 34), "fluid"),  # the bladder
    ((5, -40, -150), (26, 20, 42), "bowel"),  # the rectum
)


class Canvas:
    """Signal of water (real) and fat (imaginary), complex64, on points of patient space."""

    def __init__(self, signal: dict[str, complex], image: np.ndarray, pixel: float):
        self.signal, self.image, self.pixel = signal, image, np.float32(pixel)

    def put(self, depth: np.ndarray, tissue: str, gain=1.0) -> None:
        """Paint where depth (mm inside the shape) is positive, with an edge one pixel wide."""
        at = np.flatnonzero(depth > -self.pixel / 2)
        if len(at):
            share = np.minimum(depth.ravel()[at] * (1 / self.pixel) + np.float32(0.5), 1)
            gain = gain.ravel()[at] if np.ndim(gain) else gain
            flat = self.image.reshape(-1)
            old = flat[at]
            flat[at] = old + share * (np.complex64(self.signal[tissue]) * gain - old)


def paint(spine: Spine, signal: dict[str, complex], plane: Slice, thickness: float) -> np.ndarray:
    """Water + i fat (H, W) complex64 of the tissues in a plane; the slice's thickness counts where structures are fine."""
    grid = points_of(plane)
    canvas = Canvas(signal, np.zeros(grid.shape[1:], np.complex64), plane.spacing.mean())
    paint_trunk(canvas, spine, plane, grid)
    image, points = canvas.image.reshape(-1), grid.reshape(3, -1)
    near = np.flatnonzero(_roughly_near(spine, points))
    near, place = _within(SPINE_BOX, near, spine.to_spine(points[:, near]), spine)
    image[near] = Region(spine, canvas, place, points[:, near], image[near]).coarse_structures()
    near, place = _within(CORE_BOX, near, place, spine)
    total = 0
    for offset in (-thickness / 4, thickness / 4):
        moved = place + _in_spine(spine, place, plane.normal * offset)
        total = total + Region(spine, canvas, moved, points[:, near], image[near]).fine_structures()
    image[near] = total / np.float32(2)
    return canvas.image


def points_of(plane: Slice) -> np.ndarray:
    """(3, H, W) LPS mm of every pixel, float32."""
    height, width = plane.pixels.shape
    across, down = (plane.axes * plane.spacing[:, None]).astype(np.float32)
    column = down[:, None, None] * np.arange(height, dtype=np.float32)[:, None]
    return plane.origin.astype(np.float32)[:, None, None] + column + across[:, None, None] * np.arange(width, dtype=np.float32)


def _roughly_near(spine: Spine, points: np.ndarray) -> np.ndarray:
    low, high = spine.axis.min(0), spine.axis.max(0)
    side, front, behind = SPINE_BOX
    x, y, _ = points
    return (x > low[0] - side) & (x < high[0] + side) & (y > low[1] + front) & (y < high[1] + behind)


def _within(box, near: np.ndarray, place: np.ndarray, spine: Spine) -> tuple[np.ndarray, np.ndarray]:
    s, u, v = place
    keep = (np.abs(u) < box[0]) & (v > box[1]) & (v < box[2]) & (s > 2) & (s < len(spine.axis) * STEP - 2)
    return near[keep], place[:, keep]


def _in_spine(spine: Spine, place: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A small shift in patient space (3,) as change of s, u, v (3, n)."""
    at = spine.step_of(place[0])
    sin, cos = spine.tables["sin"][at], spine.tables["cos"][at]
    x, y, z = shift.astype(np.float32)
    return np.stack([y * sin - z * cos, np.full_like(sin, x), y * cos + z * sin])


@cache
def noise_volume(kind: str) -> np.ndarray:
    """(128, 128, 128) float32, periodic, mean 0 and deviation 1: the same for all patients, who lie elsewhere in it."""
    rng = np.random.default_rng(list(TEXTURES).index(kind))
    field = gaussian_filter(rng.standard_normal((128, 128, 128), dtype=np.float32), TEXTURES[kind], mode="wrap", truncate=3)
    return (field / field.std()).ravel()


def texture(spine: Spine, kind: str, points: np.ndarray, mm=0.7) -> np.ndarray:
    """A texture at points (3, …) of patient space (or of the spine), mm per cell: the same in every series."""
    x, y, z = ((p * np.float32(1 / mm)).astype(np.int32) + shift & 127 for p, shift in zip(points, spine.grain))
    return noise_volume(kind)[(x << 14) + (y << 7) + z]


def paint_trunk(canvas: Canvas, spine: Spine, plane: Slice, grid: np.ndarray) -> None:
    """Skin, subcutaneous fat with its septa, abdominal wall, and the organs that a picture of the spine may catch."""
    x, y, z = grid
    rear = spine.skin(z)
    across = x - np.float32(spine.axis[:, 0].mean())
    radius = np.sqrt((across / 170) ** 2 + ((y - rear + 115) / 115) ** 2)
    furrow = 7 * np.exp(-((across / 16) ** 2)) * (y > rear - 70)
    depth = (1 - radius) * 115 - furrow  # mm below the skin
    noise = texture(spine, "cloud", grid, 1.5)
    canvas.put(depth, "muscle")
    canvas.put(depth - 1.5, "fat", 1 + 0.06 * noise)
    wall = np.minimum(depth - spine.fat_mm, spine.fat_mm + 9 - depth)
    canvas.put(np.minimum(wall, rear - spine.skin_mm - y), "muscle")
    middle = spine.to_patient(spine.disc_s[2], 0.0, 0.0)
    for place, radii, tissue in ORGANS:
        paint_organ(canvas, spine, plane, grid, middle + np.array(place), np.array(radii, np.float32) * spine.scale, tissue)


def paint_organ(canvas: Canvas, spine: Spine, plane: Slice, grid: np.ndarray, centre, radii, tissue: str) -> None:
    """An ellipsoid with tissue of its own kind, where it lies in the slice at all."""
    reach = np.ceil(radii.max() / plane.spacing).astype(int)
    low = np.maximum(plane.to_pixel(centre).astype(int) - reach, 0)
    high = plane.to_pixel(centre).astype(int) + reach
    box = (slice(None), slice(low[1], max(high[1], 0)), slice(low[0], max(high[0], 0)))
    points = grid[box]
    if abs(plane.distance(centre)) > radii.max() or not points.size:
        return
    away = np.sqrt((((points - centre[:, None, None].astype(np.float32)) / radii[:, None, None]) ** 2).sum(0))
    depth, part = (1 - away) * radii.min(), Canvas(canvas.signal, canvas.image[box[1:]].copy(), canvas.pixel)
    gain = 1 + 0.06 * texture(spine, "cloud", points, 1.1)
    if tissue == "bowel":  # loops: walls, contents, some gas, fat between
        folds = texture(spine, "folds", points, 1.3)
        for threshold, inner in ((-0.2, "muscle"), (0.1, "bowel"), (1.5, "air")):
            part.put(np.minimum(depth + 3 * folds, (folds - threshold) * 8), inner)
    elif tissue == "kidney":
        for inset, inner in ((0, "kidney"), (13, "fat"), (17, "fluid")):
            part.put(depth - inset, inner, gain)
    else:
        part.put(depth, tissue, gain)
    canvas.image[box[1:]] = part.image


class Region(Canvas):
    """Points near the spine in its own coordinates; each method paints one group of structures.

    j is the nearest disc, ds the mm below its centre, half the disc's half height: the vertebra above reaches from
    the point to half its body, and so does the one below.
    """

    FIELDS = ("s", "u", "v", "at", "noise")

    def __init__(self, spine: Spine, canvas: Canvas, place: np.ndarray, points: np.ndarray, image: np.ndarray):
        super().__init__(canvas.signal, image, canvas.pixel)
        self.spine, self.k = spine, np.float32(spine.scale)
        self.s, self.u, self.v = place.astype(np.float32, copy=False)
        self.at, self.noise = spine.step_of(self.s), texture(spine, "grain", points)

    @cached_property
    def side(self) -> np.ndarray:
        return np.abs(self.u)

    @cached_property
    def still(self) -> np.ndarray:
        """v for what does not follow a slipped vertebra."""
        return self.v + self.along("slide")

    @cached_property
    def j(self) -> np.ndarray:
        return self.along("disc").astype(np.int32)

    @cached_property
    def ds(self) -> np.ndarray:
        return self.s - self.along("middle")

    @cached_property
    def half(self) -> np.ndarray:
        return self.along("half")

    def along(self, name: str) -> np.ndarray:
        """One of the spine's tables along s."""
        return self.spine.tables[name][self.at]

    def of_disc(self, values) -> np.ndarray:
        """Values per disc (n - 1,) -> per point."""
        return np.asarray(values, np.float32)[self.j]

    def of_side(self, values) -> np.ndarray:
        """Values per disc and side (n - 1, 2: left, right) -> per point."""
        return np.asarray(values, np.float32)[self.j, (self.u < 0).astype(np.intp)]

    def opening(self, family: str) -> np.ndarray:
        """What is left of the structure on the point's own side at the nearest disc."""
        return self.spine.open_at(family, self.u, self.j)

    def only(self, mask: np.ndarray, *painters) -> None:
        """Paint on a part of the points: most structures fill a small share of the picture."""
        at = np.flatnonzero(mask)
        if len(at):
            part = object.__new__(Region)
            part.spine, part.k, part.signal, part.pixel = self.spine, self.k, self.signal, self.pixel
            for name in self.FIELDS:
                setattr(part, name, getattr(self, name)[at])
            part.image = self.image[at]
            for painter in painters:
                painter(part)
            self.image[at] = part.image

    def bone(self, depth: np.ndarray, cortex: float = 1.0, gain: float = 1.0) -> None:
        """Marrow in a dark shell."""
        self.put(depth, "cortex")
        self.put(depth - np.float32(cortex), "marrow", gain * (1 + 0.09 * self.noise))

    def coarse_structures(self) -> np.ndarray:
        """What is large against a slice's thickness, (n,)."""
        self.only(self.v < 12, Region.psoas)
        self.only((self.v < -22) & (self.side < 45), Region.vessels)
        self.only(self.v > 4, Region.back_muscles)
        self.only((self.side > 16) & (self.s > self.spine.disc_s[-1] - 24), Region.pelvis)
        self.only((self.v < 1.5) & (self.v > -60) & (self.side < 33), Region.bodies, Region.discs)
        return self.image

    def fine_structures(self) -> np.ndarray:
        """Everything inside the core box, (n,)."""
        self.only((self.v > -4) & (self.v < 14), Region.epidural_space)
        self.only(self.v < 1.5, Region.bodies)
        self.only((self.v < 16) & (np.abs(self.ds) < self.half + 5), Region.discs)
        self.only((self.v > -8) & (self.v < 14) & (self.side > 5), Region.foramina)
        self.posterior_elements()
        self.only((self.v > -2) & (self.v < 26) & (self.side < 17), Region.canal)
        return self.image

    # --- soft tissue -------------------------------------------------------------------------------------------------

    def psoas(self) -> None:
        """From T12 down beside the bodies, thicker towards the pelvis; quadratus lumborum at its outer edge."""
        down = smoothstep((self.s - np.float32(self.spine.discs[self.spine.first - 1, 0])) / 130)
        lumbar = 1 - smoothstep((self.s - np.float32(self.spine.disc_s[-1]) - 25) / 20)
        muscle = solid((self.side - 26 - 11 * down, 6 + 12 * down), (self.still + 12 + 8 * down, 12 + 10 * down))
        self.put(np.where(down > 0.02, muscle, -9) * lumbar - (1 - lumbar), "muscle", 1 + 0.04 * self.noise)
        self.put(solid((self.side - 54, 17), (self.still - 3, 7)), "muscle", 1 + 0.04 * self.noise)
        between = solid((self.side - 36, 19), (self.still - 4, 7.5)) * lumbar - (1 - lumbar)  # from transverse process to process
        self.put(between, "muscle", 1 + 0.08 * self.noise)
        streaks = texture(self.spine, "fibres", (self.s, self.u, self.still)) - 1.6 + 1.5 * np.float32(self.spine.infiltration)
        self.put(np.minimum(between, streaks), "fat", 0.9)

    def vessels(self) -> None:
        """Aorta to the left and cava to the right in front of the bodies; they divide at L4 and run apart."""
        fork = smoothstep((self.s - np.float32(self.spine.disc_s[3]) + 12) / 55)
        for sign, radius in ((1, 8.0), (-1, 9.0)):
            across = self.u * sign - (9.5 + 19 * fork)
            depth = radius * (1 - 0.45 * fork) - np.hypot(across, self.still + self.along("depth") * (1 - 0.3 * fork) + 11)
            self.put(depth, "cortex")
            self.put(depth - 1, "vessel")

    def back_muscles(self) -> None:
        """Multifidus beside the spinous processes, erector spinae outside it, fat between and more of it with age."""
        low = smoothstep((self.s - np.float32(self.spine.disc_s[1])) / 110)
        rear = 57 - 14 * smoothstep((self.s - np.float32(self.spine.disc_s[4]) + 30) / 90) - 0.0045 * self.side**2
        self.put(np.minimum(0.8 - np.abs(self.still - rear), 64 - self.side), "cortex")  # the fascia of the back
        outer = solid((self.side - 32 + 4 * low, 31 - 4 * low), (self.still - 33 - 2 * low, 24 - 3 * low))
        inner = solid((self.side - 12 - 3 * low, 12 + 4 * low), (self.still - 35, 20))
        whole = np.minimum(np.maximum(outer, inner), rear - 1.5 - self.still)
        self.put(whole, "muscle", 1 + 0.08 * self.noise)
        septum = np.minimum(0.6 + 0.3 * self.noise - np.abs(inner), self.side - 11)
        self.put(np.minimum(whole, septum), "fat", 0.7)
        fibres = texture(self.spine, "fibres", (self.s, self.u, self.still))
        share = np.float32(self.spine.infiltration) * (0.6 + 0.8 * low)
        self.put(np.minimum(whole, (fibres - 2.1 + 2.4 * share) * 1.2), "fat", 0.7)

    def pelvis(self) -> None:
        """The sacral wings with their foramina, and the iliac bones outside them."""
        below = self.s - np.float32(self.spine.discs[self.spine.graded][-1, 1])
        reach = 52 * (1 - smoothstep(below / 95) * 0.75)
        wing = np.minimum(solid((self.side, reach), (self.v + 9, 15), power=4), below)
        hole = 3.5 - np.hypot(self.side - 17, 0.5 * (self.v + 6))
        self.bone(wing)
        self.put(np.minimum(hole, 6 - np.abs(self.ds - 4)), "fat")
        self.put(np.minimum(hole - 1.3, 6 - np.abs(self.ds - 4)), "root")
        slant = self.side - 56 - 0.5 * np.clip(8 - self.v, 0, None) + 0.3 * np.clip(self.v - 8, 0, None)
        blade = solid((slant, 5.5 + 0.03 * self.v), (self.v + 8, 42), power=4)
        self.bone(np.minimum(blade, below + 22), 1.2)

    @property
    def body_heights(self) -> np.ndarray:
        """(n,) mm of every vertebral body."""
        return np.r_[20.0, np.diff(self.spine.discs.ravel())[1::2], 12.0].astype(np.float32)

    # --- bodies and discs --------------------------------------------------------------------------------------------

    def outline(self, grow=0.0) -> np.ndarray:
        """Depth inside the common outline of bodies and discs seen from above: a kidney, hollow behind."""
        depth, width = self.along("depth"), self.along("wide")
        shape = solid((self.u, 0.54 * width + grow), (self.v + 0.47 * depth, 0.53 * depth + grow), power=3)
        return np.minimum(shape, grow - self.v - 1.3 * bump(self.u, 8.0) * (1 - self.along("sacral")))

    def bodies(self) -> None:
        spine, sacral = self.spine, self.along("sacral")
        height = self.body_heights[self.j + (self.ds > 0)]
        to_plate = np.abs(self.ds) - self.half  # mm into the body; negative inside the disc
        waist = 1.8 * np.sin(np.pi * np.clip(to_plate / height, 0, 1)) * (1 - 0.7 * sacral)
        lips = self.of_disc(spine.osteophytes) * bump(to_plate, 4.0) * (self.v < -6)
        outline = self.outline()
        body = np.minimum(outline - waist + lips, to_plate + 0.3 - 0.6 * bump(outline, 3.0))
        self.bone(body, 0.9)
        vein = np.minimum(0.25 * (8 + self.v) - np.abs(to_plate - height / 2), 5.0 - self.side)
        self.put(np.where(sacral > 0.5, -9, vein), "vein")
        worn = 1 - self.of_disc(spine.hydration)  # tired endplates: patches of another marrow
        patch = np.minimum(body - 1.5, (2.5 + 1.5 * self.noise) * worn - to_plate)
        self.put(patch, "marrow", 1 + 0.35 * self.noise * worn)

    def discs(self) -> None:
        """A dark ring round a nucleus that dries with age; a cleft shows while it is young."""
        spine, water, flat = self.spine, self.of_disc(self.spine.hydration), self.half - np.abs(self.ds)
        ring = np.minimum(self.outline(0.8 + 1.2 * (1 - water)), flat)
        wall = np.minimum(spine.front_wall(self.s, self.u) - self.v, flat + 1.0 + 0.4 * np.clip(self.v, 0, 5))
        wall = np.minimum(wall, np.minimum(self.v + 4, 16 - self.side))
        self.put(np.maximum(ring, np.where(self.along("sacral") > 0.6, -9, wall)), "annulus", 1 + 0.1 * self.noise)
        depth, width = self.along("depth"), self.along("wide")
        nucleus = solid((self.u, 0.42 * width), (self.v + 0.49 * depth, 0.38 * depth))
        nucleus = np.minimum(0.3 * nucleus, flat - 0.6)  # it passes slowly into the ring
        cleft = 1 - 0.35 * water * bump(self.ds, 1.0)
        self.put(nucleus, "dry nucleus", 1 + 0.08 * self.noise)
        self.put(np.where(water > 0.02, nucleus, -9) + self.pixel * (water - 1), "nucleus", cleft * (1 + 0.08 * self.noise))

    # --- foramina and posterior elements -----------------------------------------------------------------------------

    def epidural_space(self) -> None:
        """Fat in canal and foramina, on which everything else is painted, with veins behind the bodies."""
        beside = np.clip(self.side - 16, 0, None)  # outside the facets muscle comes near
        room = np.minimum(self.v + 1.5 - 0.3 * beside, 13 - self.v - beside)
        self.put(np.minimum(room, 24 - 9 * self.along("sacral") - self.side), "fat", 1 + 0.05 * self.noise)
        away = np.abs(self.ds) - self.half - 3
        self.put(np.minimum(np.minimum(away, 2.6 - self.v), 1.5 - np.abs(self.side - 4.5)), "vein")

    def foramina(self) -> None:
        """Between the pedicles: fat round the exiting root. Narrowing takes the fat on all sides, longest under the pedicle, then
        the root's shape: in front disc and rims come near, behind flavum and facet."""
        spine, left = self.spine, self.opening("foraminal")
        ahead, low, lining = (self.of_side(of) for of in (spine.ahead, spine.low, spine.lining))
        dv, ds = self.v - 4.2, self.ds - FORAMEN_S * self.k
        squeeze = 0.45 + 0.55 * smoothstep(left / 0.15)
        wide = left + 1.3 * smoothstep((left - 0.5) / 0.4)  # an open one has fat up to the bones
        rim_v = 2 * FORAMEN_RIM[0] * wide * np.where(dv < 0, 1 - ahead, ahead)
        rim_s = FORAMEN_RIM[1] * np.where(ds < 0, np.minimum(wide * (1 + 1.5 * low), wide.clip(1)), wide * (1 - low))
        fat = solid((dv, 2.7 * squeeze + rim_v), (ds, 2.7 + rim_s))
        closed = np.minimum(solid((self.side - 15.5 * self.k, 6.5), (dv, 9.0), (ds - 2, 17.0)), -fat)
        self.put(closed, "ligament")
        self.bone(closed - lining, 0.8)
        self.put(np.minimum(closed, np.minimum(1 - dv, self.half + 1.5 - np.abs(self.ds))), "annulus", 1 + 0.15 * self.noise)
        self.exiting_root(squeeze)

    def exiting_root(self, squeeze: np.ndarray) -> None:
        """Down and outward under the pedicle, with its ganglion in the foramen, then forward beside the body."""
        ds = self.ds - FORAMEN_S * self.k
        out = FORAMEN_U * self.k + 0.62 * ds + 0.02 * np.clip(ds, 0, None) ** 2
        forward = 4.2 - 0.03 * np.clip(self.side - 20, 0, None) ** 2
        thick = 1.7 + 1.0 * bump(self.side - FORAMEN_U * self.k, 4.5)
        across = np.hypot((self.side - out) * 0.85, (self.v - forward) / squeeze)
        within = np.minimum(ds + 14, 16 - ds)
        self.put(np.minimum(thick - across, within) - 20 * self.along("sacral"), "root")

    def posterior_elements(self) -> None:
        lumbar = self.s < self.spine.discs[self.spine.graded][-1, 1] + 24
        self.only(lumbar & (self.side < 6) & (self.v > 16), Region.spinous_processes)
        self.only(lumbar & (self.v < 34), Region.arch)
        self.only(~lumbar & (self.v < 40), Region.sacral_roof)

    def arch(self) -> None:
        """Pedicles, articular pillars and laminae as one bone, whose marrow passes into the body's."""
        facets, joint = self.facets()
        whole = np.maximum(np.maximum(self.pillar(), self.lamina()), facets)
        whole = np.maximum(whole, np.minimum(self.pedicle(), 14 - self.v))
        self.put(np.minimum(whole, self.v + 4), "cortex")
        self.put(np.minimum(whole - 0.9, self.v + 9), "marrow", 1 + 0.09 * self.noise)
        joint = np.minimum(facets - 0.9, joint)
        self.put(joint, "cortex")
        self.put(joint - 0.9, "synovia")

    def pedicle(self) -> np.ndarray:
        """From the upper half of each body backward, with the transverse process behind."""
        k = self.k
        heights = self.body_heights
        below, above = self.half + 0.26 * heights[self.j + 1], self.half + 0.74 * heights[self.j]
        along = np.minimum(np.abs(self.ds - below), np.abs(self.ds + above))
        wide = 4.2 + 0.45 * np.clip(self.j - self.spine.first, 0, 5).astype(np.float32)
        pedicle = solid((self.side - (13.2 + 0.5 * wide) * k, wide * k), (along, 7.0 * k))
        process = solid((self.v - 11 * k, 3.2 * k), (along, 5.0 * k))
        return np.maximum(pedicle, np.minimum(process, np.minimum(self.side - 16, 46 * k - self.side)))

    def pillar(self) -> np.ndarray:
        """The bone between the facets of one vertebra: under them in front, and the isthmus above the next disc."""
        k, ds = self.k, self.ds
        below = solid((self.side - 16.0 * k, 5.0 * k), (self.v - 11.0 * k, 4.8 * k), (ds - 11, 12.0))
        isthmus = solid((self.side - 15.5 * k, 5.2 * k), (self.v - 0.35 * (ds + 20) - 11.5 * k, 4.6 * k), (ds + 17 * k, 15 * k))
        return np.maximum(below, isthmus)

    def lamina(self) -> np.ndarray:
        """Plates that close the canal behind, shingled like a roof."""
        k, ds = self.k, self.ds + self.half
        slope = 21.5 * k - 0.45 * self.side + 0.22 * (ds + 8)
        return np.minimum(solid((self.v - slope - 1.5, 3.2), (ds + 4.5, 11.0), power=3), 15.5 * k - self.side)

    def facets(self) -> tuple[np.ndarray, np.ndarray]:
        """Both processes of a joint, and the joint between them: the vertebra below has the one in front and outside."""
        k, grown = self.k, 1 + self.of_side(self.spine.facets)
        angle = np.radians(np.interp(np.arange(len(self.spine.discs)) - self.spine.first, [0, 4], [32, 52]))
        sin, cos = self.of_disc(np.sin(angle)), self.of_disc(np.cos(angle))
        du, dv = self.side - 14.8 * k, self.v - 14.6 * k - 0.2 * self.ds
        along, across = du * sin + dv * cos, du * cos - dv * sin  # along the joint outward; across it, towards the front
        across = across + 0.035 * along**2 - 0.8  # the upper process is hollow
        tall = np.where(across > 0, self.ds - 3, self.ds + 4)
        both = solid((along, 8.4 * k * grown), (across, 7.6 * k * grown), (tall, 12.5 * k))
        return both, np.minimum(1.4 - np.abs(across), 9 - np.abs(self.ds + 1))

    def spinous_processes(self) -> None:
        """Blades in the mid-line with a thicker tip, ligament and fat between them, a dark cord along the tips."""
        k, back = self.k, self.v - 23 * self.k
        length = 29 * k
        self.put(np.minimum(3.4 - self.side, np.minimum(back, length - back)), "interspinous", 1 + 0.3 * self.noise)
        self.put(np.minimum(3.0 - self.side, 1.4 - np.abs(back - length)), "ligament")
        ds = self.ds + self.half + 3 - 0.22 * back
        thick = 2.6 + 1.6 * bump(back - 25 * k, 7)
        blade = solid((back - length / 2, length / 2 + 1), (ds, (7.5 + 2.5 * smoothstep(back / length)) * k), power=3)
        self.bone(np.minimum(thick - self.side, blade), 0.9)

    def sacral_roof(self) -> None:
        """The sacral canal's roof, thinning downwards, with its crest."""
        below = np.clip(self.s - np.float32(self.spine.disc_s[-1]), 0, None)
        roof = 18 - 15 * smoothstep(below / 120)
        self.put(np.minimum(roof - self.v, self.v + 1), "fat")
        self.bone(np.minimum(np.minimum(self.v - roof, roof + 5 - self.v), 17 - 0.08 * below - self.side))
        crest = np.minimum(2.6 - self.side, np.minimum(self.v - roof, roof + 13 - 0.07 * below - self.v))
        self.bone(np.minimum(crest, 9 - np.abs(self.ds + 8)))

    # --- the canal ---------------------------------------------------------------------------------------------------

    def canal(self) -> None:
        """Flavum behind, the sac with cord and roots in the middle, the traversing roots in the recesses."""
        level = np.minimum(10.5 - np.abs(self.ds + 1), 9 - 18 * self.along("sacral"))  # mm that flavum reaches further
        front = self.spine.front_wall(self.s, self.u)
        behind = self.spine.back_wall(self.s, self.u) + 0.12 * np.clip(8 - level, 0, None) ** 1.5
        inner = np.minimum(13.5 * self.k - self.side, self.v - front)
        lamina = 22.5 * self.k - 0.6 * self.side
        flavum = np.minimum(np.minimum(self.v - behind, lamina - self.v), np.minimum(14 * self.k - self.side, level))
        self.put(flavum, "ligament")
        self.put(np.minimum(np.minimum(behind - self.v, level), np.minimum(self.v - 9, inner)), "fat")
        sac_front, sac_back, width = self.along("front"), self.along("back"), self.along("width")
        middle, depth = (sac_front + sac_back) / 2, np.maximum((sac_back - sac_front) / 2, 0.8)
        sac = solid((self.u, width), (self.v - middle, depth))
        sac = np.minimum(sac, np.minimum(self.v - front - 0.4, np.where(level > 0, behind - 0.4 - self.v, 9)))
        self.put(np.minimum(sac + 0.6, inner), "ligament")
        self.put(sac, "csf")
        lost = np.clip(self.along("lost") - 0.25, 0, None)  # roots need the room they need, and fluid makes way
        filled = np.float32(self.spine.crowding) * lost
        self.put(np.minimum(sac, self.pixel * (filled - 0.5)), "root", 1 + 0.1 * self.noise)
        self.nerves(sac, middle, depth, width)
        self.traversing_roots()

    def traversing_roots(self) -> None:
        """At disc level on each side, between disc and facet, in fat while there is room; flattened once there is none."""
        k, left = self.k, self.opening("subarticular")
        ds = self.ds + 1
        room = np.clip(left / 4.0, 0.22, 1)
        u = RECESS_U * k + 0.6 + 0.28 * np.clip(ds, -8, 2)  # it passes the pedicle on its inner side
        v = self.spine.recess_root(self.s, self.u)
        near = np.minimum(ds + 9, 20 - ds) - 30 * self.along("sacral")
        shape = solid((self.side - u, 2.0 + 0.9 * (1 - room)), (self.v - v, 1.9 * room))
        self.put(np.minimum(shape + 1.1 * room, near), "fat")
        self.put(np.minimum(shape, near), "root")

    def nerves(self, sac, middle, depth, width) -> None:
        """Cord above the conus; below it the cauda equina, strands that lie to the back and crowd where it is tight."""
        inner = np.flatnonzero(sac > 0)
        if not len(inner):
            return
        spine, part = self.spine, Canvas(self.signal, self.image[inner], self.pixel)
        sac, s, u, dv, depth, width = (a[inner] for a in (sac, self.s, self.u, self.v - middle, depth, width))
        taper = np.clip((np.float32(spine.conus) - s) / 25, 0, 1)
        cord = solid((u, 4.8 * taper + 0.1), (dv - 0.6, 3.7 * taper + 0.1))
        part.put(np.minimum(sac - 1, np.where(taper > 0, cord, -9)), "cord")
        leaving = np.clip((s - np.float32(spine.conus) + 12) / np.float32(spine.disc_s[-1] + 30 - spine.conus), 0, 1)
        for strand in range(12):
            angle = np.pi * (0.04 + 0.92 * strand / 11)
            aside, behind = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            across = aside * width * (0.58 + 0.10 * np.sin(s / 21 + 1.7 * strand) + 0.12 * leaving)
            back = depth * (behind * (0.50 + 0.22 * np.sin(s / 15 + 2.3 * strand)) - 0.35 * abs(aside) * leaving)
            here = (s > spine.conus - 10) & (leaving < 0.35 + 0.65 * behind)
            part.put(np.where(here, 0.75 - np.hypot(u - across, dv - back), -9), "root")
        self.image[inner] = part.image


def solid(*axes: tuple, power: int = 2) -> np.ndarray:
    """Depth inside an ellipse or ellipsoid from (offset, half-axis) per axis; higher powers are squarer.

    The level of the implicit function over its slope: exact to first order at the surface (Taubin 1994).
    """
    level, slope, smallest = np.float32(1), np.float32(1e-6), np.inf
    for offset, radius in axes:
        radius = np.maximum(np.float32(1e-3), radius)
        ratio = np.abs(offset / radius)
        lower = ratio if power == 2 else ratio * ratio if power == 3 else ratio * ratio * ratio
        level = level - lower * ratio
        slope = slope + (lower / radius) ** 2
        smallest = np.minimum(smallest, radius)
    return np.minimum(level / (np.float32(power) * np.sqrt(slope)), smallest).astype(np.float32, copy=False)
