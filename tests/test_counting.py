"""Levels are counted from the sacrum upwards, on masks whose answer is known."""

import numpy as np
import pytest

from utils import prepare, rsna
from utils.dicom import Slice
from utils.inference.counting import count_levels, discs_of, middle_of_spine, with_whole_sacrum
from utils.inference.levels import DOUBTFUL, Counted, agreed, doubt_in
from utils.inference.segmentation import Segmented, segment
from utils.models import Segmenter
from utils.structures import BODY, DISC, SAC, SACRUM, SAGITTAL

AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])  # columns to the back, rows to the feet
PX = SAGITTAL.px
HEIGHTS = [40 + 35 * k for k in range(6)]  # rows of six discs, the lowest last


def spine(heights=HEIGHTS, sacrum=True, remnant=True, bowel=True) -> np.ndarray:
    """A mask (PX, PX) of a straight spine: discs of 38 by 8 mm in front of a sac."""
    mask = np.zeros((PX, PX), np.uint8)
    bottom = heights[-1] + 8
    mask[10 : bottom + 60, 150:165] = SAC
    mask[10:bottom, 108:146] = BODY
    for row in heights:
        mask[row : row + 8, 108:146] = DISC
    if sacrum:
        mask[bottom : bottom + 60, 115:148] = SACRUM
        if remnant:
            mask[bottom + 25 : bottom + 29, 118:147] = DISC
    if bowel:
        mask[bottom + 5 : bottom + 15, 50:90] = DISC
    return mask


def as_found(masks: list[np.ndarray]) -> Segmented:
    """Slices 4 mm apart from the right to the left, as sure as can be."""
    p = np.eye(SAGITTAL.structures, dtype=np.float32)[np.array(masks)].transpose(3, 0, 1, 2)
    crops = [
        Slice(k, np.zeros((PX, PX)), np.array([4.0 * k, 0, 0]), AXES, np.ones(2))
        for k in range(len(masks))
    ]
    return Segmented(crops, p)


def rows_of(counted: Counted) -> np.ndarray:
    return -counted.points[:, 2]


def test_the_five_lowest_discs_are_the_levels():
    counted = count_levels(as_found([spine()] * 5))
    assert rows_of(counted) == pytest.approx([78.5 + 35 * k for k in range(5)], abs=0.6)
    assert counted.points[:, 1] == pytest.approx(157, abs=0.6)  # the middle of the sac
    assert counted.points[:, 0] == pytest.approx(8, abs=0.1)  # the middle slice
    assert counted.is_sure


def test_remnants_in_the_sacrum_and_bowel_are_no_levels():
    with_both, alone = spine(), spine(remnant=False, bowel=False)
    assert len(discs_of(with_both)) == len(discs_of(alone)) + 2
    found = count_levels(as_found([with_both] * 3)).points
    assert found == pytest.approx(count_levels(as_found([alone] * 3)).points)


@pytest.mark.parametrize(
    "mask",
    [
        spine(sacrum=False),
        spine(HEIGHTS[:2] + HEIGHTS[3:]),  # a disc that was not found
        np.zeros((PX, PX), np.uint8),
    ],
    ids=["no sacrum", "a gap", "nothing"],
)
def test_a_count_is_not_sure_where_a_disc_may_be_missing(mask):
    assert not count_levels(as_found([mask] * 3)).is_sure


def test_below_a_surely_counted_lowest_disc_there_is_sacrum_and_no_vertebra():
    """The first sacral segment, seen by itself, looks like one."""
    mask, bottom = spine(), HEIGHTS[-1] + 8
    mask[bottom : bottom + 12, 115:148] = BODY
    found = as_found([mask] * 3)
    counted = count_levels(found)
    assert counted.is_sure
    mended = with_whole_sacrum(found, counted)
    assert (mended.p.argmax(0)[0] == BODY).sum() == (spine() == BODY).sum()
    assert (mended.p.argmax(0)[0, bottom : bottom + 12, 115:148] == SACRUM).all()
    assert mended.p.sum(0) == pytest.approx(1)
    unsure = counted._replace(is_sure=False)
    assert with_whole_sacrum(found, unsure).p is found.p


def test_levels_above_the_image_are_not_found():
    counted = count_levels(as_found([spine(HEIGHTS[2:])] * 3))
    assert np.isnan(counted.points[0]).all()
    assert np.isfinite(counted.points[1:]).all()


def test_a_curved_spine_is_followed_from_slice_to_slice():
    """Its upper half is on the first slices, its lower half on the last."""
    whole = spine()
    upper, lower = whole.copy(), whole.copy()
    upper[140:], lower[:140] = 0, 0
    found = as_found([upper, upper, lower, lower])
    p, at = middle_of_spine(found.p)
    assert (p.argmax(0) == DISC).sum() > 0.9 * (whole == DISC).sum()
    assert at[60] @ np.arange(4) < 1.2
    assert at[230] @ np.arange(4) > 1.8
    counted = count_levels(found)
    assert rows_of(counted) == pytest.approx([78.5 + 35 * k for k in range(5)], abs=0.6)


POINTS = np.array([[0, 0, -35.0 * k] for k in range(5)])
SURE, NO_DISCS = np.full(5, 0.9), (None,) * 5


def test_recognised_levels_are_kept_where_the_count_says_the_same():
    near = Counted(POINTS + 5, NO_DISCS, is_sure=True)
    levels = agreed(POINTS, SURE, near)
    assert (levels.points == POINTS).all()
    assert (levels.confidence == SURE).all()
    assert levels.doubt == ""
    unknown = Counted(np.full((5, 3), np.nan), NO_DISCS, is_sure=False)
    assert agreed(POINTS, SURE, unknown).doubt == ""


def test_a_sure_count_overrules_and_is_doubtful():
    a_level_up = Counted(POINTS + (0, 0, 35), NO_DISCS, is_sure=True)
    levels = agreed(POINTS, SURE, a_level_up)
    assert (levels.points == a_level_up.points).all()
    assert levels.confidence.max() <= DOUBTFUL
    assert "35 mm" in levels.doubt
    assert doubt_in([f"{levels.doubt}; seen without Axial T2"]) == levels.doubt
    unsure = agreed(POINTS, SURE, a_level_up._replace(is_sure=False))
    assert (unsure.points == POINTS).all()
    assert unsure.confidence.max() <= DOUBTFUL
    assert unsure.doubt == levels.doubt


def test_slices_of_any_size_are_segmented_at_one_scale(tables, whole_study):
    (series,) = prepare.prepare_study(tables, whole_study).of(rsna.SAGITTAL_T2)
    found = segment(Segmenter().eval(), series)
    assert found.p.shape == (SAGITTAL.structures, len(found.crops), PX, PX)
    assert found.p.sum(0) == pytest.approx(1, abs=1e-3)
    x = [one.origin[0] for one in found.crops]
    assert (np.abs(np.diff(x)) >= 2.5).all()
