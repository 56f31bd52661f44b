"""The vocabulary, the tables and their errors."""

import re

import numpy as np
import pytest

from utils import rsna

SERIES_HEADER = "study_id,series_id,series_description\n"


def write(folder, name, text):
    (folder / name).write_bytes(text.encode())


@pytest.fixture
def folder(tmp_path):
    """A data folder with one study: a Sagittal T1 and an Axial T2 series, and nothing else."""
    rows = "1,11,Sagittal T1\n1,12,Axial T2\n"
    write(tmp_path, "train_series_descriptions.csv", SERIES_HEADER + rows)
    return tmp_path


def train_csv(first_grade="Severe"):
    """train.csv of study 1, all Normal/Mild but for the canal at L1/L2."""
    header = ["study_id", *(target.column for target in rsna.TARGETS)]
    row = ["1", first_grade, *["Normal/Mild"] * 24]
    return f"{','.join(header)}\n{','.join(row)}\n"


# --- vocabulary -----------------------------------------------------------------------------------


def test_targets_are_the_conditions_by_level_in_the_order_of_train_csv():
    assert rsna.TARGETS[0] == ("Spinal Canal Stenosis", "L1/L2")
    assert rsna.TARGETS[24] == ("Right Subarticular Stenosis", "L5/S1")
    assert [rsna.target_index(*target) for target in rsna.TARGETS] == list(range(25))
    assert all(target.mirrored.mirrored == target for target in rsna.TARGETS)


def test_the_rows_of_all_families_and_sides_are_all_targets():
    canal = rsna.rows_of("spinal")
    assert canal == list(range(25))[rsna.CANAL_ROWS]
    sided = [rsna.rows_of(family, side) for family in rsna.FAMILIES[1:] for side in rsna.SIDES]
    assert sorted(sum(sided, canal)) == list(range(25))


def test_the_three_grades_of_a_target_are_all_patients():
    frequencies = rsna.grade_frequencies()
    assert frequencies.shape == (25, 3)
    assert (frequencies > 0).all()
    np.testing.assert_allclose(frequencies.sum(1), 1)


def test_row_ids_follow_the_sample_submission_not_train_csv():
    ids = rsna.row_ids(44036939)
    assert len(ids) == 25
    assert ids[0] == "44036939_left_neural_foraminal_narrowing_l1_l2"
    assert ids[5] == "44036939_left_subarticular_stenosis_l1_l2"
    assert ids[10] == "44036939_right_neural_foraminal_narrowing_l1_l2"
    assert ids[15] == "44036939_right_subarticular_stenosis_l1_l2"
    assert ids[24] == "44036939_spinal_canal_stenosis_l5_s1"


def test_mirror_swaps_sides_and_leaves_the_canal():
    assert rsna.mirror("Left Subarticular Stenosis") == "Right Subarticular Stenosis"
    assert rsna.mirror(rsna.CANAL) == rsna.CANAL
    assert all(rsna.mirror(rsna.mirror(c)) == c for c in rsna.CONDITIONS)


# --- tables ---------------------------------------------------------------------------------------


def test_long_labels_and_back(folder):
    write(folder, "train.csv", train_csv())
    labels = rsna.load_tables(folder).labels
    assert labels.iloc[0].tolist() == [1, "Spinal Canal Stenosis", "L1/L2", "Severe"]
    assert rsna.wide_labels(labels).iloc[0, 1:].tolist() == ["Severe"] + ["Normal/Mild"] * 24


def test_windows_line_ends_byte_order_mark_blank_rows_and_extra_columns_survive(folder):
    text = train_csv().replace("study_id", "\ufeffstudy_id", 1).replace("\n", ",x\r\n\r\n")
    write(folder, "train.csv", text)
    assert rsna.load_tables(folder).labels.grade.tolist()[0] == "Severe"


def test_an_empty_cell_is_a_missing_grade(folder):
    write(folder, "train.csv", train_csv(""))
    assert rsna.load_tables(folder).labels.grade.isna().sum() == 1


def rejected(folder):
    return [str(cell) for cell in rsna.load_tables(folder).rejected]


def test_a_wrong_grade_is_reported_with_file_column_and_row_and_missing(folder):
    write(folder, "train.csv", train_csv("Sever"))
    place = "train.csv: column 'spinal_canal_stenosis_l1_l2', row 2: 'Sever'"
    assert rejected(folder)[0].startswith(place)
    grades = rsna.load_tables(folder).labels.grade
    assert grades.isna().sum() == 1
    assert (grades == "Normal/Mild").sum() == 24


def test_words_may_be_in_another_case_and_have_blanks(folder):
    write(folder, "train.csv", train_csv(" severe "))
    write(folder, "train_series_descriptions.csv", SERIES_HEADER + "1,11,SAGITTAL t1 \n")
    tables = rsna.load_tables(folder)
    assert tables.labels.grade.tolist()[0] == "Severe"
    assert tables.series.series_description.tolist() == ["Sagittal T1"]
    assert not tables.rejected


@pytest.mark.parametrize("text", ["", "Axial T1", "T2_TSE"])
def test_an_unknown_description_is_kept_for_the_study_to_be_there(folder, text):
    write(folder, "train_series_descriptions.csv", SERIES_HEADER + f"1,11,{text}\n1,12,Axial T2\n")
    assert rsna.load_tables(folder).series.series_description.tolist() == [text, "Axial T2"]


POINTS_HEADER = "study_id,series_id,instance_number,condition,level,x,y\n"
GOOD_POINT = "1,11,2,Spinal Canal Stenosis,L1/L2,4,5\n"
BAD_POINTS = {
    "'x', row 4: 'here'": "1,11,2,Spinal Canal Stenosis,L1/L2,here,5\n",
    "'x', row 4: inf": "1,11,2,Spinal Canal Stenosis,L1/L2,inf,5\n",
    "'y', row 4: is empty": "1,11,2,Spinal Canal Stenosis,L1/L2,4,\n",
    "'study_id', row 4: -1": "-1,11,2,Spinal Canal Stenosis,L1/L2,4,5\n",
    "'study_id', row 4: 'one'": "one,11,2,Spinal Canal Stenosis,L1/L2,4,5\n",
    "'instance_number', row 4: '2.5'": "1,11,2.5,Spinal Canal Stenosis,L1/L2,4,5\n",
    "'series_id', row 4: '99999999999999999999'": (
        "1,99999999999999999999,2,Spinal Canal Stenosis,L1/L2,4,5\n"
    ),
    "'level', row 4: 'L9/S1'": "1,11,2,Spinal Canal Stenosis,L9/S1,4,5\n",
    "'condition', row 4: 'Scoliosis'": "1,11,2,Scoliosis,L1/L2,4,5\n",
}


@pytest.mark.parametrize("place", BAD_POINTS)
def test_a_bad_row_is_left_out_and_named_as_an_editor_shows_it(folder, place, caplog):
    text = POINTS_HEADER + GOOD_POINT + "\n" + BAD_POINTS[place]
    write(folder, "train_label_coordinates.csv", text)
    assert len(rsna.load_tables(folder).points) == 1
    assert f"train_label_coordinates.csv: column {place}" in rejected(folder)[0]
    assert f"column {place}" in caplog.text


def test_a_quote_that_is_not_closed_costs_its_own_row_only(folder):
    bad = GOOD_POINT.replace(",11,", ',"11,')
    quoted = GOOD_POINT.replace("Spinal Canal Stenosis", '"Spinal Canal Stenosis"')
    write(folder, "train_label_coordinates.csv", POINTS_HEADER + bad + quoted + GOOD_POINT)
    assert len(rsna.load_tables(folder).points) == 2
    assert "column 'series_id', row 2: '11,2,Spinal Canal" in rejected(folder)[0]


@pytest.mark.parametrize("place", BAD_POINTS)
def test_where_no_row_is_left_the_table_is_refused(folder, place):
    write(folder, "train_label_coordinates.csv", POINTS_HEADER + "\n\n" + BAD_POINTS[place])
    with pytest.raises(rsna.TableError, match=re.escape(place)):
        rsna.load_tables(folder)


@pytest.mark.parametrize(
    "row_id",
    [
        "abc_spinal_canal_stenosis_l1_l2",
        "1_headache_l1_l2",
        "",
        "1",
        "99999999999999999999_spinal_canal_stenosis_l1_l2",
        "01_spinal_canal_stenosis_l1_l2",
    ],
)
def test_a_row_id_that_names_no_target_is_left_out(folder, row_id):
    header = "row_id,normal_mild,moderate,severe\n"
    good = f"{rsna.row_id(1, rsna.CANAL, 'L1/L2')},0.3,0.3,0.4\n"
    write(folder, "sample_submission.csv", f"{header}{good}{row_id},0.3,0.3,0.4\n")
    tables = rsna.load_tables(folder)
    assert len(tables.submission) == 1
    assert "sample_submission.csv: column 'row_id', row 3" in rejected(folder)[0]


def test_of_rows_that_are_there_more_than_once_the_first_counts(folder):
    write(
        folder, "train_series_descriptions.csv", SERIES_HEADER + "1,11,Sagittal T1\n1,11,Axial T2\n"
    )
    write(folder, "train.csv", train_csv() + train_csv("Moderate").splitlines()[1])
    tables = rsna.load_tables(folder)
    assert tables.series.series_description.tolist() == ["Sagittal T1"]
    assert tables.labels.grade.tolist()[0] == "Severe"
    assert [cell.why for cell in tables.rejected] == [
        "1 is there more than once",
        "11 is there more than once",
    ]


def test_a_series_table_without_rows_says_so(folder):
    write(folder, "train_series_descriptions.csv", SERIES_HEADER)
    with pytest.raises(rsna.TableError, match="the tables of series descriptions have no rows"):
        rsna.load_tables(folder)


@pytest.mark.parametrize("row", ["1,11,Sagittal T1,extra", "1,11,Sagittal T1,", "1"])
@pytest.mark.parametrize("first", [True, False])
def test_a_row_of_another_length_costs_no_other(folder, row, first):
    rows = [row, "1,12,Axial T2"]
    text = "\n".join(rows if first else rows[::-1])
    write(folder, "train_series_descriptions.csv", SERIES_HEADER + text)
    found = rsna.load_tables(folder).series.series_id.tolist()
    assert sorted(found) == ([12] if row == "1" else [11, 12])


def test_a_byte_that_is_no_utf8_and_a_column_that_comes_twice_cost_no_other(folder):
    text = b"study_id, study_id,series_id,series_description\n1,7,11,T\xe9\n1,7,12,Axial T2\n"
    (folder / "train_series_descriptions.csv").write_bytes(text)
    series = rsna.load_tables(folder).series
    assert series.study_id.tolist() == [1, 1]
    assert series.series_description.tolist()[1] == "Axial T2"


def test_a_missing_column_is_named(folder):
    write(folder, "train.csv", "study_id,nothing\n1,2\n")
    with pytest.raises(rsna.TableError, match="'spinal_canal_stenosis_l1_l2' is missing"):
        rsna.load_tables(folder)


def test_absent_files_are_listed_and_the_rest_goes_on(folder):
    tables = rsna.load_tables(folder)
    assert tables.missing == (
        "train.csv",
        "train_label_coordinates.csv",
        "test_series_descriptions.csv",
        "sample_submission.csv",
    )
    assert len(tables.series) == 2
    assert tables.labels.empty


def test_a_wrong_folder_says_what_to_do(tmp_path):
    with pytest.raises(rsna.TableError, match="Set SOURCE to"):
        rsna.load_tables(tmp_path / "nowhere")
    with pytest.raises(rsna.TableError, match="Is it the competition's folder"):
        rsna.load_tables(tmp_path)


def test_whole_studies_have_images_of_all_three_kinds_of_series(tmp_path):
    rows = [f"{study},{study}{k},{kind}" for study in (1, 2) for k, kind in enumerate(rsna.SERIES)]
    write(tmp_path, "train_series_descriptions.csv", SERIES_HEADER + "\n".join(rows))
    for folder in ("1/10", "1/11", "1/12", "2/20"):
        (tmp_path / "train_images" / folder).mkdir(parents=True)
    tables = rsna.load_tables(tmp_path)
    assert tables.studies() == [1, 2]
    assert tables.whole_studies() == [1]
    (tmp_path / "train_images" / "1" / "12").rmdir()
    assert tables.whole_studies() == [1, 2]  # none is whole: then all that there are


# --- the real data set ----------------------------------------------------------------------------


def test_the_real_tables_have_the_published_counts(real_root):
    tables = rsna.load_tables(real_root)
    assert tables.labels.study_id.nunique() == 1975
    assert len(tables.points) == 48692
    assert tables.labels.grade.isna().sum() == 572
    train = tables.series[tables.series.split == "train"]
    assert train.series_description.value_counts().to_dict() == {
        "Axial T2": 2340,
        "Sagittal T1": 1980,
        "Sagittal T2/STIR": 1974,
    }
    assert tables.submission.row_id.tolist() == rsna.row_ids(44036939)


def test_every_id_in_the_fault_register_exists(real_root):
    tables = rsna.load_tables(real_root)
    faults = rsna.known_faults()
    owner = tables.series.set_index("series_id").study_id
    assert faults.study_id.isin(tables.labels.study_id).all()
    named = faults.dropna(subset=["series_id"])
    assert (owner.loc[named.series_id].to_numpy() == named.study_id.to_numpy()).all()
    assert len(rsna.faults_in(tables)) == len(faults)
    placeholders = tables.points[rsna.is_placeholder(tables.points)]
    assert set(placeholders.study_id) == set(faults[faults.kind == "placeholder point"].study_id)
