"""Which folders belong to a source and a preset, on which machine, and what a learner reads when
they cannot be had."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from utils import rsna
from utils.course import environment, kaggle, workspace
from utils.errors import LumbarError
from utils.phantom import PhantomSpec
from utils.presets import get_preset


def test_everything_is_under_one_home(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("phantom", "t4", data=False)
    assert work.data == tmp_path / "data" / "phantom-128"
    assert work.prepared == tmp_path / "prepared" / "phantom-128-0.4mm"
    assert work.run == tmp_path / "runs" / "phantom-128-t4"


def test_a_users_own_folder(monkeypatch, tmp_path):
    """The first time there is no home yet; afterwards tables can be written into it."""
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "new" / "home"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train_series_descriptions.csv").touch()
    work = workspace.open_workspace(str(tmp_path / "mine"), "demo")
    assert work.data == tmp_path / "mine"
    assert work.run == tmp_path / "new" / "home" / "runs" / "mine-demo"
    assert work.home.is_dir()


def test_the_newest_finished_run_is_found_warm_started_or_not(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("sample", "demo", data=False)
    assert work.finished is None
    for age, name in enumerate(["phantom-128-demo", "sample-demo", "sample-demo-after-released"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
        os.utime(tmp_path / "runs" / name / "run.json", (age, age))
        assert work.finished == tmp_path / "runs" / name


def test_a_folder_that_is_not_there_names_the_choices(tmp_path):
    choices = (
        "Use one of phantom, volunteer, upload, sample, kaggle, kaggle-raw, the folder with train"
    )
    with pytest.raises(LumbarError, match=rf"no such folder or file\. {choices}"):
        workspace.open_workspace(str(tmp_path / "none"))


def test_real_data_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    for source in ("sample", "kaggle"):
        work = workspace.open_workspace(source, "demo", data=False)
        assert work.prepared == tmp_path / "prepared" / source
        assert work.run == tmp_path / "runs" / f"{source}-demo"


def test_the_sample_is_fetched_into_the_home(monkeypatch, tmp_path):
    def download_sample(root, studies):
        root.mkdir(parents=True)
        return root

    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    monkeypatch.setattr(kaggle, "download_sample", download_sample)
    assert workspace.open_workspace("sample").data == tmp_path / "data" / "sample"


@pytest.mark.parametrize(("source", "count"), [("sample", 3), ("sample 20", 20), ("kaggle", 3)])
def test_so_many_studies_are_fetched_to_be_looked_at(monkeypatch, tmp_path, source, count):
    asked = []
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    monkeypatch.setattr(kaggle, "downloaded", lambda: None)
    monkeypatch.setattr(kaggle, "download_sample", lambda root, n: asked.append(n) or root)
    work = workspace.open_workspace(source)
    assert asked == [count]
    assert work.data == tmp_path / "data" / source.replace(" ", "-")


def test_all_files_are_kept_only_if_that_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    monkeypatch.setattr(kaggle, "download_all", lambda: tmp_path / "whole")
    work = workspace.open_workspace("kaggle-raw")
    assert work.data == tmp_path / "whole"
    assert work.prepared == tmp_path / "prepared" / "kaggle"


def test_finer_images_have_a_folder_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("kaggle", "t4", data=False)
    assert work.prepared == tmp_path / "prepared" / "kaggle-0.4mm"


def test_a_workspace_says_where_everything_is_and_what_exists(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    (tmp_path / "data" / "sample").mkdir(parents=True)
    assert str(workspace.open_workspace("sample", "demo", data=False)).splitlines() == [
        f"data      {tmp_path}/data/sample  (there)",
        f"prepared  {tmp_path}/prepared/sample  (not there yet)",
        f"run       {tmp_path}/runs/sample-demo  (not there yet)",
    ]


@pytest.mark.slow
def test_for_grading_alone_only_the_test_studies_are_simulated(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    tiny = replace(get_preset("smoke"), phantom=PhantomSpec(studies=2, test_studies=1))
    work = workspace.open_workspace("phantom", tiny, only_test=True)
    tables = rsna.load_tables(work.data)
    assert (len(tables.studies("train")), len(tables.studies("test"))) == (0, 1)
    assert len(tables.submission) == 25
    assert work.run.name == "phantom-2-smoke", "the run of the whole phantom"
    whole = workspace.open_workspace("phantom", tiny)
    assert whole.data != work.data
    (study,) = tables.studies("test")
    assert rsna.load_tables(whole.data).studies("test") == [study]

    def files(root: Path) -> dict[str, bytes]:
        paths = sorted((root / "test_images" / str(study)).rglob("*.dcm"))
        return {path.name: path.read_bytes() for path in paths}

    same = files(work.data) == files(whole.data)
    assert same, "no patient of the training phantom under another name"
    again = workspace.open_workspace("phantom", tiny, only_test=True)
    assert again.data == whole.data, "a phantom that is there is used"


# --- three environments ---------------------------------------------------------------------------


ENVIRONMENTS = {  # the variable that gives each away, and its home
    "laptop": ("", Path("out").resolve()),
    "colab": ("COLAB_RELEASE_TAG", Path("/content/lumbar")),
    "kaggle": ("KAGGLE_KERNEL_RUN_TYPE", Path("/kaggle/working")),
}
GPU_SETTING = {
    "colab": "Runtime ▸ Change runtime type ▸ T4, L4 or A100",
    "kaggle": "Settings ▸ Accelerator ▸ GPU T4 x2",
    "laptop": "a machine with an NVIDIA GPU, or Colab",
}


@pytest.fixture(params=ENVIRONMENTS)
def at(request, monkeypatch) -> str:
    """The name of an environment; this process appears to run in it."""
    for name in ("LUMBAR_HOME", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    variable, _ = ENVIRONMENTS[request.param]
    if variable:
        monkeypatch.setenv(variable, "x")
    return request.param


@pytest.fixture(autouse=True)
def _log_as_before():
    """report() shows the package's log, here only for the length of a test."""
    logger = logging.getLogger("utils")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_the_environment_is_recognised_and_has_its_home(at):
    assert workspace.environment() == at
    assert workspace.home() == ENVIRONMENTS[at][1]


def test_the_home_may_be_chosen(at, monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    assert workspace.home() == tmp_path


def test_the_report_names_the_machine_and_the_menu_that_offers_a_gpu(at, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    value = workspace.report().value
    assert value["environment"] == at
    assert value["GPU"] == "none; presets demo and cpu_long need none"
    assert value["to get a GPU"] == GPU_SETTING[at]
    rows = {"memory", "free disk", "this project", "Python", "torch", "ipywidgets"}
    assert rows <= set(value.index)
    assert "..." not in workspace.report()._repr_html_(), "a notebook shows it whole"


@pytest.mark.parametrize("word", ["bf16", "fp16"])
def test_the_report_says_in_which_precision_a_gpu_trains(monkeypatch, word):
    t4 = SimpleNamespace(name="Tesla T4", total_memory=15.8e9)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: t4)
    monkeypatch.setattr("utils.models.device", lambda: "cuda")
    monkeypatch.setattr("utils.models.precision", lambda: word)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    value = workspace.report().value
    assert value["GPU"] == f"Tesla T4, 16 GB, trains in {word}"
    assert value["CUDA"] == "12.8"


def test_after_the_report_a_notebook_shows_the_log_as_plain_text_once(capsys):
    for _ in range(2):
        workspace.report()
    logging.getLogger("utils.course.kaggle").info("Signed in with a file.")
    logging.getLogger("utils.files").debug("not shown")
    logging.getLogger("another.package").info("not shown")
    assert capsys.readouterr().out == "Signed in with a file.\n"


@pytest.mark.slow
def test_the_course_needs_no_torch():
    modules = "workspace, plots, quiz, checks, kaggle"
    program = f"from utils.course import {modules}; import sys; print('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# --- runs: warm start, backup, the one to grade with ----------------------------------------------


@pytest.fixture
def mounted(monkeypatch):
    """Where a stand-in for Colab was asked to mount Drive."""
    mounts = []
    module = ModuleType("google.colab")
    module.drive = SimpleNamespace(mount=mounts.append)
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return mounts


def write_run(folder: Path, preset) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"preset": preset.as_dict(), "folds": [0]}))
    return folder


def test_a_warm_started_run_has_the_other_models_shape_and_a_folder_of_its_own(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    first = replace(get_preset("smoke"), crop_px=48, backbone="resnet18", batch=99)
    work = workspace.open_workspace("sample", "t4", data=False)
    warm = workspace.warm_started(write_run(tmp_path / "first", first), work)
    assert (warm.preset.crop_px, warm.preset.backbone) == (48, "resnet18")
    assert not warm.preset.pretrained
    assert warm.preset.batch == work.preset.batch
    assert warm.run == tmp_path / "runs" / "sample-t4-after-first"
    assert (warm.data, warm.prepared) == (work.data, work.prepared)


def test_the_released_run_can_start_another(monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("phantom", "demo", data=False)
    warm = workspace.warm_started(workspace.RELEASED, work)
    assert warm.run.name == "phantom-128-demo-after-released"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^INIT_FROM = '.*first': no finished run there .* or leave it empty$"),
        ("{", r"^INIT_FROM: .*run\.json is damaged"),
        ("[]", r"^INIT_FROM: .*run\.json is damaged"),
        ('{"folds": [0]}', r"run\.json is damaged or of another version \('preset'\)\. Train"),
        ('{"preset": {"name": "demo"}}', "settings of another version of this project"),
    ],
)
def test_a_run_that_cannot_start_another_is_named(monkeypatch, tmp_path, content, message):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    first = tmp_path / "first"
    first.mkdir()
    if content is not None:
        (first / "run.json").write_text(content)
    work = workspace.open_workspace("phantom", "demo", data=False)
    with pytest.raises(LumbarError, match=message):
        workspace.warm_started(first, work)


def test_drive_is_mounted_only_when_named(mounted, tmp_path):
    assert workspace.environment() == "colab"
    phantom = workspace.open_workspace("phantom", "demo", data=False)
    sample = workspace.open_workspace("sample", "demo", data=False)
    assert workspace.backup_folder("", sample) is None
    assert workspace.backup_folder(str(tmp_path), sample) == tmp_path / "sample-demo"
    assert not mounted
    on_drive = Path("/content/drive/MyDrive/lumbar")
    assert workspace.backup_folder("drive", sample) == on_drive / "sample-demo"
    assert workspace.backup_folder("drive", phantom) == on_drive / "phantom-128-demo"
    assert mounted == ["/content/drive"] * 2


def test_the_run_to_grade_with(mounted, tmp_path, monkeypatch):
    """The folder named; the newest finished run here, else the released one; a backup on Drive only
    when Drive is named."""
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workspace, "MOUNT", tmp_path / "drive")
    work = workspace.open_workspace("phantom", "demo", data=False)
    backup = workspace.MOUNT / "MyDrive" / "lumbar" / work.run.name
    assert workspace.find_run("", work) == workspace.RELEASED
    assert workspace.find_run(str(tmp_path), work) == tmp_path
    assert not mounted
    message = f"no finished run of {work.run.name}; train it in 03_train with BACKUP = 'drive'"
    with pytest.raises(LumbarError, match=message):
        workspace.find_run("drive", work)
    for folder in (work.run, backup):
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
    assert workspace.find_run("", work) == work.run
    assert workspace.find_run("drive", work) == backup


def finished(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    return folder


def test_runs_are_named_as_on_the_board_or_by_their_folders(tmp_path, monkeypatch):
    """Several are separated by commas, but a folder may have a comma in its name; one that is not
    there is named as it was."""
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "home"))
    work = workspace.open_workspace("phantom", "demo", data=False)
    runs = tmp_path / "home" / "runs"
    a, b, both = (finished(runs / name) for name in ("a", "b", "a, b, c"))
    other = finished(tmp_path / "other")
    assert workspace.find_runs("", work) == workspace.find_runs("newest", work)
    assert workspace.find_runs("newest", work) == [workspace.RELEASED]
    assert workspace.find_runs("a", work) == [a]
    assert workspace.find_runs(f"runs/a,b , {other}", work) == [a, b, other]
    assert workspace.find_runs("a, b, c", work) == [both]
    assert workspace.find_runs(["b", "newest"], work) == [b, workspace.RELEASED]
    assert workspace.find_runs("gone, b", work) == [Path("gone"), b]


def test_when_drive_is_mounted_what_was_chosen_before_is_kept_there(mounted, tmp_path, monkeypatch):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workspace, "MOUNT", tmp_path / "drive")
    workspace.choose("03_train", SOURCE="sample")
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    work = workspace.open_workspace("sample", data=False)
    workspace.backup_folder("drive", work)
    assert (tmp_path / "drive" / "MyDrive" / "lumbar" / "notebook_settings.json").is_file()


def test_drive_is_for_colab(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    work = workspace.open_workspace("phantom", data=False)
    message = "is for Colab; name a folder here, or leave it empty$"
    with pytest.raises(LumbarError, match=f"^BACKUP = 'drive' {message}"):
        workspace.backup_folder("drive", work)
    with pytest.raises(LumbarError, match=f"^RUN = 'drive' {message}"):
        workspace.find_run("drive", work)


def test_a_tilde_in_lumbar_home_is_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LUMBAR_HOME", "~/lumbar")
    assert environment.home() == tmp_path / "lumbar"
