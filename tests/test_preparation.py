"""All studies of a workspace: from its folder, out of the archive at Kaggle, or from a copy; and
what a learner reads of it."""

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.ranges import served
from tests.test_archive import archive  # noqa: F401  a fixture
from utils import prepare, rsna
from utils.course import kaggle, machine, preparation, workspace
from utils.course.kaggle.archive import ArchiveSource
from utils.course.kaggle.remote import RemoteFile


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def at_kaggle(home, phantom_root, archive, monkeypatch):  # noqa: F811
    """The competition as it is at Kaggle, which gives the tables and one study to look at; yields
    how often its archive was opened."""
    opened = []

    def download_sample(root, studies=3, **options):
        root.mkdir(parents=True, exist_ok=True)
        for table in phantom_root.glob("*.csv"):
            shutil.copy(table, root)
        wanted = studies if isinstance(studies, list) else rsna.load_tables(root).studies()[:0]
        for study in wanted or rsna.load_tables(phantom_root).studies()[:1]:
            there = Path("train_images") / str(study)
            shutil.copytree(phantom_root / there, root / there, dirs_exist_ok=True)
        if "opened" in options:
            options["opened"](rsna.load_tables(root))
        return root

    with served(archive) as store:

        def open_archive(tables):
            opened.append(tables.root)
            return ArchiveSource(RemoteFile(store.sign), tables)

        monkeypatch.setattr(kaggle, "downloaded", lambda: None)
        monkeypatch.setattr(kaggle, "sign_in", lambda: "the environment")
        monkeypatch.setattr(kaggle, "download_sample", download_sample)
        monkeypatch.setattr(kaggle, "open_archive", open_archive)
        yield opened


def test_all_of_the_competition_is_prepared_and_one_study_kept(at_kaggle, home, phantom_root):
    work = workspace.open_workspace("kaggle", "demo")
    folds = preparation.prepare_studies(work)
    studies = rsna.load_tables(phantom_root).studies("train")
    assert folds.study_id.tolist() == studies
    assert rsna.load_tables(work.data).studies("train") == studies[:1]


def test_a_complete_store_needs_nothing_of_kaggle_on_the_next_machine(
    at_kaggle, tmp_path, monkeypatch
):
    store = str(tmp_path / "store")
    first = workspace.open_workspace("kaggle", "demo")
    preparation.prepare_studies(first, store=store)
    assert len(at_kaggle) == 1
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "next machine"))
    work = workspace.open_workspace("kaggle", "demo")
    preparation.prepare_studies(work, store=store)
    assert len(at_kaggle) == 1
    for path in first.prepared.glob("[!.]*.*"):
        assert (work.prepared / path.name).read_bytes() == path.read_bytes()


def test_a_store_that_is_not_complete_is_gone_on_with(at_kaggle, tmp_path, monkeypatch):
    store = tmp_path / "store"
    work = workspace.open_workspace("kaggle", "demo")
    shards = preparation.shards_of(str(store), work)
    prepare.prepare(preparation.studies_of(work), work.prepared, 1, shards=shards)
    index = store / "prepared-kaggle" / "index.json"
    index.write_text(index.read_text().replace('"complete": [', '"complete": [], "was": ['))
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path / "next machine"))
    work = workspace.open_workspace("kaggle", "demo")
    made = []
    real = prepare.dataset.prepare_study
    monkeypatch.setattr(prepare.dataset, "prepare_study", lambda *a: made.append(a) or real(*a))
    preparation.prepare_studies(work, jobs=1, store=str(store))
    assert len(at_kaggle) == 2
    assert not made, "every study came from the store"


def test_a_viewer_fetches_the_study_that_it_shows(at_kaggle):
    work = workspace.open_workspace("kaggle", "demo")
    tables = rsna.load_tables(work.data)
    others = sorted(tables.labels.study_id.unique())[1:]
    assert not set(others) & set(tables.studies("train"))
    fetch = preparation.fetcher(work)
    for count, study in enumerate(others, 2):
        fetch(study)
        assert len(tables.studies("train")) == count
    assert len(at_kaggle) == 1, "the archive's directory is read once"


def test_nothing_is_fetched_for_data_that_are_here(home, phantom_root):
    work = workspace.open_workspace(str(phantom_root), "demo")
    assert preparation.fetcher(work) is None
    assert preparation.studies_of(work) == phantom_root
    assert preparation.shards_of("", work) is preparation.shards_of("none", work) is None


def test_too_small_a_disk_is_said_before_anything_is_fetched(at_kaggle, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 5e9)
    work = workspace.open_workspace("kaggle", "t4")
    with pytest.raises(machine.DiskError, match=r"images need about 19\.\d GB at 0\.4 mm"):
        preparation.prepare_studies(work)
    assert not at_kaggle


def test_an_archive_that_comes_only_as_a_whole_is_downloaded(
    at_kaggle, phantom_root, monkeypatch, caplog
):
    def whole_only(tables):
        raise kaggle.NoRangesError("Kaggle gives the competition's archive only as a whole.")

    monkeypatch.setattr(kaggle, "open_archive", whole_only)
    monkeypatch.setattr(kaggle, "download_all", lambda: phantom_root)
    work = workspace.open_workspace("kaggle", "demo")
    assert preparation.studies_of(work) == phantom_root
    assert "only as a whole. All of it is fetched." in caplog.text


def test_a_store_on_kaggle_is_the_attached_data_set(home, phantom_root, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.course.kaggle.whole.INPUT", tmp_path / "input")
    mounted = tmp_path / "input" / "lumbar"
    work = workspace.open_workspace(str(phantom_root), "demo")
    out = tmp_path / "prepared"
    prepare.prepare(phantom_root, out, 1, shards=prepare.Shards(mounted))
    shards = preparation.shards_of("kaggle:me/lumbar", work)
    assert shards.folder == mounted
    assert shards.complete == rsna.load_tables(phantom_root).studies("train")


@pytest.mark.parametrize("named", ["kaggle:lumbar", "kaggle:../../etc", "kaggle:a/b/c"])
def test_what_names_no_data_set_is_refused(home, phantom_root, named):
    work = workspace.open_workspace(str(phantom_root), "demo")
    with pytest.raises(kaggle.KaggleError, match="names no Kaggle data set"):
        preparation.shards_of(named, work)


# --- Google Drive -----------------------------------------------------------------------------


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """A process on Colab; yields the place where Drive is mounted when it is asked for."""
    mount = tmp_path / "content" / "drive"
    module = ModuleType("google.colab")
    module.drive = SimpleNamespace(mount=lambda at: (mount / "MyDrive").mkdir(parents=True))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-external")
    monkeypatch.setattr(workspace, "MOUNT", mount)
    return mount


def test_a_store_on_drive_is_in_the_projects_folder_there(home, drive, phantom_root):
    work = workspace.open_workspace(str(phantom_root), "demo")
    assert not drive.exists(), "mounted only when it is named"
    preparation.prepare_studies(work, jobs=1, store="drive")
    store = drive / "MyDrive" / "lumbar" / "prepared-data"
    assert prepare.Shards(store).complete == rsna.load_tables(phantom_root).studies("train")


def test_without_colab_there_is_no_drive(home, phantom_root):
    work = workspace.open_workspace(str(phantom_root), "demo")
    with pytest.raises(workspace.WorkspaceError, match=r"^STORE = 'drive' is for Colab; name a f"):
        preparation.prepare_studies(work, store="drive")


def test_a_drive_that_dies_costs_the_copy_and_not_the_work(
    home, drive, phantom_root, monkeypatch, caplog
):
    work = workspace.open_workspace(str(phantom_root), "demo")
    shards = preparation.shards_of("drive", work)
    shutil.rmtree(drive)
    monkeypatch.setattr(preparation, "shards_of", lambda store, work: shards)
    folds = preparation.prepare_studies(work, jobs=1, store="drive")
    assert len(folds) == len(rsna.load_tables(phantom_root).studies("train"))
    assert "prepared-data cannot be written (it is not there any more). Work continues" in (
        caplog.text
    )
    assert not drive.exists()
