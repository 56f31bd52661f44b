"""The board of one's own runs: what is in their folders, and nothing else."""

import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY

from utils import metrics, presets, training
from utils.files import OutputError
from utils.rsna import studies_of
from utils.training import board

COLUMNS = ["run", "preset", "changed", "score", "low", "high", "minutes", "finished", "source"]


@pytest.fixture
def runs(tiny_run, tmp_path):
    """A folder with two finished runs: "a" of a changed preset, and "b", of a better score."""
    folder = tmp_path / "runs"
    mine = presets.replace("l4", name="mine", backbone="resnet50", grader_epochs=12)
    for name, preset, score in (("a", mine, 0.7), ("b", presets.get_preset("demo"), 0.5)):
        shutil.copytree(tiny_run, folder / name)
        content = json.loads((folder / name / "run.json").read_text())
        content["preset"] = preset.as_dict()
        (folder / name / "run.json").write_text(json.dumps(content))
        row = f"score,low,high,finished,source\n{score},0.4,0.9,2026-11-28 17:19,kaggle\n"
        (folder / name / "result.csv").write_text(row)
        for model, seconds in (("locator", [30.0, 60.0]), ("grader", [90.0])):
            history = pd.DataFrame({"epoch": range(len(seconds)), "seconds": seconds})
            history.to_csv(folder / name / "fold0" / model / "history.csv")
    return folder


def test_a_row_tells_what_was_changed_and_what_came_of_it(runs):
    table = training.finished_runs([runs])
    assert table.columns.tolist() == COLUMNS
    assert table.run.tolist() == ["b", "a"], "the best score first"
    date, changed = "2026-11-28 17:19", "backbone=resnet50, grader_epochs=12"
    assert table.iloc[0].tolist() == ["b", "demo", "", 0.5, 0.4, 0.9, 3.0, date, "kaggle"]
    assert table.iloc[1].tolist() == ["a", "l4", changed, 0.7, 0.4, 0.9, 3.0, date, "kaggle"]


def test_a_deleted_run_disappears_and_an_interrupted_one_is_not_listed(runs):
    shutil.rmtree(runs / "b")
    shutil.copytree(runs / "a", runs / "c")
    (runs / "c" / "run.json").unlink()
    assert training.finished_runs([runs]).run.tolist() == ["a"]
    assert training.finished_runs([runs / "none"]).empty


def test_the_score_is_the_out_of_fold_one_with_its_interval(prepared, tiny_run):
    row = training.finished_runs([tiny_run.parent]).iloc[0]
    oof, labels = pd.read_csv(tiny_run / "oof.csv"), pd.read_csv(prepared / "labels.csv")
    held_out = labels[labels.study_id.isin(studies_of(oof.row_id))]
    expected = metrics.bootstrap(held_out, oof).loc["total"].round(4)
    assert row[["score", "low", "high"]].tolist() == expected.tolist()
    assert row.score == round(training.oof_score(prepared, tiny_run).total, 4)
    assert (row.run, row.source) == ("whole", "prepared")
    histories = [pd.read_csv(path) for path in tiny_run.glob("fold*/*/history.csv")]
    assert row.minutes == round(sum(one.seconds.sum() for one in histories) / 60, 1)


def test_a_run_keeps_the_date_on_which_it_was_finished(prepared, tiny_run, tmp_path):
    """Also when its score is measured anew, or for the first time."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    path = run / "result.csv"
    first = pd.read_csv(path)
    first.assign(finished="2020-01-01 00:00", score=9.0).to_csv(path, index=False)
    assert training.fit(prepared, run, TINY)
    after = pd.read_csv(path)
    assert (after.score.item(), after.finished.item()) == (first.score.item(), "2020-01-01 00:00")
    path.unlink()
    then = time.mktime((2021, 2, 3, 4, 5, 0, 0, 0, -1))
    os.utime(run / "run.json", (then, then))
    assert training.fit(prepared, run, TINY)
    assert pd.read_csv(path).finished.item() == "2021-02-03 04:05"


@pytest.mark.parametrize("content", ["", "score\n1\n", "\0", "score,low,high,finished,source\n"])
def test_without_a_result_the_score_is_not_known_and_the_run_is_listed_last(runs, content):
    (runs / "b" / "result.csv").write_text(content)
    (runs / "b" / "fold0" / "grader" / "history.csv").write_text("epoch\n1\n")
    table = training.finished_runs([runs])
    assert table.run.tolist() == ["a", "b"]
    assert table.iloc[1][["score", "low", "high", "minutes", "finished"]].isna().all()
    assert table.preset[1] == "demo"


def test_a_score_that_is_no_number_is_not_known(runs):
    row = "score,low,high,finished,source\n=1+1,inf,0.9,now,kaggle\n"
    (runs / "b" / "result.csv").write_text(row)
    assert training.finished_runs([runs]).iloc[1][["score", "low"]].isna().all()


def test_a_run_that_cannot_be_read_is_reported_and_left_out(runs, caplog):
    (runs / "b" / "run.json").write_text("{")
    assert training.finished_runs([runs]).run.tolist() == ["a"]
    assert f"not on the board: {runs}/b/run.json is damaged" in caplog.text


def test_it_is_written_beside_the_run_and_its_backup_and_the_present_run_is_marked(runs, tmp_path):
    """On a machine that is not kept the earlier runs are in the backup alone."""
    backup = tmp_path / "backup"
    shutil.copytree(runs / "a", backup / "a")
    shutil.move(runs / "b", backup / "b")
    shown = training.write_board(runs / "a", backup / "a")
    assert shown.run.tolist() == ["b", "a"]
    assert shown[""].tolist() == ["", "◀ this run"]
    for folder in (runs, backup):
        written = pd.read_csv(folder / "runs.csv")
        assert written.columns.tolist() == COLUMNS
        assert written.run.tolist() == ["b", "a"]


def test_a_name_is_no_formula_to_a_spreadsheet(runs):
    (runs / "a").rename(runs / "=a")
    training.write_board(runs / "b")
    assert pd.read_csv(runs / "runs.csv").run.tolist() == ["b", "'=a"]


def test_where_nothing_can_be_written_the_board_is_shown_all_the_same(runs, monkeypatch, caplog):
    def refuse(path: Path, *_):
        raise OutputError(f"{path}: cannot be written")

    monkeypatch.setattr(board, "write_atomic", refuse)
    assert training.write_board(runs / "a").run.tolist() == ["b", "a"]
    assert f"{runs}/runs.csv: cannot be written" in caplog.text
