"""A copy of a prepared data set in a few large files, on a drive that is slow, full, or gone."""

import errno
import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from utils import prepare, rsna
from utils.prepare import Shards

SMALL = 1_000_000  # bytes of a shard here: two or three studies


def contents(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    return {p.name: p.read_bytes() for p in sorted(files)}


@pytest.fixture
def copied(phantom_root, tmp_path):
    """A prepared data set and its copy."""
    out, copy = tmp_path / "prepared", tmp_path / "drive" / "copy"
    prepare.prepare(phantom_root, out, jobs=1, folds=2, shards=Shards(copy, SMALL))
    return out, copy


def test_a_new_machine_gets_the_same_files_from_the_copy_alone(copied, tmp_path):
    out, copy = copied
    assert len(list(copy.glob("shard-*.shard"))) > 1
    assert len(list(copy.iterdir())) < len(contents(out)) / 3, "a few files, not many"
    here = tmp_path / "new machine"
    assert prepare.restore(Shards(copy), here, folds=2)
    assert contents(here) == contents(out)


def test_folds_are_made_anew_for_a_preset_that_has_others(copied, tmp_path):
    assert prepare.restore(Shards(copied[1]), tmp_path / "here", folds=3)
    assert pd.read_csv(tmp_path / "here" / "folds.csv").fold.nunique() == 3


def test_a_shard_is_a_tar_of_whole_studies_and_its_checksum_is_listed(copied):
    out, copy = copied
    index = json.loads((copy / "index.json").read_text())
    assert list(index["shards"]) == sorted(p.name for p in copy.glob("*.shard"))
    for name, shard in index["shards"].items():
        content = (copy / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        with tarfile.open(copy / name) as tar:
            names = [f"{s}{end}" for s in shard["studies"] for end in (".npy", ".json")]
            assert tar.getnames() == names
            for member in tar:
                assert tar.extractfile(member).read() == (out / member.name).read_bytes()


def test_nothing_is_copied_twice(phantom_root, copied):
    out, copy = copied
    before = {p: p.stat().st_mtime_ns for p in copy.iterdir()}
    prepare.prepare(phantom_root, out, jobs=1, folds=2, shards=Shards(copy, SMALL))
    assert {p: p.stat().st_mtime_ns for p in copy.iterdir()} == before


def test_a_machine_that_was_lost_halfway_costs_only_the_shard_it_was_filling(
    phantom_root, copied, tmp_path, monkeypatch
):
    _, copy = copied
    names = sorted(p.name for p in copy.glob("*.shard"))
    index = json.loads((copy / "index.json").read_text())
    last = index["shards"].pop(names[-1])
    (copy / "index.json").write_text(json.dumps(index | {"complete": []}))
    whole = {name: (copy / name).read_bytes() for name in names}
    (copy / names[-1]).unlink()
    made = []
    real = prepare.dataset.prepare_study
    monkeypatch.setattr(prepare.dataset, "prepare_study", lambda *a: made.append(a[1]) or real(*a))
    shards = Shards(copy, SMALL)
    assert not prepare.restore(shards, tmp_path / "other", folds=2), "not complete"
    prepare.prepare(phantom_root, tmp_path / "new", jobs=1, folds=2, shards=Shards(copy, SMALL))
    assert made == [int(study) for study in last["studies"]]
    assert {name: (copy / name).read_bytes() for name in names} == whole


def test_a_study_that_has_changed_replaces_the_one_in_the_copy(
    phantom_root, copied, tmp_path, caplog
):
    out, copy = copied
    root = shutil.copytree(phantom_root, tmp_path / "data")
    study = rsna.load_tables(root).studies("train")[0]
    next((root / "train_images" / str(study)).rglob("*.dcm")).unlink()
    prepare.prepare(root, out, jobs=1, folds=2, shards=Shards(copy, SMALL))
    shards = Shards(copy)
    listed = [s for shard in shards.index["shards"].values() for s in shard["studies"]]
    assert len(listed) == len(set(listed)) == len(rsna.load_tables(root).studies("train"))
    assert prepare.restore(shards, tmp_path / "here", folds=2)
    assert contents(tmp_path / "here") == contents(out)
    assert sorted(p.name for p in copy.glob("*.shard")) == sorted(shards.index["shards"])


@pytest.mark.parametrize("left", ["half", "another byte", "nothing", "no tar"])
def test_a_damaged_shard_is_named_and_its_studies_are_prepared_again(
    phantom_root, copied, tmp_path, caplog, left
):
    out, copy = copied
    path = next(copy.glob("*.shard"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"half": content[: len(content) // 2], "another byte": content, "no tar": b"x"}
    path.write_bytes(damaged[left]) if left in damaged else path.unlink()
    here = tmp_path / "here"
    assert not prepare.restore(Shards(copy), here, folds=2)
    assert path.name in caplog.text
    prepare.prepare(phantom_root, here, jobs=1, folds=2, shards=Shards(copy, SMALL))
    assert contents(here) == contents(out)
    assert prepare.restore(Shards(copy), tmp_path / "third", folds=2)
    assert contents(tmp_path / "third") == contents(out)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{",
        '{"settings": {}, "complete": [], "shards": {"../../x.shard": {}}}',
        '{"settings": {}, "complete": [], "shards": {"shard-0001.shard": '
        '{"sha256": "", "bytes": 1, "studies": {"../1": ""}}}}',
        '{"settings": {}, "complete": ["../1"], "shards": {}}',
    ],
)
def test_an_index_that_is_damaged_or_leads_elsewhere_is_refused(tmp_path, index):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(prepare.PreparedDataError, match=r"index\.json.*damaged"):
        Shards(tmp_path)


def test_a_copy_of_other_settings_is_refused_before_work(phantom_root, copied, tmp_path):
    with pytest.raises(prepare.PreparedDataError, match="choose another folder"):
        prepare.prepare(phantom_root, tmp_path / "o", spacing_mm=1.5, shards=Shards(copied[1]))
    assert not list((tmp_path / "o").glob("*.npy"))


def test_a_drive_that_dies_on_the_way_is_said_once_and_filled_later(
    phantom_root, tmp_path, caplog, monkeypatch
):
    """Its folder vanishes after the first shard, as a lost mount's does."""
    out, copy = tmp_path / "prepared", tmp_path / "drive"
    shards = Shards(copy, SMALL)
    write, written = shards._write_shard, []

    def die(*of):
        write(*of)
        written.append(of)
        copy.rename(tmp_path / "elsewhere")

    monkeypatch.setattr(shards, "_write_shard", die)
    prepare.prepare(phantom_root, out, jobs=1, folds=2, shards=shards)
    assert len(written) == 1
    assert caplog.text.count("cannot be written (it is not there any more)") <= 2
    assert "Work continues without this copy" in caplog.text
    assert not copy.exists(), "nothing is written into the empty place of a mount"
    (tmp_path / "elsewhere").rename(copy)
    prepare.prepare(phantom_root, out, jobs=1, folds=2, shards=Shards(copy, SMALL))
    assert prepare.restore(Shards(copy), tmp_path / "here", folds=2)
    assert contents(tmp_path / "here") == contents(out)


def test_a_full_drive_stops_the_copy_and_not_the_work(phantom_root, tmp_path, caplog, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("utils.prepare.shards._write_tar", full)
    out = tmp_path / "prepared"
    prepare.prepare(phantom_root, out, jobs=1, folds=2, shards=Shards(tmp_path / "copy", SMALL))
    assert "No space left on device" in caplog.text
    assert (out / "folds.csv").is_file()
    assert not list((tmp_path / "copy").iterdir())


def test_what_is_read_back_otherwise_is_no_shard(phantom_root, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("utils.prepare.shards._sha256", lambda path: "0" * 64)
    out = tmp_path / "prepared"
    prepare.prepare(phantom_root, out, jobs=1, folds=2, shards=Shards(tmp_path / "copy", SMALL))
    assert "what was written reads back otherwise" in caplog.text
    assert not list((tmp_path / "copy").iterdir())


def test_a_copy_on_a_read_only_disk_can_be_used(copied, tmp_path):
    """As a data set attached on Kaggle is."""
    _, copy = copied
    for path in (*copy.iterdir(), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert prepare.restore(Shards(copy), tmp_path / "here", folds=2)
    finally:
        copy.chmod(0o755)
