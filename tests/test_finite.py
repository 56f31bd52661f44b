"""What is not a number is refused, or made finite, at every border: step, checkpoint, weights, run,
prediction."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TINY

from utils import inference, rsna, training
from utils.files import Folder
from utils.inference.localisation import ModelError
from utils.prepare import load_study
from utils.training import tasks, trainer
from utils.training.checkpoints import Checkpoints, all_finite


def spoil_steps(monkeypatch, spoiled):
    """The losses of these grader steps (counted from 1) are not numbers, as where an exponential
    overflows in 16 bits."""
    true_terms, steps = tasks.grader_terms, []

    def terms(*args, **options):
        found = true_terms(*args, **options)
        if found.requires_grad:
            steps.append(1)
        return found * float("nan") if found.requires_grad and len(steps) in spoiled else found

    monkeypatch.setattr(tasks, "grader_terms", terms)


def test_an_epoch_without_labels_is_no_overflow(prepared, tmp_path, monkeypatch):
    """Its loss and its weights are 0, which is finite."""
    true_terms = tasks.locator_terms
    monkeypatch.setattr(tasks, "locator_terms", lambda *args, **kw: 0 * true_terms(*args, **kw))
    with pytest.raises(_EnoughError):
        training.fit(prepared, tmp_path, TINY, report=_enough)
    history = pd.read_csv(tmp_path / "fold0" / "locator" / "history.csv")
    assert history.loss.tolist() == [0]


class _EnoughError(Exception):
    pass


def _enough(name, history):
    raise _EnoughError


def test_a_step_that_is_not_finite_is_skipped_and_reported(prepared, tmp_path, monkeypatch, caplog):
    spoil_steps(monkeypatch, {1})
    assert training.fit(prepared, tmp_path, replace(TINY, mixup=0.0, batch=1))
    grader = tmp_path / "fold0" / "grader"
    assert all_finite(load_file(grader / "model.safetensors"))
    history = pd.read_csv(grader / "history.csv")
    assert history.skipped.tolist() == [1, 0]
    assert "grader, epoch 1: 1 steps skipped" in caplog.text
    assert np.isfinite(history[["loss", "held_out"]]).all(axis=None)
    assert set(pd.read_csv(tmp_path / "fold0" / "locator" / "history.csv").skipped) == {0}


def test_many_in_a_row_stop_training_and_the_last_good_checkpoint_stays(
    prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainer, "MOST_SKIPPED", 2)
    preset = replace(TINY, mixup=0.0, grader_epochs=6)
    with monkeypatch.context() as patch:
        spoil_steps(patch, set(range(3, 99)))
        stopped = r"fold0.grader: \d steps in a row gave no finite gradients.+is of epoch \d"
        with pytest.raises(training.TrainingError, match=stopped):
            training.fit(prepared, tmp_path, preset)
    state = Checkpoints(Folder(tmp_path / "fold0" / "grader")).newest()
    assert state is not None
    assert training.fit(prepared, tmp_path, preset)  # resumes from there
    assert len(pd.read_csv(tmp_path / "fold0" / "grader" / "history.csv")) == 6


def test_an_epoch_without_a_finite_step_is_an_error_and_no_result(prepared, tmp_path, monkeypatch):
    spoil_steps(monkeypatch, set(range(1, 99)))
    with pytest.raises(training.TrainingError, match="The last good checkpoint is of none yet"):
        training.fit(prepared, tmp_path, replace(TINY, mixup=0.0))
    assert not (tmp_path / "run.json").exists()


def test_a_state_that_is_not_finite_is_not_saved(prepared, tmp_path, monkeypatch):
    """As the running statistics of a batch norm after one bad batch."""
    monkeypatch.setattr(trainer, "all_finite", lambda _: False)
    with pytest.raises(
        training.TrainingError,
        match=r"a state that is not finite\. The last good checkpoint is of none yet",
    ):
        training.fit(prepared, tmp_path, TINY)
    assert not list(tmp_path.rglob("epoch-*.pt"))


def test_all_finite_looks_into_everything():
    nan = torch.tensor([1.0, float("nan")])
    assert all_finite({"a": [torch.ones(2), {"b": torch.tensor([3])}], "c": "text"})
    assert not all_finite({"a": [torch.ones(2), {"b": nan}]})
    assert not all_finite((nan.half(),))


def test_a_checkpoint_with_other_than_numbers_is_passed_over(tmp_path, caplog):
    folder = Folder(tmp_path)
    Checkpoints(folder).save({"epoch": 1, "w": torch.ones(3)}, 1)
    Checkpoints(folder).save({"epoch": 2, "w": torch.full((3,), float("inf"))}, 2)
    assert Checkpoints(folder).newest()["epoch"] == 1
    assert "is damaged; going on from the one before it" in caplog.text


# --- a run that is read -----------------------------------------------------------------------


def spoil_weights(folder):
    path = folder / "fold0" / "grader" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name, values in weights.items() if values.is_floating_point())
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, path)


def spoil_prior(value):
    def spoil(folder):
        path = folder / "prior.csv"
        table = pd.read_csv(path)
        table.loc[3, "severe"] = value
        table.to_csv(path, index=False)

    return spoil


def spoil_settings(**changes):
    def spoil(folder):
        path = folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def spoil_preset(**changes):
    def spoil(folder):
        path = folder / "run.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"preset": content["preset"] | changes}))

    return spoil


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


RUN_DAMAGES = {
    "weights that are not finite": (spoil_weights, r"grader.model\.safetensors: 1 of \d+ weights"),
    "weights of nothing": (
        write("fold0/grader/model.safetensors", b""),
        "model.safetensors: these weights do not fit",
    ),
    "a prior that is not finite": (spoil_prior(np.nan), "prior.csv: these are not three prob"),
    "an infinite prior": (spoil_prior(np.inf), "prior.csv: these are not three prob"),
    "a negative prior": (spoil_prior(-0.2), "prior.csv: these are not three prob"),
    "an empty prior": (write("prior.csv", b""), "prior.csv is damaged .+run 03_train again"),
    "a prior of other columns": (write("prior.csv", b"a,b\n1,2\n"), "prior.csv is damaged"),
    "temperature nan": (spoil_settings(temperature=float("nan")), "run.json is damaged"),
    "temperature 0": (spoil_settings(temperature=0), "the temperature is 0, not from 0.01"),
    "temperature in words": (spoil_settings(temperature="warm"), "the temperature is 'warm'"),
    "a temperature of almost nothing": (spoil_settings(temperature=1e-300), "not from 0.01"),
    "no factor of Severe": (spoil_settings(severe_factor=None), "the severe factor is None"),
    "an infinite factor": (spoil_settings(severe_factor=1e300), "the severe factor is 1e"),
    "brackets without end": (
        write("run.json", b"[" * 200_000),
        "run.json is damaged",
    ),
    "no temperature": (spoil_settings(temperature=None), "the temperature is None"),
    "a fold outside": (spoil_settings(folds=["0/../../run0"]), r"folds are \['0/../../run0'\]"),
    "a negative fold": (spoil_settings(folds=[-1]), r"folds are \[-1\]"),
    "no fold": (spoil_settings(folds=[]), r"folds are \[\]"),
    "folds in words": (spoil_settings(folds="all"), "folds are 'all'"),
    "a fold that is not there": (spoil_settings(folds=[7]), "the weights are missing; train fold7"),
    "no preset": (spoil_settings(preset=None), "run.json is damaged"),
    "crops of no size": (spoil_preset(crop_mm=0), "crop_mm is 0; no model can be made"),
    "crops of no number": (spoil_preset(crop_mm=float("nan")), "crop_mm is nan; no model"),
    "a negative crop": (spoil_preset(locator_mm=-300.0), "locator_mm is -300.0; no model"),
    "half a slice": (spoil_preset(slices=1.5), "slices is 1.5; no model"),
    "a size in words": (spoil_preset(crop_px="64"), "crop_px is '64'; no model"),
    "a chance above 1": (spoil_preset(view_dropout=2), "view_dropout is 2; no model"),
    "nobody's grades": (spoil_preset(population="nobody"), "population is 'nobody', not labels or"),
    "a list": (write("run.json", b"[1, 2]"), "run.json is damaged"),
    "not UTF-8": (write("run.json", b'{"folds": "\xff"}'), "run.json is damaged"),
    "nothing": (write("run.json", b""), "run.json is damaged"),
}


@pytest.mark.parametrize("damage", RUN_DAMAGES)
def test_a_damaged_run_is_one_error_with_file_and_next_step(tiny_run, tmp_path, damage):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    spoil, says = RUN_DAMAGES[damage]
    spoil(folder)
    with pytest.raises(inference.RunError, match=says) as caught:
        inference.load_run(folder)
    assert "03_train" in str(caught.value)


def test_a_backbone_that_does_not_exist_is_a_run_error(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    content = json.loads((folder / "run.json").read_text())
    content["preset"]["backbone"] = "no_such_net"
    (folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(inference.RunError, match="its preset makes no model"):
        inference.load_run(folder)


# --- a model whose output overflows -----------------------------------------------------------


def overflowing(run, part):
    """The run with finite weights so large that the output of one model is not finite."""
    read = inference.load_run(run)
    with torch.no_grad():
        for weights in read.folds[0][part].parameters():
            weights.fill_(1e38)
    return read


@pytest.mark.parametrize(("part", "name"), [(0, "locator"), (1, "grader")])
def test_an_output_that_is_not_finite_blames_the_model_not_the_images(
    tiny_run, prepared, tables, whole_study, part, name
):
    spoiled = overflowing(tiny_run, part)
    blamed = f"the {name}'s output is not finite: the fault is the model's"
    with pytest.raises(ModelError, match=blamed):
        inference.predict_study(spoiled, load_study(prepared, whole_study))
    table = inference.predict_studies(tables, spoiled, studies=[whole_study])
    assert set(table.source) == {inference.PRIOR}
    assert table.note.str.contains(blamed).all()
    assert np.isfinite(table[list(rsna.GRADE_COLUMNS)]).all(axis=None)
