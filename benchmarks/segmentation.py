"""What a small U-Net that has seen only phantoms segments on real Sagittal T2: Dice of vertebrae,
discs and canal, against masks drawn by hand.

python -m benchmarks.segmentation FOLDER SCRATCH, with FOLDER as for benchmarks.spider. Phantoms are
simulated and the net is trained once, into SCRATCH.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import delayed
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from benchmarks import spider
from benchmarks.variants import write_table
from utils import cli
from utils.files import write_atomic
from utils.models import intensity
from utils.models.locator import UNet
from utils.models.spatial import sample_affine, warp
from utils.parallel import in_processes
from utils.phantom.anatomy import make_spine
from utils.phantom.grades import sample_grades
from utils.phantom.planes import TO_FEET, TO_LEFT, empty_slice
from utils.phantom.protocols import sample_protocols, with_contrast_jitter
from utils.phantom.signal import render
from utils.phantom.structures import ARCH, BODY, DISC, SAC, STRUCTURES, structures
from utils.rsna import LEVELS

SPINES, SLICES = 240, 4  # of each spine
PX, MM = 320, 1.0  # of a simulated slice
CROP_PX = 256  # of what the net is trained on
STEPS, BATCH, RATE = 2000, 4, 2e-3
CONSTANT = 0.6  # of the steps, before the rate falls
WIDTH = 16
PERCENTILE = 99.0  # of a slice becomes 1
LOCAL_PX = 31  # side of the square in which intensities are made even
AVERAGED = 0.995  # of the weights, from step to step
LEAST_DISC_MM2 = 25  # of a component; smaller ones are specks
SHORTEST = 0.6  # of the patient's usual disc; seen on these patients to leave out S1/S2 remnants
ON_AXIS_MM = 4.0
AWAY_MM = (4.0, 10.0, 20.0)  # of slices from the middle, standard deviations
# What a drawn mask calls 1, 2, 3.
DRAWN = {"vertebra": (BODY, ARCH), "disc": (DISC,), "canal": (SAC,)}


def simulated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(SLICES, PX, PX) uint8 images of one spine, and their structures."""
    rng = np.random.default_rng(seed)
    (grades,) = sample_grades(rng, 1, str(rng.choice(["real", "balanced"])))
    spine = make_spine(rng, grades, grading="readers")
    images, labels = [], []
    for _ in range(SLICES):
        protocol = sample_protocols(rng, (PX, PX))[int(rng.integers(2))]
        protocol = with_contrast_jitter(protocol, str(rng.choice(["clinical", "random"])), rng)
        centre = spine.to_patient(spine.disc_s[2], 0.0, -20.0)
        centre = centre + rng.normal(0, rng.choice(AWAY_MM)) * TO_LEFT
        yaw = np.radians(rng.normal(0, 3))
        columns = np.array([np.sin(yaw), np.cos(yaw), 0.0])
        plane = empty_slice(centre, columns, TO_FEET, PX * MM, PX)
        image = render(spine, protocol.sequence, plane, protocol.thickness_mm, rng)
        images.append(as_bytes(image))
        labels.append(structures(spine, plane))
    return np.array(images), np.array(labels)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8, bright tissue near 255."""
    scaled = image * (255 / max(np.percentile(image, PERCENTILE), 1e-6))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def phantoms(scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """All slices and structures (n, PX, PX), simulated once."""
    path = scratch / "slices.npz"
    if not path.is_file():
        work = [delayed(simulated)(seed) for seed in range(SPINES)]
        parts = list(in_processes(work, 2, SPINES, "simulating"))
        images, labels = (np.concatenate(part) for part in zip(*parts))
        write_atomic(path, lambda to: np.savez_compressed(to.open("wb"), x=images, y=labels))
    found = np.load(path)
    return found["x"], found["y"]


def augmented(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple:
    """A batch of crops (n, 1, CROP_PX, CROP_PX) in 0..1 and their structures (n, CROP, CROP)."""
    shifts = rng.uniform(-30, 30, (len(images), 2))
    moved = [sample_affine(rng, shift, False, 0.15, 8.0) for shift in shifts]
    affine = torch.from_numpy(np.array(moved))
    x = warp(torch.from_numpy(images)[:, None].float() / 255, affine, CROP_PX)
    one_hot = F.one_hot(torch.from_numpy(labels).long(), len(STRUCTURES))
    y = warp(one_hot.permute(0, 3, 1, 2).float(), affine, CROP_PX).argmax(1)
    kind = str(rng.choice(["scanner", "randomised"]))
    vectors = np.array([intensity.sample(rng, kind) for _ in images])
    seeds = rng.integers(2**31, size=len(images)).tolist()
    return even(intensity.apply(x, torch.from_numpy(vectors), seeds, kind)), y


def even(x: Tensor) -> Tensor:
    """Images (n, 1, H, W), each pixel against the mean and the spread of its surroundings: a coil
    fades with depth, tissues do not."""
    mean, square = _smoothed(x), _smoothed(x * x)
    spread = (square - mean * mean).clamp(min=0).sqrt()
    return ((x - mean) / (spread + 0.05)).clamp(-3, 3) / 6 + 0.5


def _smoothed(x: Tensor) -> Tensor:
    """The mean of a square round each pixel, first along rows, then along columns."""
    half = LOCAL_PX // 2
    padded = F.pad(x, (half, half, half, half), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, (1, LOCAL_PX), 1), (LOCAL_PX, 1), 1)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and soft Dice (Milletari 2016) of all structures but the background."""
    p = logits.softmax(1)
    true = F.one_hot(labels, len(STRUCTURES)).permute(0, 3, 1, 2).float()
    both, sizes = (p * true).sum((0, 2, 3)), (p + true).sum((0, 2, 3))
    dice = (2 * both + 1) / (sizes + 1)
    return F.cross_entropy(logits, labels) + 1 - dice[1:].mean()


def full_size(net: UNet, x: Tensor) -> Tensor:
    """Logits (n, structures, H, W) of images (n, 1, H, W)."""
    return F.interpolate(net(x), x.shape[-2:], mode="bilinear", align_corners=False)


def trained(scratch: Path, steps: int = STEPS) -> UNet:
    """The net, trained once; what is kept is the average of its weights."""
    path = scratch / f"net-{steps}.npz"
    torch.manual_seed(0)
    net = UNet(len(STRUCTURES), WIDTH)
    mean = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED)
    )
    if path.is_file():
        weights = np.load(path)
        net.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights})
        return net.eval()
    images, labels = phantoms(scratch)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 50, (1 - step / steps) / (1 - CONSTANT))
    )
    rng = np.random.default_rng(1)
    with tqdm(range(steps), "training", unit="step") as bar:
        for _ in bar:
            chosen = rng.integers(len(images), size=BATCH)
            x, y = augmented(images[chosen], labels[chosen], rng)
            loss = loss_of(full_size(net, x), y)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            falling.step()
            mean.update_parameters(net)
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    net.load_state_dict(mean.module.state_dict())
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    write_atomic(path, lambda to: np.savez(to.open("wb"), **weights))
    return net.eval()


def segmented(net: UNet, pixels: np.ndarray, row_mm: float, column_mm: float) -> np.ndarray:
    """(H, W) uint8 structures of one real slice (H, W)."""
    return probabilities(net, pixels, row_mm, column_mm).argmax(0).astype(np.uint8)


@torch.inference_mode()
def probabilities(net: UNet, pixels: np.ndarray, row_mm: float, column_mm: float) -> np.ndarray:
    """(structures, H, W) of one real slice (H, W)."""
    height, width = pixels.shape
    size = (round(height * row_mm / MM), round(width * column_mm / MM))
    x = torch.from_numpy(as_bytes(pixels.astype(np.float32)))[None, None].float() / 255
    resized = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    padded = F.pad(resized, (0, -size[1] % 32, 0, -size[0] % 32))
    logits = full_size(net, even(padded))[..., : size[0], : size[1]]
    back = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    return back[0].softmax(0).numpy()


def dice_of_patients(folder: Path, net: UNet) -> pd.DataFrame:
    """Dice of each class of the drawn masks over all slices of a patient: a row per patient."""
    rows = {}
    for patient, slices in pd.read_csv(folder / "slices.csv").groupby("patient"):
        counts = np.zeros((len(DRAWN), 3))  # in both, found, drawn
        for one in slices.itertuples():
            at = folder / str(patient)
            pixels = np.asarray(Image.open(at / f"{one.slice}.webp").convert("L"))
            mask = np.asarray(Image.open(at / f"{one.slice}-mask.png"))
            found = segmented(net, pixels, one.row_mm, one.column_mm)
            for k, codes in enumerate(DRAWN.values()):
                mine, drawn = np.isin(found, codes), mask == k + 1
                counts[k] += (mine & drawn).sum(), mine.sum(), drawn.sum()
        rows[patient] = 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)
    return pd.DataFrame(rows, index=list(DRAWN)).T.rename_axis("patient")


def counted(found: np.ndarray, row_mm: float, column_mm: float) -> np.ndarray:
    """(n, 2) mm to the back and to the feet: the middle of the sac at each of the lowest five discs
    of a middle slice (H, W), the lowest first. A remnant between S1 and S2 is shorter than discs
    are."""
    size = np.array([column_mm, row_mm])
    sac = np.argwhere(found == SAC)[:, ::-1] * size
    numbered, count = ndimage.label(found == DISC)
    discs = [np.argwhere(numbered == k + 1)[:, ::-1] * size for k in range(count)]
    discs = [disc for disc in discs if len(disc) * row_mm * column_mm > LEAST_DISC_MM2]
    axes = [_axis(disc) for disc in discs]
    usual = np.median([length for length, _ in axes]) if axes else 0
    points = [
        _on_axis(disc.mean(0), direction, sac)
        for disc, (length, direction) in zip(discs, axes)
        if length > SHORTEST * usual and len(sac)
    ]
    lowest = sorted(points, key=lambda point: -point[1])[: len(LEVELS)]
    return np.array(lowest).reshape(-1, 2)


def _axis(disc: np.ndarray) -> tuple[float, np.ndarray]:
    """Length in mm and direction (2,), to the back, of the longer axis of points (n, 2) mm."""
    variances, directions = np.linalg.eigh(np.cov(disc.T))
    direction = directions[:, 1]
    return 4 * float(np.sqrt(variances[1])), direction * np.sign(direction[0])


def _on_axis(centre: np.ndarray, direction: np.ndarray, sac: np.ndarray) -> np.ndarray:
    """The middle of the sac (n, 2) mm behind a disc, on its long axis; the nearest point of it
    where the axis passes by."""
    away = sac - centre
    along, beside = away @ direction, np.abs(away @ np.array([-direction[1], direction[0]]))
    behind = (along > 0) & (beside < ON_AXIS_MM)
    if not behind.any():
        return sac[np.linalg.norm(away, axis=1).argmin()]
    return sac[behind].mean(0)


def levels_of_patients(folder: Path, net: UNet) -> pd.DataFrame:
    """patient, level, mm off, for each drawn point; infinite where too few discs were found."""
    slices, points = (pd.read_csv(folder / f"{name}.csv") for name in ("slices", "points"))
    rows = []
    for patient, of in slices.groupby("patient"):
        of = of.sort_values("x_mm")
        maps = []
        for one in of.itertuples():
            image = Image.open(folder / str(patient) / f"{one.slice}.webp").convert("L")
            maps.append(probabilities(net, np.asarray(image), one.row_mm, one.column_mm))
        area = [np.argmax(p, 0) == SAC for p in maps]
        middle = int(np.clip(np.argmax([a.sum() for a in area]), 1, len(maps) - 2))
        found = np.mean(maps[middle - 1 : middle + 2], 0).argmax(0)
        at = counted(found, of.row_mm.iloc[0], of.column_mm.iloc[0])
        drawn = points[points.patient == patient]
        true = spider.true_points(drawn, of)[::-1]
        off = np.full(len(LEVELS), np.inf)
        off[: len(at)] = np.linalg.norm(at - true[: len(at)], axis=1)
        rows += [(patient, level, mm) for level, mm in zip(LEVELS[::-1], off) if mm == mm]
    return pd.DataFrame(rows, columns=["patient", "level", "mm"])


def main() -> None:
    parser = cli.parser("benchmarks.segmentation", sys.modules[__name__].__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    a = parser.parse_args()
    a.scratch.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    net = trained(a.scratch, a.steps)
    print(f"trained, or read, in {(time.monotonic() - start) / 60:.1f} minutes")
    dice = dice_of_patients(a.folder, net)
    print(dice.round(2).to_string())
    rows = {name: dice[name].quantile([0, 0.25, 0.5, 0.75, 1]) for name in dice}
    write_table(rows, "structure", a.scratch / "segmentation.csv")
    levels = levels_of_patients(a.folder, net)
    right = (levels.mm <= spider.RIGHT_MM).groupby(levels.patient).all()
    print(f"by counting: median {levels.mm.median():.1f} mm, all levels right in {right.sum()}")
    print(f"of {len(right)} patients; wrong: {right[~right].index.tolist()}")


if __name__ == "__main__":
    cli.run(main)
