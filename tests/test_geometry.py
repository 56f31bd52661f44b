"""Slices and series in patient space: pixels to mm and back, order by position, which way is up.

The second half uses the real study, where there is one.
"""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import prepare, rsna
from utils.dicom import Series, Slice, in_order, read_series
from utils.dicom.geometry import letter


def make(origin=(0, 0, 0), columns=(1, 0, 0), rows=(0, 1, 0), spacing=(1.0, 1.0), instance=1):
    """A slice of 40 × 60 pixels; `columns` is the direction of +column, `rows` that of +row."""
    return Slice(
        instance,
        pixels=np.zeros((40, 60), np.uint8),
        origin=np.array(origin, float),
        axes=np.array([columns, rows], float),
        spacing=np.array(spacing, float),
    )


def test_a_pixel_of_a_plain_axial_slice_by_hand():
    one = make(origin=(-50, -20, 100), spacing=(0.5, 2.0))
    assert one.to_patient((10, 3)).tolist() == [-45.0, -14.0, 100.0]
    assert one.to_pixel((-45, -14, 107)).tolist() == [10.0, 3.0]
    assert one.distance((-45, -14, 107)) == 7.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_pixel_to_mm_to_pixel_is_exact_on_any_oblique_slice(seed):
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 2)))
    one = make(rng.normal(0, 200, 3), *axes.T, spacing=rng.uniform(0.2, 1.2, 2))
    xy = rng.uniform(0, 500, (7, 2))
    assert np.abs(one.to_pixel(one.to_patient(xy)) - xy).max() < 1e-9
    assert np.abs(one.distance(one.to_patient(xy))).max() < 1e-9


def test_order_is_anatomy_whatever_the_instance_numbers_say():
    rng = np.random.default_rng(0)
    positions = list(range(0, 50, 5))  # mm
    numbered = list(zip(positions, rng.permutation(10).tolist()))
    axial = [make((0, 0, z), instance=k) for z, k in numbered]
    assert [s.origin[2] for s in in_order(axial)] == positions[::-1]  # head to foot
    numbered = list(zip(positions, rng.permutation(10).tolist()))
    sagittal = [make((x, 0, 0), (0, 1, 0), (0, 0, -1), instance=k) for x, k in numbered]
    assert [s.origin[0] for s in in_order(sagittal)] == positions  # right to left


def test_crossing_oblique_blocks_stay_together():
    tilt = np.radians(25)
    upper = [make((0, 0, z)) for z in (20, 16, 12)]
    lower = [make((0, 0, z), rows=(0, np.cos(tilt), np.sin(tilt))) for z in (4, 0, -4)]
    series = Series(in_order(lower + upper))
    assert series.stacks == [[0, 1, 2], [3, 4, 5]]
    assert series.gap_mm == pytest.approx((4 + 4 * np.cos(tilt)) / 2)


def test_the_nearest_slice_is_the_one_whose_image_covers_the_point_not_whose_plane_passes_by():
    tilt = np.radians(45)
    far = make((0, 100, 0), rows=(0, np.cos(tilt), np.sin(tilt)))  # its plane contains the point
    near = make((0, -20, -95))
    series = Series((near, far))
    point = np.array([10.0, 0.0, -100.0])
    assert abs(far.distance(point)) < 1e-9
    assert series.nearest_slice(point) == 0


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "S"),
        ((0, 0, -1), "I"),
        ((0.2, -0.9, 0.4), "A"),
    ],
)
def test_letters_follow_dicoms_axes(direction, expected):
    assert letter(np.array(direction, float)) == expected


def test_the_edges_of_an_image_come_from_its_orientation_not_from_its_name():
    axial = make()
    assert axial.letters == ("R", "L", "A", "P")  # the patient's left is on the right of the image
    sagittal = make(columns=(0, 1, 0), rows=(0, 0, -1))
    assert sagittal.letters == ("A", "P", "S", "I")
    turned = make(columns=(-1, 0, 0), rows=(0, -1, 0))  # axial, by 180 degrees
    assert turned.letters == ("L", "R", "P", "A")
    tilt = np.radians(35)
    oblique = make(rows=(0, np.cos(tilt), -np.sin(tilt)))  # axial, along a disc
    assert oblique.letters == ("R", "L", "A", "P")


# --- on a real study ------------------------------------------------------------------------------

STUDY = 100206310


@pytest.fixture(scope="module")
def study(real_root):
    """Its annotated points, and its series by id."""
    tables = rsna.load_tables(real_root).only(STUDY)
    ids = tables.series.series_id
    return tables.points, {k: read_series(tables.folder(STUDY, k)) for k in ids}


def to_patient(series, point) -> np.ndarray:
    """(3,) mm of an annotated point."""
    one = series[point.series_id]
    return one.to_patient(one.index(point.instance_number), (point.x, point.y))


def test_every_annotated_point_goes_to_mm_and_back(study):
    points, series = study
    for row in points.itertuples():
        one = series[row.series_id]
        again = one.to_pixel(one.index(row.instance_number), to_patient(series, row))
        assert np.abs(again - (row.x, row.y)).max() < 1e-6


def test_canal_points_land_within_one_slice_of_the_annotated_axial_slice(study):
    points, series = study
    axial = next(s for s in series.values() if s.orientation == "axial")
    canal = points[points.condition == rsna.CANAL]
    subarticular = points[points.condition.map(rsna.FAMILY) == "subarticular"]
    assert len(canal) == len(rsna.LEVELS)
    for row in canal.itertuples():
        found = axial.nearest_slice(to_patient(series, row))
        marked = subarticular[subarticular.level == row.level].instance_number
        assert min(abs(found - axial.index(k)) for k in marked) <= 1


def test_order_is_anatomy_under_any_file_names(study, tmp_path):
    _, series = study
    for one in series.values():
        folder = tmp_path / one.path.name
        folder.mkdir()
        for k, path in enumerate(sorted(one.path.iterdir())):
            shutil.copy(path, folder / f"{(k * 37) % 101:03d}-x.dcm")
        assert read_series(folder).instances == one.instances == sorted(one.instances)
        for path in folder.iterdir():  # names that are numbers are instance numbers; not an order
            path.rename(folder / path.name.replace("-x", ""))
        again = read_series(folder)
        assert [s.origin.tolist() for s in again.slices] == [s.origin.tolist() for s in one.slices]


def test_left_points_are_on_the_patients_left(study):
    points, series = study
    x = {condition: [] for condition in rsna.CONDITIONS}  # mm, greater to the patient's left
    for row in points.itertuples():
        x[row.condition].append(to_patient(series, row)[0])
    for kind in ("Neural Foraminal Narrowing", "Subarticular Stenosis"):
        assert min(x[f"Left {kind}"]) > max(x[rsna.CANAL])
        assert min(x[rsna.CANAL]) > max(x[f"Right {kind}"])


def test_preparation_keeps_every_points_position(real_root):
    study = prepare.prepare_study(rsna.load_tables(real_root), STUDY)
    assert len(study.points) == len(rsna.TARGETS)
    assert study.left_out == ()
