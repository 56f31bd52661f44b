"""The competition's archive, study by study, from a server on this machine that cuts, damages,
refuses, and whose addresses expire; and what is prepared from it."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.ranges import served
from utils import prepare, rsna
from utils.course.kaggle import retry
from utils.course.kaggle.account import KaggleError
from utils.course.kaggle.archive import ArchiveSource
from utils.course.kaggle.remote import NoRangesError, RemoteFile

FURTHER = 66_000  # members beside the studies: with more than 65,535 an archive is a zip64


@pytest.fixture(scope="module")
def archive(phantom_root, tmp_path_factory):
    """The phantom as one archive, with much else in it and one study in two places."""
    path = tmp_path_factory.mktemp("archive") / "competition.zip"
    files = sorted(p for p in phantom_root.rglob("*") if p.is_file() and p.suffix != ".lock")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for file in files[::2]:
            made.write(file, file.relative_to(phantom_root))
        made.writestr("train_images/1/2/../../../../escape.dcm", b"x")
        for k in range(FURTHER):
            made.writestr(f"further/{k}.txt", b"")
        for file in files[1::2]:
            made.write(file, file.relative_to(phantom_root))
    return path


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(retry, "WAITS", (0.0,) * 8)


def source_at(store, root) -> ArchiveSource:
    return ArchiveSource(RemoteFile(store.sign), rsna.load_tables(root))


def contents(folder: Path, but: str = ".made_of") -> dict[str, bytes]:
    """The files of a prepared data set. What a study was made of is told otherwise of an archive
    than of a folder."""
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    return {p.name: p.read_bytes() for p in sorted(files) if p.suffix != but}


def test_streamed_studies_are_those_of_the_files_byte_by_byte(archive, phantom_root, tmp_path):
    with served(archive) as store:
        source = source_at(store, phantom_root)
        directory = len(store.asked)
        prepare.prepare(source, tmp_path / "streamed", jobs=2, folds=2)
        ranges = len(store.asked) - directory
    prepare.prepare(phantom_root, tmp_path / "files", jobs=2, folds=2)
    assert contents(tmp_path / "streamed") == contents(tmp_path / "files")
    studies = rsna.load_tables(phantom_root).studies("train")
    assert source.studies() == studies
    assert ranges == 2 * len(studies), "one range for each of the two places of a study"
    assert directory <= 3


def test_lost_connections_wrong_bytes_and_refusals_do_not_change_it(
    archive, phantom_root, tmp_path
):
    with served(archive) as store:
        source = source_at(store, phantom_root)
        store.faults = ["cut", "", "damaged", "429", "", "503", "damaged", "cut"]
        prepare.prepare(source, tmp_path / "streamed", jobs=1, folds=2)
        assert not store.faults
    prepare.prepare(phantom_root, tmp_path / "files", jobs=2, folds=2)
    assert contents(tmp_path / "streamed") == contents(tmp_path / "files")


def test_an_address_that_expires_on_the_way_is_made_anew(archive, phantom_root, tmp_path):
    with served(archive, lifetime=0.4) as store:
        source = source_at(store, phantom_root)
        for study in source.studies()[:4]:
            assert len(list(source.fetch([study]))) == 1
            time.sleep(0.3)
    assert 2 <= store.signed < len(store.asked)


def test_what_stays_refused_is_said_without_the_address(archive, phantom_root, tmp_path, caplog):
    with served(archive) as store:
        source = source_at(store, phantom_root)
        store.faults = ["403"] * 99
        with pytest.raises(KaggleError, match="Kaggle refuses these files") as refused:
            prepare.prepare(source, tmp_path, jobs=1, folds=2)
    assert "s3cret" not in str(refused.value) + caplog.text


def test_a_file_that_is_damaged_in_the_archive_itself_is_left_out_and_named(
    archive, phantom_root, tmp_path
):
    study = rsna.load_tables(phantom_root).studies("train")[0]
    damaged = tmp_path / "damaged.zip"
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        names = [n for n in opened.namelist() if n.startswith(f"train_images/{study}/")]
        info = opened.getinfo(names[0])
    content[info.header_offset + len(names[0]) + 30 + info.compress_size // 2] ^= 255
    damaged.write_bytes(content)
    with served(damaged) as store:
        prepare.prepare(source_at(store, phantom_root), tmp_path / "out", jobs=1, folds=2)
    what, why = prepare.load_study(tmp_path / "out", study).left_out[0]
    assert Path(names[0]).name in what
    assert "BadZipFile" in why or "zlib" in why


def test_a_server_without_ranges_is_told_from_others(archive, phantom_root):
    with served(archive, ranges=False) as store, pytest.raises(NoRangesError, match="as a whole"):
        source_at(store, phantom_root)


def test_studies_can_be_unpacked_and_no_name_leads_out_of_the_folder(
    archive, phantom_root, tmp_path
):
    study = rsna.load_tables(phantom_root).studies("train")[0]
    with served(archive) as store:
        unpacked = source_at(store, phantom_root).unpack([study, 12], tmp_path / "here")
        assert list(unpacked) == [study], "12 is not in the archive"
    there = phantom_root / "train_images" / str(study)
    here = tmp_path / "here" / "train_images" / str(study)
    expected = {p.relative_to(there): p.read_bytes() for p in there.rglob("*.dcm")}
    assert {p.relative_to(here): p.read_bytes() for p in here.rglob("*") if p.is_file()} == expected
    assert not list(tmp_path.rglob("escape.dcm"))


def test_a_changed_member_or_table_makes_the_study_be_prepared_again(
    archive, phantom_root, tmp_path
):
    with served(archive) as store:
        source = source_at(store, phantom_root)
        first, second = source.studies()[:2]
        prepare.prepare(source, tmp_path, jobs=1, folds=2)
        before = len(store.asked)
        prepare.prepare(source, tmp_path, jobs=1, folds=2)
        assert len(store.asked) == before, "nothing is fetched again"
        source.members["train", first][0].info.CRC ^= 1
        points = source.tables.points
        points.loc[points.study_id == second, "x"] += 1
        prepare.prepare(source, tmp_path, jobs=1, folds=2)
    changed = {study for study in (first, second) if source.fingerprint(study)}
    fetched = store.asked[before:]
    assert len(fetched) >= 2 * len(changed)


STREAM = """
import sys
from utils import prepare, rsna
from utils.course.kaggle.archive import ArchiveSource
from utils.course.kaggle.remote import RemoteFile
address, root, out, copy = sys.argv[1:]
remote = RemoteFile(lambda: address + "/file?until=1e12")
source = ArchiveSource(remote, rsna.load_tables(root))
shards = prepare.Shards(copy, 1_000_000)
prepare.prepare(source, out, jobs=1, folds=2, shards=shards)
"""


def test_killed_again_and_again_the_end_is_the_same(archive, phantom_root, tmp_path):
    """Killed at the first, second, third … file that it writes; the copy in shards, too."""
    whole, copy = tmp_path / "whole", tmp_path / "whole copy"
    killed, its_copy = tmp_path / "killed", tmp_path / "killed copy"
    killed.mkdir()
    with served(archive) as store:
        source = source_at(store, phantom_root)
        shards = prepare.Shards(copy, 1_000_000)
        prepare.prepare(source, whole, jobs=1, folds=2, shards=shards)
        places = (store.address, phantom_root, killed, its_copy)
        command = [sys.executable, "-c", STREAM, *map(str, places)]
        for count in (4, 9, 14):
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                while process.poll() is None and len(os.listdir(killed)) < count:
                    time.sleep(0.005)
                process.send_signal(signal.SIGKILL)
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert contents(killed, "") == contents(whole, "")
    assert contents(its_copy) == contents(copy)
    assert len(list(copy.glob("*.shard"))) > 1
    assert not list(its_copy.glob("partial-*"))
