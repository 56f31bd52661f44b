"""Where things live, and what a learner is told when the data cannot be had."""

from dataclasses import replace

import kagglehub
import pytest

from utils import rsna, workspace
from utils.presets import get_preset


def test_everything_lies_under_one_home(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("phantom", "t4", data=False)
    assert work.data == tmp_path / "data" / "phantom-128"
    assert work.prepared == tmp_path / "prepared" / "phantom-128"
    assert work.run == work.phantom_run == tmp_path / "runs" / "phantom-128-t4"


def test_a_folder_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    work = workspace.open_workspace(str(tmp_path / "mine"), "demo")
    assert work.data == tmp_path / "mine"
    assert work.run == tmp_path / "runs" / "mine-demo"
    assert work.phantom_run == tmp_path / "runs" / "phantom-128-demo"


def test_a_folder_that_is_not_there_names_the_choices(tmp_path):
    with pytest.raises(FileNotFoundError, match="Use 'phantom', 'kaggle', or the folder with train"):
        workspace.open_workspace(str(tmp_path / "none"))


def test_without_access_the_next_steps_are_told(monkeypatch):
    def refused(_):
        raise PermissionError("403")

    monkeypatch.setattr(kagglehub, "competition_download", refused)
    with pytest.raises(RuntimeError, match="Accept the rules at https:") as caught:
        workspace.open_workspace("kaggle")
    assert "KAGGLE_API_TOKEN" in str(caught.value)
    assert "SOURCE = 'phantom' runs every cell" in str(caught.value)


@pytest.mark.parametrize(("variable", "name"), [("KAGGLE_KERNEL_RUN_TYPE", "kaggle"), ("COLAB_RELEASE_TAG", "colab")])
def test_the_place_is_known(monkeypatch, variable, name):
    monkeypatch.delenv("LUMBAR_HOME", raising=False)
    monkeypatch.setenv(variable, "x")
    assert workspace.place() == name
    assert workspace.home().parts[1] in ("kaggle", "content")


def test_the_report_names_versions_and_the_missing_gpu():
    table = workspace.report().value
    assert table["torch"]
    assert "GPU" in table.index


def test_for_grading_alone_only_the_test_studies_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    tiny = replace(get_preset("smoke"), phantom_studies=2, phantom_test_studies=1)
    work = workspace.open_workspace("phantom", tiny, only_test=True)
    tables = rsna.load_tables(work.data)
    assert (len(tables.studies("train")), len(tables.studies("test")), len(tables.submission)) == (0, 1, 25)
    whole = workspace.open_workspace("phantom", tiny)
    assert whole.data != work.data
    assert workspace.open_workspace("phantom", tiny, only_test=True).data == whole.data, "what has been drawn is used"
