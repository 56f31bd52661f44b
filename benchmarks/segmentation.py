"""What a segmenter that has seen only phantoms finds on real Sagittal T2: Dice of vertebrae, discs
and canal, against masks drawn by hand, patient by patient.

python -m benchmarks.segmentation FOLDER RUN [--half odd], with FOLDER as for benchmarks.spider and
a RUN that has a segmenter. Every slice is brought back to its own pixels before it is compared;
where the sacrum begins is what the count of the discs says.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from benchmarks import spider
from benchmarks.variants import write_table
from utils import cli
from utils.dicom import Slice
from utils.errors import LumbarError
from utils.inference import load_run
from utils.inference.counting import count_levels, with_whole_sacrum
from utils.inference.segmentation import segment
from utils.models import Segmenter
from utils.rsna import SAGITTAL_T2
from utils.structures import ARCH, BODY, DISC, SAC, SAGITTAL

# What a drawn mask calls 1, 2, 3.
DRAWN = {"vertebra": (BODY, ARCH), "disc": (DISC,), "canal": (SAC,)}
BODIES = "vertebral bodies"  # of the drawn vertebrae the parts in front of the drawn canal


def dice_of_patients(folder: Path, segmenter: Segmenter, spacing_mm: float) -> pd.DataFrame:
    """Dice of each class over all slices of a patient: a row per patient."""
    rows = {}
    for patient, slices in pd.read_csv(folder / "slices.csv").groupby("patient"):
        study = spider.study_of(folder, int(patient), slices, spacing_mm)
        (series,) = study.of(SAGITTAL_T2)
        found = segment(segmenter, series)
        found = with_whole_sacrum(found, count_levels(found))
        counts = np.zeros((len(DRAWN) + 1, 3))  # in both, found, drawn
        for crop, p in zip(found.crops, found.p.swapaxes(0, 1)):
            mask = np.asarray(Image.open(folder / str(patient) / f"{crop.instance}-mask.png"))
            of = slices[slices.slice == crop.instance].iloc[0]
            own = on_pixels(p, crop, mask.shape, of.row_mm, of.column_mm)
            counts += np.array([*_pairs(own, mask)])
        rows[patient] = 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)
    return pd.DataFrame(rows, index=[*DRAWN, BODIES]).T.rename_axis("patient")


def on_pixels(
    p: np.ndarray, crop: Slice, shape: tuple[int, int], row_mm: float, column_mm: float
) -> np.ndarray:
    """(structures, px, px) of a crop -> the structures of a picture's own pixels (H, W)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mm = np.stack([columns * column_mm, rows * row_mm], -1) @ spider.AXES
    xy = crop.to_pixel(mm + crop.origin * (1, 0, 0))
    at = np.clip(xy[..., ::-1], 0, SAGITTAL.px - 1).transpose(2, 0, 1)
    return np.array([ndimage.map_coordinates(one, at, order=1) for one in p]).argmax(0)


def _pairs(found: np.ndarray, mask: np.ndarray) -> list[tuple[int, int, int]]:
    """For each class: pixels in both, found, drawn."""
    both = [(np.isin(found, codes), mask == k + 1) for k, codes in enumerate(DRAWN.values())]
    both.append((found == BODY, (mask == 1) & in_front(mask == 3)))
    return [((mine & drawn).sum(), mine.sum(), drawn.sum()) for mine, drawn in both]


def in_front(canal: np.ndarray) -> np.ndarray:
    """(H, W): pixels before the canal in each row; in rows without one, as in the nearest row that
    has one. Nothing where a slice does not show the canal."""
    rows = np.flatnonzero(canal.any(1))
    if not len(rows):
        return np.zeros(canal.shape, bool)
    edge = canal[rows].argmax(1)
    nearest = np.abs(np.arange(len(canal))[:, None] - rows).argmin(1)
    return np.arange(canal.shape[1]) < edge[nearest][:, None]


def main() -> None:
    parser = cli.parser("benchmarks.segmentation", sys.modules[__name__].__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--half", choices=("even", "odd"), help="of the patients, by their order")
    parser.add_argument("--out", type=Path, default=Path("segmentation.csv"))
    a = parser.parse_args()
    run = load_run(a.run)
    if run.segmenter is None:
        raise LumbarError(f"{a.run} has no segmenter; the released run has one")
    dice = dice_of_patients(a.folder, run.segmenter, run.preset.spacing_mm)
    dice = dice.loc[spider.half_of(dice.index, a.half)]
    print(dice.round(2).to_string())
    rows = {name: dice[name].quantile([0, 0.25, 0.5, 0.75, 1]) for name in dice}
    write_table(rows, "structure", a.out)


if __name__ == "__main__":
    cli.run(main)
