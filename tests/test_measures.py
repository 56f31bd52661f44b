"""What is measured in mm, on masks whose sizes are known and on phantoms."""

import numpy as np
import pytest
from test_counting import HEIGHTS, PX, as_found, spine

from utils import inference, phantom, prepare, rsna
from utils.course.workspace import RELEASED
from utils.crops import POINT_MM
from utils.dicom import Slice
from utils.inference import measures
from utils.inference.counting import count_levels
from utils.inference.levels import Disc
from utils.inference.measures import MEASURES, OF_PATIENT, ON_SAGITTAL, Seen, on_sagittal
from utils.phantom import PhantomSpec
from utils.phantom.sizes import true_measures
from utils.rsna import CANAL_ROWS
from utils.structures import AXIAL, BODY, DISC, SAC

STEP = 2 * measures.STEP_MM  # at both ends
AXIAL_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # columns to the left, rows to the back


def seen(mask: np.ndarray) -> Seen:
    found = as_found([mask] * 3)
    return Seen(found, count_levels(found))


def of_levels(mask: np.ndarray) -> dict[str, np.ndarray]:
    """The sagittal measures of the five levels of a mask."""
    both = seen(mask)
    found = on_sagittal(both, both.counted.points)
    return {name: values[CANAL_ROWS] for name, values in found.items()}


def axial_slice() -> Slice:
    px = AXIAL.px
    return Slice(0, np.zeros((px, px)), np.zeros(3), AXIAL_AXES, np.full(2, AXIAL.mm))


def test_a_straight_spine_has_the_sizes_it_was_drawn_with():
    found = of_levels(spine())
    assert found["sac_mm"] == pytest.approx(15, abs=0.5)
    assert found["disc_mm"] == pytest.approx(8, abs=0.3)
    back = [0, 0, 0, 0, 2]  # its sacrum ends 2 mm further back
    assert found["slip_mm"] == pytest.approx(back, abs=0.3)
    flush = np.array([0, 0, 0, 0, -1]) - measures.CORTEX_MM
    assert found["bulge_mm"] == pytest.approx(flush, abs=0.3)
    assert found["lordosis_degrees"] == pytest.approx(0, abs=0.5)
    assert found["scoliosis_degrees"] == pytest.approx(0, abs=0.5)


def test_the_sac_is_measured_where_it_is_narrowest_beside_the_disc():
    narrow = spine()
    row = HEIGHTS[3]
    narrow[row + 2 : row + 7, 150:157] = DISC  # bulges 7 mm into it
    sac_mm = of_levels(narrow)["sac_mm"]
    assert sac_mm[2] == pytest.approx(8, abs=0.7)
    assert np.delete(sac_mm, 2) == pytest.approx(15, abs=0.5)


def test_a_drawn_line_has_the_length_that_is_measured():
    both = seen(spine())
    for disc in both.counted.discs:
        ends = measures.sac_line(both.found.p[SAC, 1], disc)
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(15, abs=0.7)
    assert measures.sac_line(np.zeros((PX, PX)), disc) is None


def test_a_disc_that_reaches_behind_its_vertebrae_bulges():
    bulging = spine()
    row = HEIGHTS[2]
    bulging[row : row + 8, 146:151] = DISC
    found = of_levels(bulging)["bulge_mm"] + measures.CORTEX_MM
    assert found[1] == pytest.approx(5, abs=0.5)
    assert np.delete(found, [1, 4]) == pytest.approx(0, abs=0.3)


def test_a_spine_is_curved_by_the_angle_between_its_discs():
    first, last = (
        Disc(np.zeros(2), np.array([np.cos(a), np.sin(a)]), 38.0, False)
        for a in np.radians([5, -30])
    )
    assert measures.lordosis(first, last) == pytest.approx(35)
    assert np.isnan(measures.lordosis(None, last))


def test_a_canal_that_bends_sideways_has_the_angle_of_its_stretches():
    canal = np.array([(0, 0, 0), (0, 0, -30), (0, 0, -60), (30, 0, -90), (60, 0, -120.0)])
    assert measures.scoliosis(canal) == pytest.approx(45)
    canal[2:] = np.nan
    assert np.isnan(measures.scoliosis(canal))


@pytest.mark.parametrize("mm", [5, -4])
def test_a_vertebra_that_slipped_forward_has_a_positive_slip(mm):
    """L4 and all above, at a spine whose front is to the left of the picture."""
    slipped = spine()
    bottom = HEIGHTS[4]
    slipped[:bottom] = np.roll(slipped[:bottom], -mm, axis=1)
    found = of_levels(slipped)["slip_mm"]
    assert found[3] == pytest.approx(mm, abs=0.8)
    assert np.delete(found, 3) == pytest.approx([0, 0, 0, 2], abs=0.5)


def test_levels_without_a_disc_are_not_measured():
    both = seen(spine())
    far = both.counted.points + (0, 0, 17)
    found = on_sagittal(both, far)
    assert all(np.isnan(found[name]).all() for name in set(ON_SAGITTAL) - set(OF_PATIENT))


def test_the_area_of_the_sac_is_that_of_its_part_in_the_middle():
    rows, columns = np.mgrid[: AXIAL.px, : AXIAL.px] - (AXIAL.px - 1) / 2
    sac = np.hypot(rows / 14, columns / 18) < 1  # 7 by 9 mm
    elsewhere = (rows > 40) & (columns > 40)  # larger
    area = measures.sac_area((sac | elsewhere).astype(float))
    assert area == pytest.approx(np.pi * 7 * 9, rel=0.02)
    assert measures.sac_area(np.zeros((AXIAL.px, AXIAL.px))) == 0


def test_a_slice_that_cuts_the_canal_aslant_shows_too_large_an_area():
    tilt = np.radians(30)
    canal = np.array([(0, np.sin(tilt) * 30 * k, -np.cos(tilt) * 30 * k) for k in range(5)])
    factor = measures.obliquity(axial_slice(), canal, 2)
    assert factor == pytest.approx(np.cos(tilt))
    canal[4] = np.nan
    assert measures.obliquity(axial_slice(), canal, 2) == 1


def test_a_recess_is_as_deep_as_its_narrowest_line():
    one, free = axial_slice(), np.zeros((AXIAL.px, AXIAL.px))
    free[92:102, 60:120] = 1  # 5 mm
    free[95:99, 100:104] = 1
    free[92:95, 99:102], free[99:102, 99:102] = 0, 0  # 2 mm between disc and facet
    point = one.to_patient((99.0, 97.0))
    assert measures.recess_depth(free, one, point) == pytest.approx(2, abs=STEP)
    beside = one.to_patient((70.0, 97.0))
    assert measures.recess_depth(free, one, beside) == pytest.approx(5, abs=STEP)
    assert measures.recess_depth(0 * free, one, point) == 0
    assert np.isnan(measures.recess_depth(free, one, np.full(3, np.nan)))


def test_the_released_run_measures_a_phantom(tmp_path):
    """One patient whose sizes are known: each measure is near them in the median of five levels."""
    spec = PhantomSpec(studies=1, test_studies=0, seed=77)
    phantom.make_dataset(tmp_path, spec)
    tables = rsna.load_tables(tmp_path)
    (study_id,) = tables.studies("train")
    run = inference.load_run(RELEASED)
    study = prepare.prepare_study(tables, study_id, run.preset.spacing_mm)
    found = inference.predict_study(run, study)
    true = true_measures(phantom.true_spine(spec, study_id))
    most_off = {"sac_mm": 2, "sac_mm2": 20, "disc_mm": 1, "bulge_mm": 1.5, "slip_mm": 1.5}
    for name, most in (most_off | {"lordosis_degrees": 8}).items():
        off = found[name].to_numpy()[CANAL_ROWS] - true[name]
        assert np.nanmedian(np.abs(off)) < most, name
    families = found.condition.map(rsna.FAMILY)
    others = {"fat_mm2": "foraminal", "recess_mm": "subarticular"}
    for name, family in (dict.fromkeys([*ON_SAGITTAL, "sac_mm2"], "spinal") | others).items():
        assert found[name].notna().groupby(families).any()[family], name
        assert found[name][families != family].isna().all(), name
    points = found[POINT_MM].to_numpy(float)
    texts = {line.text for line in inference.outlines(run, study, points) if line.text}
    assert {f"{mm:.1f} mm" for mm in found.sac_mm.dropna()} <= texts
    assert {f"{mm2:.0f} mm²" for mm2 in found.sac_mm2.dropna()} <= texts


def test_a_run_that_learnt_from_its_own_data_measures_nothing(tables, whole_study, tiny_run):
    study = prepare.prepare_study(tables, whole_study)
    found = inference.predict_study(inference.load_run(tiny_run), study)
    assert found[list(MEASURES)].isna().to_numpy().all()


def test_masks_without_a_body_give_no_slip():
    mask = spine()
    mask[mask == BODY] = 0
    assert np.isnan(of_levels(mask)["slip_mm"][:4]).all()
