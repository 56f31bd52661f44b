"""The phantom: the competition's layout, the same bytes from the same seed, grades that can be
measured in the images."""

import hashlib
import json
import shutil

import matplotlib.image
import numpy as np
import pandas as pd
import pydicom
import pytest
from sklearn.metrics import cohen_kappa_score

from utils import metrics, phantom, rsna
from utils.dicom import read_series
from utils.metrics import HUMAN_KAPPA
from utils.phantom.anatomy import make_spine
from utils.phantom.column import SACRALISED, SIXTH_LUMBAR
from utils.phantom.grades import OPENING, sample_grades, ungraded
from utils.phantom.sheet import contact_sheet, plane_through, spine_with
from utils.phantom.signal import SHIFT_HZ, TISSUES, Sequence, acquire, render
from utils.phantom.tissue import paint
from utils.presets import Preset, PresetError, get_preset
from utils.rsna import (
    AXIAL_T2,
    CANAL,
    FAMILY,
    GRADES,
    LEVELS,
    SAGITTAL_T1,
    SAGITTAL_T2,
    TARGETS,
    rows_of,
    target_index,
)

T1, T2 = Sequence(550, 12), Sequence(3500, 100)  # no noise, no coil: tissue alone
LEFT_FORAMEN = "Left Neural Foraminal Narrowing"
RIGHT_FORAMEN = "Right Neural Foraminal Narrowing"
LEFT_RECESS = "Left Subarticular Stenosis"
RIGHT_RECESS = "Right Subarticular Stenosis"
TARGET_KEY = ["study_id", "condition", "level"]
SMALL = {"test_studies": 1, "size": (64, 64)}
CLEAR, BRIGHT = 1.35, 0.75  # a difference that is easy to see; signal of fluid or fat
NORMAL, MODERATE, SEVERE = range(3)


def generator(seed=0):
    return np.random.default_rng(seed)


def hashes(root):
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    names = [str(path.relative_to(root)) for path in files]
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in zip(names, files)}


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_number_of_jobs(tmp_path):
    some = ("several axial series", "truncated file")
    one = phantom.make_dataset(tmp_path / "one", 2, seed=5, jobs=1, anomalies=some, **SMALL)
    two = phantom.make_dataset(tmp_path / "two", 2, seed=5, jobs=2, anomalies=some, **SMALL)
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
    with pytest.raises(phantom.PhantomError, match="other settings, or by an earlier version"):
        phantom.make_dataset(root, 2, seed=5, **SMALL)
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "thesis.txt").write_text("mine")
    with pytest.raises(phantom.PhantomError, match="is not empty"):
        phantom.make_dataset(tmp_path / "q", 1)
    assert issubclass(phantom.PhantomError, ValueError)


def test_what_a_kill_left_of_the_settings_does_not_make_a_folder_foreign(tmp_path):
    (tmp_path / "partial-0badcafe-phantom.json.tmp").write_text('{"vers')
    phantom.make_dataset(tmp_path, 0, test_studies=1, size=(64, 64), jobs=1)
    assert (tmp_path / "phantom.json").is_file()


def test_a_spec_comes_back_from_json_and_one_of_another_version_is_refused():
    spec = phantom.PhantomSpec(7, 3, size=None, anomalies=("truncated file",))
    settings = json.loads(json.dumps(spec.as_dict()))
    assert phantom.PhantomSpec.from_dict(settings) == spec
    without_seed = {name: value for name, value in settings.items() if name != "seed"}
    for other in (without_seed, settings | {"colour": 1}, settings | {"version": 1}):
        with pytest.raises(phantom.PhantomError, match="version"):
            phantom.PhantomSpec.from_dict(other)
        preset = get_preset("demo").as_dict() | {"phantom": other}
        with pytest.raises(PresetError, match="another version of this project"):
            Preset.from_dict(preset)


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
    expected = [row for study in tables.studies("test") for row in rsna.row_ids(study)]
    assert tables.submission.row_id.tolist() == expected
    hidden = phantom.true_labels(phantom_root, "test")
    assert set(hidden.study_id) == set(tables.studies("test"))
    assert not set(hidden.study_id) & set(tables.labels.study_id)


def test_annotations_are_at_the_true_points(tables, phantom_root):
    truth = phantom.true_labels(phantom_root, "train").set_index(TARGET_KEY)
    for row in tables.points.itertuples():
        series = read_series(tables.folder(row.study_id, row.series_id))
        image = series.slices[series.index(row.instance_number)]
        target = (row.study_id, row.condition, row.level)
        true = truth.loc[target, ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        off = image.to_patient((row.x, row.y)) - true
        # blocks may leave a little more than half a gap
        assert abs(image.distance(true)) <= series.gap_mm / 2 + 3.0
        assert np.linalg.norm(off - (off @ image.normal) * image.normal) < 0.01


def test_true_points_are_on_the_side_that_their_condition_names(phantom_root):
    truth = phantom.true_labels(phantom_root, "train")
    x = truth.pivot(index=["study_id", "level"], columns="condition", values="x_mm")
    for left, right in ((LEFT_FORAMEN, RIGHT_FORAMEN), (LEFT_RECESS, RIGHT_RECESS)):
        assert (x[left] > x[CANAL]).all()  # LPS: x grows to the patient's left
        assert (x[right] < x[CANAL]).all()


# --- how frequent each grade is ------------------------------------------------------------------


def test_real_prevalence_is_that_of_the_real_tables_within_sampling_error():
    grades = sample_grades(generator(), 2000, "real")
    for k, frequencies in enumerate(rsna.grade_frequencies()):
        for grade, expected in enumerate(frequencies):
            error = np.sqrt(expected * (1 - expected) / 2000)
            # of 75 cells none is beyond 3.5
            assert abs((grades[:, k] == grade).mean() - expected) < 3.5 * error


def test_the_weighted_prior_scores_on_sampled_labels_as_on_the_real_ones():
    rows = []
    for study, grades in enumerate(sample_grades(generator(), 2000, "real")):
        rows += [(study, *target, GRADES[grade]) for target, grade in zip(TARGETS, grades)]
    labels = pd.DataFrame(rows, columns=[*TARGET_KEY, "grade"])
    prior = metrics.prior(labels, weighted=True)
    score = metrics.rsna_score(labels, metrics.constant_submission(prior, range(2000)))
    assert score.total == pytest.approx(0.79, abs=0.03)  # real labels: 0.7897


@pytest.mark.parametrize(
    ("family", "least", "most"),
    [
        ("foraminal", 0.70, 0.83),  # real: 76 %
        ("subarticular", 0.68, 0.80),  # real: 74 %
    ],
)
def test_left_and_right_agree_about_as_often_as_in_reality(family, least, most):
    grades = sample_grades(generator(), 4000, "real")
    left, right = grades[:, rows_of(family, "Left")], grades[:, rows_of(family, "Right")]
    assert least < (left == right).mean() < most


def test_some_patients_are_affected_at_many_targets_as_in_reality():
    affected = (sample_grades(generator(), 4000, "real") > NORMAL).sum(1)
    assert (affected > 12).mean() == pytest.approx(0.101, abs=0.015)  # of studies with 25 labels
    assert (affected == 0).mean() == pytest.approx(0.137, abs=0.035)
    assert affected.std() == pytest.approx(4.8, abs=0.25)


def test_labels_are_missing_as_in_reality():
    rng = generator()
    gaps = [ungraded(rng) for _ in range(4000)]
    conditions = [condition for targets in gaps for condition, _ in targets]
    subarticular = [FAMILY[condition] == "subarticular" for condition in conditions]
    assert np.mean([bool(targets) for targets in gaps]) == pytest.approx(185 / 1975, abs=0.015)
    assert len(conditions) / 4000 == pytest.approx(572 / 1975, abs=0.06)
    assert np.mean(subarticular) == pytest.approx(517 / 572, abs=0.06)


# --- what the images show ------------------------------------------------------------------------


def local(spine, condition, level, plane, mm=40.0, px=100):
    """A square plane of mm by mm centred on a true point."""
    point = spine.point(condition, level).astype(np.float32)
    s, u, v = spine.to_spine(point[:, None])[:, 0]
    return plane_through(spine, s, u, v, plane, mm, px)


def fraction_of(spine, plane, *tissues):
    """(H, W) how much of each pixel belongs to the tissues."""
    signal = {name: complex(name in tissues) for name in TISSUES}
    return paint(spine, signal, plane, 1.0).real


def area_mm2(spine, condition, level, plane, tissue, mm=40.0, px=100):
    fraction = fraction_of(spine, local(spine, condition, level, plane, mm, px), tissue)
    return fraction.sum() * (mm / px) ** 2


def thin(spine, sequence, plane):
    """A slice of 1 mm."""
    return render(spine, sequence, plane, 1.0, generator())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", LEVELS)
def test_bright_fluid_in_the_axial_image_at_the_disc_shrinks_with_the_canal_grade(seed, level):
    mm, px, radius_mm = 28, 100, 13
    x, y = np.meshgrid(np.arange(px), np.arange(px))
    middle = (px - 1) / 2
    inside = np.hypot(x - middle, y - middle) < px * radius_mm / mm
    areas = []
    for grade in range(3):
        spine = spine_with(seed, CANAL, grade)
        image = thin(spine, T2, local(spine, CANAL, level, "axial", mm, px))
        areas.append(((image > BRIGHT) & inside).sum())
    assert areas[NORMAL] > CLEAR * areas[MODERATE]
    assert areas[MODERATE] > CLEAR * areas[SEVERE]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("condition", [LEFT_FORAMEN, RIGHT_FORAMEN])
def test_fat_round_the_root_on_sagittal_t1_shrinks_with_the_foraminal_grade(seed, condition):
    areas = []
    for grade in range(3):
        spine = spine_with(seed, condition, grade)
        image = thin(spine, T1, local(spine, condition, "L3/L4", "sagittal", mm=16))
        areas.append((image > BRIGHT).mean())
    assert areas[NORMAL] > 1.5 * areas[MODERATE]
    assert areas[MODERATE] > 1.5 * areas[SEVERE]


@pytest.mark.parametrize("seed", range(4))
def test_the_exiting_root_is_whole_until_the_narrowing_is_severe(seed):
    where = (LEFT_FORAMEN, "L3/L4", "sagittal", "root", 12)
    roots = [area_mm2(spine_with(seed, LEFT_FORAMEN, grade), *where) for grade in range(3)]
    # Lee's grade 2: fat gone, root unchanged
    assert roots[MODERATE] == pytest.approx(roots[NORMAL], rel=0.15)
    assert roots[SEVERE] < 0.75 * roots[NORMAL]  # Lee's grade 3: root deformed


@pytest.mark.parametrize("condition", [LEFT_RECESS, RIGHT_RECESS])
def test_room_for_root_and_fluid_in_the_recess_shrinks_with_the_subarticular_grade(condition):
    areas = []
    for grade in range(3):
        spine = spine_with(1, condition, grade)
        plane = local(spine, condition, "L4/L5", "axial", mm=9)
        areas.append(fraction_of(spine, plane, "csf", "root", "fat").mean())
    assert areas[NORMAL] > areas[MODERATE] + 0.1
    assert areas[MODERATE] > areas[SEVERE] + 0.1


@pytest.mark.parametrize(
    ("narrowed", "other", "plane", "mm"),
    [
        (LEFT_FORAMEN, RIGHT_FORAMEN, "sagittal", 16),
        (RIGHT_FORAMEN, LEFT_FORAMEN, "sagittal", 16),
        (LEFT_RECESS, RIGHT_RECESS, "axial", 9),
        (RIGHT_RECESS, LEFT_RECESS, "axial", 9),
    ],
)
def test_a_narrowing_on_one_side_leaves_the_other_side_open(narrowed, other, plane, mm):
    def room(spine, condition):
        where = local(spine, condition, "L4/L5", plane, mm)
        return fraction_of(spine, where, "fat", "csf", "root").mean()

    affected, healthy = spine_with(2, narrowed, SEVERE), spine_with(2, narrowed, NORMAL)
    assert room(affected, narrowed) < 0.75 * room(affected, other)
    assert room(affected, other) == pytest.approx(room(healthy, other), abs=0.08)


@pytest.mark.parametrize("seed", range(4))
def test_points_are_in_the_structure_and_on_the_side_that_they_name(seed):
    structures = {
        "spinal": ("csf", "root", "cord"),
        "foraminal": ("root", "fat"),
        "subarticular": ("root", "fat", "csf"),
    }
    signs = {"Left": 1, "Right": -1, "": 0}  # LPS: x grows to the patient's left
    grades = generator(seed).integers(0, 3, len(TARGETS))
    spine = make_spine(generator(seed), grades)
    for target in TARGETS:
        seen = "axial" if target.family == "subarticular" else "sagittal"
        plane = local(spine, *target, seen, mm=5, px=20)
        fraction = fraction_of(spine, plane, *structures[target.family])[6:14, 6:14].mean()
        severe = grades[target_index(*target)] == SEVERE
        assert fraction > (0.2 if severe else 0.7), target
        from_midline = spine.point(*target)[0] - spine.point(CANAL, target.level)[0]
        assert np.sign(from_midline) == signs[target.side]


def intensities(spine, sequence):
    """What the image shows at positions where the tissue is known."""
    disc = spine.disc_s[1]
    body = (spine.disc_s[1] + spine.disc_s[2]) / 2
    positions = {
        "marrow": (body, 6, -18),
        "csf": (body, 0, 8),
        "muscle": (body, 30, 32),
        "fat": (disc + 6, 0, spine.skin_mm + 4),
    }
    shown = {}
    for tissue, position in positions.items():
        plane = plane_through(spine, *position, "sagittal", 5, 10)
        shown[tissue] = np.median(thin(spine, sequence, plane))
    return shown


@pytest.mark.parametrize("seed", range(3))
def test_intensities_in_the_images_are_in_the_order_that_a_radiologist_knows(seed):
    spine = spine_with(seed, CANAL, NORMAL)
    t1 = intensities(spine, T1)
    assert t1["fat"] > t1["marrow"] > t1["muscle"] > 1.05 * t1["csf"]
    t2 = intensities(spine, T2)
    assert t2["csf"] > t2["fat"] > t2["marrow"] > 1.2 * t2["muscle"]
    stir = intensities(spine, Sequence(4000, 60, ti=165))
    assert stir["csf"] > stir["muscle"] > 2 * stir["fat"]


def test_a_degenerated_disc_is_dark_and_low():
    def intensity_and_height(grade):  # severe narrowing comes with degeneration
        spine = make_spine(generator(7), np.full(len(TARGETS), grade), "", scale=0.95)
        plane = plane_through(spine, spine.disc_s[2], 0, -17, "sagittal", 6, 12)
        return thin(spine, T2, plane).mean(), np.diff(spine.discs[spine.graded][2])[0]

    young, high = intensity_and_height(NORMAL)
    old, low = intensity_and_height(SEVERE)
    assert young > 1.3 * old
    assert high > low


def test_an_extra_and_a_sacralised_vertebra():
    def spine_of_type(transitional):
        return make_spine(generator(3), np.zeros(len(TARGETS), int), transitional)

    def disc_heights(spine):
        return np.diff(spine.discs[spine.graded], axis=1)[:, 0]

    plain = spine_of_type("")
    assert len(spine_of_type(SIXTH_LUMBAR).discs) == len(plain.discs) + 1
    usual, fused = disc_heights(plain), disc_heights(spine_of_type(SACRALISED))
    assert fused[4] < 0.6 * usual[4]
    np.testing.assert_allclose(fused[:4], usual[:4], rtol=0.2)


def test_patient_and_spine_coordinates_are_each_others_inverse():
    spine = make_spine(generator(11), np.full(len(TARGETS), SEVERE))
    rng = generator()
    s, u, v = rng.uniform(60, 280, 200), rng.uniform(-25, 25, 200), rng.uniform(-35, 40, 200)
    back = spine.to_spine(spine.to_patient(s, u, v).T.astype(np.float32))
    np.testing.assert_allclose(back, np.stack([s, u, v]), atol=0.35)


# --- what the scanner adds -----------------------------------------------------------------------


def test_spin_echo_and_inversion_recovery_by_hand():
    # PD 1, T1 1950, T2 1500: 1 - exp(-3900/1950) = 0.864665; exp(-150/1500) = 0.904837
    csf = Sequence(3900, 150).signal()["csf"]
    assert csf == pytest.approx(0.864665 * 0.904837, rel=1e-5)
    # fat's T1 is 280 ms: the inversion is halfway back after 280 ln 2 = 194.08 ms (TR long)
    nulled = Sequence(20_000, 60, ti=280 * np.log(2)).signal()["fat"]
    assert abs(nulled) < 1e-6
    suppressed = Sequence(3500, 100, fat_suppressed=True).signal()["fat"]
    assert suppressed.imag == pytest.approx(0.1 * T2.signal()["fat"].imag)


def square(value):
    image = np.zeros((64, 64), np.complex64)
    image[24:40, 24:40] = value
    return image


def acquired(image, **settings):
    return acquire(image, Sequence(3500, 100, **settings), generator())


def test_fat_is_shifted_along_the_readout_and_water_is_not():
    two_px = SHIFT_HZ / 2
    water, fat = square(1), square(1j)
    shape = square(1).real
    np.testing.assert_allclose(acquired(water, bandwidth=two_px), shape, atol=1e-5)
    across = acquired(fat, bandwidth=two_px)
    np.testing.assert_allclose(across, np.roll(shape, 2, axis=1), atol=1e-5)
    down = acquired(fat, bandwidth=two_px, phase_axis=1)
    np.testing.assert_allclose(down, np.roll(shape, 2, axis=0), atol=1e-5)


def test_noise_is_rician():
    air = acquired(np.zeros((128, 128), np.complex64), noise=0.02)
    assert air.mean() == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.02)
    assert air.std() == pytest.approx(0.02 * np.sqrt(2 - np.pi / 2), rel=0.03)


def test_truncation_rings_and_breathing_repeats_along_the_phase_direction_only():
    rung = acquired(square(1), sampled=0.6)
    assert rung[:, 32].max() > 1.05  # Gibbs: about 9 % of the step
    assert rung[32, :20].max() < 0.02
    ghosts = acquired(square(1), ghost=0.05)
    outside = np.ones((64, 64), bool)
    outside[:, 24:40] = False
    assert ghosts[outside].max() < 1e-4
    assert ghosts[~outside].reshape(64, 16)[:20].max() > 0.03


# --- anomalies -----------------------------------------------------------------------------------


class Anomalous:
    """A phantom with every anomaly, one to a training study, asked for by the anomaly's name."""

    def __init__(self, root):
        injected = pd.read_csv(root / "truth" / "anomalies.csv")
        train = injected[injected.split == "train"]
        self.names = train.anomaly.tolist()
        self.descriptions = injected.what
        self.study = dict(zip(train.anomaly, train.study_id))
        self.tables = rsna.load_tables(root)

    def series(self, anomaly):
        return self.tables.series_of(self.study[anomaly])

    def points(self, anomaly):
        points = self.tables.points
        return points[points.study_id == self.study[anomaly]]

    def headers(self, anomaly, name):
        """DICOM headers of every series of a kind."""
        series = self.series(anomaly)
        found = series[series.series_description == name].series_id
        folders = [self.tables.folder(self.study[anomaly], series_id) for series_id in found]
        files = [path for folder in folders for path in sorted(folder.iterdir())]
        return [pydicom.dcmread(path, stop_before_pixels=True) for path in files]

    def file_sizes(self, anomaly):
        folder = self.tables.folder(self.study[anomaly])
        return sorted(path.stat().st_size for path in folder.rglob("*.dcm"))


@pytest.fixture(scope="module")
def anomalous(anomalous_root):
    return Anomalous(anomalous_root)


def test_every_anomaly_is_injected_listed_and_described(anomalous):
    assert anomalous.names == list(phantom.ANOMALIES)
    assert anomalous.descriptions.str.len().min() > 5


def test_axial_slices_may_be_split_over_several_series(anomalous):
    descriptions = anomalous.series("several axial series").series_description
    assert 2 <= (descriptions == AXIAL_T2).sum() <= 4


def test_left_and_right_points_may_be_on_two_axial_series(anomalous):
    points = anomalous.points("sides on different series")
    points = points[points.condition.map(FAMILY) == "subarticular"]
    of_side = points.groupby(points.condition.map(rsna.side)).series_id.unique()
    assert len(of_side["Left"]) == len(of_side["Right"]) == 1
    assert of_side["Left"] != of_side["Right"]


def test_series_and_tags_may_be_missing(anomalous):
    assert len(anomalous.series("missing series")) == 2
    for header in anomalous.headers("missing tags", SAGITTAL_T1):
        assert "SliceThickness" not in header
        assert "SpacingBetweenSlices" not in header


def test_sizes_and_instance_numbers_may_be_unusual(anomalous):
    assert len({header.Rows for header in anomalous.headers("mixed sizes", AXIAL_T2)}) == 2
    late = anomalous.headers("instances from 5031", SAGITTAL_T2)
    assert min(header.InstanceNumber for header in late) == 5031
    heights = {
        header.InstanceNumber: header.ImagePositionPatient[2]
        for header in anomalous.headers("upside down order", AXIAL_T2)
    }
    assert heights[1] < heights[max(heights)]


def test_files_may_be_truncated_or_empty(anomalous):
    truncated = anomalous.file_sizes("truncated file")
    assert 0 < truncated[0] < 0.7 * truncated[1]
    empty = anomalous.file_sizes("empty file")
    assert empty[0] == 0 < empty[1]


def test_slices_may_be_there_twice(anomalous):
    headers = anomalous.headers("duplicate instances", SAGITTAL_T1)
    positions = [tuple(header.ImagePositionPatient) for header in headers]
    assert len(positions) - len(set(positions)) == 3


def test_a_cervical_series_has_a_smaller_field_of_view_and_no_points(anomalous):
    neck = anomalous.headers("cervical series", SAGITTAL_T2)[0]
    assert neck.Columns * neck.PixelSpacing[0] == pytest.approx(200, abs=1)
    lumbar = anomalous.headers("missing tags", SAGITTAL_T2)[0]
    assert lumbar.Columns * lumbar.PixelSpacing[0] > 235
    assert CANAL not in set(anomalous.points("cervical series").condition)


def test_points_may_be_on_the_wrong_side(anomalous):
    tables = anomalous.tables
    truth = phantom.true_labels(tables.root, "train").set_index(TARGET_KEY)
    points = anomalous.points("swapped sides")
    swapped = points[points.condition == LEFT_FORAMEN].iloc[0]
    series = read_series(tables.folder(swapped.study_id, swapped.series_id))
    image = series.slices[series.index(swapped.instance_number)]
    marked = image.to_patient((swapped.x, swapped.y))
    other_side = truth.loc[(swapped.study_id, RIGHT_FORAMEN, swapped.level), "x_mm"]
    assert abs(marked[0] - other_side) < 6


def test_points_may_be_placeholders(anomalous):
    corner = anomalous.points("placeholder points")[["x", "y"]].max(axis=1) < 6
    assert corner.sum() == 2


@pytest.mark.parametrize(
    ("anomaly", "more_labels"), [("label without point", 1), ("point without label", -1)]
)
def test_points_or_labels_may_be_missing(anomalous, anomaly, more_labels):
    labels = anomalous.tables.labels
    graded = labels[labels.study_id == anomalous.study[anomaly]].grade.notna().sum()
    assert graded - len(anomalous.points(anomaly)) == more_labels


def test_an_unknown_anomaly_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="no such anomaly: upside up; there are several axial"):
        phantom.make_dataset(tmp_path / "p", 1, anomalies=("upside up",))
    assert not (tmp_path / "p").exists()


# --- the truth, and the contact sheet ------------------------------------------------------------


@pytest.mark.parametrize("family", ["foraminal", "subarticular"])
def test_the_measure_in_the_truth_follows_the_grade(phantom_root, family):
    truth = pd.read_csv(phantom_root / "truth" / "truth.csv")
    truth = truth[truth.condition.map(FAMILY) == family]  # in the same unit for all patients
    sizes = truth.groupby("grade").measure_mm.agg(["min", "max"])
    normal, moderate, severe = (sizes.loc[grade] for grade in GRADES)
    assert severe["max"] < moderate["min"] < moderate["max"] < normal["min"]


@pytest.mark.slow
def test_the_contact_sheet_is_an_image(tmp_path):
    page = matplotlib.image.imread(contact_sheet(tmp_path / "sheet.png"))
    assert page.shape[0] > 800
    assert page[..., :3].std() > 0.1


# --- contrast jitter -----------------------------------------------------------------------------


@pytest.mark.slow
def test_contrast_jitter_changes_the_images_and_not_the_patient(tmp_path):
    clinical = phantom.make_dataset(tmp_path / "clinical", 2, 6, **SMALL, contrast="clinical")
    jittered = phantom.make_dataset(tmp_path / "random", 2, 6, **SMALL, contrast="random")
    for table in ("truth/truth.csv", "train.csv"):
        assert (clinical / table).read_bytes() == (jittered / table).read_bytes()
    images = set(hashes(clinical / "train_images").values())
    assert not images & set(hashes(jittered / "train_images").values())


@pytest.mark.parametrize("field", ["contrast", "grading", "prevalence"])
def test_an_unknown_choice_is_refused_before_anything_is_written(tmp_path, field):
    with pytest.raises(ValueError, match="lurid"):
        phantom.make_dataset(tmp_path / "x", 1, **SMALL, **{field: "lurid"})
    assert not (tmp_path / "x").exists()


def test_contrast_jitter_depends_on_its_seed_alone():
    def jittered(seed):
        return Sequence(3900, 100, contrast_jitter=1.0, jitter_seed=seed).signal()

    assert jittered(1) == jittered(1) != jittered(2)
    assert Sequence(3900, 100, jitter_seed=7).signal() == Sequence(3900, 100).signal()


# --- grades as readers give them -----------------------------------------------------------------


def two_readers(family, patients=20_000):
    """Grades (2, n) by two readers who see what is left of a structure in a patient, and know how
    frequent each grade is."""
    rng = generator()
    ranges = np.array(OPENING["readers"][family])  # (3 grades, least and most)
    in_family = [target.family == family for target in TARGETS]
    grades = []
    for frequencies in rsna.grade_frequencies()[in_family]:
        true = rng.choice(3, patients, p=frequencies)
        left = rng.uniform(*ranges[true].T)[:, None]
        possible = (left >= ranges[:, 0]) & (left <= ranges[:, 1])
        likelihood = frequencies / np.diff(ranges, axis=1)[:, 0] * possible
        cumulative = (likelihood / likelihood.sum(1, keepdims=True)).cumsum(1)
        draws = [rng.random((patients, 1)) for _ in range(2)]
        grades.append([(draw > cumulative[:, :2]).sum(1) for draw in draws])
    return np.concatenate(grades, axis=1)


@pytest.mark.parametrize("family", ["spinal", "foraminal"])
def test_readers_of_borderline_patients_agree_as_published(family):
    kappa = cohen_kappa_score(*two_readers(family), weights="linear")
    assert kappa == pytest.approx(HUMAN_KAPPA[family], abs=0.02)


@pytest.mark.parametrize(("grading", "apart"), [("textbook", True), ("readers", False)])
def test_grades_are_apart_in_a_textbook_and_overlap_among_patients(grading, apart):
    for normal, moderate, severe in OPENING[grading].values():
        assert (normal[0] > moderate[1] and moderate[0] > severe[1]) == apart


def test_moderate_narrowing_among_patients_reaches_beyond_that_of_a_textbook():
    rng = generator(1)
    moderate = np.full(len(TARGETS), MODERATE)
    spines = [make_spine(rng, moderate, grading="readers") for _ in range(20)]
    sampled = np.array([spine.opening[CANAL, "L4/L5"] for spine in spines])
    least, most = OPENING["textbook"]["spinal"][MODERATE]
    assert sampled.min() < least
    assert sampled.max() > most
