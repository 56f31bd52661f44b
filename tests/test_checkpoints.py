"""Nothing is lost: damaged, missing or half-written files are passed over, and the backup is as
good as the folder itself."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from utils import files
from utils.files import Folder
from utils.training import checkpoints
from utils.training.checkpoints import Checkpoints


def names(folder):
    return sorted(path.name.split("-")[1] for path in folder.glob("epoch-*.pt"))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "here", tmp_path / "drive")


def save(folder, *epochs):
    for epoch in epochs:
        Checkpoints(folder).save({"epoch": epoch, "w": torch.full((1000,), float(epoch))}, epoch)


def test_the_last_two_are_kept_in_both_places_and_the_newest_is_read(folder):
    save(folder, 1, 2, 3)
    assert names(folder.path) == names(folder.backup) == ["0002", "0003"]
    state = Checkpoints(folder).newest()
    assert state["epoch"] == 3
    assert torch.equal(state["w"], torch.full((1000,), 3.0))


def test_without_any_there_is_nothing_to_go_on_from(folder):
    assert Checkpoints(folder).newest() is None


@pytest.mark.parametrize("harm", ["flip a bit", "cut it short", "empty it"])
def test_a_damaged_one_is_named_and_the_one_before_it_read(folder, caplog, harm):
    save(folder, 1, 2)
    shutil.rmtree(folder.backup)
    newest = max(folder.path.glob("epoch-0002*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(
        {"flip a bit": bytes(content), "cut it short": bytes(content[:-100]), "empty it": b""}[harm]
    )
    assert Checkpoints(folder).newest()["epoch"] == 1
    assert f"{newest} is damaged; going on from the one before it." in caplog.text


def test_the_backup_serves_when_the_folder_is_damaged_or_gone(folder):
    save(folder, 1, 2)
    for path in folder.path.glob("epoch-*.pt"):
        path.write_bytes(b"")
    assert Checkpoints(folder).newest()["epoch"] == 2
    shutil.rmtree(folder.path)
    assert Checkpoints(folder).newest()["epoch"] == 2


def test_what_a_kill_left_half_written_is_not_taken_for_a_checkpoint(folder):
    save(folder, 1)
    for mount in (folder.path, folder.backup):
        (mount / "partial-1.tmp").write_bytes(b"half")
    assert Checkpoints(folder).newest()["epoch"] == 1
    Checkpoints(folder).clear()
    assert not [*folder.path.iterdir(), *folder.backup.iterdir()]


def test_after_a_damaged_one_the_same_epoch_again_is_the_newest(folder):
    save(folder, 1, 2)
    for path in [*folder.path.glob("epoch-0002*"), *folder.backup.glob("epoch-0002*")]:
        path.write_bytes(b"")
    Checkpoints(folder).save({"epoch": 2, "again": True}, 2)
    assert Checkpoints(folder).newest().get("again")


def test_a_full_disk_is_reported_once_and_costs_no_older_checkpoint(folder, caplog, monkeypatch):
    save(folder, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = Checkpoints(folder)
    monkeypatch.setattr(checkpoints.torch, "save", full)
    kept.save({"epoch": 2}, 2)
    kept.save({"epoch": 3}, 3)
    reported = caplog.messages
    assert reported == [
        f"{folder.path} cannot be written (No space left on device). "
        "Free some space; training continues."
    ]
    assert kept.newest()["epoch"] == 1


def test_a_backup_that_dies_is_reported_once_and_work_continues(folder, caplog, monkeypatch):
    kept, copied = Checkpoints(folder), shutil.copyfile

    def dead(*_):
        # what a dropped Drive mount answers with
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(files.shutil, "copyfile", dead)
    kept.save({"epoch": 1}, 1)
    kept.save({"epoch": 2}, 2)
    reported = caplog.text
    assert reported.count("Transport endpoint is not connected") == 1
    assert f"{folder.path} holds everything" in reported
    monkeypatch.setattr(files.shutil, "copyfile", copied)
    kept.save({"epoch": 3}, 3)  # mounted again
    assert names(folder.backup) == ["0003"]


def test_what_a_mount_leaves_behind_is_not_written_to(folder, caplog):
    """An unmounted Drive is an empty folder on a disk that forgets: the backup is not made anew
    there."""
    save(folder / "fold0", 1)
    shutil.rmtree(folder.backup)
    save(folder / "fold0", 2)
    assert not folder.backup.exists()
    assert "cannot be written (it is not there any more). Work continues" in caplog.text
    folder.backup.mkdir()  # mounted again
    save(folder / "fold0", 3)
    assert names(folder.backup / "fold0") == ["0003"]


def test_a_copy_that_reads_back_otherwise_never_gets_its_name(folder, caplog, monkeypatch):
    monkeypatch.setattr(files.shutil, "copyfile", lambda _, to: to.write_bytes(b"something else"))
    save(folder, 1)
    assert names(folder.backup) == []
    assert "reads back otherwise" in caplog.text


def test_a_new_machine_gets_back_what_the_backup_has(folder, tmp_path):
    part = folder / "fold0"
    part.write("points.csv", lambda path: path.write_text("1"))
    folder.write("run.json", lambda path: path.write_text("{}"))
    other = Folder(tmp_path / "elsewhere", folder.backup)
    other.path.mkdir()
    (other.path / "run.json").write_text("my own")
    save(part, 1)
    other.restore()
    assert names(other.path / "fold0") == []  # read from where they are
    assert Checkpoints(other / "fold0").newest()["epoch"] == 1
    assert (other.path / "fold0" / "points.csv").read_text() == "1"
    assert (other.path / "run.json").read_text() == "my own"


def test_an_interrupted_write_leaves_the_old_file(folder):
    folder.write("a.txt", lambda path: path.write_text("old"))

    def killed(path):
        path.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.write("a.txt", killed)
    assert (folder.path / "a.txt").read_text() == "old"


def test_a_clock_that_is_set_back_deletes_nothing_new(folder):
    save(folder, 1, 2)
    for path in folder.path.glob("epoch-*.pt"):
        os.utime(path, (4e9, 4e9))  # written in the year 2096
    save(folder, 3, 4)
    assert names(folder.path) == names(folder.backup) == ["0003", "0004"]
    assert Checkpoints(folder).newest()["epoch"] == 4


def test_a_damaged_one_of_a_later_epoch_does_not_push_out_a_good_one(folder):
    """Epochs 4 and 5 are damaged, and their clock was ahead; training goes on from epoch 3."""
    save(folder, 3, 4)
    for place in (folder.path, folder.backup):
        for path in place.glob("epoch-0004*"):
            path.write_bytes(b"")
        (place / "epoch-0005-0123456789ab.pt").write_bytes(b"")
        for path in place.glob("epoch-000[45]*"):
            os.utime(path, (4e9, 4e9))
    save(folder, 4)
    assert names(folder.path) == names(folder.backup) == ["0003", "0004"]
    assert Checkpoints(folder).newest()["epoch"] == 4


class Harmful:
    """What unpickling it does is done by its loader, not by a call of ours."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_passed_over(folder, tmp_path):
    save(folder, 1)
    written, run = tmp_path / "written", tmp_path / "code has run"
    torch.save({"epoch": 2, "w": Harmful(run)}, written)
    shutil.copy(written, folder.path / f"epoch-0002-{files.digest(written)}.pt")
    assert Checkpoints(folder).newest()["epoch"] == 1
    assert not run.exists()
    torch.load(written, weights_only=False)  # the harm is real
    assert run.exists()
