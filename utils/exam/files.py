"""The files of an exam: in a folder of any depth, in a zip, or on a CD.

Their names may be a patient's: messages call a file by its number.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from utils.dicom import ImageFile
from utils.errors import LumbarError
from utils.files import reason

MOST_FILES = 50_000  # of an exam; a CD has at most a few thousand
_ENCRYPTED = 1  # bit of the flags of a member of a zip
_BESIDE = ("__MACOSX",)  # folders with copies of names and nothing else


class ExamError(LumbarError):
    """An exam that cannot be read, or a choice that does not fit it."""


def files_of(path: str | Path) -> list[ImageFile]:
    """Every file of an exam, whatever it holds, by name. Raises ExamError.

    Hidden files are left out, and links that lead out of the folder. Zips in a folder are opened;
    zips in a zip are not.
    """
    path = Path(path).expanduser()
    try:
        found = list(_listed(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise ExamError(f"{path} cannot be read ({reason(error)})") from error
    if len(found) > MOST_FILES:
        raise ExamError(f"{path} holds {len(found):,} files: name the folder of one exam")
    return [ImageFile(f"file {number}", at) for number, at in enumerate(found, 1)]


def _listed(path: Path) -> Iterator[Traversable]:
    if path.is_dir():
        yield from _in_folder(path)
    elif zipfile.is_zipfile(path):
        yield from _in_zip(path)
    elif path.is_file() and tarfile.is_tarfile(path):
        raise ExamError(f"{path} is a tar archive: unpack it and name its folder")
    elif path.is_file():
        yield path
    else:
        raise ExamError(f"{path}: no such file or folder")


def _in_folder(root: Path) -> Iterator[Traversable]:
    inside = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not _is_beside(name))
        for name in sorted(names):
            path = Path(folder, name)
            if _is_beside(name) or not path.resolve().is_relative_to(inside):
                continue
            if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
                yield from _in_zip(path)
            elif path.is_file():
                yield path


def _in_zip(path: Path) -> Iterator[Traversable]:
    """The members of a zip, read where they are: nothing is unpacked onto the disk."""
    archive = zipfile.ZipFile(path)
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        if member.is_dir() or any(map(_is_beside, member.filename.split("/"))):
            continue
        if member.flag_bits & _ENCRYPTED:
            raise ExamError("The zip is encrypted: unpack it, and name the folder")
        yield zipfile.Path(archive, member.filename)


def _is_beside(name: str) -> bool:
    return name.startswith(".") or name in _BESIDE
