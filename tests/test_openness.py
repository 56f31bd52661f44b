"""How open a foramen and a canal are, and what grades that speaks for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from utils import inference, prepare, rsna
from utils.course.workspace import RELEASED
from utils.crops import point_table
from utils.dicom import Series, Slice
from utils.inference import fat, openness, probabilities
from utils.inference.measures import nothing
from utils.prepare import PreparedSeries, PreparedStudy
from utils.rsna import GRADES, TARGETS

AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
ONE = rsna.target_index("Left Neural Foraminal Narrowing", "L4/L5")


def study_with(fat_mm: float) -> tuple[PreparedStudy, np.ndarray]:
    """A grey slice with a bright disc of a radius round the one point that is known; and, as there
    is in any patient, fat elsewhere."""
    rows, columns = np.mgrid[:100, :100]
    pixels = np.full((100, 100), 80, np.uint8)
    pixels[np.hypot(rows - 50, columns - 50) < fat_mm] = 200
    pixels[:, 64:70] = 200
    slices = tuple(Slice(k, pixels, np.array([4.0 * k, 0, 0]), AXES, np.ones(2)) for k in range(3))
    series = PreparedSeries(7, rsna.SAGITTAL_T1, Series(slices))
    points = np.full((len(TARGETS), 3), np.nan)
    points[ONE] = slices[1].to_patient((50, 50))
    return PreparedStudy(1, (series,), pd.DataFrame(), ()), points


def test_the_share_is_that_of_the_bright_pixels_round_the_root():
    for radius, share in ((4, 0.44), (5, 0.69), (8, 1)):
        study, points = study_with(radius)
        shares = fat.fat_shares(study, points)
        assert shares[ONE] == pytest.approx(share, abs=0.07)
        assert np.isnan(np.delete(shares, ONE)).all()


def test_where_no_foramen_seems_open_fat_may_not_be_bright_and_nothing_is_measured():
    study, points = study_with(2)
    assert np.isnan(fat.fat_shares(study, points)).all()


@pytest.mark.parametrize(("fluid", "is_measured"), [(20, True), (250, False)])
def test_where_the_fluid_of_the_sac_is_bright_the_image_is_no_t1(fluid, is_measured):
    study, points = study_with(5)
    for one in study.series[0].series.slices:
        one.pixels[10:20, 10:20] = fluid
    points[rsna.target_index(rsna.CANAL, "L3/L4")] = (
        study.series[0].series.slices[0].to_patient((14.5, 14.5))
    )
    assert np.isfinite(fat.fat_shares(study, points)[ONE]) == is_measured


def test_without_sagittal_t1_nothing_is_measured():
    study, points = study_with(5)
    assert np.isnan(fat.fat_shares(replace(study, series=()), points)).all()
    assert (openness.log_likelihoods(np.full(25, np.nan)) == 0).all()


def test_less_fat_makes_narrowing_more_likely_and_no_measure_changes_nothing(monkeypatch):
    released = inference.load_run(RELEASED)
    p = np.tile([0.6, 0.3, 0.1], (len(TARGETS), 1))
    severe = []
    for share in (0.6, 0.3, 0.0):
        shares = np.full(len(TARGETS), np.nan)
        shares[ONE] = share
        found = probabilities.with_measures(released, p, shares)
        assert (np.delete(found, ONE, 0) == np.delete(p, ONE, 0)).all()
        assert found[ONE].sum() == pytest.approx(1)
        severe.append(found[ONE, GRADES.index("Severe")])
    assert severe == sorted(severe)
    monkeypatch.setattr(probabilities, "WEIGHT", np.ones(len(TARGETS)))
    scale = openness.SCALES["foraminal"]
    by_bayes = released.prior.loc[TARGETS[ONE]].to_numpy() * np.exp(
        -(((0.3 - np.array(scale.means)) / scale.deviation) ** 2) / 2
    )
    shares[ONE] = 0.3
    found = probabilities.with_measures(released, p, shares)[ONE]
    assert found == pytest.approx(by_bayes / by_bayes.sum())


def test_a_canal_is_as_open_as_its_sac_against_the_widest_level():
    measures = nothing()
    measures["sac_mm"][:3] = 12, 6, np.nan
    measures["sac_mm2"][:3] = 150, 60, 75
    measures["fat_mm2"][ONE] = fat.AREA_MM2 / 4
    found = openness.openness(measures)
    assert found[:3] == pytest.approx([1, (0.5 + 0.4) / 2, 0.5])
    assert found[ONE] == pytest.approx(0.25)
    assert np.isnan(np.delete(found, [0, 1, 2, ONE])).all()
    likely = openness.log_likelihoods(found)[:3].argmax(1)
    assert likely.tolist() == [0, 2, 1]
    assert np.isnan(openness.openness(nothing())).all()


@pytest.mark.slow
def test_on_clinical_phantoms_a_grade_less_has_less_fat(tables):
    """Without which the means of openness.SCALES would not be those of this phantom."""
    rows = []
    for study_id in tables.studies("test"):
        study = prepare.prepare_study(tables, study_id)
        truth = pd.read_csv(tables.root / "truth" / "truth.csv")
        true = truth[truth.study_id == study_id]
        shares = fat.fat_shares(study, point_table(true))
        grades = true.set_index(["condition", "level"]).grade.reindex(list(TARGETS))
        rows.append(pd.DataFrame({"grade": grades.to_numpy(), "share": shares}))
    means = pd.concat(rows).dropna().groupby("grade").share.mean().reindex(list(GRADES))
    assert means.is_monotonic_decreasing
    assert means.to_numpy() == pytest.approx(openness.SCALES["foraminal"].means, abs=0.08)


def test_probabilities_still_sum_to_one(tables, whole_study):
    released = inference.load_run(RELEASED)
    found = inference.predict_study(released, prepare.prepare_study(tables, whole_study))
    assert found[list(rsna.GRADE_COLUMNS)].sum(axis=1).to_numpy(float) == pytest.approx(1)
    assert found.fat_mm2[found.condition.str.contains("Foraminal")].between(0, fat.AREA_MM2).all()
