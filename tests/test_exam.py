"""Anybody's exam: which series it holds, what each is taken for and why, and the same answers as in
the competition's layout."""

import shutil
import zipfile
from pathlib import Path

import hospital
import imagecodecs
import numpy as np
import pandas as pd
import pytest
from hospital import NAMES, PATIENT, SECRETS, VENDORS, Exam, images_of, multi_frame, with_dicomdir
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000

from utils import exam, inference, phantom, rsna
from utils.course.workspace import RELEASED
from utils.crops import POINT_MM
from utils.dicom import DicomError, read_series
from utils.exam import ExamError, import_study
from utils.exam.headers import Parameters
from utils.exam.weighting import weighting
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SERIES

FIRST_ECHO_MS = 14.57  # no other scan has it
ODDITIES = ("nothing", "no TE", "no times", "no words", "wrong words", "frames", "echoes")
NUMBERS = [*rsna.GRADE_COLUMNS, "x_mm", "y_mm", "z_mm", "confidence"]


@pytest.fixture(scope="module")
def clinical(tmp_path_factory) -> rsna.Tables:
    """Eight phantom patients with clinical contrasts."""
    spec = phantom.PhantomSpec(studies=8, seed=77, test_studies=0, size=(192, 128))
    return rsna.load_tables(
        phantom.make_dataset(tmp_path_factory.mktemp("clinical") / "data", spec)
    )


@pytest.fixture(scope="module")
def run():
    return inference.load_run(RELEASED)


@pytest.fixture(scope="module")
def exported(clinical, tmp_path_factory) -> Path:
    """One of them as a hospital exports it, in a flat folder."""
    images = images_of(clinical, clinical.whole_studies()[0])
    return hospital.exported(images, tmp_path_factory.mktemp("hospital") / "export", seed=1)


@pytest.fixture(scope="module", params=["folder", "zip", "CD"])
def medium(request, exported, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("medium") / "Quixotescu"
    if request.param == "folder":
        return shutil.copytree(exported, out / "a" / "b").parent.parent
    if request.param == "zip":
        return Path(shutil.make_archive(str(out), "zip", exported))
    return with_dicomdir(exported, out)


def used_kinds(found: pd.DataFrame) -> list[str]:
    return sorted(found[found.used].taken_for)


def test_an_exam_from_a_hospital_gets_the_answers_of_the_competitions_layout(medium, clinical, run):
    study = clinical.whole_studies()[0]
    expected = inference.predict_studies(clinical, run, "train", [study])
    imported = import_study(medium)
    assert used_kinds(imported.found) == sorted(SERIES)
    predicted = inference.predict_studies(imported, run)
    difference = np.abs(predicted[NUMBERS].to_numpy(float) - expected[NUMBERS].to_numpy(float))
    assert difference.max() < 1e-6
    assert predicted.note.tolist() == expected.note.tolist()


def test_each_bystander_is_recognised_with_its_reason(exported):
    found = import_study(exported).found
    rest = found[~found.used].set_index("taken_for").why
    assert len(found) == 3 + 3 + 1 + 1 + 1
    assert (rest.index == "Localizer").sum() == 3  # its three orientations
    assert "TI 160 ms" in rest["Coronal STIR"]
    assert "contrast agent" in rest[SAGITTAL_T1]
    assert "another region" in rest[SAGITTAL_T2]
    t2 = found[found.used & (found.taken_for == SAGITTAL_T2)].why.item()
    assert t2.startswith("sagittal by orientation, ")
    assert "TE 1" in t2 or "TE 9" in t2 or "TE 8" in t2


def test_nothing_tells_who_the_patient_is(exported, run, tmp_path):
    imported = import_study(exported)
    texts = [repr(imported), imported.found.to_csv(), imported.series.to_csv(), *imported.notes]
    inference.predict_studies(imported, run, out=tmp_path / "predictions.csv")
    texts.append((tmp_path / "predictions.csv").read_text())
    for secret in [*SECRETS, *(path.name for path in exported.iterdir())]:
        assert not any(secret in text for text in texts), secret


def test_two_patients_are_two_studies_and_a_line_says_so(clinical, tmp_path):
    first, second = clinical.whole_studies()[:2]
    for seed, study in enumerate((first, second)):
        made = Exam(tmp_path / f"patient {seed}", seed)
        for kind, images in images_of(clinical, study).items():
            made.add(images, made.tags_of(kind))
    imported = import_study(tmp_path)
    assert len(imported.studies()) == 2
    assert "2 exams (of several patients or dates): each is graded on its own." in imported.notes


def test_forty_exams_with_tags_missing_wrong_or_elsewhere(clinical, tmp_path):
    """The kinds of at least 39 are right, and one that is not is said to be doubtful."""
    rng = np.random.default_rng(40)
    wrong = []
    for number in range(40):
        study = clinical.studies()[number % len(clinical.studies())]
        imported, truth = random_exam(clinical, study, tmp_path / str(number), rng)
        found = imported.found.set_index("series_id")
        for series, kind in truth.items():
            row = found.loc[series]
            if not (row.used and row.taken_for == kind):
                wrong.append((number, row.taken_for, kind, row.doubt, row.why))
    assert len({number for number, *_ in wrong}) <= 1, wrong
    assert all(doubt for *_, doubt, _ in wrong), wrong


def random_exam(tables, study, folder, rng) -> tuple[exam.Exam, dict[int, str]]:
    """An exam with one of each oddity at random, and the kind of each series by its id."""
    language, vendor = rng.choice(list(NAMES)), rng.choice(list(VENDORS))
    made = Exam(folder, int(rng.integers(2**31)), str(language), str(vendor))
    images = images_of(tables, study)
    uids = {}
    for kind in SERIES:
        tags, series = made.tags_of(kind), made.uid()
        uids[kind] = series
        odd = rng.choice(ODDITIES)
        if odd in ("no TE", "no times"):
            tags["EchoTime"] = None
        if odd == "no times":
            tags["RepetitionTime"] = tags["ScanningSequence"] = None
        if odd == "no words" or (odd.startswith("no") and rng.random() < 0.5):
            tags["SeriesDescription"] = tags["ProtocolName"] = None
        if odd == "wrong words":
            other = NAMES[str(language)][str(rng.choice([k for k in SERIES if k != kind]))]
            tags["SeriesDescription"] = tags["ProtocolName"] = other
        if odd == "frames":
            frames = [made._renamed(image, series) for image in images[kind]]
            whole = multi_frame(frames, tags)
            made.add([whole], {"SeriesDescription": tags["SeriesDescription"]}, series)
            continue
        if odd == "echoes" and kind != SAGITTAL_T1:
            made.add(images[kind], tags | {"EchoTime": FIRST_ECHO_MS, "EchoNumbers": 1}, series)
            tags["EchoNumbers"] = 2
        made.add(images[kind], tags, series)
    if rng.random() < 0.5:
        made.add_bystanders(images)
    imported = import_study(folder)
    return imported, ids_of(imported, uids)


def ids_of(imported, uids) -> dict[int, str]:
    """By id of the scan that has the kind; of two echoes, the second."""
    ids = {}
    for group in imported.candidates.values():
        for one in group:
            for kind, uid in uids.items():
                if one.scan.images[0].series == uid and one.scan.scanned.te != FIRST_ECHO_MS:
                    ids[one.series_id] = kind
    assert len(ids) == len(uids)
    return ids


def test_what_a_user_says_goes_before_all(clinical, tmp_path):
    made = Exam(tmp_path / "exam", seed=3)
    images = images_of(clinical, clinical.whole_studies()[0])
    for kind in SERIES:
        made.add(images[kind], made.tags_of(kind) | {"SeriesDescription": f"my {kind}"})
    imported = import_study(made.folder)
    t1 = imported.found[imported.found.taken_for == SAGITTAL_T1].series_id.item()
    for name in (t1, str(t1), "My Sagittal T1 "):
        swapped = import_study(made.folder, kinds={name: SAGITTAL_T2}).found.set_index("series_id")
        assert swapped.loc[t1, ["taken_for", "used"]].tolist() == [SAGITTAL_T2, True]
        assert swapped[swapped.taken_for == SAGITTAL_T2].used.sum() == 1  # instead of the other
    left = imported.with_kinds({t1: ""})
    assert SAGITTAL_T1 not in used_kinds(left.found)
    assert left.series.set_index("series_id").series_description[t1] == "Sagittal T1, not used"
    with pytest.raises(ExamError, match="no series 'other' here; there are "):
        imported.with_kinds({"other": SAGITTAL_T1})
    with pytest.raises(ExamError, match="'Sagittal T3' is none of Sagittal T1, "):
        imported.with_kinds({t1: "Sagittal T3"})


def test_axial_scans_that_go_on_where_one_ends_are_all_used(clinical, tmp_path):
    study = clinical.whole_studies()[0]
    images = images_of(clinical, study)
    axial = sorted(images[AXIAL_T2], key=lambda image: -image.ImagePositionPatient[2])
    made = Exam(tmp_path / "exam", seed=4)
    half = len(axial) // 2
    for part in (axial[:half], axial[half:], axial[3:9]):  # the last shows again what is there
        made.add(part, made.tags_of(AXIAL_T2))
    made.add(images[SAGITTAL_T2], made.tags_of(SAGITTAL_T2))
    found = import_study(made.folder).found
    axial_found = found[found.taken_for == AXIAL_T2].set_index("images").used
    assert axial_found.sum() == 2
    assert not axial_found[6]


def test_what_is_no_exam_is_refused_in_words(tmp_path):
    with pytest.raises(ExamError, match="no such file or folder"):
        import_study(tmp_path / "none.zip")
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(ExamError, match="no MR image that can be used among 1 file"):
        import_study(tmp_path)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(ExamError, match="no MR image that can be used among 0 files"):
        import_study(tmp_path / "empty.zip")


def test_links_that_lead_out_of_the_folder_are_not_followed(exported, tmp_path):
    folder = tmp_path / "exam"
    folder.mkdir()
    (folder / "link").symlink_to(next(exported.iterdir()))
    with pytest.raises(ExamError, match="among 0 files"):
        import_study(folder)


def test_a_folder_with_several_series_says_how_to_choose_one(exported):
    with pytest.raises(DicomError, match=r"holds 7 series: \d+ \(\d+ \w+ images\)") as caught:
        read_series(exported)
    chosen = import_study(exported)
    t1 = chosen.found[chosen.found.used & (chosen.found.taken_for == SAGITTAL_T1)].iloc[0]
    assert f"{t1.series_id} ({t1.images} sagittal images)" in caught.value.reason
    assert "Choose one: read_series(folder, series=" in caught.value.reason
    assert len(read_series(exported, series=t1.series_id)) == t1.images


def test_a_data_folder_is_read_as_one(clinical, exported):
    assert not isinstance(exam.tables_of(clinical.root), exam.Exam)
    assert isinstance(exam.tables_of(exported), exam.Exam)


def turned(image):
    """The same image stored from its last pixel to its first, as of a patient who lies feet first:
    what it shows, and where, is the same."""
    cells = image.pixel_array
    turn = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    rows_mm, columns_mm = map(float, image.PixelSpacing)
    height, width = cells.shape
    last = turn[0] * columns_mm * (width - 1) + turn[1] * rows_mm * (height - 1)
    origin = np.array(image.ImagePositionPatient, float) + last
    image.ImagePositionPatient = [f"{x:.9f}" for x in origin]
    image.ImageOrientationPatient = [f"{-x:.10f}" for x in turn.ravel()]
    image.PatientPosition = "FFS"
    return with_cells(image, cells[::-1, ::-1])


def scaled(image):
    """As Philips stores it: with a slope of its own for each slice."""
    slope = 2.0 ** -(int(image.InstanceNumber) % 3)
    image.RescaleSlope, image.RescaleIntercept = slope, 0
    return with_cells(image, (image.pixel_array / slope).astype("u2"))


def negative(image):
    """As Hitachi stores it: signed, with values below zero."""
    cells = image.pixel_array.astype("i2") - 300
    image.PixelRepresentation = 1
    image.RescaleIntercept, image.RescaleSlope = 0, 1
    return with_cells(image, cells)


def with_cells(image, cells):
    image.decompress()
    image.BitsStored, image.HighBit = 16, 15
    image.PixelData = np.ascontiguousarray(cells).tobytes()
    return image


def lossy(image):
    """JPEG 2000 at a tenth of the size."""
    cells = image.pixel_array
    image.BitsStored, image.HighBit = 16, 15
    image.PixelData = encapsulate([imagecodecs.jpeg2k_encode(cells, level=90, codecformat="j2k")])
    image.file_meta.TransferSyntaxUID = JPEG2000
    image["PixelData"].is_undefined_length = True
    image.LossyImageCompression = "01"
    return image


@pytest.mark.parametrize(
    ("oddity", "most"), [(turned, 1e-6), (scaled, 1e-6), (negative, 1e-6), (lossy, 0.05)]
)
def test_whatever_way_a_scanner_stores_it_the_answers_are_the_same(
    oddity, most, clinical, run, tmp_path
):
    study = clinical.whole_studies()[0]
    expected = inference.predict_studies(clinical, run, "train", [study])
    made = Exam(tmp_path / "exam", seed=8, vendor="Philips")
    for kind, images in images_of(clinical, study).items():
        made.add([oddity(image) for image in images], made.tags_of(kind))
    predicted = inference.predict_studies(import_study(made.folder), run)
    grades = list(rsna.GRADE_COLUMNS)
    difference = predicted[grades].to_numpy() - expected[grades].to_numpy()
    assert np.abs(difference).max() < most
    points = list(POINT_MM)
    moved = predicted[points].to_numpy(float) - expected[points].to_numpy(float)
    assert np.abs(moved).max() < max(most, 1e-5) * 20


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"TE": 100, "TR": 3500}, "T2"),
        ({"TE": 110, "TR": 1000, "3D": True}, "T2"),
        ({"TE": 11, "TR": 600}, "T1"),
        ({"TE": 25, "TR": 462}, "T1"),  # 0.3 tesla
        ({"TE": 24, "TR": 2200, "TI": 860}, "T1"),  # T1 FLAIR
        ({"TE": 60, "TR": 4200, "TI": 160}, "STIR"),
        ({"TE": 80, "TR": 3320, "TI": 110}, "STIR"),  # 0.3 tesla
        ({"TE": 30, "TR": 4000, "codes": {"IR", "SE"}}, ""),  # perhaps STIR: its TI is missing
        ({"TE": 15, "TR": 3000}, "proton density"),
        ({"TE": 120, "TR": 9000, "TI": 2300}, "FLAIR"),
        ({"TE": 18, "TR": 500, "codes": {"GR"}, "flip": 25}, "T2*"),
        ({"TE": 3, "TR": 6, "codes": {"GR"}, "flip": 60}, "T1"),
        ({"TR": 550}, "T1"),
        ({"TR": 4000}, ""),
        ({"TE": 12}, ""),
        ({"contrast": "T2"}, "T2"),
        ({"contrast": "UNKNOWN"}, ""),
        ({}, ""),
    ],
)
def test_the_weighting_follows_from_the_times(tags, name):
    assert weighting(parameters(**tags)).name == name


def parameters(**tags) -> Parameters:
    return Parameters(
        te=tags.get("TE"),
        tr=tags.get("TR"),
        ti=tags.get("TI"),
        flip=tags.get("flip"),
        b_value=None,
        thickness=4.0,
        codes=frozenset(tags.get("codes", {"SE"})),
        sequence="",
        contrast=tags.get("contrast", ""),
        is_3d=tags.get("3D", False),
        agent=False,
        body_part="",
        description="",
        protocol="",
    )


LEFT_OUT = {
    "Projection (MIP)": {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]},
    "Diffusion": {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
    "Derived images": {"ImageType": ["ORIGINAL", "PRIMARY", "M", "DIXON", "FAT"]},
}
SECOND = {
    "fat suppressed": {"ScanOptions": "FS"},
    "STIR": {"InversionTime": 160.0, "EchoTime": 50.0},
    "three-dimensional, thin slices": {"MRAcquisitionType": "3D"},
    "Dixon": {"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "IN_PHASE"]},
    "put together or reformatted": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    "gradient echo": {"ScanningSequence": "GR", "EchoTime": 15.0, "FlipAngle": 20.0},
    "said to be of another region": {"BodyPartExamined": "TSPINE"},
}


@pytest.mark.parametrize(("name", "tags"), LEFT_OUT.items())
def test_what_shows_no_anatomy_of_its_own_is_never_used(name, tags, clinical, tmp_path):
    made = Exam(tmp_path / "exam", seed=9)
    images = images_of(clinical, clinical.whole_studies()[0])[SAGITTAL_T2]
    made.add(images, made.tags_of(SAGITTAL_T2) | tags)
    found = import_study(made.folder).found
    assert found.taken_for.tolist() == [name]
    assert not found.used.any()


@pytest.mark.parametrize(("why", "tags"), SECOND.items())
def test_a_plain_scan_is_preferred_and_the_other_used_alone(why, tags, clinical, tmp_path):
    kind = AXIAL_T2 if why == "gradient echo" else SAGITTAL_T2
    made = Exam(tmp_path / "exam", seed=10)
    images = images_of(clinical, clinical.whole_studies()[0])[kind]
    made.add(images, made.tags_of(kind) | tags)
    alone = import_study(made.folder).found
    assert (alone.taken_for.item(), alone.used.item()) == (kind, True)
    assert why in alone.why.item()
    is_serious = why in ("gradient echo", "said to be of another region")
    assert bool(alone.doubt.item()) == is_serious
    plain = made.add(images, made.tags_of(kind))
    both = import_study(made.folder).found.set_index("series_id")
    assert both.used.sum() == 1
    assert both[both.used].why.item().count(";") == 1  # the orientation; TE and TR; nothing else
    assert plain


def test_images_that_were_exported_twice_are_taken_once(exported, clinical, tmp_path):
    shutil.copytree(exported, tmp_path / "exam" / "once")
    shutil.copytree(exported, tmp_path / "exam" / "twice")
    pd.testing.assert_frame_equal(
        import_study(tmp_path / "exam").found, import_study(exported).found
    )


def test_an_axial_scan_of_the_neck_is_not_taken_for_more_of_the_same(clinical, tmp_path):
    """Nothing but its place says so."""
    images = images_of(clinical, clinical.whole_studies()[0])
    made = Exam(tmp_path / "exam", seed=12)
    for kind in SERIES:
        made.add(images[kind], made.tags_of(kind))
    lumbar = import_study(made.folder).found
    for image in images[AXIAL_T2]:
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y, float(z) + 330]
    made.add(images[AXIAL_T2], made.tags_of(AXIAL_T2))
    found = import_study(made.folder).found
    assert set(found[found.used].series_id) == set(lumbar.series_id)


def test_a_damaged_member_of_a_zip_is_named_by_its_number(exported, tmp_path):
    path = tmp_path / "exam.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in exported.iterdir():
            archive.write(file, f"{PATIENT['PatientName']}/{file.name}")
        first = archive.infolist()[0]
    content = bytearray(path.read_bytes())
    content[first.header_offset + 400 + len(first.filename)] ^= 1
    path.write_bytes(content)
    imported = import_study(path)
    assert "1 file left out: cannot be read (BadZipFile: damaged in its archive)." in imported.notes
    assert not any(secret in str(imported) for secret in SECRETS)


def test_an_encrypted_zip_is_refused_without_its_name(exported, tmp_path):
    path = tmp_path / f"{PATIENT['PatientName']}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(next(exported.iterdir()), "IM1")
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: directory + 8] + b"\x01" + content[directory + 9 :])  # its flags
    with pytest.raises(ExamError, match="The zip is encrypted: unpack it") as caught:
        import_study(tmp_path)
    assert not any(secret in str(caught.value) for secret in SECRETS)
