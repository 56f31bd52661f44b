"""Files that are whole or not there, in one folder or in two.

A run's folder may have a backup (on Drive, say) that is given a copy of every file and gives back
what a new machine lacks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from utils.errors import LumbarError

log = logging.getLogger(__name__)
ID_DIGITS = 18
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula


class OutputError(LumbarError, OSError):
    """A file that cannot be written; the message names it and says why."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError inside (a full disk, a folder that is read-only) becomes an OutputError that names
    the path."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({reason(error)}). Free some space, or choose another "
            "folder; then run this again: what is finished is kept"
        ) from error


def make_folder(path: Path) -> None:
    """A folder, with those above it, unless it is there. Raises OutputError."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def partial_name(name: str = "") -> str:
    """The name of a file while it is being written: another one for every process, thread and
    machine."""
    return f"partial-{secrets.token_hex(4)}-{name}.tmp"


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV in which no cell is a formula to a spreadsheet: names of files and folders may
    begin with = or +."""
    text = table.select_dtypes(["object", "string"])
    return table.assign(**{name: text[name].map(_no_formula) for name in text}).to_csv(index=False)


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


Content = str | bytes | Callable[[Path], object]


def write_atomic(path: Path, content: Content) -> Path:
    """Write a file under another name, then rename it: a kill leaves the old file or the new one,
    never half of it. Raises OutputError.

    content  text, bytes, or a function that writes to the path it is given
    """
    unfinished = path.with_name(partial_name(path.name))
    try:
        with writing(path):
            if isinstance(content, str):
                unfinished.write_text(content, encoding="utf-8")
            elif isinstance(content, bytes):
                unfinished.write_bytes(content)
            else:
                content(unfinished)
            unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def read_json(path: Path, error: type[LumbarError], advice: str) -> dict:
    """A JSON file that holds an object. Raises the error, with the cause and the advice, if it is
    damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        what = "cannot be read" if isinstance(cause, OSError) else "is damaged"
        raise error(f"{path} {what} ({reason(cause)}); {advice}") from cause
    if not isinstance(content, dict):
        raise error(f"{path} is damaged: it is no JSON object; {advice}")
    return content


def read_table(
    path: Path, columns: Collection[str], error: type[LumbarError], advice: str, **options: Any
) -> pd.DataFrame:
    """A CSV file that has these columns. Raises the error, with the cause and the advice, if it is
    damaged.

    options  of pandas.read_csv
    """
    try:
        table = pd.read_csv(path, **options)
    except (OSError, ValueError) as cause:
        what = "cannot be read" if isinstance(cause, OSError) else "is damaged"
        raise error(f"{path} {what} ({reason(cause)}); {advice}") from cause
    absent = [name for name in columns if name not in table]
    if absent:
        raise error(f"{path} is damaged (it has no {absent[0]}); {advice}")
    return table


def number_named(name: str) -> int | None:
    """The number that a file or folder is named by; None if its name is none, or one of more than
    64 bits."""
    return int(name) if name.isdecimal() and len(name) <= ID_DIGITS else None


def digest(path: Path) -> str:
    """The first 12 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


class Folder:
    """A folder, and the same folder elsewhere, its backup, if there is one.

    The backup folder is made now and never again: where a mount has gone there is an empty folder,
    and what is written there is lost.
    """

    def __init__(
        self, path: str | Path, backup: str | Path | None = None, mount: Path | None = None
    ):
        self.path, self.backup = Path(path), Path(backup) if backup else None
        self.mount = mount or self.backup  # must exist for anything to be copied
        self._reported: set[str] = set()
        if self.backup and not mount:
            with contextlib.suppress(OSError):  # reported when something is to be copied
                self.backup.mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name, self.backup and self.backup / name, self.mount)

    def write(self, name: str, content: Content) -> Path:
        """write_atomic into the folder, then a copy into the backup. A text that is there already
        is not written again: a finished folder may be read-only. Raises OutputError."""
        if not _holds(self.path / name, content):
            make_folder(self.path)
            write_atomic(self.path / name, content)
        self.copy(name)
        return self.path / name

    def copy(self, name: str) -> None:
        """Into the backup, under its name only when it has been read back as the same. A backup
        that fails is reported once, and work continues without it."""
        if self.backup is None or self.mount is None:
            return
        try:
            if not self.mount.is_dir():
                raise FileNotFoundError("it is not there any more")
            self.backup.mkdir(parents=True, exist_ok=True)
            write_atomic(self.backup / name, partial(_copy_checked, self.path / name))
        except OSError as error:
            self.report_once(
                f"{self.backup} cannot be written ({reason(error)}). "
                f"Work continues; {self.path} holds everything."
            )

    def restore(self, names: str = "*") -> None:
        """Bring back from the backup what is not here: a new machine resumes where the one before
        ended. Checkpoints stay in the backup; they are read from there."""
        for there, here in self._backup_files(names):
            if there.name.startswith(("partial-", "epoch-")) or here.exists():
                continue
            try:
                here.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(here, partial(shutil.copyfile, there))
            except OSError as error:
                self.report_once(
                    f"{there} cannot be brought back ({reason(error)}); going on without it."
                )

    def report_once(self, line: str) -> None:
        """Log a warning, unless this folder has logged it before."""
        if line not in self._reported:
            self._reported.add(line)
            log.warning(line)

    def _backup_files(self, names: str) -> list[tuple[Path, Path]]:
        """The backup's files of this name, each with its path in the folder itself."""
        if self.backup is None:
            return []
        try:
            found = [path for path in sorted(self.backup.rglob(names)) if path.is_file()]
            return [(path, self.path / path.relative_to(self.backup)) for path in found]
        except OSError:  # a mount that has died raises an error on every access
            return []


def reason(error: Exception) -> str:
    """What an error says, in the words of the operating system where there are such."""
    if isinstance(error, OutputError) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split()) or type(error).__name__


def _holds(path: Path, content: Content) -> bool:
    return isinstance(content, str) and path.is_file() and path.read_bytes() == content.encode()


def _copy_checked(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    if digest(target) != digest(source):
        raise OSError("what was written reads back otherwise")
