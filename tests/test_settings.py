"""What is chosen in one notebook is the default of the next, and nothing in its file can stop
one."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from utils import presets
from utils.course import workspace
from utils.errors import LumbarError
from utils.files import OutputError
from utils.presets import get_preset

ROOT = Path(__file__).parent.parent
FILE = "notebook_settings.json"
NOON = "2026-11-28T12:00:00+00:00"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workspace, "MOUNT", tmp_path / "drive")
    return tmp_path / "home"


def keep(folder: Path, **values) -> None:
    """As 02_preprocess has left it at noon."""
    content = {
        name: {"value": value, "notebook": "02_preprocess", "time": NOON}
        for name, value in values.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(content))


def settings_cell(name: str, **changed: str) -> str:
    """The code of a notebook's settings cell, with values chosen in its form."""
    cells = nbformat.read(ROOT / f"{name}.ipynb", 4).cells
    (source,) = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    for setting, value in changed.items():
        assert f'{setting} = ""  # @param' in source
        source = source.replace(f'{setting} = ""', f'{setting} = "{value}"')
    return source


def run_cell(name: str, **changed: str) -> dict:
    held = {"workspace": workspace}
    exec(settings_cell(name, **changed), held)
    return held


def test_what_is_chosen_in_one_notebook_holds_in_the_next(capsys):
    held = run_cell("01_eda")
    assert (held["SOURCE"], held["PRESET"]) == ("phantom", "demo")
    assert capsys.readouterr().out == "SOURCE = phantom, the default; PRESET = demo, the default\n"
    run_cell("02_preprocess", SOURCE="kaggle", STORE="drive")
    today = time.strftime("%b %Y")
    assert capsys.readouterr().out == (
        "SOURCE = kaggle, chosen here; PRESET = demo, the default; STORE = drive, chosen here\n"
    )
    held = run_cell("03_train", PRESET="l4")
    assert (held["SOURCE"], held["PRESET"], held["STORE"]) == ("kaggle", "l4", "drive")
    shown = capsys.readouterr().out
    assert shown.startswith("SOURCE = kaggle, as chosen in 02_preprocess on ")
    assert f"{today}; PRESET = l4, chosen here; STORE = drive, as chosen in 02_pre" in shown
    held = run_cell("04_infer")
    assert (held["SOURCE"], held["PRESET"], held["RUN"]) == ("kaggle", "l4", "newest")
    shown = capsys.readouterr().out
    assert "; PRESET = l4, as chosen in 03_train on " in shown
    assert shown.endswith("; RUN = newest, the default\n")


def test_a_line_says_where_each_comes_from_and_a_choice_keeps_its_date(home, capsys):
    keep(home, SOURCE="sample")
    for _ in range(2):
        workspace.choose("03_train", SOURCE="sample", PRESET="")
        assert workspace.choose("04_infer", SOURCE="", PRESET="") == ["sample", "demo"]
        line = (
            "SOURCE = sample, as chosen in 02_preprocess on 28 Nov 2026; PRESET = demo, the default"
        )
        assert capsys.readouterr().out.splitlines()[1] == line


def test_settings_of_ones_own_are_kept_whole(capsys):
    mine = presets.replace("l4", name="mine", backbone="resnet50", train_folds=(0, 1))
    assert workspace.choose("03_train", PRESET=mine) == [mine]
    assert workspace.choose("04_infer", PRESET="") == [mine]
    line = "PRESET = mine (l4 with train_folds=0,1, backbone=resnet50), as chosen in 03_train on "
    assert capsys.readouterr().out.splitlines()[1].startswith(line)
    workspace.choose("03_train", PRESET=get_preset("t4"))
    assert workspace.choose("04_infer", PRESET="") == ["t4"]


def test_a_choice_that_cannot_be_used_is_an_error_at_once_and_not_kept(home):
    for wrong, says in (
        (
            {"SOURCE": "/no/such/folder"},
            "no such folder or file. Use one of phantom, volunteer, upload, sample",
        ),
        ({"PRESET": "big"}, "no preset 'big'; there are demo"),
        ({"PRESET": 5}, "PRESET is 5, no preset"),
        ({"RUN": "a"}, r"RUN = 'a': no finished run there\. Name one of those in .*runs, a folder"),
    ):
        with pytest.raises(LumbarError, match=says):
            workspace.choose("01_eda", **wrong)
    assert not home.exists()


def test_a_run_is_kept_until_another_source_or_preset_is_chosen(home):
    for name in ("a", "b"):
        (home / "runs" / name).mkdir(parents=True)
        (home / "runs" / name / "run.json").touch()
    assert workspace.choose("04_infer", RUN="a, b") == ["a, b"]
    assert workspace.choose("04_infer", SOURCE="", RUN="") == ["phantom", "a, b"]
    assert workspace.choose("04_infer", RUN=[home / "runs" / "a", "b"]) == [
        [str(home / "runs" / "a"), "b"]
    ]
    workspace.choose("01_eda", SOURCE="kaggle")
    assert workspace.choose("04_infer", SOURCE="", RUN="") == ["kaggle", "newest"]
    for source in ("sample", "kaggle"):
        workspace.choose("04_infer", SOURCE=source, RUN="a")
        assert workspace.choose("04_infer", SOURCE="", RUN="") == [source, "a"]


# --- a file that is damaged, foreign or hostile ---------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"[" * 200_000, "is no file of settings"),
        (b"[]", "it is no JSON object"),
        (b'{"SOURCE": "kaggle"}', "an entry is no choice of a setting"),
        (b'{"SOURCE": {"value": 5, "notebook": "x", "time": "%s"}}', "no text that can be shown"),
        (b'{"SOURCE": {"value": "\\u001b[2J", "notebook": "x", "time": "%s"}}', "no text that can"),
        (b'{"SOURCE": {"value": "kaggle", "notebook": "x\\n", "time": "%s"}}', "no text that can"),
        (b'{"SOURCE": {"value": "kaggle", "notebook": "x", "time": "noon"}}', "is damaged"),
        (
            b'{"SOURCE": {"value": "kaggle", "notebook": "x", "time": "0001-01-01T00:00+14:00"}}',
            "is damaged",
        ),
    ],
)
def test_a_damaged_file_is_a_message_and_the_default(home, caplog, content, says):
    home.mkdir()
    (home / FILE).write_bytes(content.replace(b"%s", NOON.encode()))
    assert workspace.choose("03_train", SOURCE="", PRESET="") == ["phantom", "demo"]
    assert str(home / FILE) in caplog.text
    assert says in caplog.text
    assert "it is not used; choose again" in caplog.text
    workspace.choose("03_train", SOURCE="kaggle")
    caplog.clear()
    assert workspace.choose("04_infer", SOURCE="") == ["kaggle"]
    assert not caplog.text


def foreign(**changed) -> dict:
    return get_preset("demo").as_dict() | changed


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SOURCE", "/no/such/folder", "no such folder"),
        ("SOURCE", "~nobody-of-this-name/x", "is not used"),
        ("SOURCE", [], "no such folder"),
        ("PRESET", "big", "no preset 'big'"),
        ("PRESET", ["demo"], "no preset whose name"),
        ("PRESET", {"name": "x"}, "settings of another version"),
        ("PRESET", foreign(name="../../elsewhere"), "no preset whose name can be that of a folder"),
        ("PRESET", foreign(batch="many"), "batch is 'many'"),
        ("PRESET", foreign(train_folds=5), "is not used"),
        ("RUN", "runs/gone", "no finished run there"),
        ("RUN", {"a": "b"}, "no finished run there"),
    ],
)
def test_a_kept_choice_that_cannot_be_used_is_a_message_and_the_default(
    home, caplog, name, value, says
):
    keep(home, **{name: value})
    defaults = {"SOURCE": "phantom", "PRESET": "demo", "RUN": "newest"}
    assert workspace.choose("04_infer", **{name: ""}) == [defaults[name]]
    assert f"{name} as chosen in 02_preprocess on 28 Nov 2026 is not used: " in caplog.text
    assert says in caplog.text


def test_unknown_settings_are_ignored(home, caplog):
    keep(home, SOURCE="kaggle", ANYTHING="x")
    content = json.loads((home / FILE).read_text())
    (home / FILE).write_text(json.dumps(content | {"editor.fontSize": 12}))
    assert workspace.choose("03_train", SOURCE="") == ["kaggle"]
    assert not caplog.text


def test_a_folder_in_the_place_of_the_file_is_a_message(home, caplog):
    (home / FILE).mkdir(parents=True)
    assert workspace.choose("03_train", SOURCE="kaggle", PRESET="") == ["kaggle", "demo"]
    assert "is no file of settings" in caplog.text
    assert "cannot be written" in caplog.text


def test_where_nothing_can_be_written_the_choice_holds_and_a_message_says_how_far(
    home, monkeypatch, caplog
):
    def refuse(*_):
        raise OutputError("Read-only file system")

    monkeypatch.setattr("utils.files.write_atomic", refuse)
    assert workspace.choose("02_preprocess", SOURCE="kaggle", PRESET="") == ["kaggle", "demo"]
    says = "cannot be written (Read-only file system): the choice holds here, but the next notebook"
    assert f"{home / FILE} {says} will not know it." in caplog.text


def test_two_notebooks_at_once_leave_a_whole_file(home, caplog):
    def choose(notebook: str) -> None:
        for source in ("kaggle", "sample") * 10:
            workspace.choose(notebook, SOURCE=source)

    with ThreadPoolExecutor() as both:
        list(both.map(choose, ["02_preprocess", "03_train"]))
    assert workspace.choose("04_infer", SOURCE="") == ["sample"]
    assert not caplog.text
    assert [path.name for path in home.iterdir()] == [FILE]


# --- Google Drive ---------------------------------------------------------------------------------


@pytest.fixture
def colab(monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    return workspace.MOUNT / "MyDrive"


def test_on_colab_a_drive_that_is_mounted_keeps_it_for_the_next_machine(
    colab, monkeypatch, tmp_path, capsys
):
    colab.mkdir(parents=True)
    workspace.choose("02_preprocess", SOURCE="kaggle", PRESET="")
    assert (colab / "lumbar" / FILE).is_file()
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "another machine"))
    assert workspace.choose("03_train", SOURCE="", PRESET="") == ["kaggle", "demo"]
    assert "mounted" not in capsys.readouterr().out


def test_on_colab_without_drive_it_says_what_to_do_and_mounts_nothing(colab, capsys):
    workspace.choose("03_train", SOURCE="", PRESET="")
    assert not colab.exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SOURCE = phantom, the default; PRESET = demo, the default"
    assert lines[1].startswith(
        "What other notebooks on Colab chose is known here if Google Drive is"
    )
    workspace.choose("03_train", SOURCE="kaggle", PRESET="l4")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_newest_choice_counts_wherever_it_is_kept(home, colab):
    keep(home, SOURCE="kaggle", PRESET="l4")
    keep(colab / "lumbar", SOURCE="sample")
    content = json.loads((colab / "lumbar" / FILE).read_text())
    content["SOURCE"]["time"] = "2026-11-28T14:30:00+02:00"  # half an hour later
    (colab / "lumbar" / FILE).write_text(json.dumps(content))
    assert workspace.choose("03_train", SOURCE="", PRESET="") == ["sample", "l4"]
    assert (home / FILE).read_text() == (colab / "lumbar" / FILE).read_text()


def test_a_run_that_only_drive_still_keeps_is_dropped_too(home, colab, caplog):
    keep(colab / "lumbar", RUN="released")
    assert workspace.choose("04_infer", RUN="") == ["released"]
    keep(home, SOURCE="kaggle")
    (home / FILE).write_text((home / FILE).read_text().replace("T12:00", "T12:01"))
    assert workspace.choose("04_infer", SOURCE="", RUN="") == ["kaggle", "newest"]
    assert not caplog.text


def test_the_time_is_shown_as_the_clock_here_has_it(home, monkeypatch, capsys):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # where 12:00 UTC is 2:00 on the next day
    time.tzset()
    try:
        keep(home, SOURCE="kaggle")
        workspace.choose("03_train", SOURCE="")
        assert "on 29 Nov 2026" in capsys.readouterr().out
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "Pacific/Kiritimati"
