"""The structures that a segmentation learns lie where the phantom's anatomy says."""

import numpy as np
import pytest

from utils.phantom.anatomy import make_spine
from utils.phantom.planes import TO_BACK, TO_FEET, TO_LEFT, empty_slice
from utils.phantom.structures import structures
from utils.rsna import TARGETS, target_index
from utils.structures import ARCH, BODY, DISC, SAC, SACRUM

NORMAL = np.zeros(len(TARGETS), int)
PX, MM = 320, 1.0


@pytest.fixture(scope="module")
def spine():
    return make_spine(np.random.default_rng(2), NORMAL, "", scale=0.93)


def sagittal(spine, aside: float = 0.0):
    centre = spine.to_patient(spine.disc_s[2], 0.0, -20.0) + aside * TO_LEFT
    return empty_slice(centre, TO_BACK, TO_FEET, PX * MM, PX)


def at(found, plane, spine, s, v, u=0.0):
    column, row = plane.to_pixel(spine.to_patient(s, u, v)).round().astype(int)
    return found[row, column]


def test_bodies_discs_and_sac_follow_each_other(spine):
    plane = sagittal(spine)
    found = structures(spine, plane)
    for k, s in enumerate(spine.disc_s):
        assert at(found, plane, spine, s, -16) == DISC, k
        assert at(found, plane, spine, s, 9) == SAC, k
    for above, below in zip(spine.disc_s, spine.disc_s[1:]):
        assert at(found, plane, spine, (above + below) / 2 + 6, -18) == BODY
    assert at(found, plane, spine, spine.disc_s[-1] + 20, -10) == SACRUM
    assert (found == ARCH).sum() > 300  # mm²: the spinous processes


def test_beside_the_canal_there_are_bodies_and_arches(spine):
    plane = sagittal(spine, aside=17)
    found = structures(spine, plane)
    assert (found == ARCH).any()
    assert (found == BODY).sum() > (found == DISC).sum()
    rows, columns = np.nonzero(found == SAC)  # where the spine curves into the plane
    mm = plane.to_patient(np.stack([columns, rows], -1))
    _, u, _ = spine.to_spine(mm.T)
    assert np.abs(u).max(initial=0) < 14


def test_vessels_and_skin_are_background(spine):
    plane = sagittal(spine)
    column, row = np.meshgrid(np.arange(PX), np.arange(PX))
    mm = plane.to_patient(np.stack([column, row], -1)).reshape(-1, 3)
    _, _, v = spine.to_spine(mm.T)
    far = (v < -50) | (v > 50)
    assert not structures(spine, plane).ravel()[far].any()


def test_a_narrowed_canal_has_a_smaller_sac():
    areas = []
    for grade in (0, 1, 2):
        grades = NORMAL.copy()
        grades[target_index("Spinal Canal Stenosis", "L3/L4")] = grade
        spine = make_spine(np.random.default_rng(5), grades, "", scale=0.93, lordosis=0.0)
        centre = spine.to_patient(spine.disc_s[2], 0.0, 10.0)
        plane = empty_slice(centre, TO_LEFT, TO_BACK, 100.0, 200)
        areas.append((structures(spine, plane) == SAC).sum() * 0.25)
    assert areas[0] > 1.2 * areas[1] > 1.4 * areas[2] > 0
