"""The phantom: the competition's layout, the same bytes from the same seed, grades that can be measured in the images."""

import hashlib
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
from sklearn.metrics import cohen_kappa_score

from utils import metrics, phantom, rsna
from utils.dicom import read_series
from utils.evaluation import HUMAN_KAPPA
from utils.phantom import grades
from utils.phantom.anatomy import SACRALISED, SIXTH_LUMBAR, make_spine
from utils.phantom.grades import PREVALENCE, sample_grades, ungraded
from utils.phantom.sheet import contact_sheet, plane_through, spine_with
from utils.phantom.signal import SHIFT_HZ, TISSUES, Sequence, acquire, picture
from utils.phantom.tissue import paint
from utils.rsna import AXIAL_T2, CANAL, FAMILY, GRADES, LEVELS, SAGITTAL_T1, SAGITTAL_T2, TARGETS

T1, T2 = Sequence(550, 12), Sequence(3500, 100)  # no noise, no coil: tissue alone
LEFT_FORAMEN, RIGHT_FORAMEN = "Left Neural Foraminal Narrowing", "Right Neural Foraminal Narrowing"
LEFT_RECESS, RIGHT_RECESS = "Left Subarticular Stenosis", "Right Subarticular Stenosis"
SMALL = {"test_studies": 1, "size": (64, 64)}


def hashes(root):
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_whatever_the_number_of_jobs(tmp_path):
    odd = ("several axial series", "truncated file")
    one = phantom.make_dataset(tmp_path / "one", 2, seed=5, jobs=1, quirks=odd, **SMALL)
    two = phantom.make_dataset(tmp_path / "two", 2, seed=5, jobs=2, quirks=odd, **SMALL)
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


# --- how often each grade is met -------------------------------------------------------------------------------------


def test_real_prevalence_is_the_real_tables_within_sampling_error():
    grades = sample_grades(np.random.default_rng(0), 2000, "real")
    for k, (condition, level) in enumerate(TARGETS):
        normal, moderate = (shares[LEVELS.index(level)] for shares in PREVALENCE[rsna.FAMILY[condition]])
        for grade, expected in enumerate((normal, moderate, 1 - normal - moderate)):
            error = np.sqrt(expected * (1 - expected) / 2000)
            assert abs((grades[:, k] == grade).mean() - expected) < 3.5 * error  # of 75 cells none beyond 3.5


def test_the_weighted_prior_scores_on_sampled_labels_as_on_the_real_ones():
    grades = sample_grades(np.random.default_rng(0), 2000, "real")
    columns = ["study_id", "condition", "level", "grade"]
    rows = [(k, *target, GRADES[g]) for k, row in enumerate(grades) for target, g in zip(TARGETS, row)]
    labels = pd.DataFrame(rows, columns=columns)
    score = metrics.rsna_score(labels, metrics.constant_submission(metrics.prior(labels, weighted=True), range(2000)))
    assert score.total == pytest.approx(0.79, abs=0.03)  # real labels: 0.7897


def test_left_and_right_agree_about_as_often_as_in_reality():
    grades = sample_grades(np.random.default_rng(0), 4000, "real")
    assert 0.70 < (grades[:, 5:10] == grades[:, 10:15]).mean() < 0.83  # real: 76 %
    assert 0.68 < (grades[:, 15:20] == grades[:, 20:25]).mean() < 0.80  # real: 74 %


def test_some_patients_are_ill_in_many_places_as_in_reality():
    ill = (sample_grades(np.random.default_rng(0), 4000, "real") > 0).sum(1)
    assert (ill > 12).mean() == pytest.approx(0.101, abs=0.015)  # of the studies with 25 labels
    assert (ill == 0).mean() == pytest.approx(0.137, abs=0.035)
    assert ill.std() == pytest.approx(4.8, abs=0.25)


def test_labels_are_missing_as_in_reality():
    rng = np.random.default_rng(0)
    gaps = [ungraded(rng) for _ in range(4000)]
    assert np.mean([bool(g) for g in gaps]) == pytest.approx(185 / 1975, abs=0.015)
    assert np.sum([len(g) for g in gaps]) / 4000 == pytest.approx(572 / 1975, abs=0.06)
    assert np.mean(["Subarticular" in c for g in gaps for c, _ in g]) == pytest.approx(517 / 572, abs=0.06)


# --- what the images show --------------------------------------------------------------------------------------------


def local(spine, condition, level, plane, mm=40.0, px=100):
    """A square plane of 0.4 mm pixels centred on a true point."""
    s, u, v = spine.to_spine(spine.point(condition, level).astype(np.float32)[:, None])[:, 0]
    return plane_through(spine, s, u, v, plane, mm, px)


def share_of(spine, plane, *tissues):
    """(H, W) how much of each pixel belongs to the tissues."""
    return paint(spine, {name: complex(name in tissues) for name in TISSUES}, plane, 1.0).real


def area(spine, condition, level, plane, tissue, mm=40.0):
    return share_of(spine, local(spine, condition, level, plane, mm), tissue).sum() * (mm / 100) ** 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", LEVELS)
def test_bright_fluid_in_the_axial_image_at_the_disc_shrinks_with_the_canal_grade(seed, level):
    areas = []
    for grade in range(3):
        spine = spine_with(seed, CANAL, grade)
        plane = local(spine, CANAL, level, "axial", mm=28)
        bright = picture(spine, T2, plane, 1.0, np.random.default_rng(0)) > 0.75
        x, y = np.meshgrid(*[np.arange(100)] * 2)
        inside = np.hypot(x - 49.5, y - 49.5) < 50 * 13 / 14
        areas.append((bright & inside).sum() * 0.28**2)
    assert areas[0] > 1.35 * areas[1]
    assert areas[1] > 1.35 * areas[2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("condition", [LEFT_FORAMEN, RIGHT_FORAMEN])
def test_fat_round_the_root_on_sagittal_t1_goes_with_the_foraminal_grade(seed, condition):
    areas = []
    for grade in range(3):
        spine = spine_with(seed, condition, grade)
        image = picture(spine, T1, local(spine, condition, "L3/L4", "sagittal", mm=16), 1.0, np.random.default_rng(0))
        areas.append((image > 0.75).mean())
    assert areas[0] > 1.5 * areas[1]
    assert areas[1] > 1.5 * areas[2]


@pytest.mark.parametrize("seed", range(4))
def test_the_exiting_root_is_whole_until_the_narrowing_is_severe(seed):
    roots = [area(spine_with(seed, LEFT_FORAMEN, g), LEFT_FORAMEN, "L3/L4", "sagittal", "root", mm=12) for g in range(3)]
    assert roots[1] == pytest.approx(roots[0], rel=0.15)  # Lee's grade 2: fat gone, root unchanged
    assert roots[2] < 0.75 * roots[0]  # Lee's grade 3: root deformed


@pytest.mark.parametrize("condition", [LEFT_RECESS, RIGHT_RECESS])
def test_room_for_root_and_fluid_in_the_recess_goes_with_the_subarticular_grade(condition):
    areas = []
    for grade in range(3):
        spine = spine_with(1, condition, grade)
        plane = local(spine, condition, "L4/L5", "axial", mm=9)
        areas.append(share_of(spine, plane, "csf", "root", "fat").mean())
    assert areas[0] > areas[1] + 0.1
    assert areas[1] > areas[2] + 0.1


@pytest.mark.parametrize(("ill", "well", "plane", "mm"), [
    (LEFT_FORAMEN, RIGHT_FORAMEN, "sagittal", 16),
    (RIGHT_FORAMEN, LEFT_FORAMEN, "sagittal", 16),
    (LEFT_RECESS, RIGHT_RECESS, "axial", 9),
    (RIGHT_RECESS, LEFT_RECESS, "axial", 9),
])  # fmt: skip
def test_a_narrowing_on_one_side_leaves_the_other_side_open(ill, well, plane, mm):
    spine, healthy = spine_with(2, ill, 2), spine_with(2, ill, 0)
    open_tissue = ("fat", "csf", "root")
    room = {c: share_of(spine, local(spine, c, "L4/L5", plane, mm), *open_tissue).mean() for c in (ill, well)}
    before = share_of(healthy, local(healthy, well, "L4/L5", plane, mm), *open_tissue).mean()
    assert room[ill] < 0.75 * room[well]
    assert room[well] == pytest.approx(before, abs=0.08)


@pytest.mark.parametrize("seed", range(4))
def test_points_lie_in_the_structure_that_they_name_on_the_side_that_they_name(seed):
    grades = np.random.default_rng(seed).integers(0, 3, 25)
    spine = make_spine(np.random.default_rng(seed), grades)
    for condition, level in TARGETS:
        plane = local(spine, condition, level, "axial" if "Subarticular" in condition else "sagittal", mm=5, px=20)
        named = {"spinal": ("csf", "root", "cord"), "foraminal": ("root", "fat"), "subarticular": ("root", "fat", "csf")}
        severe = grades[TARGETS.index((condition, level))] == 2
        share = share_of(spine, plane, *named[rsna.FAMILY[condition]])[6:14, 6:14].mean()
        assert share > (0.2 if severe else 0.7), (condition, level)
        side = np.sign(spine.point(condition, level)[0] - spine.point(CANAL, level)[0])
        assert side == {"L": 1, "R": -1, "S": 0}[condition[0]]  # LPS: x grows to the patient's left


def brightness(spine, sequence):
    """What the picture shows at places where the tissue is known."""
    disc, body = spine.disc_s[1], (spine.disc_s[1] + spine.disc_s[2]) / 2
    young = {"marrow": (body, 6, -18), "csf": (body, 0, 8), "muscle": (body, 30, 32), "fat": (disc + 6, 0, spine.skin_mm + 4)}
    out = {}
    for name, (s, u, v) in young.items():
        image = picture(spine, sequence, plane_through(spine, s, u, v, "sagittal", 5, 10), 1.0, np.random.default_rng(0))
        out[name] = np.median(image)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_brightness_in_the_images_is_in_the_order_that_a_radiologist_knows(seed):
    spine = spine_with(seed, CANAL, 0)
    t1, t2, stir = (brightness(spine, q) for q in (T1, T2, Sequence(4000, 60, ti=165)))
    assert t1["fat"] > t1["marrow"] > t1["muscle"] > 1.05 * t1["csf"]
    assert t2["csf"] > t2["fat"] > t2["marrow"] > 1.2 * t2["muscle"]
    assert stir["csf"] > stir["muscle"] > 2 * stir["fat"]


def test_a_dry_disc_is_dark_and_low():
    def disc(worn):  # the worst grades wear the disc
        spine = make_spine(np.random.default_rng(7), np.full(25, 2 * worn), "", scale=0.95)
        s = spine.disc_s[2]
        image = picture(spine, T2, plane_through(spine, s, 0, -17, "sagittal", 6, 12), 1.0, np.random.default_rng(0))
        return image.mean(), np.diff(spine.discs[spine.graded][2])[0]

    (young, high), (old, low) = disc(0), disc(1)
    assert young > 1.3 * old
    assert high > low


def test_an_extra_and_a_sacralised_vertebra():
    plain, six, fused = (make_spine(np.random.default_rng(3), np.zeros(25, int), t) for t in ("", SIXTH_LUMBAR, SACRALISED))
    assert len(six.discs) == len(plain.discs) + 1
    heights = [np.diff(spine.discs[spine.graded], axis=1)[:, 0] for spine in (plain, fused)]
    assert heights[1][4] < 0.6 * heights[0][4]
    np.testing.assert_allclose(heights[1][:4], heights[0][:4], rtol=0.2)


def test_patient_and_spine_coordinates_are_each_others_inverse():
    spine = make_spine(np.random.default_rng(11), np.full(25, 2))
    rng = np.random.default_rng(0)
    place = np.stack([rng.uniform(60, 280, 200), rng.uniform(-25, 25, 200), rng.uniform(-35, 40, 200)])
    back = spine.to_spine(spine.to_patient(*place).T.astype(np.float32))
    np.testing.assert_allclose(back, place, atol=0.35)


# --- what the scanner adds -------------------------------------------------------------------------------------------


def test_spin_echo_and_inversion_recovery_by_hand():
    # PD 1, T1 1950, T2 1500: 1 - exp(-3900/1950) = 0.864665; exp(-150/1500) = 0.904837
    assert Sequence(3900, 150).signal()["csf"] == pytest.approx(0.864665 * 0.904837, rel=1e-5)
    # fat's T1 is 280 ms: the inversion is halfway back after 280 ln 2 = 194.08 ms (TR long)
    assert abs(Sequence(20_000, 60, ti=280 * np.log(2)).signal()["fat"]) < 1e-6
    assert Sequence(3500, 100, fat_suppressed=True).signal()["fat"].imag == pytest.approx(0.1 * T2.signal()["fat"].imag)


def square(value):
    image = np.zeros((64, 64), np.complex64)
    image[24:40, 24:40] = value
    return image


def shown(image, **settings):
    return acquire(image, Sequence(3500, 100, **settings), np.random.default_rng(0))


def test_fat_is_shifted_along_the_readout_and_water_is_not():
    two_px = {"bandwidth": SHIFT_HZ / 2}
    np.testing.assert_allclose(shown(square(1), **two_px), square(1).real, atol=1e-5)
    np.testing.assert_allclose(shown(square(1j), **two_px), np.roll(square(1).real, 2, axis=1), atol=1e-5)
    np.testing.assert_allclose(shown(square(1j), phase_axis=1, **two_px), np.roll(square(1).real, 2, axis=0), atol=1e-5)


def test_noise_is_rician():
    air = shown(np.zeros((128, 128), np.complex64), noise=0.02)
    assert air.mean() == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.02)
    assert air.std() == pytest.approx(0.02 * np.sqrt(2 - np.pi / 2), rel=0.03)


def test_truncation_rings_and_breathing_repeats_along_the_phase_direction_only():
    rung = shown(square(1), sampled=0.6)
    assert rung[:, 32].max() > 1.05  # Gibbs: about 9 % of the step
    assert rung[32, :20].max() < 0.02
    ghosts = shown(square(1), ghost=0.05)
    outside = np.ones((64, 64), bool)
    outside[:, 24:40] = False
    assert ghosts[outside].max() < 1e-4
    assert ghosts[~outside].reshape(64, 16)[:20].max() > 0.03


# --- faults on purpose -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(quirky_root):
    """(tables, the quirk of each training study by name)."""
    table = pd.read_csv(quirky_root / "truth" / "quirks.csv")
    train = table[table.split == "train"]
    assert train.quirk.tolist() == list(phantom.QUIRKS)  # every one is made, and listed
    assert table.what.str.len().min() > 5
    return rsna.load_tables(quirky_root), dict(zip(train.quirk, train.study_id))


def ids(odd, quirk, name):
    tables, studies = odd
    series = tables.series_of(studies[quirk])
    return studies[quirk], series[series.series_description == name].series_id.tolist()


def points_of(odd, quirk):
    tables, studies = odd
    return tables.points[tables.points.study_id == studies[quirk]]


def headers(odd, quirk, name):
    study, found = ids(odd, quirk, name)
    files = [p for series in found for p in sorted(odd[0].folder(study, series).iterdir())]
    return [pydicom.dcmread(p, stop_before_pixels=True) for p in files]


def test_axial_slices_may_be_split_over_series_or_the_sides_over_two(odd):
    assert 2 <= len(ids(odd, "several axial series", AXIAL_T2)[1]) <= 4
    points = points_of(odd, "sides on different series")
    points = points[points.condition.str.contains("Subarticular")]
    sides = points.groupby(points.condition.str.split().str[0]).series_id.unique()
    assert len(sides["Left"]) == len(sides["Right"]) == 1
    assert sides["Left"] != sides["Right"]


def test_series_tags_and_order_may_be_missing_or_unusual(odd):
    tables, studies = odd
    assert len(tables.series_of(studies["missing series"])) == 2
    assert not any("SliceThickness" in h or "SpacingBetweenSlices" in h for h in headers(odd, "missing tags", SAGITTAL_T1))
    assert len({h.Rows for h in headers(odd, "mixed sizes", AXIAL_T2)}) == 2
    assert min(h.InstanceNumber for h in headers(odd, "instances from 5031", SAGITTAL_T2)) == 5031
    heights = {h.InstanceNumber: h.ImagePositionPatient[2] for h in headers(odd, "upside down order", AXIAL_T2)}
    assert heights[1] < heights[max(heights)]


def test_files_may_be_cut_empty_or_there_twice(odd):
    sizes = {}
    for quirk in ("truncated file", "empty file"):
        study = odd[1][quirk]
        folder = odd[0].root / "train_images" / str(study)
        sizes[quirk] = sorted(p.stat().st_size for p in folder.rglob("*.dcm"))
    assert sizes["empty file"][0] == 0 < sizes["empty file"][1]
    assert 0 < sizes["truncated file"][0] < 0.7 * sizes["truncated file"][1]
    places = [tuple(h.ImagePositionPatient) for h in headers(odd, "duplicate instances", SAGITTAL_T1)]
    assert len(places) - len(set(places)) == 3


def test_a_neck_has_smaller_vertebrae_on_a_smaller_picture(odd):
    neck, back = (headers(odd, quirk, SAGITTAL_T2)[0] for quirk in ("cervical series", "missing tags"))
    assert neck.Columns * neck.PixelSpacing[0] == pytest.approx(200, abs=1)
    assert back.Columns * back.PixelSpacing[0] > 235
    assert CANAL not in set(points_of(odd, "cervical series").condition)


def test_points_may_be_on_the_wrong_side_nowhere_or_without_label(odd):
    tables, studies = odd
    truth = phantom.true_labels(tables.root, "train").set_index(["study_id", "condition", "level"])
    swapped = points_of(odd, "swapped sides")
    swapped = swapped[swapped.condition == LEFT_FORAMEN].iloc[0]
    series = read_series(tables.folder(swapped.study_id, swapped.series_id))
    place = series.slices[series.index(swapped.instance_number)].to_patient((swapped.x, swapped.y))
    other = truth.loc[(swapped.study_id, RIGHT_FORAMEN, swapped.level), "x_mm"]
    assert abs(place[0] - other) < 6
    assert (points_of(odd, "placeholder points")[["x", "y"]].max(axis=1) < 6).sum() == 2
    graded = tables.labels.dropna(subset="grade").groupby("study_id").size()
    for quirk, difference in (("label without point", 1), ("point without label", -1)):
        assert graded[studies[quirk]] - len(points_of(odd, quirk)) == difference


def test_an_unknown_quirk_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="no such quirk: upside up; there are several axial series"):
        phantom.make_dataset(tmp_path / "p", 1, quirks=("upside up",))
    assert not (tmp_path / "p").exists()


def test_the_measure_in_the_truth_follows_the_grade(phantom_root):
    truth = pd.read_csv(phantom_root / "truth" / "truth.csv")
    for family in ("foraminal", "subarticular"):  # openings in the same unit for everybody
        sizes = truth[truth.condition.map(rsna.FAMILY) == family].groupby("grade").measure_mm.agg(["min", "max"])
        normal, moderate, severe = (sizes.loc[grade] for grade in GRADES)
        assert severe["max"] < moderate["min"] < moderate["max"] < normal["min"]


def test_the_contact_sheet_is_a_picture(tmp_path):
    import matplotlib.image

    page = matplotlib.image.imread(contact_sheet(tmp_path / "sheet.png"))
    assert page.shape[0] > 800
    assert page[..., :3].std() > 0.1


def test_contrast_strays_and_the_patient_stays(tmp_path):
    same, strayed = (phantom.make_dataset(tmp_path / name, 2, 6, **SMALL, contrast=name) for name in ("clinical", "random"))
    for table in ("truth/truth.csv", "train.csv"):
        assert (same / table).read_bytes() == (strayed / table).read_bytes()
    images = [hashes(root / "train_images") for root in (same, strayed)]
    assert not set(images[0].values()) & set(images[1].values())
    with pytest.raises(KeyError):
        phantom.make_dataset(tmp_path / "x", 1, 6, **SMALL, contrast="lurid", jobs=1)


def test_a_sequence_that_strays_does_so_by_its_seed():
    one, same, other = (Sequence(3900, 100, stray=1.0, chance=seed).signal() for seed in (1, 1, 2))
    assert one == same != other
    assert Sequence(3900, 100, chance=7).signal() == Sequence(3900, 100).signal()


def two_readers(family: str, patients: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Grades by two readers who see what is left of a structure in a patient, and know how frequent each grade is."""
    rng, ranges = np.random.default_rng(0), np.array(grades.OPENING["readers"][family])
    given = []
    for share in grades.shares("real")[[FAMILY[c] == family for c, _ in TARGETS]]:
        left = rng.uniform(*ranges[rng.choice(3, patients, p=share)].T)[:, None]
        likely = share / np.diff(ranges, axis=1)[:, 0] * ((left >= ranges[:, 0]) & (left <= ranges[:, 1]))
        below = (likely / likely.sum(1, keepdims=True)).cumsum(1)
        given.append([(rng.random((patients, 1)) > below[:, :2]).sum(1) for _ in range(2)])
    return tuple(np.concatenate(given, axis=1))


@pytest.mark.parametrize("family", ["spinal", "foraminal"])
def test_readers_of_borderline_patients_agree_as_published(family):
    kappa = cohen_kappa_score(*two_readers(family), weights="linear")
    assert kappa == pytest.approx(HUMAN_KAPPA[family], abs=0.02)


def test_in_a_textbook_nothing_lies_between_the_grades_and_among_patients_something_does():
    for kind, apart in (("textbook", True), ("readers", False)):
        for normal, moderate, severe in grades.OPENING[kind].values():
            assert (normal[0] > moderate[1] and moderate[0] > severe[1]) == apart
    rng = np.random.default_rng(1)
    left = [make_spine(rng, np.ones(25, int), grading="readers").opening for _ in range(20)]
    drawn = np.array([one["Spinal Canal Stenosis", "L4/L5"] for one in left])
    assert drawn.min() < 0.42
    assert drawn.max() > 0.62  # where a textbook's moderate narrowing begins and ends
