"""The files of a series, wherever they are: in a folder, in an archive, or scattered."""

from __future__ import annotations

import zipfile
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from utils.dicom.errors import NOT_READ, DicomError
from utils.files import reason


class ImageFile(NamedTuple):
    """One file.

    name    by which messages call it
    at      where it is: a Path, or one in an archive (zipfile.Path)
    frames  those of a multi-frame file that belong to the series, from 0; None: all
    """

    name: str
    at: Traversable
    frames: frozenset[int] | None = None

    @property
    def described(self) -> str:
        """A line that changes when the file does: its size and time of writing, or checksum."""
        frames = sorted(self.frames or ())
        if isinstance(self.at, zipfile.Path):
            member = self.at.root.getinfo(self.at.at)
            return f"{member.file_size} {member.CRC} {frames}"
        found = Path(str(self.at)).stat()
        return f"{found.st_size} {found.st_mtime_ns} {frames}"


class Files(NamedTuple):
    """The files of one series; name is that of the series in messages."""

    name: str
    files: tuple[ImageFile, ...]

    def __str__(self) -> str:
        return self.name


def files_in(folder: Traversable | Files) -> Files:
    """The files of a folder by name, without hidden ones (.DS_Store). Raises DicomError."""
    if isinstance(folder, Files):
        return folder
    try:
        if not folder.is_dir():
            raise DicomError(folder, "no such folder")
        files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
        named = (ImageFile(path.name, path) for path in sorted(files, key=lambda path: path.name))
        return Files(folder.name, tuple(named))
    except OSError as error:
        raise DicomError(folder, f"{NOT_READ} ({reason(error)})") from error


def size_of(path: Traversable) -> int:
    """Bytes of a file on the disk, or in an archive, of which no more bytes are read than this."""
    if isinstance(path, zipfile.Path):
        return path.root.getinfo(path.at).file_size
    return Path(str(path)).stat().st_size
