"""The loop: what is interrupted resumes as if it had not been, and nothing is mixed up or counted
twice."""

import errno
import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY
from torch.utils.data import default_collate

from utils import files, inference, metrics, prepare, rsna, training
from utils.course import workspace
from utils.crops import OTHER_TARGET, point_table
from utils.files import Folder
from utils.locks import BusyError, at_work
from utils.models import Grader
from utils.prepare import PreparedDataError
from utils.presets import VIEW_SETS
from utils.training import evaluation, losses, processes, recipe, tasks, trainer
from utils.training.checkpoints import Checkpoints
from utils.training.grader_samples import GraderDataset, Jitter


class Killed(Exception):
    pass


def digest(run):
    kept = [
        p
        for p in sorted(run.rglob("*"))
        if p.suffix in (".safetensors", ".json") or p.name == "oof.csv"
    ]
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def kill_after(name, epochs):
    def report(model, history):
        if model == name and len(history) == epochs:
            raise Killed

    return report


@pytest.mark.slow
@pytest.mark.parametrize(("model", "epochs"), [("locator", 1), ("grader", 1), ("grader", 2)])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    prepared, tiny_run, tmp_path, model, epochs
):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        training.fit(prepared, folder, TINY, report=kill_after(model, epochs))
    assert not (folder / "run.json").exists()
    assert training.fit(prepared, folder, TINY)
    assert digest(folder) == digest(tiny_run)


@pytest.mark.slow
def test_the_real_kill_too(prepared, tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    (folder / "run.json").unlink()
    shutil.rmtree(folder / "fold0" / "grader")
    code = """
import sys
import weakref
sys.path.insert(0, "tests")
from test_training import *
torch.set_num_threads(int(sys.argv[3]))  # sums come out the same only with as many threads
training.fit(sys.argv[1], sys.argv[2], TINY, report=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(prepared), str(folder), str(torch.get_num_threads())],
        stderr=subprocess.DEVNULL,
    )
    assert killed.returncode == -signal.SIGKILL
    grader = Folder(folder / "fold0" / "grader")
    assert len(Checkpoints(grader).newest()["history"]) == 1
    assert training.fit(prepared, folder, TINY)
    assert pd.read_csv(grader.path / "history.csv").epoch.tolist() == [1, 2]
    assert digest(folder) == digest(tiny_run)


@pytest.mark.slow
def test_a_new_machine_resumes_from_the_backup(prepared, tiny_run, tmp_path):
    with pytest.raises(Killed):
        training.fit(
            prepared,
            tmp_path / "first",
            TINY,
            report=kill_after("grader", 1),
            backup=tmp_path / "drive",
        )
    assert training.fit(prepared, tmp_path / "second", TINY, backup=tmp_path / "drive")
    first, second = (
        pd.read_csv(tmp_path / name / "fold0" / "locator" / "history.csv")
        for name in ("first", "second")
    )
    assert second.seconds.tolist() == first.seconds.tolist()  # not trained again
    assert digest(tmp_path / "second") == digest(tiny_run)
    assert digest(tmp_path / "drive") == digest(tiny_run)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_one_epoch_and_nothing_else(prepared, tiny_run, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        training.fit(prepared, folder, TINY, report=kill_after("grader", 2))
    max((folder / "fold0" / "grader").glob("epoch-*.pt")).write_bytes(b"damaged")
    assert training.fit(prepared, folder, TINY)
    assert digest(folder) == digest(tiny_run)


# --- time ----------------------------------------------------------------------------------------


def test_time_budget_ends_with_everything_saved(prepared, tmp_path):
    assert training.fit(prepared, tmp_path / "run", TINY, time_budget=0) is False
    assert not (tmp_path / "run" / "run.json").exists()


def test_no_epoch_is_started_that_would_not_end_in_time(prepared, tmp_path):
    long, path = (
        replace(TINY, locator_epochs=50),
        tmp_path / "run" / "fold0" / "locator" / "history.csv",
    )
    with pytest.raises(Killed):
        training.fit(prepared, tmp_path / "run", long, report=kill_after("locator", 1))
    seconds = pd.read_csv(path).seconds[0]
    assert training.fit(prepared, tmp_path / "run", long, time_budget=seconds * 0.5 / 60) is False
    assert len(pd.read_csv(path)) == 1


def test_other_settings_never_continue_an_old_run(prepared, tiny_run):
    with pytest.raises(ValueError, match=r"was started with other settings \(features\)"):
        training.fit(prepared, tiny_run, replace(TINY, features=64))


def test_a_run_belongs_to_one_assignment_of_studies_to_folds(prepared, tiny_run, tmp_path):
    """A study held out now may have been trained on in the assignment before."""
    other = shutil.copytree(prepared, tmp_path / "prepared")
    assigned = pd.read_csv(other / "folds.csv")
    assigned.assign(fold=1 - assigned.fold).to_csv(other / "folds.csv", index=False)
    with pytest.raises(
        ValueError, match=r"was started with other settings \(studies and their folds\)"
    ):
        training.fit(other, tiny_run, TINY)


def test_a_preset_wants_as_many_folds_as_it_has(prepared, tmp_path):
    with pytest.raises(
        PreparedDataError,
        match="assigned to 2 folds, and preset test has 3; prepare them again with folds=3",
    ):
        training.fit(prepared, tmp_path / "run", replace(TINY, folds=3))


def test_a_preset_wants_images_as_fine_as_it_is_graded_with(prepared, tmp_path):
    with pytest.raises(PreparedDataError, match=r"at 0\.75 mm .* wants 0\.4: .*another folder"):
        training.fit(prepared, tmp_path / "run", replace(TINY, spacing_mm=0.4))


def test_a_finished_run_is_not_trained_again(prepared, tiny_run):
    before = digest(tiny_run)
    assert training.fit(prepared, tiny_run, TINY, report=kill_after("locator", 1))
    assert digest(tiny_run) == before


def test_out_of_fold_predictions_hold_each_held_out_study_once(prepared, tiny_run):
    folds = pd.read_csv(prepared / "folds.csv")
    oof = pd.read_csv(tiny_run / "oof.csv")
    studies = oof.row_id.str.split("_").str[0].astype("int64")
    assert set(studies) == set(folds.study_id[folds.fold == 0])
    assert not oof.row_id.duplicated().any()
    assert np.isfinite(training.oof_score(prepared, tiny_run).total)


def test_without_prepared_data_it_says_which_notebook_makes_it(tmp_path):
    with pytest.raises(ValueError, match="run 02_preprocess"):
        training.fit(tmp_path, tmp_path / "run", TINY)


def test_every_epoch_is_in_tensorboard_and_history(prepared, tiny_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for model in ("locator", "grader"):
        events = EventAccumulator(str(tiny_run / "fold0" / model / "tensorboard")).Reload()
        history = pd.read_csv(tiny_run / "fold0" / model / "history.csv")
        assert [e.step for e in events.Scalars("loss")] == history.epoch.tolist() == [1, 2]
        assert [e.value for e in events.Scalars("held_out")] == pytest.approx(
            history.held_out.tolist(), rel=1e-5
        )


# --- several processes, several folds, several steps ---------------------------------------------

SEVERAL = """
import sys
import weakref
sys.path.insert(0, "tests")
from test_training import *
training.fit(sys.argv[1], sys.argv[2], replace(TINY, batch=4))
"""


def in_processes(count, prepared, folder, script):
    script.write_text(SEVERAL)
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    launch += ["--dynamo_backend", "no", "--num_processes", str(count), "--main_process_port", "0"]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(script), str(prepared), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(prepared, tmp_path):
    """Three studies are held out: an odd number, so that one process is given one twice, which must
    not count twice."""
    three = shutil.copytree(prepared, tmp_path / "prepared", ignore=shutil.ignore_patterns("crops"))
    folds = pd.read_csv(prepared / "folds.csv").sort_values("study_id")
    folds.assign(fold=[0] * 3 + [1] * (len(folds) - 3)).to_csv(three / "folds.csv", index=False)
    for count in (1, 2):
        in_processes(count, three, tmp_path / f"of {count}", tmp_path / "several.py")
    for model in ("locator", "grader"):
        one, two = (
            pd.read_csv(tmp_path / f"of {count}" / "fold0" / model / "history.csv")
            for count in (1, 2)
        )
        for column in ("loss", "held_out"):
            assert two[column].to_numpy() == pytest.approx(one[column].to_numpy(), rel=2e-4)
    one, two = (pd.read_csv(tmp_path / f"of {count}" / "oof.csv") for count in (1, 2))
    assert len(one) == 75
    assert sorted(two.row_id) == sorted(one.row_id)  # each held-out study once


def test_the_average_keeps_what_is_not_to_be_averaged(prepared, tmp_path):
    """The grader's tables of which view belongs to which target are buffers, and no weights."""
    with pytest.raises(Killed):
        training.fit(prepared, tmp_path / "run", TINY, report=kill_after("locator", 2))
    preset = replace(TINY, batch=1, grader_epochs=4, ema=1.0)
    ids = pd.read_csv(prepared / "folds.csv").study_id.tolist()
    data = (
        GraderDataset(prepared, ids, preset, Jitter()),
        GraderDataset(prepared, ids, preset, None),
    )
    [one.cache_crops() for one in data]
    task = tasks.grader_task(Folder(tmp_path / "grader"), Grader(preset), *data, preset)
    under_way = trainer.Trainer(task, preset, processes.make_accelerator(preset), trainer.Limits())
    for epoch in range(3):
        under_way.epoch(epoch)
    for (name, kept), (_, averaged) in zip(
        task.model.named_buffers(), under_way.average.module.named_buffers()
    ):
        assert torch.equal(kept, averaged) != name.startswith("norm."), name
    weights = zip(task.model.parameters(), under_way.average.module.parameters())
    assert not all(torch.equal(kept, averaged) for kept, averaged in weights)


def test_a_run_started_without_a_scaler_resumes_with_one(prepared, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        training.fit(prepared, tmp_path / "run", TINY, report=kill_after("locator", 1))
    parts = trainer.Trainer.parts.fget
    monkeypatch.setattr(
        trainer.Trainer,
        "parts",
        property(lambda self: parts(self) | {"scaler": torch.amp.GradScaler("cpu")}),
    )
    with pytest.raises(Killed):
        training.fit(prepared, tmp_path / "run", TINY, report=kill_after("locator", 2))


def test_one_study_is_trained_on_and_held_out_at_once(prepared, tmp_path):
    """Images of only some studies are fine, even of one; what it says is then worth nothing, but
    every cell runs."""
    few = shutil.copytree(prepared, tmp_path / "prepared", ignore=shutil.ignore_patterns("crops"))
    pd.read_csv(prepared / "folds.csv").iloc[:1].assign(fold=1).to_csv(
        few / "folds.csv", index=False
    )
    assert training.fit(few, tmp_path / "run", replace(TINY, locator_epochs=1, grader_epochs=1))


def test_a_fold_without_studies_is_refused(prepared, tmp_path):
    with pytest.raises(PreparedDataError, match=r"fold 7 has no studies; there are folds 0, 1$"):
        training.fit(prepared, tmp_path / "run", TINY, fold=7)


@pytest.mark.parametrize("name", ["labels.csv", "points.csv", "folds.csv"])
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00"])
def test_a_damaged_table_of_prepared_studies_is_named(prepared, tmp_path, name, content):
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    (copy / name).write_bytes(content)
    with pytest.raises(PreparedDataError, match=rf"{name} is damaged .+ run 02_preprocess again"):
        training.fit(copy, tmp_path / "run", TINY)


def test_a_finished_run_may_be_on_a_disk_that_is_read_only(prepared, tiny_run, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    for module, name in ((recipe, "at_work"), (files, "write_atomic"), (Path, "mkdir")):
        monkeypatch.setattr(module, name, refuse)
    assert training.fit(prepared, tiny_run, TINY)


def test_minutes_that_are_no_number_are_refused(prepared, tmp_path):
    with pytest.raises(training.TrainingError, match="nan is no number of minutes"):
        training.fit(prepared, tmp_path / "run", TINY, time_budget=float("nan"))


def test_a_point_that_is_not_found_is_an_error_and_not_left_out(prepared, tiny_run, monkeypatch):
    nowhere = inference.Located(np.full((25, 3), np.nan), np.zeros(25))
    monkeypatch.setattr(evaluation, "locate", lambda *_: nowhere)
    study = pd.read_csv(prepared / "folds.csv").study_id[0]
    points = training.measure_locator(None, prepared, [study], TINY)
    assert len(points) > 15
    assert np.isinf(points.error_mm).all()
    assert training.measured_jitter(points).std_mm == (2.0, 2.0, 2.0)


@pytest.mark.slow
def test_folds_trained_apart_make_one_run(prepared, tmp_path):
    both = replace(TINY, train_folds=(0, 1), locator_epochs=1, grader_epochs=1)
    assert (
        training.fit(prepared, tmp_path / "run", both, fold=1) is False
    )  # the other is not there yet
    assert training.fit(prepared, tmp_path / "run", both, fold=0)
    oof = pd.read_csv(tmp_path / "run" / "oof.csv")
    assert len(oof) == 25 * len(pd.read_csv(prepared / "folds.csv"))
    assert not oof.row_id.duplicated().any()


@pytest.mark.slow
def test_several_graders_of_a_fold_are_averaged(prepared, tmp_path):
    """Killed between them, too: the first is not trained again."""
    preset = replace(TINY, graders=2, locator_epochs=1, grader_epochs=1)

    def kill_second(model, history):
        if model == "grader-2":
            raise Killed

    with pytest.raises(Killed):
        training.fit(prepared, tmp_path / "run", preset, report=kill_second)
    first = tmp_path / "run" / "fold0" / "grader" / "model.safetensors"
    written = first.stat().st_mtime_ns
    assert training.fit(prepared, tmp_path / "run", preset)
    assert first.stat().st_mtime_ns == written
    run = inference.load_run(tmp_path / "run")
    _, both = run.folds[0]
    study = prepare.load_study(prepared, int(pd.read_csv(prepared / "folds.csv").study_id[0]))
    points = point_table(study.points)
    logits = [inference.grade(of, study, points, run.preset)[0] for of in (*both, both)]
    assert not np.allclose(logits[0], logits[1], atol=1e-3), "each has a seed of its own"
    assert logits[2] == pytest.approx((logits[0] + logits[1]) / 2, abs=1e-4)


@pytest.mark.slow
def test_a_run_may_look_at_every_view_and_learn_to_attend_to_slices(prepared, tmp_path):
    """Its held-out loss is still the metric alone."""
    preset = replace(TINY, slices=3, views=VIEW_SETS, attention_loss=0.2, locator_epochs=1)
    assert training.fit(prepared, tmp_path / "run", preset)
    run = inference.load_run(tmp_path / "run")
    assert run.preset == preset
    folds = pd.read_csv(prepared / "folds.csv")
    outside = folds.study_id[folds.fold == 0].tolist()
    data = GraderDataset(prepared, outside, preset, None)
    batch = default_collate([data[k] for k in range(len(data))])
    _, grader = run.folds[0]
    with torch.inference_mode():
        logits = grader(losses.augmented_crops(batch, preset), batch.exists)
    metric = losses.mean_of(losses.metric_terms(logits, batch.grades)).item()
    history = pd.read_csv(tmp_path / "run" / "fold0" / "grader" / "history.csv")
    assert history.held_out.iloc[-1] == pytest.approx(metric, abs=1e-3)
    predictions = inference.predict_study(run, prepare.load_study(prepared, outside[0]))
    p = predictions[list(rsna.GRADE_COLUMNS)].to_numpy(float)
    assert p.sum(1) == pytest.approx(np.ones(25))


def test_each_step_adds_attention_to_slices_by_its_share(prepared, tmp_path, monkeypatch):
    """Worked by hand: a quarter of each term of the metric, 0.2 of attention."""
    preset = replace(TINY, slices=3, attention_loss=0.2)
    ids = pd.read_csv(prepared / "folds.csv").study_id.tolist()
    data = GraderDataset(prepared, ids, preset, Jitter())
    data.cache_crops()
    task = tasks.grader_task(Folder(tmp_path), Grader(preset), data, data, preset)
    under_way = trainer.Trainer(task, preset, processes.make_accelerator(preset), trainer.Limits())
    minimised = []

    def seen(*args):
        minimised.append(losses.mean_of(*args))
        return minimised[-1]

    monkeypatch.setattr(trainer, "mean_of", seen)
    loss, weight = under_way.step(next(iter(under_way.loader)))
    each = loss / (preset.batch * task.weights)
    assert weight.tolist()[4] == preset.batch
    assert each[4] > 0.5, "log 3, where attention is to all three slices alike"
    assert minimised[0].item() == pytest.approx((each[:4].sum() / 4 + 0.2 * each[4]).item())


def test_the_encoder_can_learn_more_slowly_than_the_rest(prepared, tmp_path):
    preset = replace(TINY, encoder_rate=0.1)
    ids = pd.read_csv(prepared / "folds.csv").study_id.tolist()
    data = GraderDataset(prepared, ids, preset, Jitter())
    grader = Grader(preset)
    task = tasks.grader_task(Folder(tmp_path), grader, data, data, preset)
    rates = {id(weights): of["lr"] for of in task.groups for weights in of["params"]}
    assert len(rates) == len(list(grader.parameters()))
    for name, weights in grader.named_parameters():
        slow = 0.1 if name.startswith("encoder.") else 1
        assert rates[id(weights)] == pytest.approx(slow * preset.grader_rate), name


def test_gradients_of_several_steps_can_make_one_update(prepared, tmp_path):
    updates = {}
    for accumulate in (1, 2):
        preset = replace(TINY, locator_epochs=2, batch=1, accumulate=accumulate)
        with pytest.raises(Killed):
            training.fit(
                prepared, tmp_path / f"{accumulate}", preset, report=kill_after("locator", 1)
            )
        state = Checkpoints(Folder(tmp_path / f"{accumulate}" / "fold0" / "locator")).newest()
        updates[accumulate] = int(state["average"]["n_averaged"])
    assert updates[2] == -(-updates[1] // 2)


# --- the small parts -----------------------------------------------------------------------------


def test_two_runs_in_one_folder_at_once_are_not_possible(prepared, tmp_path):
    with at_work(tmp_path / "fold0"), pytest.raises(BusyError, match="is at work here"):
        training.fit(prepared, tmp_path, TINY)


def test_without_labels_there_is_nothing_to_learn(phantom_root, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    (root / "train.csv").unlink()
    prepare.prepare(root, tmp_path / "prepared", folds=2)
    with pytest.raises(prepare.PreparedDataError, match="no study here has labels"):
        training.fit(tmp_path / "prepared", tmp_path / "run", TINY)


def test_damaged_settings_of_a_run_are_named(prepared, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    (folder / "preset.json").write_bytes(b"\xff{")
    with pytest.raises(training.TrainingError, match=r"preset.json is damaged .+ delete it"):
        training.fit(prepared, folder, TINY)


def test_damaged_weights_of_a_finished_model_are_named(prepared, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    (folder / "fold0" / "locator" / "model.safetensors").write_bytes(b"")
    with pytest.raises(training.TrainingError, match="delete this file, and it is trained again"):
        training.fit(prepared, folder, TINY)


def test_learning_rate_warms_up_and_comes_down():
    factors = [trainer.warm_up_and_cosine(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] < 0.03


def test_an_odd_batch_for_mixup_is_reported(caplog):
    processes.make_accelerator(replace(TINY, batch=3, mixup=0.2))
    assert "mixup needs pairs: the odd study of a batch of 3 stays unmixed" in caplog.text


@pytest.mark.slow
def test_a_run_may_start_with_anothers_weights_and_shape(prepared, tiny_run, tmp_path):
    """Nothing is trained at a rate of 0, so what comes out is what went in, but for the statistics
    of the features, which follow the data."""
    still = replace(
        TINY,
        name="still",
        locator_width=8,
        features=16,
        locator_rate=0.0,
        grader_rate=0.0,
        weight_decay=0.0,
    )
    folder = tmp_path / "run"
    assert training.fit(prepared, folder, still, init_from=tiny_run)
    first, then = inference.load_run(tiny_run), inference.load_run(folder)
    assert (then.preset.locator_width, then.preset.features) == (TINY.locator_width, TINY.features)
    assert then.preset.init_from == first.name
    for old, new in zip(first.folds[0], then.folds[0]):
        for (name, before), after in zip(old.state_dict().items(), new.state_dict().values()):
            is_statistic = name.endswith(("norm.mean", "norm.variance"))
            assert torch.allclose(before, after, atol=1e-6) != is_statistic, name
    with pytest.raises(ValueError, match=r"was started with other settings \(.*init_from"):
        training.fit(prepared, folder, still)


def test_beginning_with_another_run_has_a_folder_of_its_own(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.warm_started(
        tiny_run, workspace.open_workspace("phantom", "smoke", data=False)
    )
    assert work.run == tmp_path / "runs" / "phantom-6-smoke-after-whole"
    assert work.preset.crop_px == TINY.crop_px


@pytest.mark.slow
def test_predictions_for_patients_expect_grades_as_frequent_as_patients_have(prepared, tmp_path):
    """The prior of the published frequencies, and each logit shifted by how much more frequent its
    grade is there."""
    training.fit(
        prepared,
        tmp_path / "run",
        replace(
            TINY, population="patients", label_noise=0.2, truncation=0.5, intensity="randomised"
        ),
    )
    run = inference.load_run(tmp_path / "run")
    # of the canal at L1/L2, each grade counted by its weight
    frequencies = np.array([0.955, 0.034, 0.011]) * (1, 2, 4)
    canal = rsna.CANAL, "L1/L2"
    assert run.prior.loc[canal].to_numpy() == pytest.approx(
        frequencies / frequencies.sum(), abs=1e-3
    )
    labels = pd.read_csv(prepared / "labels.csv")
    assert run.training_prior.loc[canal].to_numpy() == pytest.approx(
        metrics.prior(labels, smoothing=4).loc[canal].to_numpy()
    )
    k = rsna.TARGETS.index(canal)
    assert run.prior_shift[k] == pytest.approx(
        np.log(run.prior.loc[canal] / run.training_prior.loc[canal]).to_numpy()
    )
    assert run.prior_shift == pytest.approx(run.prior_shift[OTHER_TARGET]), "left and right alike"
    assert not replace(run, training_prior=None).prior_shift.any()


def test_an_interrupt_leaves_nothing_behind_in_the_traceback_that_a_notebook_keeps(
    prepared, tmp_path, monkeypatch
):
    """On a GPU it would be the memory that the next try needs."""
    trainers, graphs = [], []
    real = trainer.Trainer.__init__

    def seen(self, *args):
        trainers.append(weakref.ref(self))
        real(self, *args)

    def interrupt(terms, *_):
        graphs.append(weakref.ref(terms))
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "__init__", seen)
    monkeypatch.setattr(trainer, "mean_of", interrupt)
    with pytest.raises(KeyboardInterrupt) as kept:
        training.fit(prepared, tmp_path / "run", TINY)
    gc.collect()
    assert kept.value.__traceback__ is not None
    assert [of() for of in (*trainers, *graphs)] == [None, None]


def test_a_finished_stage_is_gone_before_the_next_begins(prepared, tmp_path, monkeypatch):
    trainers, alive = [], []
    real = trainer.Trainer.__init__

    def seen(self, *args):
        alive.extend(other() is not None for other in trainers)
        trainers.append(weakref.ref(self))
        real(self, *args)

    monkeypatch.setattr(trainer.Trainer, "__init__", seen)
    gc.disable()
    try:
        assert training.fit(prepared, tmp_path / "run", replace(TINY, grader_epochs=1))
    finally:
        gc.enable()
    assert alive == [False]
