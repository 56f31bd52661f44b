"""From anatomy to MR slices: which tissue is where, how bright it is on this sequence, what the scanner adds.

Tissues are painted back to front, each with a soft edge one pixel wide (partial volume in the plane); two planes per
slice give partial volume across it. Brightness follows the spin-echo equation S = PD (1 - exp(-TR/T1)) exp(-TE/T2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from utils.dicom import Slice
from utils.phantom.anatomy import (
    BODY_DEPTHS,
    FIRST_DISC,
    FORAMEN_FAT_MM,
    FORAMEN_S,
    FORAMEN_U,
    OPENING,
    RECESS_U,
    STEP,
    Spine,
    bump,
    smoothstep,
)

# Proton density, T1 ms, T2 ms at 1.5 T (after Bottomley 1984 and de Bazelaire 2004), set so that the brightness order
# on T1 and T2 is that of clinical turbo spin-echo, in which fat stays bright.
TISSUES = {
    "air": (0.0, 1000, 50),
    "fat": (0.85, 290, 165),
    "marrow": (0.80, 550, 80),
    "muscle": (0.80, 900, 52),
    "cortex": (0.15, 900, 20),
    "annulus": (0.45, 1000, 40),
    "nucleus": (0.85, 1300, 115),
    "black nucleus": (0.75, 1100, 48),
    "csf": (1.00, 2400, 1500),
    "cord": (0.85, 950, 110),
    "root": (0.80, 950, 75),
    "ligament": (0.35, 900, 35),
    "synovia": (0.90, 1800, 250),
    "vessel": (0.06, 1500, 60),
    "organ": (0.75, 750, 60),
}
FATTY = {"fat": 1.0, "marrow": 0.5, "organ": 0.2}  # share of the signal that fat suppression removes


@dataclass(frozen=True)
class Sequence:
    """How one series was acquired."""

    tr: float  # ms
    te: float  # ms
    fat_suppressed: bool = False
    noise: float = 0.02  # of the brightness of CSF or fat, whichever is brighter
    coil_mm: float = 90.0  # depth at which the surface coil's sensitivity has fallen to 1/e

    def signal(self) -> dict[str, float]:
        out = {}
        for tissue, (density, t1, t2) in TISSUES.items():
            s = density * (1 - np.exp(-self.tr / t1)) * np.exp(-self.te / t2)
            out[tissue] = s * (1 - 0.88 * FATTY.get(tissue, 0)) if self.fat_suppressed else s
        return out


class Painter:
    """Paints one spine with one sequence on any slices."""

    def __init__(self, spine: Spine, sequence: Sequence):
        self.spine, self.sequence, self.signal = spine, sequence, sequence.signal()
        self.origin, self.step, self.map_s, self.map_v = spine.lookup
        self.back = self._back_surface()

    def _back_surface(self):
        """(z ascending, y of the skin there): the back follows the spine's curve, smoothed."""
        axis = self.spine.axis[::-1]
        y = gaussian_filter(axis[:, 1], 45 / STEP, mode="nearest")
        return axis[:, 2], y + self.spine.skin_mm + 12

    def render(self, plane: Slice, thickness: float, rng: np.random.Generator) -> np.ndarray:
        """Noise-free geometry plus coil and noise: float32 (H, W), CSF-on-T2 or fat-on-T1 about 1 near the coil."""
        height, width = plane.pixels.shape
        grid = plane.to_patient(np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)).astype(np.float32)
        pixel = float(plane.spacing.mean())
        trunk, place, image = self._trunk(grid, pixel), self._place(grid), np.zeros((height, width), np.float32)
        for offset in (-thickness / 4, thickness / 4):
            image += self._spine(trunk, grid, place, plane.normal * offset, pixel) / 2
        image *= self._coil(grid)
        image /= max(self.signal["fat"], self.signal["csf"])
        noise = rng.standard_normal((2, height, width), dtype=np.float32) * self.sequence.noise
        return np.hypot(image + noise[0], noise[1])  # Rician: magnitude of a complex signal

    def _coil(self, grid: np.ndarray) -> np.ndarray:
        """A surface coil under the back: near is bright, the abdomen nearly dark."""
        depth = np.interp(grid[..., 2], *self.back) - grid[..., 1]
        return np.exp(-np.clip(depth - 20, 0, None) / self.sequence.coil_mm).astype(np.float32)

    def _place(self, grid: np.ndarray):
        """Spine coordinates s, u, v and the tilt there, each (H, W), of the points (H, W, 3)."""
        at = ((grid[..., 1:] - self.origin) / self.step).reshape(-1, 2).T
        s, v = (map_coordinates(m, at, order=1, mode="nearest").reshape(grid.shape[:2]) for m in (self.map_s, self.map_v))
        along = np.arange(len(self.spine.axis)) * STEP
        u = grid[..., 0] - np.interp(s, along, self.spine.axis[:, 0]).astype(np.float32)
        return s, u, v, np.interp(s, along, self.spine.tilt).astype(np.float32)

    def _spine(self, trunk: np.ndarray, grid: np.ndarray, place, shift: np.ndarray, pixel: float) -> np.ndarray:
        """The spine painted over the trunk (H, W), in the plane of the points (H, W, 3) shifted by a few mm (3,)."""
        s, u, v, tilt = place
        x, y, z = shift.astype(np.float32)
        s, u, v = s + y * np.sin(tilt) - z * np.cos(tilt), u + x, v + y * np.cos(tilt) + z * np.sin(tilt)
        near = (np.abs(u) < 62) & (v > -75) & (v < 62) & (s > 0) & (s < len(self.spine.axis) * STEP)
        image = trunk.copy()
        if near.any():
            image[near] = _Local(self, s[near], u[near], v[near], image[near], grid[near], pixel).paint()
        return image

    def _trunk(self, grid: np.ndarray, pixel: float) -> np.ndarray:
        """Skin, subcutaneous fat, and the abdomen's blur of fat and organs."""
        x, y, z = np.moveaxis(grid, -1, 0)
        rear = np.interp(z, *self.back).astype(np.float32)
        radius = np.sqrt((x / 165) ** 2 + ((y - rear + 112) / 112) ** 2)
        furrow = 6 * np.exp(-((x / 14) ** 2)) * (y > rear - 60)
        depth = (1 - radius) * 112 - furrow  # mm below the skin
        signal, texture = self.signal, self.texture(grid * np.float32(0.25))
        image = np.full(x.shape, signal["air"], np.float32)
        image = _blend(image, depth, pixel, signal["fat"] * (1 + 0.04 * texture))
        inside = signal["organ"] * (1 + 0.1 * texture) + (signal["fat"] - signal["organ"]) * smoothstep(texture)
        return _blend(image, depth - self.spine.fat_mm, pixel, inside.astype(np.float32))

    def texture(self, points: np.ndarray) -> np.ndarray:
        """A smooth random field in patient space, about -1.5 to 1.5: waves of a few mm, the same in every series."""
        waves = self.spine.texture.astype(np.float32)
        return np.sin(points @ waves[:, :3].T + waves[:, 3]).sum(-1) / 2


def _blend(image, depth, pixel, signal):
    """Paint where depth (mm inside the shape) is positive, with an edge one pixel wide."""
    return image + np.clip(0.5 + depth / pixel, 0, 1) * (signal - image)


class _Local:
    """The points near the spine, in its own coordinates, as flat arrays; each method paints one group of structures."""

    def __init__(self, painter: Painter, s, u, v, image, points, pixel):
        self.spine, self.signal, self.pixel = painter.spine, painter.signal, np.float32(pixel)
        spine = painter.spine
        middles = spine.discs.mean(1)
        disc = np.searchsorted((middles[1:] + middles[:-1]) / 2, s)  # the nearest disc
        table = lambda values: np.asarray(values, np.float32)[disc]  # noqa: E731
        self.arrays = {
            **{"s": s, "u": u, "v": v, "side": np.abs(u), "image": image, "texture": painter.texture(points), "disc": disc},
            "ds": s - table(middles),
            "half": table(np.diff(spine.discs, axis=1)[:, 0] / 2),
            "graded": np.clip(disc - FIRST_DISC, 0, 4),
            "is_graded": table([FIRST_DISC <= d < FIRST_DISC + 5 for d in range(len(middles))]),
            "sacral": smoothstep((s - np.float32(middles[FIRST_DISC + 4])) / np.float32(12)),
        }
        self.arrays["wall"] = self.bulge()

    def __getattr__(self, name):
        try:
            return self.arrays[name]
        except KeyError:
            raise AttributeError(name) from None

    def put(self, depth, tissue, gain=1.0):
        signal = tissue if isinstance(tissue, np.ndarray) else np.float32(self.signal[tissue])
        self.arrays["image"] = _blend(self.image, depth.astype(np.float32, copy=False), self.pixel, signal * gain)

    def paint(self) -> np.ndarray:
        self.only(self.side < 62, _Local.muscles)
        self.only(self.v < -20, _Local.vessels)
        self.only((self.side < 32) & (self.v > -10), _Local.posterior_elements)
        self.only((self.side < 32) & (self.v < 14), _Local.bodies)
        self.only((self.side > 5) & (self.side < 30) & (self.v > -6) & (self.v < 14), _Local.foramina)
        self.only((self.side < 15) & (self.v > -3) & (self.v < 25), _Local.canal)
        return self.image

    def only(self, mask: np.ndarray, paint) -> None:
        """Paint on a part of the points: most structures fill a small share of the picture."""
        part = object.__new__(_Local)
        part.spine, part.signal, part.pixel = self.spine, self.signal, self.pixel
        part.arrays = {name: values[mask] for name, values in self.arrays.items()}
        paint(part)
        self.image[mask] = part.image

    def opening(self, family: str) -> np.ndarray:
        """What is left of the structure on the point's own side at the nearest graded disc."""
        left, right = self.spine.side(family, "Left"), self.spine.side(family, "Right")
        value = np.where(self.u > 0, left.astype(np.float32)[self.graded], right.astype(np.float32)[self.graded])
        return np.where(self.is_graded > 0, value, np.float32(OPENING[family][0][1]))

    def muscles(self):
        streaks = 1 + 0.10 * self.texture + 1.2 * np.clip(self.texture - 1.1, 0, 1)
        rear = 46 - 0.012 * self.side**2 - 8 * self.sacral
        self.put(_inside(self.side, 30, 30, self.v, (rear + 8) / 2, (rear - 8) / 2 + 4), "fat")
        self.put(_inside(self.side - 26, 0, 25, self.v, 27, 19), "muscle", streaks)
        self.put(_inside(self.side - 9, 0, 7, self.v, 33, 12), "muscle", streaks)
        self.put(_inside(self.side - 39, 0, 14 + 4 * smoothstep((self.s - 60) / 120), self.v, -14, 18), "muscle", streaks)

    def vessels(self):
        depth = np.interp(self.s, self.spine.discs.mean(1), BODY_DEPTHS[:9]) * self.spine.scale
        above = 1 - smoothstep((self.s - self.spine.disc_s[3] + 6) / 10)  # the aorta divides at L4
        for side, radius in ((8, 8.5), (-15, 9.5)):
            self.put(radius * above + (above - 1) * 5 - np.hypot(self.u - side, self.v + depth + 13), "vessel")

    def bulge(self) -> np.ndarray:
        """How far (mm of v) disc tissue stands back into canal and recesses: the canal's front wall."""
        left = self.spine.side("spinal", "")[self.graded]
        central = 0.5 * (1 - left) * self.spine.sac_depth * bump(self.u, 6.5)
        lateral = (6.0 - self.opening("subarticular")) * 0.4 * bump(self.side - RECESS_U * self.spine.scale, 4.2)
        near = bump(self.ds, self.half + 1.5) * self.is_graded
        return (np.maximum(central, lateral) * near).astype(np.float32)

    def bodies(self):
        """Vertebral bodies with dark cortex and waist; discs with annulus and nucleus; sacrum included."""
        spine = self.spine
        index = self.disc + (self.ds > 0)
        depth = BODY_DEPTHS[index] * spine.scale
        width = (depth * 0.66 * (1 - 0.25 * self.sacral)).astype(np.float32)
        height = np.interp(index, np.arange(10), np.r_[22, np.diff(spine.discs.mean(1)), 20]) - 8
        to_plate = np.abs(self.ds) - self.half  # mm into the body; negative inside the disc
        waist = 1 - 0.08 * np.sin(np.pi * np.clip(to_plate / height, 0, 1))
        radial = np.minimum(
            _inside(self.u, 0, width * waist, self.v, -0.44 * depth, 0.56 * depth * waist), -self.v - 2 * (1 - waist)
        )
        in_disc = np.minimum(_inside(self.u, 0, width + 1, self.v, -0.44 * depth, 0.56 * depth + 1), 0.8 - self.v)
        in_disc = np.maximum(in_disc, np.minimum(self.wall - self.v, np.minimum(self.v + 4, 17 - self.side)))
        self.put(np.minimum(radial, to_plate + 0.5), "cortex")
        self.put(np.minimum(radial, to_plate) - 0.9, "marrow", 1 + 0.08 * self.texture)
        reach = self.half + 0.5 * np.clip(self.wall, 0, 3)
        self.put(np.minimum(in_disc, reach - np.abs(self.ds)), "annulus")
        water = spine.hydration[self.disc].astype(np.float32)
        nucleus = self.signal["black nucleus"] + water * (self.signal["nucleus"] - self.signal["black nucleus"])
        shape = _inside(self.u, 0, width * 0.72, self.v, -depth * 0.52, depth * 0.34)
        self.put(np.minimum(shape, self.half - 0.8 - np.abs(self.ds)), nucleus * (1 + 0.05 * self.texture))

    def posterior_elements(self):
        """Pedicles, laminae, facet joints and spinous processes: what closes the canal behind and divides the foramina."""
        k = self.spine.scale
        to_pedicle = np.minimum(np.abs(self.ds - self.half - 9.5 * k), np.abs(self.ds + self.half + 17.5 * k))
        pedicle = np.minimum(_inside(self.side, 16.5 * k, 5.5 * k, to_pedicle, 0, 6.5 * k), np.minimum(self.v + 8, 13 - self.v))
        lamina = 3.2 - np.abs(self.v - (21.5 * k - 0.42 * self.side))
        lamina = np.minimum(lamina, np.minimum(19 - self.side, 11 - np.abs(self.ds + self.half + 8)))
        facet = _inside(self.side, 18.5 * k, 8.0 * k, self.v, 15.5 * k, 7.0 * k)
        facet = np.minimum(facet, 11 - np.abs(self.ds + 1))
        spinous = np.minimum(3.6 - self.side, _inside(self.v, 34 * k, 13 * k, self.ds + self.half, -6 * k, 9.5 * k, square=True))
        for bone in (pedicle, lamina, facet, spinous):
            self.put(bone, "cortex")
            self.put(bone - 1.0, "marrow", 0.9 + 0.08 * self.texture)
        joint = 1.0 - np.abs(self.side - 17.5 * k - 0.55 * (self.v - 15.5 * k))
        self.put(np.minimum(joint, np.minimum(6 - np.abs(self.v - 15.5 * k), 8 - np.abs(self.ds + 1))), "synovia")

    def foramina(self):
        """A keyhole of fat between the pedicles with the exiting root in its upper part; narrowing eats the fat first."""
        k, left = self.spine.scale, self.opening("foraminal")
        u = self.side - FORAMEN_U * k
        ds, dv = self.ds - FORAMEN_S * k, self.v - 4.0
        window = np.minimum(8.5 - np.abs(u), 60.0)
        upper = _inside(dv, 0, FORAMEN_FAT_MM[0], ds, -1, FORAMEN_FAT_MM[1])
        self.put(np.minimum(window, upper + 1), "ligament")
        fat_v, fat_s = FORAMEN_FAT_MM[0] * (0.25 + 0.75 * left), FORAMEN_FAT_MM[1] * (0.30 + 0.70 * left)
        fat = np.minimum(_inside(dv, 0, fat_v, ds, -1.5, fat_s), (left - 0.1) * 12)
        self.put(np.minimum(window, fat), "fat")
        root = _inside(dv, 0, 2.6 * (0.5 + 0.5 * smoothstep(left / 0.4)), ds, -3.0, 2.9)
        self.put(np.minimum(window + 3, root), "root")

    def canal(self):
        """Epidural fat, flavum, sac with cord and roots, and the traversing roots in the recesses."""
        spine, k = self.spine, self.spine.scale
        shut = self.wall - 0.2
        inner = np.minimum(_inside(self.u, 0, 12.5 * k, self.v, 8.5, 9.0), self.v - shut)
        lost = 1 - spine.side("spinal", "")[self.graded]
        flavum = (2.0 + 0.35 * lost * spine.sac_depth) * bump(self.ds, 8.0) * self.is_graded
        self.put(inner, "fat")
        self.put(np.minimum(inner, flavum - inner) * (self.v > 6.5) + np.where(self.v > 6.5, 0, -5), "ligament")
        front, back, width = spine.sac(self.s)
        front = np.maximum(front, self.wall + 0.6)
        middle, depth = (front + back) / 2, np.maximum((back - front) / 2, 0.8)
        sac = _inside(self.u, 0, width, self.v, middle, depth)
        self.put(sac + 0.6, "ligament")
        self.put(sac, "csf")
        self.roots(sac, middle, depth, width)
        self.recesses()

    def recesses(self):
        """At disc level, on each side: what narrows the recess bites into the sac's corner; what is left of it holds
        fat and the traversing root, which is flattened once it has no room."""
        k, left = self.spine.scale, self.opening("subarticular")
        level = bump(self.ds, self.half + 2.5)
        bite = 5.4 * (1 - left / OPENING["subarticular"][0][1]) * level
        self.put(_inside(self.side, (RECESS_U + 0.5) * k, 1.15 * bite, self.v, 2.8, bite), "ligament")
        near = 7 - np.abs(self.ds)
        self.put(np.minimum(_inside(self.side, (RECESS_U + 0.7) * k, 3.4, self.v, 0.6 + left / 2, left / 2), near), "fat")
        room = np.clip(left / 4.5, 0.25, 1)
        root = _inside(self.side, (RECESS_U + 0.7) * k, 2.0 + 0.6 * (1 - room), self.v, 0.6 + left / 2, 1.8 * room)
        self.put(np.minimum(root, near), "root")

    def roots(self, sac, middle, depth, width):
        """Cord above the conus; below it the cauda equina as strands that lie to the back and crowd where it is tight."""
        spine = self.spine
        taper = np.clip((spine.conus - self.s) / 25, 0, 1)
        self.put(np.minimum(sac - 1, _inside(self.u, 0, 4.6 * taper + 0.1, self.v, middle + 0.5, 3.6 * taper + 0.1)), "cord")
        below = smoothstep((self.s - spine.conus + 20) / 25) * (1 - smoothstep((self.s - spine.disc_s[-1] - 20) / 40))
        for strand in range(10):
            angle = np.pi * (0.06 + 0.88 * strand / 9)
            du = np.cos(angle) * width * (0.62 + 0.05 * np.sin(self.s / 23 + strand))
            dv = np.sin(angle) * depth * (0.45 + 0.12 * np.sin(self.s / 17 + 2 * strand))
            strand_depth = 0.85 - np.hypot(self.u - du, self.v - middle - dv)
            self.put(np.minimum(sac - 0.3, np.where(below > 0.5, strand_depth, -9)), "root")


def _inside(a, centre_a, radius_a, b, centre_b, radius_b, square: bool = False):
    """About the mm from a point to the edge of an ellipse in the plane (a, b), positive inside; square rounds a box."""
    radius_a, radius_b = np.maximum(np.float32(1e-3), radius_a), np.maximum(np.float32(1e-3), radius_b)
    p, q = ((a - centre_a) / radius_a) ** 2, ((b - centre_b) / radius_b) ** 2
    rho = np.sqrt(np.sqrt(p * p + q * q)) if square else np.sqrt(p + q)
    return ((1 - rho) * np.minimum(radius_a, radius_b)).astype(np.float32, copy=False)
