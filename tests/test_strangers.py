"""The benchmarks on patients of other data sets, tried on phantoms in the same form."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import segmentation, spider
from utils import inference, prepare, rsna
from utils.course.workspace import RELEASED
from utils.crops import crop, point_table
from utils.inference.segmentation import Segmented
from utils.models import Segmenter
from utils.structures import BACKGROUND, BODY, DISC, SAC, SAGITTAL


@pytest.fixture(scope="module")
def folder(tables, whole_study, tmp_path_factory):
    """Two copies of a phantom's Sagittal T2 as SPIDER's patients are kept, the second 40 mm lower
    than its points say."""
    out = tmp_path_factory.mktemp("spider")
    study = prepare.prepare_study(tables, whole_study)
    (series,) = study.of(rsna.SAGITTAL_T2)
    canal = point_table(study.points)[rsna.CANAL_ROWS]
    slices, points = [], []
    for patient in (1, 2):
        (out / str(patient)).mkdir()
        for k, one in enumerate(series.slices):
            Image.fromarray(one.pixels).save(out / str(patient) / f"{k}.webp", lossless=True)
            column_mm, row_mm = one.spacing
            slices.append((patient, k, row_mm, column_mm, float(one.centre[0])))
        for level, mm in zip(rsna.LEVELS, canal):
            k = series.nearest_slice(mm)
            x, y = series.to_pixel(k, mm)
            points.append((patient, k, level, x, y - 40 * (patient == 2) / slices[k][2]))
    names = ["patient", "slice", "row_mm", "column_mm", "x_mm"]
    pd.DataFrame(slices, columns=names).to_csv(out / "slices.csv", index=False)
    names = ["patient", "slice", "level", "x", "y"]
    pd.DataFrame(points, columns=names).to_csv(out / "points.csv", index=False)
    return out


def test_levels_of_a_patient_are_measured_in_the_plane(folder):
    table = spider.measured(folder, inference.load_run(RELEASED))
    right, low = (table[table.patient == patient] for patient in (1, 2))
    assert right.mm.median() < 4
    assert (low.down_mm - right.down_mm.to_numpy()).to_numpy() == pytest.approx(40, abs=0.5)
    found = spider.figures(table)
    assert found["% all levels right"] == 50
    assert spider.with_intervals(table)["% all levels right"]["low"] == 0


def test_dice_is_one_for_what_is_drawn_as_it_is_found(folder, monkeypatch):
    """The masks are what is found, on the picture's own pixels, but for half of the canal."""
    for one in pd.read_csv(folder / "slices.csv").itertuples():
        path = folder / str(one.patient) / f"{one.slice}-mask.png"
        height, width = np.asarray(Image.open(path.with_name(f"{one.slice}.webp"))).shape[:2]
        back = np.arange(width) * one.column_mm
        drawn = np.digitize(back, [40, 80, 120, 140]) % 4  # vertebra, disc, half of the canal
        Image.fromarray(np.tile(drawn.astype(np.uint8), (height, 1))).save(path)

    def found(_, series):
        crops = [
            crop(one, series.slices[0].centre, SAGITTAL.px, SAGITTAL.px) for one in series.slices
        ]
        back = crops[0].to_patient(np.stack([np.arange(SAGITTAL.px), np.zeros(SAGITTAL.px)], 1))[
            :, 1
        ]
        at = np.digitize(back, [40, 80, 120, 160])
        codes = np.array([BACKGROUND, BODY, DISC, SAC, BACKGROUND])[at]
        p = np.eye(SAGITTAL.structures)[
            np.broadcast_to(codes, (len(crops), SAGITTAL.px, SAGITTAL.px))
        ]
        return Segmented(crops, p.transpose(3, 0, 1, 2))

    monkeypatch.setattr(segmentation, "segment", found)
    dice = segmentation.dice_of_patients(folder, Segmenter(), 0.75).loc[1]
    assert dice.to_dict() == pytest.approx(
        {"vertebra": 1, "disc": 1, "canal": 2 / 3, "vertebral bodies": 1}, abs=0.03
    )


def test_before_the_canal_are_the_bodies():
    canal = np.zeros((4, 6), bool)
    canal[1, 3], canal[2, 4:] = True, True
    assert segmentation.in_front(canal).sum(1).tolist() == [3, 3, 4, 4]
    assert not segmentation.in_front(canal & False).any()
