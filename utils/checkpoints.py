"""Never lose a run: files that are whole or not there, kept in two places, and checkpoints that prove themselves.

A checkpoint's name holds the beginning of its own SHA-256: epoch-0007-3f2a9c1b5d6e.pt. It is written under another name,
renamed, and only then is an older one deleted: a kill, a full disk or a dropped mount leaves a good one to go on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

KEEP = 2
PARTIAL = f"partial-{os.getpid()}.tmp"  # the name while a file is being written; another process has another


class Folder:
    """A folder of a run, and the same folder in a second place (on Drive, say) that is given a copy of every file.

    The second place is made now and never again: where a mount was there is an empty folder, and what is written there is lost.
    """

    def __init__(self, path: str | Path, copies: str | Path | None = None, place: Path | None = None):
        self.path, self.copies = Path(path), copies and Path(copies)
        self.place = place or self.copies  # what must be there for anything to be copied
        self._told: set[str] = set()
        if self.copies and not place:
            with contextlib.suppress(OSError):  # told when something is to be copied
                self.copies.mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name, self.copies and self.copies / name, self.place)

    def write(self, name: str, write: Callable[[Path], object]) -> Path:
        """write(partial) under another name, then the right one: a kill leaves the old file or the new, never half of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write(self.path / PARTIAL)
        (self.path / PARTIAL).replace(self.path / name)
        self.copy(name)
        return self.path / name

    def copy(self, name: str) -> None:
        """To the second place, under its name only when it has been read back as the same. A place that fails is told once,
        and work goes on."""
        if self.copies is None:
            return
        try:
            if not self.place.is_dir():
                raise FileNotFoundError("it is not there any more")
            self.copies.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path / name, self.copies / PARTIAL)
            if digest(self.copies / PARTIAL) != digest(self.path / name):
                raise OSError("what was written reads back otherwise")
            (self.copies / PARTIAL).replace(self.copies / name)
        except OSError as error:
            self.tell(f"{self.copies} cannot be written ({_reason(error)}). Work goes on; {self.path} holds everything.")

    def restore(self, names: str = "*") -> None:
        """From the second place what is not here: a new machine goes on where the one before ended. Checkpoints stay where
        they are; they are read from there."""
        for there in self._files(self.copies, names):
            here = self.path / there.relative_to(self.copies)
            if not there.name.startswith(("partial-", "epoch-")) and not here.exists():
                try:
                    Folder(here.parent).write(here.name, lambda partial, source=there: shutil.copyfile(source, partial))
                except OSError as error:
                    self.tell(f"{there} cannot be brought back ({_reason(error)}); going on without it.")

    def tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            print(line)

    @staticmethod
    def _files(place: Path | None, names: str) -> list[Path]:
        try:
            return [path for path in sorted(place.rglob(names)) if path.is_file()] if place else []
        except OSError:  # a mount that has died answers every question with an error
            return []


class Checkpoints:
    """The checkpoints of one model, the last two in each place."""

    def __init__(self, folder: Folder):
        self.folder = folder

    def save(self, state: dict, epoch: int) -> None:
        """Tensors, numbers, strings, lists and dicts only: what weights_only=True reads. If the disk fails, that is told once
        and training goes on; the checkpoints of before stay."""
        partial = self.folder.path / PARTIAL
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            name = f"epoch-{epoch:04d}-{digest(partial)}.pt"
            partial.replace(self.folder.path / name)
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
            self.folder.tell(f"{self.folder.path} cannot be written ({_reason(error)}). Free some space; training goes on.")
            return
        self.folder.copy(name)
        for old in self._found(self.folder.path)[:-KEEP] + self._found(self.folder.copies)[:-KEEP]:
            _remove(old)

    def newest(self) -> dict | None:
        """The newest state that is whole, from either place; a damaged one is named and passed over. None if there is none."""
        found = self._found(self.folder.path) + self._found(self.folder.copies)
        for path in sorted(found, key=lambda path: path.name.split("-")[1], reverse=True):
            if _digest_or_none(path) == path.stem.split("-")[-1]:
                return torch.load(path, map_location="cpu", weights_only=True)
            self.folder.tell(f"{path} is damaged; going on from the one before it.")
        return None

    def clear(self) -> None:
        """After the last epoch: the finished weights have a file of their own. What kills left half-written goes too."""
        for pattern in ("epoch-*.pt", "partial-*.tmp"):
            for path in self._found(self.folder.path, pattern) + self._found(self.folder.copies, pattern):
                _remove(path)

    @staticmethod
    def _found(place: Path | None, pattern: str = "epoch-*.pt") -> list[Path]:
        """Oldest first, by when they were written: after a damaged one has been passed over, epochs come twice."""
        try:
            return sorted(place.glob(pattern), key=lambda path: path.stat().st_mtime_ns) if place else []
        except OSError:
            return []


def digest(path: Path) -> str:
    """The first 12 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _remove(path: Path) -> None:
    """Emptied first, because what is deleted on Drive goes to its bin and still counts; an old file that stays does no harm."""
    with contextlib.suppress(OSError):
        path.write_bytes(b"")
        path.unlink()


def _digest_or_none(path: Path) -> str | None:
    try:
        return digest(path)
    except OSError:
        return None


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if getattr(error, "errno", None) else str(error).splitlines()[0]
