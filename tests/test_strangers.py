"""The benchmarks on patients of other data sets, tried on phantoms in the same form."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import segmentation, spider
from utils import inference, prepare, rsna
from utils.course.workspace import RELEASED
from utils.crops import point_table
from utils.phantom.structures import ARCH, BODY, DISC, SAC


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


def test_dice_is_one_for_what_is_drawn_as_it_is_found(tmp_path, monkeypatch):
    codes = np.zeros((40, 30), np.uint8)
    codes[5:15], codes[15:20], codes[20:28], codes[28:32] = BODY, DISC, SAC, ARCH
    (tmp_path / "7").mkdir()
    Image.fromarray(codes).save(tmp_path / "7" / "1.webp", lossless=True)
    drawn = np.zeros_like(codes)
    drawn[5:15], drawn[15:20], drawn[20:24], drawn[28:32] = 1, 2, 3, 1
    Image.fromarray(drawn).save(tmp_path / "7" / "1-mask.png")
    table = pd.DataFrame([(7, 1, 1.0, 1.0)], columns=["patient", "slice", "row_mm", "column_mm"])
    table.to_csv(tmp_path / "slices.csv", index=False)
    monkeypatch.setattr(segmentation, "segmented", lambda net, pixels, *mm: codes)
    dice = segmentation.dice_of_patients(tmp_path, torch.nn.Identity()).loc[7]
    assert dice.to_dict() == pytest.approx({"vertebra": 1, "disc": 1, "canal": 2 / 3})


def test_a_net_is_trained_once_and_segments_an_image_of_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr(segmentation, "SPINES", 1)
    net = segmentation.trained(tmp_path, steps=2)
    again = segmentation.trained(tmp_path, steps=2)
    for one, other in zip(net.parameters(), again.parameters()):
        assert torch.equal(one, other)
    pixels = np.random.default_rng(0).integers(0, 255, (150, 97), dtype=np.uint8)
    assert segmentation.segmented(net, pixels, 0.9, 1.4).shape == (150, 97)


def test_levels_are_counted_from_the_lowest_disc_and_a_remnant_is_none():
    found = np.zeros((220, 120), np.uint8)
    found[:, 80:95] = SAC
    for k in range(6):
        found[10 + 30 * k : 20 + 30 * k, 40:78] = DISC  # from 10 mm to 170 mm
    found[195:200, 60:72] = DISC  # between S1 and S2
    at = segmentation.counted(found, 1.0, 1.0)
    assert at[:, 1] == pytest.approx([164.5, 134.5, 104.5, 74.5, 44.5], abs=0.5)
    assert at[:, 0] == pytest.approx(87, abs=0.5)
    assert segmentation.counted(np.zeros((9, 9), np.uint8), 1.0, 1.0).shape == (0, 2)
