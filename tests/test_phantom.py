"""The phantom: the competition's layout, the same bytes from the same seed, grades that can be measured in the images."""

import hashlib
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest

from utils import phantom, rsna
from utils.dicom import Slice, read_series
from utils.phantom.anatomy import PREVALENCE, STEP, make_spine, sample_grades
from utils.phantom.image import Painter, Sequence
from utils.rsna import CANAL, LEVELS, TARGETS

T1, T2 = Sequence(550, 12, noise=0.0), Sequence(3500, 100, noise=0.0)
SMALL = {"test_studies": 1, "size": (64, 64)}


def hashes(root):
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_whatever_the_number_of_jobs(tmp_path):
    one = phantom.make_dataset(tmp_path / "one", 2, seed=5, jobs=1, **SMALL)
    two = phantom.make_dataset(tmp_path / "two", 2, seed=5, jobs=2, **SMALL)
    other = phantom.make_dataset(tmp_path / "other", 2, seed=6, jobs=2, **SMALL)
    assert hashes(one) == hashes(two)
    assert hashes(one)["train.csv"] != hashes(other)["train.csv"]


def test_an_interrupted_generation_is_finished_to_the_same_bytes(tmp_path):
    root = phantom.make_dataset(tmp_path / "p", 2, seed=5, **SMALL)
    whole = hashes(root)
    first = next((root / "train_images").iterdir())
    shutil.rmtree(first)  # its record is there, its images are not
    (root / "sample_submission.csv").unlink()
    phantom.make_dataset(root, 2, seed=5, **SMALL)
    assert hashes(root) == whole


def test_another_phantom_or_a_foreign_folder_is_never_overwritten(tmp_path):
    root = phantom.make_dataset(tmp_path / "p", 1, seed=5, **SMALL)
    with pytest.raises(ValueError, match="holds another phantom"):
        phantom.make_dataset(root, 2, seed=5, **SMALL)
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        phantom.make_dataset(tmp_path / "q", 1)


def test_files_are_like_the_competitions(tables):
    study = tables.studies()[0]
    series = tables.series_of(study)
    assert sorted(series.series_description) == sorted(rsna.SERIES)
    path = next(tables.folder(study, series.series_id.iloc[0]).iterdir())
    data = pydicom.dcmread(path)
    assert data.file_meta.TransferSyntaxUID.name == "RLE Lossless"
    assert (data.BitsAllocated, data.BitsStored, data.PixelRepresentation) == (16, 12, 0)
    assert str(data.InstanceNumber) == path.stem
    assert data.pixel_array.max() < 4096
    assert "PatientName" not in data
    assert study > 4_290_709_089  # no real study has such an id


def test_tables_validate_and_hide_the_test_labels(tables, phantom_root):
    assert tables.missing == ()
    assert tables.labels.study_id.nunique() == 4
    assert tables.submission.row_id.tolist() == [i for s in tables.studies("test") for i in rsna.row_ids(s)]
    hidden = phantom.true_labels(phantom_root, "test")
    assert set(hidden.study_id) == set(tables.studies("test"))
    assert not set(hidden.study_id) & set(tables.labels.study_id)


def test_annotations_lie_at_the_true_points_and_on_the_named_side(tables, phantom_root):
    truth = phantom.true_labels(phantom_root, "train").set_index(["study_id", "condition", "level"])
    for row in tables.points.itertuples():
        one = read_series(tables.folder(row.study_id, row.series_id))
        place = one.slices[one.index(row.instance_number)]
        true = truth.loc[(row.study_id, row.condition, row.level), ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        off = place.to_patient((row.x, row.y)) - true
        assert abs(place.distance(true)) <= one.gap_mm / 2 + 3.0  # blocks may leave a little more than half a gap
        assert np.linalg.norm(off - (off @ place.normal) * place.normal) < 0.01
    x = truth.x_mm.groupby(level=["study_id", "condition", "level"]).first().unstack("condition")
    for kind in ("Neural Foraminal Narrowing", "Subarticular Stenosis"):
        assert (x[f"Left {kind}"] > x[CANAL]).all()
        assert (x[f"Right {kind}"] < x[CANAL]).all()


def test_real_prevalence_is_the_real_tables_within_sampling_error():
    grades = sample_grades(np.random.default_rng(0), 6000, "real")
    for k, (condition, level) in enumerate(TARGETS):
        shares = PREVALENCE[rsna.FAMILY[condition]]
        for grade in (0, 1):
            expected = shares[grade][LEVELS.index(level)]
            error = np.sqrt(expected * (1 - expected) / 6000)
            assert abs((grades[:, k] == grade).mean() - expected) < 4.5 * error


def test_left_and_right_agree_about_as_often_as_in_reality():
    grades = sample_grades(np.random.default_rng(0), 4000, "real")
    assert 0.70 < (grades[:, 5:10] == grades[:, 10:15]).mean() < 0.83  # real: 76 %
    assert 0.68 < (grades[:, 15:20] == grades[:, 20:25]).mean() < 0.80  # real: 74 %


def spine_with(seed, **graded):
    """The same anatomy with the given grades, e.g. spinal=2 at every level; all else Normal."""
    grades = np.zeros(25, int)
    for k, (condition, _) in enumerate(TARGETS):
        grades[k] = graded.get(rsna.FAMILY[condition], 0)
    return make_spine(np.random.default_rng(seed), grades)


def plane_at(centre, columns, rows, mm=60.0, px=100):
    columns, rows, spacing = np.array(columns, float), np.array(rows, float), mm / px
    origin = np.asarray(centre) - (columns + rows) * spacing * (px - 1) / 2
    return Slice(1, np.empty((px, px)), origin, np.stack([columns, rows]), np.full(2, spacing))


def render(spine, sequence, plane):
    return Painter(spine, sequence).render(plane, 1.0, np.random.default_rng(0))


def axial(spine, level):
    s = spine.disc_s[LEVELS.index(level)]
    tilt = np.interp(s / STEP, np.arange(len(spine.tilt)), spine.tilt)
    return plane_at(spine.to_patient(s, 0.0, 8.0), (1, 0, 0), (0, np.cos(tilt), np.sin(tilt)))


@pytest.mark.parametrize("seed", range(4))
def test_fluid_in_the_canal_at_the_disc_shrinks_with_the_canal_grade(seed):
    areas = []
    for grade in range(3):
        spine = spine_with(seed, spinal=grade)
        plane = axial(spine, "L3/L4")
        image = render(spine, T2, plane)
        x, y = plane.to_pixel(spine.point(CANAL, "L3/L4")).round().astype(int)
        areas.append((image[y - 20 : y + 21, x - 20 : x + 21] > 0.5).sum() * 0.36)
    assert areas[0] > 1.3 * areas[1]
    assert areas[1] > 1.3 * areas[2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side", ["Left", "Right"])
def test_fat_round_the_root_on_sagittal_t1_goes_with_the_foraminal_grade(seed, side):
    brightness = []
    for grade in range(3):
        spine = spine_with(seed, foraminal=grade)
        point = spine.point(f"{side} Neural Foraminal Narrowing", "L3/L4")
        image = render(spine, T1, plane_at(point, (0, 1, 0), (0, 0, -1), mm=20, px=40))
        brightness.append(image.mean())
    assert brightness[0] > brightness[1] > brightness[2]


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_what_is_bright_in_the_recess_goes_with_the_subarticular_grade(side):
    brightness = []
    for grade in range(3):
        spine = spine_with(1, subarticular=grade)
        plane = axial(spine, "L4/L5")
        x, y = plane.to_pixel(spine.point(f"{side} Subarticular Stenosis", "L4/L5")).round().astype(int)
        brightness.append(render(spine, T2, plane)[y - 5 : y + 6, x - 5 : x + 6].mean())
    assert brightness[0] > brightness[1] > brightness[2]


def test_brightness_order_of_tissues_is_that_of_the_clinic():
    t1, t2 = T1.signal(), T2.signal()
    assert t1["fat"] > t1["marrow"] > t1["muscle"] > t1["csf"] > t1["cortex"]
    assert t2["csf"] > t2["fat"] > t2["marrow"] > t2["muscle"] > t2["cortex"]
    assert t2["nucleus"] > t2["black nucleus"] > t2["annulus"]
    suppressed = Sequence(3500, 100, fat_suppressed=True).signal()
    assert suppressed["fat"] < suppressed["muscle"] < suppressed["csf"]


def test_the_measure_in_the_truth_follows_the_grade(phantom_root):
    truth = pd.read_csv(phantom_root / "truth" / "truth.csv")
    family = truth.condition.map(rsna.FAMILY)
    # subarticular openings are depths in mm whose ranges do not overlap
    sizes = truth[family == "subarticular"].groupby("grade").measure_mm.agg(["min", "max"])
    assert (
        sizes.loc["Severe", "max"] < sizes.loc["Moderate", "min"] < sizes.loc["Moderate", "max"] < sizes.loc["Normal/Mild", "min"]
    )
