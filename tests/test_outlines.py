"""Outlines of structures, from a segmentation to the pixels of the viewer."""

from dataclasses import replace

import numpy as np
import pytest
from test_counting import as_found, spine

from utils import inference, prepare, rsna, viewer
from utils.course.workspace import RELEASED
from utils.inference.outlines import _lines
from utils.structures import DISC, ROOT, SAC, SAGITTAL, STRUCTURES, Outline


def test_an_outline_encloses_what_was_found():
    found = as_found([spine(remnant=False, bowel=False)])
    crop = replace(found.crops[0], series_id=7)
    (sac,) = _lines(crop, found.p[SAC, 0], SAC)
    assert (sac.series_id, sac.instance, sac.structure) == (7, 0, SAC)
    x, _ = crop.to_pixel(sac.mm).T
    assert (x.min(), x.max()) == pytest.approx((149.5, 164.5))
    assert np.allclose(sac.mm[0], sac.mm[-1])
    assert len(list(_lines(crop, found.p[DISC, 0], DISC))) == 6
    assert not list(_lines(found.crops[0], found.p[SAC, 0], SAC)), "a slice of no series"


def test_the_viewer_gets_them_in_pixels_of_their_slice(tables, whole_study):
    (series,) = prepare.prepare_study(tables, whole_study).of(rsna.SAGITTAL_T2)
    raw = viewer.payload(tables, whole_study)
    one = series.slices[3]
    square = np.array([[10, 10], [20, 10], [20, 30], [10, 10]])
    here = Outline(one.series_id, one.instance, SAC, one.to_patient(square))
    elsewhere = Outline(one.series_id, 999, SAC, one.to_patient(square))
    data = viewer.payload(tables, whole_study, outlines=[here, elsewhere])
    slices = [of for entry in data.study["series"] for of in entry["slices"]]
    (found,) = [of for of in slices if "outlines" in of]
    assert found["instance"] == one.instance
    (line,) = found["outlines"]
    expected = one.to_patient(square) - np.array(found["origin"])
    xy = expected @ np.array(found["axes"]).T / found["spacing"]
    assert np.array(line["xy"]) == pytest.approx(xy, abs=0.06)
    assert data.study["structures"][line["structure"]]["name"] == STRUCTURES[SAC]
    assert data.images == raw.images


def test_the_released_run_outlines_every_structure_and_others_none(tables, whole_study):
    released = inference.load_run(RELEASED)
    found = inference.outliner(tables, released)(whole_study)
    structures = {one.structure for one in found if not one.text}
    assert structures == set(range(1, SAGITTAL.structures))
    assert {one.structure for one in found if one.text} == {SAC, ROOT}, "what is measured"
    study = prepare.prepare_study(tables, whole_study)
    assert inference.outlines(replace(released, segmenter=None), study) == []
    assert inference.outliner(tables, released)(1) == []
