"""The loop: what is interrupted goes on as if it had not been, and nothing is mixed up or counted twice."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from utils import batches, training
from utils.presets import Preset

TINY = Preset(
    "test", folds=2, locator_px=64, locator_width=4, locator_epochs=2, locator_slices=2,
    crop_px=32, slices=1, features=32, grader_epochs=2, batch=2,
)  # fmt: skip


class Killed(Exception):
    pass


def digest(run):
    kept = [p for p in sorted(run.rglob("*")) if p.suffix in (".safetensors", ".json") or p.name == "oof.csv"]
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert training.fit(store, folder, TINY)
    return folder


def kill_after(name, epochs):
    def report(model, history):
        if model == name and len(history) == epochs:
            raise Killed

    return report


@pytest.mark.parametrize(("model", "epochs"), [("locator", 1), ("grader", 1), ("grader", 2)])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(store, run, tmp_path, model, epochs):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        training.fit(store, folder, TINY, report=kill_after(model, epochs))
    assert not (folder / "run.json").exists()
    assert training.fit(store, folder, TINY)
    assert digest(folder) == digest(run)


def test_the_real_kill_too(store, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "run.json").unlink()
    shutil.rmtree(folder / "fold0" / "grader")
    code = "from tests.test_training import *; training.fit(sys.argv[1], sys.argv[2], TINY)"
    process = subprocess.Popen([sys.executable, "-c", code, str(store), str(folder)], stderr=subprocess.DEVNULL)
    checkpoint = folder / "fold0" / "grader" / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = torch.load(checkpoint, weights_only=True)
    assert len(state["history"]) >= 1
    assert training.fit(store, folder, TINY)
    history = pd.read_csv(folder / "fold0" / "grader" / "history.csv")
    assert history.epoch.tolist() == [1, 2]


def test_time_budget_ends_with_everything_saved(store, tmp_path):
    assert training.fit(store, tmp_path / "run", TINY, time_budget=0) is False
    assert not (tmp_path / "run" / "run.json").exists()


def test_other_settings_never_continue_an_old_run(store, run):
    with pytest.raises(ValueError, match=r"begun with other settings \(features\)"):
        training.fit(store, run, replace(TINY, features=64))


def test_a_finished_run_is_not_trained_again(store, run):
    before = digest(run)
    assert training.fit(store, run, TINY, report=kill_after("locator", 1))
    assert digest(run) == before


def test_out_of_fold_answers_hold_each_held_out_study_once(store, run):
    folds = pd.read_csv(store / "folds.csv")
    oof = pd.read_csv(run / "oof.csv")
    studies = oof.row_id.str.split("_").str[0].astype("int64")
    assert set(studies) == set(folds.study_id[folds.fold == 0])
    assert not oof.row_id.duplicated().any()
    assert np.isfinite(training.oof_score(store, run).total)


def test_without_a_store_it_says_which_notebook_makes_it(tmp_path):
    with pytest.raises(ValueError, match="run 02_preprocess"):
        training.fit(tmp_path, tmp_path / "run", TINY)


def test_draws_depend_on_seed_epoch_and_study_only(store):
    ids = pd.read_csv(store / "folds.csv").study_id.tolist()
    a, b = batches.LocatorData(store, ids, TINY), batches.LocatorData(store, ids, TINY)
    [b[k] for k in range(3)]  # what was drawn before does not matter
    assert torch.equal(a[3]["canal_x"], b[3]["canal_x"])
    b.epoch.fill_(1)
    assert not torch.equal(a[3]["canal_x"], b[3]["canal_x"])


def test_heat_maps_follow_the_point_through_every_augmentation(store):
    ids = pd.read_csv(store / "folds.csv").study_id.tolist()
    data = batches.LocatorData(store, ids, replace(TINY, locator_px=144))
    for epoch in range(3):
        data.epoch.fill_(epoch)
        item = data[0]
        heat = item["canal_heat"].sum(0)
        assert heat.sum((1, 2)).numpy() == pytest.approx(np.ones(5), abs=1e-4)
        rows = (heat.sum(2) * torch.arange(heat.shape[1])).sum(1)
        assert (rows.diff() > 0).all(), "levels run head to foot"


def test_precision_is_what_the_device_does_natively():
    assert training.precision() == ("no" if not torch.cuda.is_available() else training.precision())


def test_learning_rate_warms_up_and_comes_down():
    factors = [training.warm_up_and_cosine(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] < 0.03


def test_temperature_cools_what_is_too_sure():
    rng = np.random.default_rng(0)
    from utils import rsna

    rows = [(s, *t) for s in range(60) for t in rsna.TARGETS]
    logits = rng.normal(0, 1, (len(rows), 3))
    grades = [rsna.GRADES[rng.choice(3, p=np.exp(z) / np.exp(z).sum())] for z in logits]
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level"]).assign(grade=grades)
    table = labels.assign(row_id=[rsna.row_id(*row) for row in rows])
    table[list(rsna.GRADE_COLUMNS)] = logits * 2.5  # the same opinion, two and a half times too sure
    assert 1.8 < training.fit_temperature(labels, table) <= 3.0
