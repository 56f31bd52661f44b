"""Where things live, and what a learner is told when the data cannot be had."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from utils import kaggle, rsna, workspace
from utils.presets import get_preset


def test_everything_lies_under_one_home(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("phantom", "t4", data=False)
    assert work.data == tmp_path / "data" / "phantom-128"
    assert work.prepared == tmp_path / "prepared" / "phantom-128"
    assert work.run == tmp_path / "runs" / "phantom-128-t4"


def test_a_folder_of_ones_own(monkeypatch, tmp_path):
    """The first time there is no home yet; afterwards tables can be written into it."""
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "new" / "home"))
    (tmp_path / "mine").mkdir()
    work = workspace.open_workspace(str(tmp_path / "mine"), "demo")
    assert work.data == tmp_path / "mine"
    assert work.run == tmp_path / "new" / "home" / "runs" / "mine-demo"
    assert work.home.is_dir()


def test_the_newest_finished_run_is_found_whatever_it_began_with(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("sample", "demo", data=False)
    assert work.finished is None
    for age, name in enumerate(["phantom-128-demo", "sample-demo", "sample-demo-after-released"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
        os.utime(tmp_path / "runs" / name / "run.json", (age, age))
        assert work.finished == tmp_path / "runs" / name


def test_a_folder_that_is_not_there_names_the_choices(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder\. Use one of phantom, sample, kaggle, or the folder with train"):
        workspace.open_workspace(str(tmp_path / "none"))


def test_real_data_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    for source in ("sample", "kaggle"):
        work = workspace.open_workspace(source, "demo", data=False)
        assert work.prepared == tmp_path / "prepared" / source
        assert work.run == tmp_path / "runs" / f"{source}-demo"


def test_the_sample_is_fetched_into_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    monkeypatch.setattr(kaggle, "download_sample", lambda root, studies: (root.mkdir(parents=True), root)[1])
    assert workspace.open_workspace("sample").data == tmp_path / "data" / "sample"


def test_a_workspace_says_where_things_live_and_what_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    (tmp_path / "data" / "sample").mkdir(parents=True)
    assert str(workspace.open_workspace("sample", "demo", data=False)).splitlines() == [
        f"data      {tmp_path}/data/sample  (there)",
        f"prepared  {tmp_path}/prepared/sample  (not there yet)",
        f"run       {tmp_path}/runs/sample-demo  (not there yet)",
    ]


# --- three homes -----------------------------------------------------------------------------------------------------


HOMES = {"laptop": ("", Path("out").resolve()), "colab": ("COLAB_RELEASE_TAG", Path("/content/lumbar"))}
HOMES["kaggle"] = ("KAGGLE_KERNEL_RUN_TYPE", Path("/kaggle/working"))


@pytest.fixture(params=HOMES)
def at(request, monkeypatch):
    """The name of a home, and this process made to believe that it is there."""
    for name in ("LUMBAR_HOME", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    if HOMES[request.param][0]:
        monkeypatch.setenv(HOMES[request.param][0], "x")
    return request.param


def test_the_place_is_known_and_its_home(at):
    assert workspace.place() == at
    assert workspace.home() == HOMES[at][1]


def test_the_home_may_be_chosen(at, monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    assert workspace.home() == tmp_path


def test_the_report_names_the_machine_and_the_menu_where_a_gpu_is_to_be_had(at, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told = workspace.report().value
    assert told["place"] == at
    assert told["GPU"] == "none; presets demo and cpu_long need none"
    assert told["to get a GPU"] == {
        "colab": "Runtime ▸ Change runtime type ▸ T4, L4 or A100",
        "kaggle": "Settings ▸ Accelerator ▸ GPU T4 x2",
        "laptop": "a machine with an NVIDIA GPU, or Colab",
    }[at]  # fmt: skip
    assert {"memory", "free disk", "this project", "Python", "torch", "ipywidgets"} <= set(told.index)
    assert "..." not in workspace.report()._repr_html_(), "a notebook shows it whole"


@pytest.mark.parametrize(("native", "word"), [(True, "bf16"), (False, "fp16")])
def test_the_report_says_what_a_gpu_trains_in(monkeypatch, native, word):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(name="Tesla T4", total_memory=15.8e9))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    told = workspace.report().value
    assert (told["GPU"], told["CUDA"]) == (f"Tesla T4, 16 GB, trains in {word}", "12.8")


@pytest.fixture
def mounted(monkeypatch):
    """Where a stand-in of Colab was asked to mount Drive."""
    asked = []
    module = ModuleType("google.colab")
    module.drive = SimpleNamespace(mount=asked.append)
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return asked


def test_drive_is_mounted_only_when_asked(mounted, tmp_path):
    assert workspace.place() == "colab"
    phantom, sample = (workspace.open_workspace(source, "demo", data=False) for source in ("phantom", "sample"))
    assert workspace.copies("", sample) is None
    assert workspace.copies(str(tmp_path), sample) == tmp_path / "sample-demo"
    assert not mounted
    assert workspace.copies("drive", sample) == Path("/content/drive/MyDrive/lumbar/sample-demo")
    assert workspace.copies("drive", phantom).name == "phantom-128-demo", "runs of two sources do not mix"
    assert mounted == ["/content/drive"] * 2


def test_the_run_to_grade_with(mounted, tmp_path, monkeypatch):
    """The folder named; the newest finished one here, else that of the project; of the copies on Drive only when asked."""
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workspace, "MOUNT", tmp_path / "drive")
    work = workspace.open_workspace("phantom", "demo", data=False)
    copied = workspace.MOUNT / "MyDrive" / "lumbar" / work.run.name
    assert workspace.chosen_run("", work) == workspace.RELEASED
    assert workspace.chosen_run(str(tmp_path), work) == tmp_path
    assert not mounted
    told = rf"no finished run of {work.run.name}; train it in 03_train with COPIES = 'drive'"
    with pytest.raises(FileNotFoundError, match=told):
        workspace.chosen_run("drive", work)
    for folder in (work.run, copied):
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
    assert workspace.chosen_run("", work) == work.run
    assert workspace.chosen_run("drive", work) == copied


def test_drive_is_for_colab(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    with pytest.raises(RuntimeError, match=r"^COPIES = 'drive' is for Colab; name a folder here, or leave it empty$"):
        workspace.copies("drive", workspace.open_workspace("phantom", data=False))
    with pytest.raises(RuntimeError, match=r"^RUN = 'drive' is for Colab"):
        workspace.chosen_run("drive", workspace.open_workspace("phantom", data=False))


def test_for_grading_alone_only_the_test_studies_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    tiny = replace(get_preset("smoke"), phantom_studies=2, phantom_test_studies=1)
    work = workspace.open_workspace("phantom", tiny, only_test=True)
    tables = rsna.load_tables(work.data)
    assert (len(tables.studies("train")), len(tables.studies("test")), len(tables.submission)) == (0, 1, 25)
    assert work.run.name == "phantom-2-smoke", "the run of the whole phantom"
    whole = workspace.open_workspace("phantom", tiny)
    assert whole.data != work.data
    (study,) = tables.studies("test")
    assert rsna.load_tables(whole.data).studies("test") == [study]
    same = [
        {p.name: p.read_bytes() for p in sorted((one.data / "test_images" / str(study)).rglob("*.dcm"))} for one in (work, whole)
    ]
    assert same[0] == same[1], "no patient of the training phantom under another name"
    assert workspace.open_workspace("phantom", tiny, only_test=True).data == whole.data, "what has been drawn is used"
