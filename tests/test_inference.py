"""From a study to answers: always 25 rows, always valid, and what could not be seen is said."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from utils import inference, metrics, prepare, report, rsna, training
from utils.presets import Preset
from utils.rsna import GRADE_COLUMNS

TINY = Preset(
    "test", folds=2, locator_px=64, locator_width=4, locator_epochs=1, locator_slices=2,
    crop_px=32, slices=1, features=32, grader_epochs=1, batch=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    training.fit(store, folder, TINY)
    return inference.load_run(folder)


def test_a_prediction_has_the_rows_of_the_sample_submission_in_its_order(phantom_root, tables, run):
    table = inference.predict(phantom_root, run.folder)
    assert table.columns.tolist() == ["row_id", *GRADE_COLUMNS]
    assert table.row_id.tolist() == tables.submission.row_id.tolist()
    values = table[list(GRADE_COLUMNS)].to_numpy()
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert np.abs(values.sum(1) - 1).max() < 1e-9


@pytest.fixture
def spoiled(phantom_root, tmp_path):
    """A copy of the phantom that may be damaged."""
    root = shutil.copytree(phantom_root, tmp_path / "data")
    return root, rsna.load_tables(root)


def test_what_cannot_be_seen_is_answered_by_the_prior_and_named(spoiled, run):
    _, tables = spoiled
    study, empty = tables.studies("test")
    axial = tables.series_of(study).set_index("series_description").series_id[rsna.AXIAL_T2]
    for path in tables.folder(study, axial).iterdir():
        path.write_bytes(b"broken")
    shutil.rmtree(tables.folder(empty))
    answers = inference.answers(tables, run)
    assert len(answers) == 50
    seen = answers[answers.study_id == study].set_index("condition")
    assert (seen.loc["Left Subarticular Stenosis"].note.str.startswith("prior used: Axial T2 is missing, unreadable")).all()
    assert (seen.loc[rsna.CANAL].note == "").all()
    expected = run.prior.loc["Left Subarticular Stenosis"].to_numpy()
    assert seen.loc["Left Subarticular Stenosis", list(GRADE_COLUMNS)].to_numpy(float) == pytest.approx(expected)
    assert (answers[answers.study_id == empty].note != "").all()
    metrics.check_submission(answers, tables.submission.row_id)


def test_file_names_and_instance_numbers_do_not_change_the_answers(spoiled, run):
    _, tables = spoiled
    study = tables.studies("test")[0]
    before = inference.answers(tables, run, studies=[study])
    for folder in tables.folder(study).iterdir():
        for k, path in enumerate(sorted(folder.iterdir())):
            path.rename(folder / f"{(k * 31) % 97}-x.dcm")
    after = inference.answers(tables, run, studies=[study])
    assert np.abs(before[list(GRADE_COLUMNS)].to_numpy() - after[list(GRADE_COLUMNS)].to_numpy()).max() < 1e-6


def test_points_are_given_in_mm_with_series_and_instance(tables, run):
    study = tables.studies("test")[0]
    answers = inference.answers(tables, run, studies=[study])
    # this locator has hardly been trained: where it points beyond the axial slices, the answer is the prior's and says so
    seen = answers[answers.note == ""]
    assert (seen.condition == rsna.CANAL).sum() == 5
    assert seen[["x_mm", "y_mm", "z_mm"]].notna().all(axis=None)
    own = seen.merge(tables.series, on="series_id")
    assert len(own) == len(seen)
    assert (own.series_description == own.condition.map(rsna.SERIES_OF)).all()
    assert answers.confidence.between(0, 1.0001).all()


def test_without_sagittal_t2_the_canal_is_sought_on_t1_and_the_rest_goes_on(tables, run):
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    blind = replace(study, series=tuple(s for s in study.series if s.description != rsna.SAGITTAL_T2))
    answers = inference.answer_study(run, blind).set_index("condition")
    assert answers.loc[rsna.CANAL, ["x_mm", "y_mm", "z_mm"]].notna().all(axis=None)
    assert (answers.loc[rsna.CANAL, "confidence"] > 0).all()
    assert answers[list(GRADE_COLUMNS)].sum(axis=1).to_numpy() == pytest.approx(np.ones(25))


def test_an_unfinished_run_says_which_notebook_finishes_it(tmp_path):
    with pytest.raises(inference.RunError, match="Run 03_train"):
        inference.load_run(tmp_path)


def test_missing_weights_are_named(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / "fold0" / "grader" / "model.safetensors").unlink()
    with pytest.raises(inference.RunError, match=r"grader.model\.safetensors: the weights are missing; train fold 0"):
        inference.load_run(folder)


def test_the_report_says_what_it_is_and_lets_no_text_become_markup(tables, run, tmp_path):
    study = tables.studies("test")[0]
    answers = inference.answers(tables, run, studies=[study])
    answers.loc[3, "note"] = "<script>alert(1)</script>"
    page = report.write_report(tables, study, answers, tmp_path / "r" / "study.html", "<b>run</b>").read_text()
    assert report.NOT_FOR_DIAGNOSIS in page
    assert "<script>alert" not in page
    assert "<b>run</b>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<td>") == 25
    with pytest.raises(ValueError, match="grade it first"):
        report.write_report(tables, 1, answers, tmp_path / "x.html")


def test_grading_in_the_shell(phantom_root, run, tmp_path):
    import subprocess
    import sys

    out = tmp_path / "submission.csv"
    command = [sys.executable, "-m", "utils.inference", str(phantom_root), str(run.folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "50 rows, 2 studies" in done.stdout
    assert len(pd.read_csv(out)) == 50
