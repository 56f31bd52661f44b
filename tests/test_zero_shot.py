"""What the benchmark of unseen studies measures with: the patient stays the same, and what is outside is outside."""

import numpy as np
import pytest

from benchmarks import zero_shot
from utils import prepare, rsna
from utils.views import TARGET_LEVEL, point_table


@pytest.fixture(scope="module")
def study(tables, whole_study):
    return prepare.prepare_study(tables, whole_study)


@pytest.mark.parametrize("seed", range(3))
def test_a_perturbed_patient_is_the_same_patient_elsewhere(study, seed):
    """What was seen at a point is seen at the same point of the magnified patient: brighter ones stay brighter."""
    other, zoom = zero_shot.perturbed(study, seed)
    assert 0.9 <= zoom <= 1.12
    for before, after in zip(study.series, other.series):
        one, two = (part.series.slices[len(part.series) // 2] for part in (before, after))
        assert two.spacing == pytest.approx(one.spacing * zoom)
        height, width = one.pixels.shape
        at = np.array([(x, y) for x in range(40, width - 40, 7) for y in range(40, height - 40, 7)])
        there = np.round([two.to_pixel(one.to_patient(xy) * zoom) for xy in at]).astype(int)
        inside = ((there >= 0) & (there < (width, height))).all(1)
        assert inside.mean() > 0.5
        then, now = one.pixels[tuple(at[inside].T[::-1])], two.pixels[tuple(there[inside].T[::-1])]
        order = np.argsort(then, kind="stable")
        assert (np.diff(now[order].astype(int))[np.diff(then[order].astype(int)) > 0] >= 0).all()
        assert len(np.unique(now)) > 10


@pytest.mark.parametrize("cut", zero_shot.CUTS)
def test_a_cut_off_study_ends_between_two_levels(study, cut):
    canal = point_table(study.points)[:5]
    other = zero_shot.cut_off(study, *cut, canal)
    margins = np.array([zero_shot.margin_mm(other, mm) for mm in canal])
    gone = np.arange(5) < cut[1] if cut[0] == "top" else np.arange(5) >= 5 - cut[1]
    assert ((margins < 0) == gone).all()
    assert np.abs(margins[gone]).min() > 5, "halfway between two levels"
    same, one = study.of(rsna.SAGITTAL_T2)[0].slices[3], other.of(rsna.SAGITTAL_T2)[0].slices[3]
    mm = canal[~gone][0]
    assert (
        one.pixels[tuple(one.to_pixel(mm).round().astype(int)[::-1])]
        == same.pixels[tuple(same.to_pixel(mm).round().astype(int)[::-1])]
    )


def test_points_are_counted_inside_and_levels_outside_are_to_be_told(study):
    true = point_table(study.points)
    other, found = zero_shot.cut_off(study, "bottom", 2, true[:5]), zero_shot.Found()
    told = true.copy()
    told[TARGET_LEVEL == 4] = np.nan  # L5/S1 is told, L4/L5 is not; all others are found, one of them 20 mm off
    told[0] += (0, 20, 0)
    found.add(other, told, np.full(25, 0.9), true)
    assert found.told == [False, True]
    table = found.table()
    assert table.loc["all", "points"] == 15
    assert table.loc["all", "% within 10 mm"] == pytest.approx(100 * 14 / 15)
    assert table.loc["spinal", "% of sure wrong"] == pytest.approx(100 / 3)
    assert table.loc["foraminal", "median mm"] == 0
    assert "levels outside the pictures: 2, told 50.0%" in str(found)


def test_a_level_told_to_be_missing_that_is_there_is_infinitely_far_off(study):
    true, found = point_table(study.points), zero_shot.Found()
    found.add(study, np.full((25, 3), np.nan), np.zeros(25), true)
    assert found.table().loc["all", "% within 10 mm"] == 0
    assert found.table().loc["all", "% sure"] == 0
    assert found.told == []
