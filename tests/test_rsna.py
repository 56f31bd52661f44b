"""The vocabulary, the tables and their errors."""

import pytest

from utils import rsna


def write(folder, name, text):
    (folder / name).write_bytes(text.encode())


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train_series_descriptions.csv", "study_id,series_id,series_description\n1,11,Sagittal T1\n1,12,Axial T2\n")
    return tmp_path


def train_csv(first_grade="Severe"):
    header = ",".join(["study_id", *(f"{rsna.slug(c)}_{rsna.slug(lv)}" for c, lv in rsna.TARGETS)])
    return header + "\n1," + ",".join([first_grade] + ["Normal/Mild"] * 24) + "\n"


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


def test_a_wrong_grade_is_reported_with_file_column_and_row(folder):
    write(folder, "train.csv", train_csv("Sever"))
    with pytest.raises(rsna.TableError, match=r"train\.csv: column 'spinal_canal_stenosis_l1_l2', row 2: 'Sever'"):
        rsna.load_tables(folder)


def test_the_row_is_the_editors_row_also_after_blank_lines(folder):
    write(folder, "train_series_descriptions.csv", "study_id,series_id,series_description\n\n1,11,Sagittal T3\n")
    with pytest.raises(rsna.TableError, match="row 3: 'Sagittal T3'"):
        rsna.load_tables(folder)


def test_a_coordinate_that_is_no_number_is_reported(folder):
    header = "study_id,series_id,instance_number,condition,level,x,y\n"
    write(folder, "train_label_coordinates.csv", header + "1,11,2,Spinal Canal Stenosis,L1/L2,here,5\n")
    with pytest.raises(rsna.TableError, match="column 'x'"):
        rsna.load_tables(folder)


def test_a_missing_column_is_named(folder):
    write(folder, "train.csv", "study_id,nothing\n1,2\n")
    with pytest.raises(rsna.TableError, match="'spinal_canal_stenosis_l1_l2' is missing"):
        rsna.load_tables(folder)


def test_absent_files_are_listed_and_the_rest_goes_on(folder):
    tables = rsna.load_tables(folder)
    assert tables.missing == ("train.csv", "train_label_coordinates.csv", "test_series_descriptions.csv", "sample_submission.csv")
    assert len(tables.series) == 2
    assert tables.labels.empty


def test_a_wrong_folder_says_what_to_do(tmp_path):
    with pytest.raises(rsna.TableError, match="Set SOURCE to"):
        rsna.load_tables(tmp_path / "nowhere")
    with pytest.raises(rsna.TableError, match="Is it the competition's folder"):
        rsna.load_tables(tmp_path)


def test_the_real_tables_have_the_published_counts(real_root):
    tables = rsna.load_tables(real_root)
    assert tables.labels.study_id.nunique() == 1975
    assert len(tables.points) == 48692
    assert tables.labels.grade.isna().sum() == 572
    assert tables.series[tables.series.split == "train"].series_description.value_counts().to_dict() == {
        "Axial T2": 2340,
        "Sagittal T1": 1980,
        "Sagittal T2/STIR": 1974,
    }
    assert tables.submission.row_id.tolist() == rsna.row_ids(44036939)


def test_every_id_in_the_fault_register_exists(real_root):
    tables, faults = rsna.load_tables(real_root), rsna.known_faults()
    owner = tables.series.set_index("series_id").study_id
    assert faults.study_id.isin(tables.labels.study_id).all()
    named = faults.dropna(subset=["series_id"])
    assert (owner.loc[named.series_id].to_numpy() == named.study_id.to_numpy()).all()
    assert len(rsna.faults_in(tables)) == len(faults)
    placeholders = tables.points[(tables.points.x < 6) & (tables.points.y < 6)]
    assert set(placeholders.study_id) == set(faults[faults.kind == "placeholder point"].study_id)
