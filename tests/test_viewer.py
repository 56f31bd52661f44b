"""What the viewer sends to the browser: positions, images, labels, predictions, and what it says
when something is missing."""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from utils import dicom, rsna, viewer
from utils.errors import LumbarError
from utils.viewer.images import encode
from utils.viewer.search import search_index

STUDY, T1, T2, AXIAL = 7, 71, 72, 73
LEFT_FORAMEN = "Left Neural Foraminal Narrowing"
LEFT_RECESS = "Left Subarticular Stenosis"
RIGHT_RECESS = "Right Subarticular Stenosis"
TILT = np.radians(15)
SAGITTAL_AXES = [[0, 1, 0], [0, 0, -1]]
SHAPE = (60, 80)  # of an axial and of a T2 image
MIDDLE = (39.5, 29.5)  # of such an image, in px (column, row)


def write_image(folder, instance, pixels, origin, axes, spacing):
    """One DICOM file; spacing as (column step, row step)."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"  # MR Image Storage
    data.SOPInstanceUID = f"1.2.3.{instance}"
    data.InstanceNumber = instance
    data.ImagePositionPatient = [float(v) for v in origin]
    data.ImageOrientationPatient = np.ravel(axes).tolist()
    data.PixelSpacing = [spacing[1], spacing[0]]
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelRepresentation = 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = pixels.astype("<u2").tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    data.save_as(folder / f"{instance}.dcm", enforce_file_format=True)


def flat_image(height, width, grey):
    """One grey with a black and a white corner, so that every slice has the range 0 to 1000."""
    pixels = np.full((height, width), grey)
    pixels[: height // 5, : width // 5] = 0
    pixels[: height // 5, -width // 5 :] = 1000
    return pixels


def write_study(root: Path) -> Path:
    """One study in the competition's layout, small enough to check by hand.

    Sagittal T1, T2  slices at x = -8, -4, 0, 4, 8; pixel (0, 0) at y = -40, z = 60; columns run to
                     the back, rows run down
    Axial T2         two blocks of three slices about z = 20 and z = -20, tilted by 15° forwards
                     and backwards
    """
    images = root / "train_images" / str(STUDY)
    write_sagittal(images)
    write_axial(images / str(AXIAL))
    write_tables(root)
    return root


def write_sagittal(images: Path):
    """T1 counts instances from left to right and T2 from right to left: file order is not
    anatomical order."""
    for i, x in enumerate((-8, -4, 0, 4, 8)):
        grey = 300 + 100 * i
        origin = (x, -40, 60)
        t1, t2 = flat_image(60, 50, grey), flat_image(*SHAPE, grey)
        write_image(images / str(T1), 5 - i, t1, origin, SAGITTAL_AXES, (2.0, 2.0))
        write_image(images / str(T2), 1 + i, t2, origin, SAGITTAL_AXES, (1.0, 2.0))


def write_axial(folder: Path):
    for block, (z, tilt) in enumerate(((20, TILT), (-20, -TILT))):
        axes = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)]])
        for i, offset in enumerate((4, 0, -4)):
            middle = np.array([0, 5, z]) + offset * np.cross(*axes)
            origin = middle - MIDDLE[0] * axes[0] - MIDDLE[1] * axes[1]
            pixels = flat_image(*SHAPE, 300 + 100 * i)
            write_image(folder, 1 + 3 * block + i, pixels, origin, axes, (1.0, 1.0))


def write_tables(root: Path):
    grades = dict.fromkeys([target.column for target in rsna.TARGETS], "Normal/Mild")
    grades["spinal_canal_stenosis_l4_l5"] = "Severe"
    grades["left_subarticular_stenosis_l4_l5"] = "Moderate"
    grades["right_subarticular_stenosis_l1_l2"] = None
    points = [
        (T2, 3, rsna.CANAL, "L4/L5", 45.0, 40.0),  # x = 0, y = -40 + 45, z = 60 - 2 * 40
        (T2, 3, rsna.CANAL, "L1/L2", 45.0, 20.0),
        (T1, 1, LEFT_FORAMEN, "L4/L5", 22.0, 40.0),  # instance 1 of T1 is the leftmost, x = 8
        (AXIAL, 5, LEFT_RECESS, "L4/L5", 49.5, 29.5),  # ten pixels left of its slice's middle
        (AXIAL, 99, RIGHT_RECESS, "L4/L5", 30.0, 30.0),  # no such instance
    ]
    series = [(T1, "Sagittal T1"), (T2, "Sagittal T2/STIR"), (AXIAL, "Axial T2")]
    tables = {
        "train": pd.DataFrame([grades]),
        "train_label_coordinates": pd.DataFrame(
            points, columns=["series_id", "instance_number", "condition", "level", "x", "y"]
        ),
        "train_series_descriptions": pd.DataFrame(
            series, columns=["series_id", "series_description"]
        ),
    }
    for name, table in tables.items():
        table.insert(0, "study_id", STUDY)
        table.to_csv(root / f"{name}.csv", index=False)
    test = {"study_id": [8], "series_id": [81], "series_description": ["Sagittal T1"]}
    pd.DataFrame(test).to_csv(root / "test_series_descriptions.csv", index=False)
    submission = {"row_id": rsna.row_ids(8)} | dict.fromkeys(rsna.GRADE_COLUMNS, 1 / 3)
    pd.DataFrame(submission).to_csv(root / "sample_submission.csv", index=False)


def predictions(**more) -> pd.DataFrame:
    """Two rows: the canal at L4/L5 rightly severe, 3 mm too high; the left recess there wrongly
    severe."""
    rows = [rsna.row_id(STUDY, condition, "L4/L5") for condition in (rsna.CANAL, LEFT_RECESS)]
    p = {"normal_mild": [0.1, 0.2], "moderate": [0.2, 0.3], "severe": [0.7, 0.5]}
    points = {"x_mm": [0.0, np.nan], "y_mm": [5.0, 1.0], "z_mm": [-17.0, 1.0]}
    return pd.DataFrame({"row_id": rows} | p | points | more)


@pytest.fixture
def root(tmp_path):
    return write_study(tmp_path)


def send(root, table=None) -> viewer.Payload:
    return viewer.payload(rsna.load_tables(root), STUDY, table)


def cell(data, condition, level):
    return data.study["cells"][rsna.target_index(condition, level)]


def one_slice(pixels) -> dicom.Series:
    return dicom.Series((dicom.Slice(1, pixels, np.zeros(3), np.eye(3)[:2], np.ones(2)),))


# ---- Images --------------------------------------------------------------------------------------


def test_every_slice_arrives_with_its_position_and_its_image(root):
    data = send(root)
    for entry in data.study["series"]:
        folder = root / "train_images" / str(STUDY) / str(entry["id"])
        series = dicom.read_series(folder)
        assert [s["instance"] for s in entry["slices"]] == series.instances  # anatomical order
        low, high = entry["range"]
        for sent, s in zip(entry["slices"], series.slices, strict=True):
            np.testing.assert_allclose(sent["origin"], s.origin)
            np.testing.assert_allclose(sent["axes"], s.axes)
            np.testing.assert_allclose(sent["spacing"], s.spacing)
            jpeg = data.images[slice(*sent["bytes"])]
            grey = np.array(Image.open(io.BytesIO(jpeg)), float)
            assert grey.shape == s.pixels.shape == tuple(reversed(sent["size"]))
            intensity = low + grey / 255 * (high - low)
            assert abs(intensity - s.pixels).mean() < 10  # of 1000: JPEG's ringing at edges


def test_the_study_is_plain_json_and_names_all_it_shows(root):
    study = json.loads(json.dumps(send(root, predictions()).study, allow_nan=False))
    assert study["kinds"] == list(rsna.SERIES)
    assert [s["orientation"] for s in study["series"]] == ["sagittal", "sagittal", "axial"]
    assert [g["colour"] for g in study["grades"]] == list(rsna.GRADE_COLOURS)
    assert [c["side"] for c in study["conditions"]] == ["", "Left", "Right", "Left", "Right"]
    assert len(study["cells"]) == len(rsna.TARGETS)


def test_a_few_very_bright_pixels_do_not_darken_the_series():
    pixels = np.tile(np.arange(100, 200, dtype=np.uint16), (100, 1))
    pixels[0, 0] = 4000
    low, high = encode(one_slice(pixels), bytearray())["range"]
    assert 100 <= low < 105
    assert 190 < high < 200


def test_an_image_of_one_grey_has_a_window_all_the_same():
    entry = encode(one_slice(np.full((8, 8), 5)), bytearray())
    assert entry["range"] == [5, 6]
    assert entry["gap_mm"] is None  # one slice has no neighbour


# ---- Labels and what is missing ------------------------------------------------------------------


def test_labels_come_with_their_points_in_mm(root):
    data = send(root)
    canal = cell(data, rsna.CANAL, "L4/L5")
    assert canal["grade"] == 2
    assert canal["points"] == [{"series": T2, "instance": 3, "slice": 2, "mm": [0, 5, -20]}]
    foramen = cell(data, LEFT_FORAMEN, "L4/L5")
    assert foramen["points"] == [{"series": T1, "instance": 1, "slice": 4, "mm": [8, 4, -20]}]
    recess = cell(data, LEFT_RECESS, "L4/L5")["points"][0]
    assert recess["slice"] == 4
    np.testing.assert_allclose(recess["mm"], [10, 5, -20])


def test_an_empty_label_and_a_point_without_its_image_are_sent_as_such(root):
    data = send(root)
    unlabelled = cell(data, RIGHT_RECESS, "L1/L2")
    assert unlabelled == {"grade": None, "points": [], "prediction": None}
    absent = {"series": AXIAL, "instance": 99, "slice": None, "mm": None}
    assert cell(data, RIGHT_RECESS, "L4/L5")["points"] == [absent]


def test_a_series_not_on_disk_or_unreadable_is_explained_and_the_rest_go_on(root):
    images = root / "train_images" / str(STUDY)
    (images / str(T1)).rename(root / "elsewhere")
    for path in (images / str(AXIAL)).iterdir():
        path.write_bytes(b"not an image")
    t1, t2, axial = send(root).study["series"]
    assert t1["slices"] == axial["slices"] == []
    missing = "are not on this disk; part of the download is missing."
    assert t1["problem"] == f"The images of series {T1} {missing}"
    reason = "no usable image among 6 files; 1.dcm: is not a DICOM"
    assert axial["problem"].startswith(f"Series {AXIAL} cannot be shown: {reason}")
    assert len(t2["slices"]) == 5
    assert "problem" not in t2


def test_one_bad_file_is_named_and_costs_one_slice(root):
    (root / "train_images" / str(STUDY) / str(T2) / "2.dcm").write_bytes(b"")
    entry = send(root).study["series"][1]
    assert [s["instance"] for s in entry["slices"]] == [1, 3, 4, 5]
    assert entry["left_out"][0].startswith("2.dcm: ")


def test_a_series_that_no_table_describes_is_offered_too(root):
    folder = root / "train_images" / str(STUDY) / "99"
    coronal = [[1, 0, 0], [0, 0, -1]]
    write_image(folder, 1, flat_image(20, 20, 500), (0, 0, 0), coronal, (1, 1))
    entry = send(root).study["series"][-1]
    assert entry["id"] == 99
    assert entry["description"] == "not described"
    assert entry["orientation"] == "coronal"


def test_an_unknown_study_is_refused_by_name(root):
    says = r"study 12345 is in no series_descriptions\.csv"
    with pytest.raises(viewer.ViewerError, match=says) as error:
        viewer.payload(rsna.load_tables(root), 12345)
    assert isinstance(error.value, LumbarError)


# ---- Predictions ---------------------------------------------------------------------------------


def test_predictions_of_this_study_are_taken_and_all_else_is_left_aside(root):
    other = predictions().assign(row_id=rsna.row_ids(8)[:2], normal_mild="rubbish")
    table = pd.concat([predictions(note=["carried from T1", None], model="x"), other])
    data = send(root, table)
    canal = cell(data, rsna.CANAL, "L4/L5")["prediction"]
    assert canal == {"p": [0.1, 0.2, 0.7], "mm": [0, 5, -17], "note": "carried from T1"}
    recess = cell(data, LEFT_RECESS, "L4/L5")["prediction"]
    # One coordinate is missing, so there is no point.
    assert recess == {"p": [0.2, 0.3, 0.5], "mm": None, "note": None}
    assert sum(c["prediction"] is not None for c in data.study["cells"]) == 2


def test_predictions_need_no_points_and_no_notes(root):
    data = send(root, predictions()[["row_id", *rsna.GRADE_COLUMNS]])
    canal = cell(data, rsna.CANAL, "L4/L5")["prediction"]
    assert canal == {"p": [0.1, 0.2, 0.7], "mm": None, "note": None}


def test_the_source_of_a_prediction_is_sent_where_the_table_names_it(root):
    data = send(root, predictions(source=["prior", None], note=["", "carried from T1"]))
    canal, recess = (cell(data, c, "L4/L5")["prediction"] for c in (rsna.CANAL, LEFT_RECESS))
    assert (canal["source"], canal["note"]) == ("prior", None)
    assert (recess["source"], recess["note"]) == (None, "carried from T1")


def test_a_measure_is_sent_in_words_beside_the_patients_own_widest(root):
    targets = [
        (rsna.CANAL, "L3/L4"),
        (rsna.CANAL, "L4/L5"),
        (LEFT_FORAMEN, "L4/L5"),
        (LEFT_RECESS, "L4/L5"),
    ]
    table = (
        predictions()
        .iloc[[0, 0, 0, 0]]
        .assign(
            row_id=[rsna.row_id(STUDY, *target) for target in targets],
            sac_mm=[12.0, 6.0, None, None],
            sac_mm2=[None, 62.0, None, None],
            disc_mm=[7.0, None, None, None],
            slip_mm=[2.9, -3.2, None, None],
            bulge_mm=[-4.0, 5.2, None, None],
            fat_mm2=[None, None, 41.4, None],
            recess_mm=[None, None, None, 1.8],
        )
    )
    data = send(root, table)
    wide, narrow, foramen, recess = (cell(data, *of)["prediction"]["measure"] for of in targets)
    assert wide == "sac 12.0 mm deep, the widest level; disc 7.0 mm high"
    assert narrow == (
        "sac 6.0 mm deep, 50% of L3/L4; sac 62 mm² large, the widest level; "
        "disc bulges 5 mm; vertebra above 3 mm backward"
    )
    assert foramen == "41 mm² of fat round the root, the widest level"
    assert recess == "recess 1.8 mm deep"
    none = send(root, predictions(sac_mm=[None, float("nan")]))
    assert cell(none, rsna.CANAL, "L4/L5")["prediction"]["measure"] is None


REPEATED = f"row_id '{STUDY}_spinal_canal_stenosis_l4_l5' appears more than once"
NOT_A_NUMBER = "has a probability that is not a number from 0 to 1"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda t: t.drop(columns="moderate"), "predictions: column 'moderate' is missing"),
        (lambda t: t.set_index("row_id"), "predictions: column 'row_id' is missing"),
        (lambda t: pd.concat([t, t]), f"predictions: {REPEATED}"),
        (
            lambda t: t.assign(severe=[0.5, np.nan]),
            f"'{STUDY}_left_subarticular_stenosis_l4_l5' {NOT_A_NUMBER}",
        ),
        (
            lambda t: t.assign(severe=[1.5, 0.5]),
            f"'{STUDY}_spinal_canal_stenosis_l4_l5' {NOT_A_NUMBER}",
        ),
        (lambda t: t.assign(severe="much"), NOT_A_NUMBER),
    ],
)
def test_malformed_predictions_are_refused_with_the_reason(root, spoil, says):
    with pytest.raises(viewer.ViewerError, match=re.escape(says)):
        send(root, spoil(predictions()))


# ---- The page ------------------------------------------------------------------------------------


def test_no_text_from_data_can_end_the_script(root):
    note = "</script><script>alert(1)</script><!-- & \u2028"
    page = viewer.page_html(send(root, predictions(note=note)), "<b>Study</b>")
    assert "<title>&lt;b&gt;Study&lt;/b&gt;</title>" in page
    # Three scripts: the study, its images, the module.
    assert page.count("<script") == page.count("</script>") == 3
    assert "alert(1)</script" not in page
    text = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    data = viewer.Payload(json.loads(text), b"")
    assert cell(data, rsna.CANAL, "L4/L5")["prediction"]["note"] == note


def test_the_page_allows_its_own_script_and_nothing_else(root):
    page = viewer.page_html(send(root), "Study")
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page
    assert not re.search(r"https?://", page)


# ---- The widget ----------------------------------------------------------------------------------


def test_the_widget_takes_a_folder_or_tables(root):
    by_path = viewer.StudyViewer(root, STUDY)
    by_tables = viewer.StudyViewer(rsna.load_tables(root), STUDY)
    assert by_path.images == by_tables.images
    assert by_path.study == by_tables.study


def test_images_travel_as_bytes_and_stay_out_of_the_repr(root):
    shown = viewer.StudyViewer(root, STUDY)
    assert shown.get_state()["images"] == shown.images  # the widget protocol needs no base64
    assert repr(shown).startswith("StudyViewer(7: 16 slices in 3 series, 0.0 MB")


def test_the_widget_saves_what_it_shows(root, tmp_path):
    shown = viewer.StudyViewer(root, STUDY, predictions())
    sent = send(root, predictions())
    with_quiz = sent._replace(study=sent.study | {"quiz": {"on": False}})
    page = viewer.page_html(with_quiz, f"Study {STUDY}")
    assert shown.save_html(tmp_path / "study.html").read_text("utf-8") == page
    style = 'title="Study 7" style="width: 100%; height: 860px; border: 0"'
    iframe = f'<iframe srcdoc="{html.escape(page)}" {style}></iframe>'
    assert shown.as_html().data == f"<div>{iframe}</div>"


def test_where_a_front_end_shows_only_text_it_names_the_one_line_that_helps(root):
    shown = viewer.StudyViewer(root, STUDY)._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    hint = "If this line is all you see, run viewer.as_html()"
    assert data["text/plain"].endswith(hint)


def quiz_state(answers, **more) -> dict:
    """The state of a quiz as the browser sends it; targets without an answer follow."""
    given = answers + [None] * (len(rsna.TARGETS) - len(answers))
    return {"on": True, "answers": given, "revealed": False} | more


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_study(phantom_root):
    tables = rsna.load_tables(phantom_root)
    first, second = tables.studies()[:2]
    shown = viewer.StudyViewer(tables, first, quiz=True)
    shown.show(second)
    shown.set_state({"quiz": quiz_state([2] * 25, study=first)})
    assert shown.answers.empty
    shown.set_state({"quiz": quiz_state([2], study=second)})
    assert shown.answers.row_id.tolist() == [rsna.row_id(second, *rsna.TARGETS[0])]


def test_another_study_replaces_the_first_and_no_answer_is_lost(phantom_root):
    tables = rsna.load_tables(phantom_root)
    first, second = tables.studies()[:2]
    shown = viewer.StudyViewer(tables, first, quiz=True)
    shown.quiz = shown.quiz | {"answers": [0] * 25}
    shown.show(second)
    assert viewer.Payload(shown.study, shown.images) == viewer.payload(tables, second)
    assert shown.quiz == {"on": True}  # another study, other questions
    assert shown.answers.row_id.tolist() == [rsna.row_id(first, *t) for t in rsna.TARGETS]
    shown.quiz = shown.quiz | {"answers": [2] + [None] * 24}
    shown.show(first)
    assert shown.quiz["answers"] == [0] * 25
    assert shown.answers.answer.tolist() == ["Severe"] + ["Normal/Mild"] * 25


def test_a_study_that_cannot_be_shown_leaves_the_one_on_show(phantom_root):
    tables = rsna.load_tables(phantom_root)
    shown = viewer.StudyViewer(tables, tables.studies()[1])
    with pytest.raises(viewer.ViewerError, match="study 5 is in no"):
        shown.show(5)
    assert shown.study["id"] == tables.studies()[1]


def test_answers_of_a_quiz_come_back_as_a_table(root):
    shown = viewer.StudyViewer(root, STUDY, predictions())
    columns = ["row_id", "condition", "level", "answer", "label", "predicted"]
    assert list(shown.answers.columns) == columns
    assert shown.answers.empty
    answers = [None] * 25
    answers[rsna.target_index(rsna.CANAL, "L4/L5")] = 1
    answers[rsna.target_index(LEFT_FORAMEN, "L1/L2")] = 0
    shown.quiz = quiz_state(answers)
    assert shown.answers.iloc[:, 1:].fillna("no prediction").to_numpy().tolist() == [
        [rsna.CANAL, "L4/L5", "Moderate", "Severe", "Severe"],
        [LEFT_FORAMEN, "L1/L2", "Normal/Mild", "Normal/Mild", "no prediction"],
    ]
    assert shown.answers.row_id[0] == rsna.row_id(STUDY, rsna.CANAL, "L4/L5")


# ---- The picker ----------------------------------------------------------------------------------


@pytest.fixture
def picker(phantom_root):
    return viewer.StudyPicker(phantom_root)


def offered(picker):
    return [study for _, study in picker.list.options]


def test_the_picker_steps_through_all_studies_and_round(picker, phantom_root):
    tables = rsna.load_tables(phantom_root)
    every = tables.studies("train") + tables.studies("test")
    assert offered(picker) == every
    seen = [picker.viewer.study["id"]]
    for _ in every:
        picker.next.click()
        seen.append(picker.viewer.study["id"])
    assert seen == [*every, every[0]]
    picker.back.click()
    assert picker.viewer.study["id"] == every[-1]


def test_the_list_says_how_bad_a_study_is(picker, phantom_root):
    labels = rsna.load_tables(phantom_root).labels
    first = offered(picker)[0]
    grades = labels[labels.study_id == first].grade
    severe, moderate = (grades == "Severe").sum(), (grades == "Moderate").sum()
    assert picker.list.options[0][0] == f"{first} · {moderate} moderate, {severe} severe"
    assert picker.list.options[-1][0].endswith("no labels")  # a test study


def test_the_search_finds_studies_by_one_target_with_all_its_words(picker, phantom_root):
    labels = rsna.load_tables(phantom_root).labels
    canal = labels[(labels.condition == rsna.CANAL) & (labels.grade == "Severe")]
    level = canal.level.iloc[0]
    expected = sorted(canal[canal.level == level].study_id)
    picker.search.value = f"Severe canal {level}"
    assert offered(picker) == expected
    assert picker.viewer.study["id"] == expected[0]
    assert picker.status.value == f"{len(expected)} of 6 studies"
    picker.search.value = "no such words"
    assert offered(picker) == expected  # the list keeps the last that were found
    assert picker.status.value == "0 of 6 studies"
    picker.search.value = ""
    assert len(offered(picker)) == 6
    assert picker.viewer.study["id"] == expected[0]  # and the study stays


def test_the_list_gives_no_grade_away_while_a_quiz_is_running(picker):
    with_grades = [text for text, _ in picker.list.options]
    picker.viewer.quiz = quiz_state([])
    assert [text for text, _ in picker.list.options] == [str(study) for study in offered(picker)]
    picker.viewer.quiz = quiz_state([0] * 25, revealed=True)
    assert [text for text, _ in picker.list.options] == with_grades


def test_a_search_that_keeps_the_study_on_show_reads_nothing_again(picker, monkeypatch):
    picker.next.click()
    read = []
    monkeypatch.setattr(picker.viewer, "show", read.append)
    for typed in ("9", "90", "900"):
        picker.search.value = typed
    assert read == []
    assert picker.list.value == picker.viewer.study["id"]


def test_with_predictions_it_offers_what_was_predicted_and_finds_mistakes(phantom_root):
    tables = rsna.load_tables(phantom_root)
    one, two = tables.studies()[:2]
    rows = [*rsna.row_ids(two), *rsna.row_ids(one)]
    normal = {"normal_mild": 1.0, "moderate": 0.0, "severe": 0.0}
    table = pd.DataFrame({"row_id": rows} | normal)
    assert offered(viewer.StudyPicker(tables, predictions=table)) == [one, two]
    index = search_index(tables, [one, two], table)
    right, wrong = (index[index.text.str.endswith(word)] for word in ("right", "wrong"))
    assert set(wrong.grade) == {"Moderate", "Severe"}
    assert set(right.grade) == {"Normal/Mild"}
    labels = tables.labels[tables.labels.study_id.isin([one, two])]
    assert len(wrong) + len(right) == labels.grade.count()


def test_a_study_that_does_not_exist_is_named_and_the_one_before_stays(picker):
    first = picker.viewer.study["id"]
    picker.list.options = [(str(study), study) for study in (first, 999)]
    picker.list.value = 999
    assert "999" in picker.status.value
    assert picker.list.value == picker.viewer.study["id"] == first


def test_it_carries_the_next_studies_for_a_saved_page_as_far_as_they_are_small(
    picker, phantom_root, monkeypatch
):
    carried = picker.viewer.carried
    ids = offered(picker)[:4]
    assert [one["study"]["id"] for one in carried["more"]] == ids[1:]
    assert [*carried["about"]] == [str(study) for study in ids]
    assert carried["about"][str(ids[0])]["summary"] in picker.list.options[0][0]
    sizes = [len(one["images"]) for one in carried["more"]]
    monkeypatch.setattr("utils.viewer.picker.CARRIED_BYTES", sum(sizes[:2]))
    again = viewer.StudyPicker(phantom_root).viewer.carried
    assert [one["study"]["id"] for one in again["more"]] == ids[1:3]


def test_studies_come_in_the_order_asked_for(phantom_root):
    one, two = rsna.load_tables(phantom_root).studies()[:2]
    assert offered(viewer.StudyPicker(phantom_root, [two, one])) == [two, one]
    with pytest.raises(viewer.ViewerError, match="no study to show"):
        viewer.StudyPicker(phantom_root, [])
