"""The competition's archive, study by study: its directory and the bytes of one study are read in
ranges, so that 36 GB are never on this disk.

remotezip reads the directory. The members of a study follow each other in the archive, or nearly:
they come in one range, or a few, and become a small archive in memory, which is what preparation
takes. Nothing but images is taken from the archive, whatever names are in it.
"""

from __future__ import annotations

import re
import time
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from remotezip import RemoteZip
from tqdm.auto import tqdm

from utils.course.kaggle.account import COMPETITION
from utils.course.kaggle.remote import RemoteFile
from utils.course.kaggle.transfer import signed_archive
from utils.files import make_folder, write_atomic
from utils.prepare import fingerprint_of
from utils.rsna import Tables

AHEAD = 3  # studies that are fetched before they are needed, each in a thread of its own
NEAR = 2**18  # bytes between two members that are fetched along rather than asked for anew
TRIES = 3  # to get a study whose checksums are right
TAIL = 2**18  # bytes at the end in which the archive's directory is announced
_IMAGE = re.compile(r"(train|test)_images/(\d{1,18})/\d{1,18}/\d+\.dcm")


class Member(NamedTuple):
    """A file in the archive: its entry in the directory, and where its bytes end."""

    info: zipfile.ZipInfo
    end: int


class ArchiveSource:
    """A source of studies (prepare.Source): those whose images are in the archive."""

    def __init__(self, remote: RemoteFile, tables: Tables):
        self.remote, self.tables = remote, tables
        self.members = _members(remote)
        self._fetched, self._start = 0, time.monotonic()

    @property
    def progress(self) -> str:
        """How much has been fetched and how fast, to be put after other words."""
        speed = self._fetched / max(time.monotonic() - self._start, 1e-3)
        return f", {self._fetched / 1e9:.2f} GB, {speed / 1e6:.0f} MB/s"

    def studies(self, split: str = "train") -> list[int]:
        """Ids of the studies of a split whose images are in the archive, ascending."""
        return sorted(study for kind, study in self.members if kind == split)

    def fingerprint(self, study_id: int, split: str = "train") -> str:
        """Of names, sizes and checksums."""
        infos = [member.info for member in self.members[split, study_id]]
        lines = [f"{info.filename} {info.file_size} {info.CRC:08x}" for info in infos]
        return fingerprint_of(self.tables, study_id, sorted(lines))

    def fetch(self, studies: list[int], split: str = "train") -> Iterator[bytes]:
        """Each study as a zip archive of its files. A few are fetched ahead, and no more: memory
        holds them. Raises KaggleError."""
        self._fetched, self._start = 0, time.monotonic()
        rest = iter(studies)
        with ThreadPoolExecutor(AHEAD) as pool:
            coming: deque[Future[bytes]] = deque()
            try:
                while True:
                    for study in rest:
                        coming.append(pool.submit(self._study, split, study))
                        if len(coming) > AHEAD:
                            break
                    if not coming:
                        return
                    yield coming.popleft().result()
            finally:
                for future in coming:
                    future.cancel()

    def unpack(self, studies: list[int], root: Path, split: str = "train") -> Iterator[int]:
        """The files of those of these studies that are in the archive, into a data folder; yields
        each study when it is whole there. Raises KaggleError, OutputError."""
        there = [study for study in studies if (split, study) in self.members]
        bar = tqdm(there, "fetching", unit="study", disable=not there)
        for study, content in zip(bar, self.fetch(there, split)):
            with zipfile.ZipFile(BytesIO(content)) as archive:
                for name in archive.namelist():
                    make_folder((root / name).parent)
                    write_atomic(root / name, archive.read(name))
            yield study

    def _study(self, split: str, study_id: int) -> bytes:
        """One study, its checksums verified. A file whose checksum is wrong each time is the
        archive's fault, and is found so when it is read."""
        members = self.members[split, study_id]
        for _ in range(TRIES):
            content = self._small_archive(members)
            with zipfile.ZipFile(BytesIO(content)) as archive:
                if archive.testzip() is None:
                    break
        return content

    def _small_archive(self, members: list[Member]) -> bytes:
        """These members' bytes as they are, with a directory of their own."""
        content = BytesIO()
        moved = []
        for run in _runs(members):
            start, end = run[0].info.header_offset, run[-1].end
            shift = content.tell() - start
            content.write(self.remote.read(start, end))
            self._fetched += end - start
            for member in run:
                info = copy(member.info)
                info.header_offset += shift
                moved.append(info)
        with zipfile.ZipFile(content, "a") as archive:  # a new directory after what is there
            archive.filelist.extend(moved)
        return content.getvalue()


def open_archive(tables: Tables) -> ArchiveSource:
    """The competition's archive at Kaggle, for a user who is signed in. Raises KaggleError, or
    NoRangesError where it can be had only as a whole."""
    return ArchiveSource(RemoteFile(signed_archive), tables)


def _members(remote: RemoteFile) -> dict[tuple[str, int], list[Member]]:
    """The images of each study, by split and id, in the order of the archive."""
    with RemoteZip(COMPETITION, TAIL, fetcher=lambda *_, **__: remote) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        ends = [info.header_offset for info in infos[1:]] + [archive.start_dir]
    found = defaultdict(list)
    for info, end in zip(infos, ends):
        name = _IMAGE.fullmatch(info.filename)
        if name:
            found[name[1], int(name[2])].append(Member(info, end))
    return dict(found)


def _runs(members: list[Member]) -> list[list[Member]]:
    """Members that follow each other in the archive, or nearly, belong together."""
    runs: list[list[Member]] = []
    for member in members:
        if runs and member.info.header_offset - runs[-1][-1].end <= NEAR:
            runs[-1].append(member)
        else:
            runs.append([member])
    return runs
