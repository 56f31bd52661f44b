"""From a study to predictions: always 25 rows, always valid, and what could not be seen is said."""

import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from mirror import mirrored
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from tiny import TINY

from utils import inference, metrics, phantom, prepare, rsna, training
from utils.course import workspace
from utils.crops import OTHER_TARGET, POINT_MM, TARGET_LEVEL, point_table
from utils.dicom import Series
from utils.inference import levels, prediction
from utils.inference import probabilities as probabilities_of
from utils.inference import studies as study_loop
from utils.locks import BusyError, at_work
from utils.phantom import anatomy
from utils.phantom.column import SACRALISED, SIXTH_LUMBAR
from utils.prepare import fingerprint
from utils.rsna import GRADE_COLUMNS


@pytest.fixture(scope="module")
def run(tiny_run):
    return inference.load_run(tiny_run)


@pytest.fixture(scope="module")
def released():
    """A run that finds its way, as one of an epoch does not."""
    return inference.load_run(workspace.RELEASED)


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
    predictions = inference.predict_studies(tables, run)
    assert len(predictions) == 50
    seen = predictions[predictions.study_id == study].set_index("condition")
    assert (seen.loc["Left Subarticular Stenosis"].note.str.contains("no Axial T2: ")).all()
    assert (seen.loc["Left Subarticular Stenosis"].source == prediction.PRIOR).all()
    assert (seen.loc[rsna.CANAL].note.str.contains("seen without Axial T2: ")).all()
    assert not seen.loc["Left Neural Foraminal Narrowing"].note.str.contains("Axial").any()
    expected = run.prior.loc["Left Subarticular Stenosis"].to_numpy()
    assert seen.loc["Left Subarticular Stenosis", list(GRADE_COLUMNS)].to_numpy(
        float
    ) == pytest.approx(expected)
    of_empty = predictions[predictions.study_id == empty]
    assert (of_empty.note != "").all()
    assert (of_empty.source == prediction.PRIOR).all()
    metrics.check_submission(predictions, tables.submission.row_id)


def test_file_names_and_instance_numbers_do_not_change_the_predictions(spoiled, run):
    _, tables = spoiled
    study = tables.studies("test")[0]
    before = inference.predict_studies(tables, run, studies=[study])
    for folder in tables.folder(study).iterdir():
        for k, path in enumerate(sorted(folder.iterdir())):
            path.rename(folder / f"{(k * 31) % 97}-x.dcm")
    after = inference.predict_studies(tables, run, studies=[study])
    assert (
        np.abs(before[list(GRADE_COLUMNS)].to_numpy() - after[list(GRADE_COLUMNS)].to_numpy()).max()
        < 1e-6
    )


def probabilities(predictions):
    return predictions.set_index("row_id")[list(GRADE_COLUMNS)].to_numpy(float)


def test_slices_numbered_the_other_way_round_do_not_change_the_predictions(spoiled, run):
    _, tables = spoiled
    study = tables.studies("test")[0]
    before = inference.predict_studies(tables, run, studies=[study])
    for folder in tables.folder(study).iterdir():
        files = [pydicom.dcmread(path) for path in folder.iterdir()]
        last = max(int(data.InstanceNumber) for data in files)
        for data in files:
            data.InstanceNumber = last + 1 - int(data.InstanceNumber)
            data.save_as(folder / f"{data.InstanceNumber}.dcm")
    after = inference.predict_studies(tables, run, studies=[study])
    assert np.abs(probabilities(before) - probabilities(after)).max() < 1e-4
    assert not before.instance_number.equals(
        after.instance_number
    )  # reported as they are numbered now


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8])
def test_another_split_of_the_axial_slices_into_series_does_not_change_the_predictions(
    spoiled, released, cut
):
    root, tables = spoiled
    study = tables.studies("test")[0]
    before = inference.predict_studies(tables, released, studies=[study])
    axial = int(tables.series_of(study).set_index("series_description").series_id[rsna.AXIAL_T2])
    one = next(
        part.series
        for part in prepare.prepare_study(tables, study).series
        if part.series_id == axial
    )
    lower = one.instances[int(cut * len(one)) :]
    other = tables.folder(study) / "77"
    other.mkdir()
    for instance in lower:
        shutil.move(tables.folder(study, axial) / f"{instance}.dcm", other)
    with (root / "test_series_descriptions.csv").open("a") as table:
        table.write(f"{study},77,{rsna.AXIAL_T2}\n")
    after = inference.predict_studies(rsna.load_tables(root), released, studies=[study])
    assert np.abs(probabilities(before) - probabilities(after)).max() < 1e-4
    assert (after.series_id == 77).any()  # and points on it are reported as its own
    where = ["row_id", "instance_number"]
    pd.testing.assert_frame_equal(before[where], after[where])


def test_grades_at_mirrored_points_are_mirrored_grades(tables, run, whole_study):
    study = prepare.prepare_study(tables, whole_study)
    grades = [
        inference.grade(run.folds[0][1], one, point_table(one.points), run.preset)[0]
        for one in (study, mirrored(study))
    ]
    assert np.abs(grades[0] - grades[1][OTHER_TARGET]).max() < 1e-4
    assert np.abs(grades[0] - grades[1]).max() > 1e-3


def test_only_folds_that_saw_a_level_are_averaged(tables, run, monkeypatch):
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    predicted = [
        (np.full((25, 3), [0.0, 0.0, 5.0]), np.arange(25) < 20),
        (np.full((25, 3), [5.0, 0, 0]), np.arange(25) < 10),
    ]
    turns = itertools.cycle(predicted)
    monkeypatch.setattr(probabilities_of, "grade", lambda *_: next(turns))
    p = inference.predict_study(replace(run, folds=run.folds * 2), study)[
        list(GRADE_COLUMNS)
    ].to_numpy()
    one = softmax(np.array([0.0, 0.0, 5.0]) / run.temperature)
    assert p[0] == pytest.approx((one + one[::-1]) / 2)  # both
    assert p[15] == pytest.approx(one)  # the first alone
    assert p[24] == pytest.approx(run.prior.loc[[rsna.TARGETS[24]]].to_numpy()[0])  # neither


def test_killed_between_two_studies_it_resumes_with_the_second(tables, run, tmp_path, monkeypatch):
    whole = inference.predict_studies(tables, run)
    out, partial = (
        tmp_path / "new" / "predictions.csv",
        tmp_path / "new" / "predictions.partial.csv",
    )
    predict, graded = inference.predict_study, []

    def killed_at_the_second(run, study):
        graded.append(study.study_id)
        if len(graded) == 2:
            raise KeyboardInterrupt
        return predict(run, study)

    monkeypatch.setattr(study_loop, "predict_study", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        inference.predict_studies(tables, run, out=out)
    assert not out.exists()
    with partial.open("a") as file:
        file.write('9000000005_spinal_canal,"half a li')
    again = inference.predict_studies(tables, run, out=out)
    assert graded == [
        *tables.studies("test"),
        tables.studies("test")[1],
    ]  # the first was not graded again
    pd.testing.assert_frame_equal(again, whole, check_dtype=False)
    pd.testing.assert_frame_equal(inference.read_predictions(out), again, check_dtype=False)
    assert not partial.exists()


def test_what_another_temperature_or_an_earlier_call_has_left_is_not_taken_over(
    tables, run, tmp_path
):
    out, partial = tmp_path / "predictions.csv", tmp_path / "predictions.partial.csv"
    first, second = tables.studies("test")
    inference.predict_studies(tables, run, out=out)
    out.rename(partial)
    cool = replace(run, temperature=2.0)
    made_of = {study: fingerprint(tables, study) for study in (first, second)}
    assert study_loop._predicted_before(partial, cool, made_of) == set()
    inference.predict_studies(tables, run, out=out)
    out.rename(partial)
    assert inference.predict_studies(
        tables, run, studies=[second], out=out
    ).study_id.unique().tolist() == [second]


@pytest.mark.parametrize(
    "left", [b"", b"not a table\n", b"study_id,note\n1,\xc3", b"study_id,run,data,note\n1,"]
)
def test_whatever_a_kill_has_left_in_the_file_it_begins_anew(tables, run, tmp_path, left):
    (tmp_path / "predictions.partial.csv").write_bytes(left)
    assert len(inference.predict_studies(tables, run, out=tmp_path / "predictions.csv")) == 50


def test_a_study_that_failed_is_tried_again_and_a_fault_of_all_is_raised(
    tables, run, tmp_path, monkeypatch
):
    out, partial = tmp_path / "predictions.csv", tmp_path / "predictions.partial.csv"
    predict, studies = inference.predict_study, tables.studies("test")
    broken = set(studies[:1])

    def fails(run, study):
        if study.study_id in broken:
            raise MemoryError("too little")
        return predict(run, study)

    monkeypatch.setattr(study_loop, "predict_study", fails)
    table = inference.predict_studies(tables, run, out=out)
    failed = table[table.note.str.startswith("the study could not be graded: MemoryError")]
    assert len(failed) == 25
    assert (failed.source == prediction.PRIOR).all()
    out.rename(partial)
    made_of = {study: fingerprint(tables, study) for study in studies}
    assert study_loop._predicted_before(partial, run, made_of) == set(studies[1:])
    broken |= set(studies)
    with pytest.raises(MemoryError):
        inference.predict_studies(tables, run)


def test_what_another_run_has_predicted_is_not_taken_over(tables, run, tmp_path):
    out = tmp_path / "predictions.csv"
    inference.predict_studies(tables, run, out=out)
    out.rename(tmp_path / "predictions.partial.csv")
    other = inference.predict_studies(tables, replace(run, name="another 123"), out=out)
    assert (other.run == "another 123 T=1").all()
    assert len(other) == 50


def test_the_submission_follows_the_sample_whatever_its_order(tables, run):
    predictions = inference.predict_studies(tables, run)
    sample = tables.submission.sample(frac=1, random_state=0)
    assert metrics.as_submission(predictions, sample).row_id.tolist() == sample.row_id.tolist()
    with pytest.raises(metrics.SubmissionError):
        metrics.as_submission(predictions.iloc[1:], sample)


def test_an_error_on_several_lines_is_a_note_on_one(tables, run):
    rows = inference.prior_prediction(run, 7, "RuntimeError: first\n  second")
    assert (rows.note == "the study could not be graded: RuntimeError: first second").all()
    assert (rows.source == prediction.PRIOR).all()
    metrics.check_submission(rows, rsna.row_ids(7))


def test_points_are_given_in_mm_with_series_and_instance(tables, run):
    study = tables.studies("test")[0]
    predictions = inference.predict_studies(tables, run, studies=[study])
    # this locator has hardly been trained: where its point is beyond the axial slices, the
    # prediction is the prior's and says so
    seen = predictions[predictions.source == "model"]
    assert (seen.condition == rsna.CANAL).sum() == 5
    assert seen[["x_mm", "y_mm", "z_mm"]].notna().all(axis=None)
    own = seen.merge(tables.series, on="series_id")
    assert len(own) == len(seen)
    assert (own.series_description == own.condition.map(rsna.SERIES_OF)).all()
    assert predictions.confidence.between(0, 1.0001).all()


def test_without_sagittal_t2_the_canal_is_searched_on_t1_and_the_rest_continues(tables, run):
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    blind = replace(
        study, series=tuple(s for s in study.series if s.description != rsna.SAGITTAL_T2)
    )
    predictions = inference.predict_study(run, blind).set_index("condition")
    assert predictions.loc[rsna.CANAL, ["x_mm", "y_mm", "z_mm"]].notna().all(axis=None)
    assert (predictions.loc[rsna.CANAL, "confidence"] > 0).all()
    assert predictions[list(GRADE_COLUMNS)].sum(axis=1).to_numpy() == pytest.approx(np.ones(25))


def test_an_unfinished_run_says_which_notebook_finishes_it(tmp_path):
    with pytest.raises(inference.RunError, match="Run 03_train"):
        inference.load_run(tmp_path)


def with_another_phantom(folder):
    """As if the run had been trained on phantoms of another version."""
    content = json.loads((folder / "run.json").read_text())
    content["preset"]["phantom"]["version"] = 1
    (folder / "run.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda f: (f / "prior.csv").unlink(), r"no finished run here \(prior.csv is missing"),
        (lambda f: (f / "run.json").write_text('{"preset": '), "run.json is damaged"),
        (with_another_phantom, r"run\.json: settings of another version .*phantom"),
        (
            lambda f: (f / "fold0/locator/model.safetensors").write_bytes(b"cut"),
            "fold0.locator.model.safetensors: these weights",
        ),
    ],
)
def test_a_damaged_run_says_which_part(run, tmp_path, harm, says):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    harm(folder)
    with pytest.raises(inference.RunError, match=says):
        inference.load_run(folder)


@pytest.mark.slow
def test_the_shell_says_in_a_line_what_is_missing(phantom_root, tmp_path):
    command = [sys.executable, "-m", "utils.inference", str(phantom_root), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}: no finished run here")
    done = subprocess.run(
        [*command, "--out", "predictions.csv"], capture_output=True, text=True, check=False
    )
    assert "choose another name for --out" in done.stderr


@pytest.mark.slow
def test_the_folds_are_averaged_and_a_high_temperature_flattens(prepared, tables, tmp_path):
    preset = replace(TINY, train_folds=(0, 1))
    training.fit(prepared, tmp_path / "run", preset)
    both = inference.load_run(tmp_path / "run")
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    one, two = (inference.predict_study(replace(both, folds=(fold,)), study) for fold in both.folds)
    mean = inference.predict_study(both, study)
    here = ((one.source == prediction.MODEL) & (two.source == prediction.MODEL)).to_numpy()
    assert here.any()
    assert np.abs(probabilities(one) - probabilities(two))[here].max() > 1e-3
    assert probabilities(mean)[here] == pytest.approx(
        ((probabilities(one) + probabilities(two)) / 2)[here]
    )
    most_confident = np.where(one.confidence >= two.confidence, one.x_mm, two.x_mm)
    assert mean.x_mm.to_numpy() == pytest.approx(most_confident, nan_ok=True)
    cool = probabilities(
        inference.predict_study(replace(both, folds=both.folds[:1], temperature=100.0), study)
    )
    assert np.abs(cool[here] - 1 / 3).max() < 0.02


def test_a_series_named_for_a_plane_it_is_not_in_is_left_out(spoiled, run):
    _, tables = spoiled
    study = tables.studies("test")[0]
    series = tables.series.replace(
        {"series_description": {rsna.SAGITTAL_T1: rsna.AXIAL_T2, rsna.AXIAL_T2: rsna.SAGITTAL_T1}}
    )
    predictions = inference.predict_studies(
        replace(tables, series=series), run, studies=[study]
    ).set_index("condition")
    foramina = predictions.loc["Left Neural Foraminal Narrowing"]
    recesses = predictions.loc["Left Subarticular Stenosis"]
    assert (foramina.note.str.endswith("no Sagittal T1: its slices are axial")).all()
    assert (recesses.note.str.endswith("no Axial T2: its slices are sagittal")).all()
    assert (foramina.source == prediction.PRIOR).all()
    assert (recesses.source == prediction.PRIOR).all()


def test_black_images_and_images_of_another_region_are_not_seen(tables, run):
    study = prepare.prepare_study(tables, tables.studies("test")[0])

    def recess_sources(change):
        parts = [
            replace(p, series=Series(tuple(map(change, p.series.slices))))
            if p.description == rsna.AXIAL_T2
            else p
            for p in study.series
        ]
        predictions = inference.predict_study(run, replace(study, series=tuple(parts)))
        return predictions.set_index("condition").loc["Left Subarticular Stenosis"].source

    def moved(s):
        return replace(s, origin=s.origin + 300 * s.axes[0])

    assert (recess_sources(lambda s: s) == prediction.MODEL).any()
    assert (recess_sources(lambda s: replace(s, pixels=0 * s.pixels)) == prediction.PRIOR).all()
    assert (recess_sources(moved) == prediction.PRIOR).all()


def test_missing_weights_are_named(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / "fold0" / "grader" / "model.safetensors").unlink()
    with pytest.raises(
        inference.RunError,
        match=r"grader.model\.safetensors: the weights are missing; train fold0",
    ):
        inference.load_run(folder)


@pytest.mark.slow
def test_grading_in_the_shell(phantom_root, run, tmp_path):
    out = tmp_path / "submission.csv"
    command = [
        sys.executable,
        "-m",
        "utils.inference",
        str(phantom_root),
        str(run.folder),
        str(shutil.copytree(run.folder, tmp_path / "second")),
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "50 rows, 2 studies" in done.stdout
    assert len(pd.read_csv(out)) == 50
    predictions = inference.read_predictions(tmp_path / "predictions.csv")
    assert len(predictions) == 50
    assert predictions.run.str.contains(r"^whole .* \+ second ").all()
    assert "weighted prior  total " in done.stdout  # a phantom's truth is known
    assert "this run        total " in done.stdout


def test_levels_outside_the_image_get_the_prior_and_a_note(tables, run, monkeypatch):
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    located = prediction.locate

    def without_the_lowest_two(*of):
        found = located(*of)
        gone = np.array([level in ("L4/L5", "L5/S1") for _, level in rsna.TARGETS])
        found.points[gone], found.confidence[gone] = np.nan, 0.0
        return found

    monkeypatch.setattr(prediction, "locate", without_the_lowest_two)
    predictions = inference.predict_study(run, study)
    low = predictions.level.isin(["L4/L5", "L5/S1"])
    assert (
        predictions.note[low]
        .str.startswith("this level was not found in the sagittal images")
        .all()
    )
    assert (predictions.source[low] == prediction.PRIOR).all()
    assert not predictions.note[~low].str.contains("not found in the sagittal").any()
    expected = run.prior.loc[[t for t in rsna.TARGETS if t[1] in ("L4/L5", "L5/S1")]].to_numpy()
    assert predictions.loc[low, list(GRADE_COLUMNS)].to_numpy(float) == pytest.approx(expected)
    assert predictions.series_id[low].isna().all()


def test_the_prior_shift_correction_is_that_of_bayes(tables, run):
    """Twice as many severe ones in the population: the odds of Severe against Normal double,
    whatever was seen."""
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    training_prior = run.prior * 0 + 1 / 3
    prior = training_prior * np.array([1, 1, 2]) / (4 / 3)
    before, after = (
        inference.predict_study(replace(run, prior=of, training_prior=training_prior), study)
        for of in (training_prior, prior)
    )
    seen = before.source == "model"
    odds = [probabilities(one)[seen, 2] / probabilities(one)[seen, 0] for one in (before, after)]
    assert odds[1] / odds[0] == pytest.approx(np.full(seen.sum(), 2.0))


def test_weights_in_16_bits_are_read_as_they_are_used(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    for path in folder.rglob("*.safetensors"):
        save_file({name: values.half() for name, values in load_file(path).items()}, path)
    half = inference.load_run(folder)
    for model, exact in zip(half.folds[0], run.folds[0]):
        for w, full in zip(model.parameters(), exact.parameters()):
            assert w.dtype == torch.float32
            assert torch.allclose(w, full, rtol=1e-3, atol=1e-6)


def test_a_run_for_patients_needs_to_know_what_it_was_trained_on(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    content = json.loads((folder / "run.json").read_text())
    content["preset"]["population"] = "patients"
    (folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(
        inference.RunError, match=r"no finished run here \(training_prior\.csv is missing\)"
    ):
        inference.load_run(folder)
    shutil.copyfile(folder / "prior.csv", folder / "training_prior.csv")
    patients = inference.load_run(folder)
    assert patients.signature.endswith("for patients")
    assert patients.without_prior_shift.training_prior is None
    assert patients.without_prior_shift.signature != patients.signature
    pd.testing.assert_frame_equal(patients.without_prior_shift.prior, patients.training_prior)
    other = pd.read_csv(folder / "prior.csv")
    other.loc[0, ["moderate", "severe"]] = other.loc[0, ["severe", "moderate"]].to_numpy()
    other.to_csv(folder / "prior.csv", index=False)
    assert inference.load_run(folder).name != patients.name, "another prior, other predictions"


# --- several runs averaged ------------------------------------------------------------------------


@pytest.fixture
def pair(run, tmp_path):
    """Two runs of the same weights: the second of another temperature, factor of Severe and
    population."""
    folder = shutil.copytree(run.folder, tmp_path / "second")
    content = json.loads((folder / "run.json").read_text())
    content |= {"temperature": 2.5, "severe_factor": 2.0}
    content["preset"]["population"] = "patients"
    (folder / "run.json").write_text(json.dumps(content))
    shutil.copyfile(folder / "prior.csv", folder / "training_prior.csv")
    prior = pd.read_csv(folder / "prior.csv")
    prior[list(GRADE_COLUMNS)] = [0.5, 0.3, 0.2]
    prior.to_csv(folder / "prior.csv", index=False)
    return run.folder, folder


def test_of_several_runs_the_mean_of_the_final_probabilities_is_taken(tables, pair):
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    one, two = (inference.predict_study(inference.load_run(of), study) for of in pair)
    seen = (one.source == prediction.MODEL).to_numpy()
    assert np.abs(probabilities(one) - probabilities(two))[seen].max() > 0.01
    both = inference.load_runs(pair)
    mean = inference.predict_study(both, study)
    assert probabilities(mean) == pytest.approx((probabilities(one) + probabilities(two)) / 2)
    metrics.check_submission(mean, rsna.row_ids(study.study_id))
    shown = [*POINT_MM, "confidence", "series_id", "instance_number", "source", "note"]
    pd.testing.assert_frame_equal(mean[shown], one[shown])
    first, second = map(inference.load_run, pair)
    assert (mean.run == f"{first.signature} + {second.signature}").all()


def test_only_runs_that_saw_a_target_are_averaged_and_all_else_is_of_the_first_of_them(
    tables, pair, monkeypatch
):
    """The first run finds no L5/S1; the second sees everything at L5/S1 and nothing at L1/L2."""
    study = prepare.prepare_study(tables, tables.studies("test")[0])
    level = np.array([target.level for target in rsna.TARGETS])
    sees = itertools.cycle([level != "L5/S1", level != "L1/L2"])
    said = itertools.cycle([[0.0, 0.0, 5.0], [5.0, 0.0, 0.0]])
    monkeypatch.setattr(
        probabilities_of, "grade", lambda *_: (np.full((25, 3), next(said)), next(sees))
    )
    one, two = (inference.predict_study(inference.load_run(of), study) for of in pair)
    mean = inference.predict_study(inference.load_runs(pair), study)
    for where, expected in (("L1/L2", one), ("L5/S1", two)):
        at = level == where
        assert probabilities(mean)[at] == pytest.approx(probabilities(expected)[at])
        assert (mean.note[at] == expected.note[at]).all()
    assert (mean.source == prediction.MODEL).all()
    at = level == "L3/L4"
    half = (probabilities(one) + probabilities(two)) / 2
    assert probabilities(mean)[at] == pytest.approx(half[at])


def test_a_study_that_cannot_be_read_gets_the_mean_of_the_priors(pair):
    both = inference.load_runs(pair)
    rows = inference.prior_prediction(both, 7, "no such study")
    own = both.prior.loc[list(rsna.TARGETS), list(GRADE_COLUMNS)].to_numpy()
    assert probabilities(rows) == pytest.approx((own + [0.5, 0.3, 0.2]) / 2)
    assert (rows.source == prediction.PRIOR).all()


def test_without_prior_shift_is_without_it_in_every_run(pair):
    both = inference.load_runs(pair)
    assert "for patients" in both.signature
    assert "for patients" not in both.without_prior_shift.signature


def test_predictions_of_another_pair_are_not_taken_over(tables, pair, tmp_path):
    partial = tmp_path / "predictions.partial.csv"
    (study,) = tables.studies("test")[:1]
    made_of = {study: fingerprint(tables, study)}
    both, turned = inference.load_runs(pair), inference.load_runs(pair[::-1])
    rows = inference.predict_studies(tables, both, studies=[study])
    rows.to_csv(partial, index=False)
    assert study_loop._predicted_before(partial, both, made_of) == {study}
    for other in (turned, inference.load_run(pair[0])):
        rows.to_csv(partial, index=False)
        assert study_loop._predicted_before(partial, other, made_of) == set()


def test_runs_that_cannot_be_averaged_say_why(pair):
    first, second = pair
    with pytest.raises(
        inference.RunError, match=r"^whole \w{8} is named twice; name each run once"
    ):
        inference.load_runs([first, second, first])
    content = json.loads((second / "run.json").read_text())
    content["preset"]["spacing_mm"] = 0.4
    (second / "run.json").write_text(json.dumps(content))
    says = (
        r"^whole \w{8} grades images of 0\.75 mm per pixel, second \w{8} of 0\.4; a study is "
        "prepared once, so only runs of one spacing_mm can be averaged$"
    )
    with pytest.raises(inference.RunError, match=says):
        inference.load_runs(pair)


# --- doubtful levels ------------------------------------------------------------------------------

LEVEL_POINTS = {  # height of the five canal points in mm, and what is said of them
    "even": ([120, 90, 60, 30, 0], ""),
    "a child's": ([72, 54, 36, 18, 0], ""),
    "uneven, as patients are": ([122, 92, 58, 24, 0], ""),
    "a disc skipped": ([146, 121, 95, 49, 25], "L3/L4 and L4/L5 are 46 mm apart, other levels 26"),
    "a disc counted twice": ([90, 60, 50, 20, -10], "L2/L3 and L3/L4 are 10 mm apart"),
    "out of order": ([120, 90, 95, 30, 0], "the levels were not found in order"),
    "one not found": ([120, np.nan, 60, 30, 0], ""),
    "two found": ([np.nan, np.nan, np.nan, 100, 0], ""),
}


@pytest.mark.parametrize("case", LEVEL_POINTS)
def test_levels_that_are_unevenly_spaced_are_doubtful(case):
    heights, says = LEVEL_POINTS[case]
    canal = np.array([(0.0, 0.0, z) if np.isfinite(z) else (np.nan,) * 3 for z in heights])
    doubt = levels.level_doubt(canal)
    assert says in doubt
    assert bool(doubt) == bool(says)


def test_doubtful_levels_have_a_note_and_low_confidence(tables, run, whole_study, monkeypatch):
    study = prepare.prepare_study(tables, whole_study)
    for count in (0, 1):
        canal = np.array([[0, 0, -30.0 * k - 40 * count * (k >= 3)] for k in range(5)])
        found = inference.Located(canal[TARGET_LEVEL], np.full(25, 0.9))
        monkeypatch.setattr(prediction, "locate", lambda *_, found=found: found)
        table = inference.predict_study(run, study)
        assert table.note.str.startswith("doubtful").any() == bool(count)
        assert (table.confidence.max() <= levels.DOUBTFUL) == bool(count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SIXTH_LUMBAR, SACRALISED])
def test_a_spine_of_six_or_four_lumbar_vertebrae_is_right_or_doubtful(
    released, tmp_path, monkeypatch, kind
):
    for name in anatomy.TRANSITIONAL:
        monkeypatch.setitem(anatomy.TRANSITIONAL, name, float(name == kind))
    root = phantom.make_dataset(tmp_path / "data", 1, seed=77, test_studies=0, jobs=1)
    truth = pd.read_csv(root / "truth" / "truth.csv")
    tables = rsna.load_tables(root)
    study = prepare.prepare_study(tables, tables.studies()[0])
    canal = inference.predict_study(released, study)[lambda rows: rows.condition == rsna.CANAL]
    true = truth[truth.condition == rsna.CANAL].set_index("level").loc[canal.level]
    away_mm = np.linalg.norm(canal[POINT_MM].to_numpy() - true[POINT_MM].to_numpy(), axis=1)
    if (away_mm > 12).any():
        assert canal.note.str.startswith("doubtful").any()
        assert canal.confidence.max() <= levels.DOUBTFUL


# --- other data, and two at once ------------------------------------------------------------------


def test_predictions_of_other_files_under_the_same_name_are_not_taken_over(
    phantom_root, run, tmp_path
):
    first = shutil.copytree(phantom_root, tmp_path / "a" / "data")
    second = shutil.copytree(phantom_root, tmp_path / "b" / "data")
    changed, same = rsna.load_tables(second).studies("test")
    series = next(rsna.load_tables(second).folder(changed).iterdir())
    shutil.rmtree(series)
    out = tmp_path / "predictions.csv"
    inference.predict_studies(first, run, out=out)
    out.rename(tmp_path / "predictions.partial.csv")
    tables = rsna.load_tables(second)
    made_of = {study: fingerprint(tables, study) for study in (changed, same)}
    partial = tmp_path / "predictions.partial.csv"
    assert study_loop._predicted_before(partial, inference.load_run(run.folder), made_of) == {same}


def test_two_that_write_the_same_predictions_at_once_are_not_possible(tables, run, tmp_path):
    out = tmp_path / "predictions.csv"
    with at_work(tmp_path, out.name):
        with pytest.raises(BusyError, match="is at work here"):
            inference.predict_studies(tables, run, out=out)
        inference.predict_studies(tables, run, out=tmp_path / "others.csv")


def test_prepared_studies_are_graded_without_their_files(tables, run, prepared, tmp_path):
    studies = tables.studies("train")[:2]
    from_files = inference.predict_studies(tables, run, "train", studies)
    bare = replace(tables, root=tmp_path)  # the tables, and no image
    out = tmp_path / "predictions.csv"
    found = inference.predict_studies(bare, run, "train", studies, out, prepared)
    same = [column for column in from_files if column != "data"]
    pd.testing.assert_frame_equal(found[same], from_files[same], check_exact=False, atol=1e-9)
    every = study_loop._Given(bare, run.preset.spacing_mm, prepared).of_split("train")
    assert every == tables.studies("train")


def test_studies_prepared_at_another_spacing_are_refused(tables, run, prepared):
    finer = replace(run, preset=replace(run.preset, spacing_mm=0.4))
    with pytest.raises(prepare.PreparedDataError, match=r"at 0\.75 mm per pixel, and the"):
        inference.predict_studies(tables, finer, "train", prepared=prepared)
