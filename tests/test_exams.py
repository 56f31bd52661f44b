"""Exams that have to be brought here, and the list in which their series can be corrected."""

import hashlib
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from hospital import exported, images_of

from utils.course import exams, workspace
from utils.course.series import NOT_GRADED, SeriesTable
from utils.errors import LumbarError
from utils.exam import import_study
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SERIES


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A stand-in for GitHub with three small files at the second of the two commits, which is all
    that is known of the volunteer."""
    root = tmp_path / "www"
    contents = {f"DCMDT/D{k}": bytes([k]) * 1000 for k in range(3)}
    for name, content in contents.items():
        path = root / exams.COMMITS[1] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    known = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    table = pd.DataFrame({"path": known.keys(), "sha256": known.values()})
    table.to_csv(tmp_path / "files.csv", index=False)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setattr(exams, "REPOSITORY", f"http://127.0.0.1:{made.server_port}")
    monkeypatch.setattr(exams, "FILES", tmp_path / "files.csv")
    monkeypatch.setattr(exams, "RETRIES", 0)
    yield SimpleNamespace(folder=root / exams.COMMITS[1], contents=contents, asked=asked)
    made.shutdown()
    made.server_close()


def test_the_volunteers_files_arrive_whole_and_are_fetched_once(server, tmp_path):
    folder = exams.fetch_volunteer(tmp_path / "volunteer")
    for name, content in server.contents.items():
        assert (folder / name).read_bytes() == content
    server.asked.clear()
    exams.fetch_volunteer(folder)
    assert not server.asked
    (folder / "DCMDT" / "D1").write_bytes(b"damaged")  # as by a disk that was full
    exams.fetch_volunteer(folder)
    assert (folder / "DCMDT" / "D1").read_bytes() == server.contents["DCMDT/D1"]
    assert {path.rpartition("/")[2] for path in server.asked} == {"D1"}


def test_what_has_arrived_is_kept_when_a_file_is_another_or_missing(server, tmp_path):
    (server.folder / "DCMDT" / "D2").write_bytes(b"another")
    with pytest.raises(exams.FetchError, match=r"D2 is not the file that is known\). What has arr"):
        exams.fetch_volunteer(tmp_path / "volunteer")
    assert sorted(path.name for path in (tmp_path / "volunteer" / "DCMDT").iterdir()) == [
        "D0",
        "D1",
    ]
    (server.folder / "DCMDT" / "D2").unlink()
    with pytest.raises(exams.FetchError, match="the server answers 404"):
        exams.fetch_volunteer(tmp_path / "volunteer")


def test_without_a_network_it_says_what_to_do(server, tmp_path, monkeypatch):
    monkeypatch.setattr(exams, "REPOSITORY", "http://127.0.0.1:9")
    with pytest.raises(
        exams.FetchError, match=r"the connection was lost\).* set SOURCE to 'phantom'"
    ):
        exams.fetch_volunteer(tmp_path / "volunteer")


def test_all_files_of_the_volunteer_are_known():
    known = pd.read_csv(exams.FILES)
    assert len(known) == 67
    assert known.path.is_unique
    assert known.sha256.str.fullmatch("[0-9a-f]{64}").all()


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """A stand-in for Colab's dialog: colab.chosen is what the user chooses next."""
    module = ModuleType("google.colab")
    stand_in = SimpleNamespace(chosen={})
    module.files = SimpleNamespace(upload=lambda: stand_in.chosen)
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.chdir(tmp_path)
    return stand_in


def test_an_upload_keeps_no_name_and_replaces_the_one_before(colab, tmp_path):
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("x", "y")
    (tmp_path / "QUIXOTESCU.zip").write_bytes(archive.getvalue())  # as Colab leaves it
    colab.chosen = {"QUIXOTESCU.zip": archive.getvalue()}
    folder = exams.upload(tmp_path / "upload")
    assert [path.name for path in folder.iterdir()] == ["1.zip"]
    assert not (tmp_path / "QUIXOTESCU.zip").exists()
    colab.chosen = {"a.dcm": b"1", "b.dcm": b"2"}
    exams.upload(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    colab.chosen = {}
    assert len(list(exams.upload(folder).iterdir())) == 2  # nothing chosen: as before


def test_an_upload_needs_colab_and_a_choice(colab, tmp_path, monkeypatch):
    with pytest.raises(exams.FetchError, match="No file was chosen"):
        exams.upload(tmp_path / "upload")
    monkeypatch.delitem(sys.modules, "google.colab")
    with pytest.raises(exams.FetchError, match="is for Colab: give the path"):
        exams.upload(tmp_path / "upload")


@pytest.fixture(scope="module")
def exam_folder(tables, whole_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "exam"
    return exported(images_of(tables, whole_study), folder, seed=5)


def test_an_exam_is_a_source_beside_which_the_phantom_stands(exam_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace(str(exam_folder), "demo", graded=False)
    assert work.exam == exam_folder
    assert work.data.name.startswith("phantom-128")
    assert not work.data.exists()
    assert str(exam_folder) not in str(work)
    assert workspace.open_workspace("phantom", "demo", data=False).exam is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(LumbarError, match="the folder is empty"):
        workspace.open_workspace(str(tmp_path / "empty"), "demo")


def test_what_the_lists_show_is_graded(exam_folder):
    table = SeriesTable(import_study(exam_folder))
    graded = table.exam.found[table.exam.found.used].set_index("taken_for").series_id
    assert sorted(graded.index) == sorted(SERIES)
    lists = table.lists
    assert {lists[series].value for series in graded} == set(SERIES)
    lists[graded[SAGITTAL_T1]].value = ""
    assert lists[graded[SAGITTAL_T1]].label == NOT_GRADED
    again = table.exam.found[table.exam.found.used].set_index("series_id").taken_for
    assert again.to_dict() == {graded[kind]: kind for kind in (SAGITTAL_T2, AXIAL_T2)}
    lists[graded[SAGITTAL_T1]].value = SAGITTAL_T2  # now two of a kind
    assert (table.exam.found[table.exam.found.used].taken_for == SAGITTAL_T2).sum() == 2
    lists[graded[SAGITTAL_T1]].value = SAGITTAL_T1
    assert sorted(table.exam.found[table.exam.found.used].taken_for) == sorted(SERIES)


def test_a_real_exam_is_recognised(volunteer):
    found = import_study(volunteer).found.set_index("taken_for")
    assert found.used.all()
    assert found.images.to_dict() == {SAGITTAL_T1: 11, SAGITTAL_T2: 11, AXIAL_T2: 17}
    assert found.why[SAGITTAL_T2].endswith("TE 110 ms, TR 3,203 ms")
    assert not found.doubt.any()
