"""One process at a time in a folder: the second one is told who is at work."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from utils.errors import LumbarError
from utils.files import writing

log = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class BusyError(LumbarError):
    """Another process is at work in this folder; the message says which."""


@contextlib.contextmanager
def at_work(folder: Path, name: str = "work") -> Iterator[None]:
    """Inside, no other process works in this folder under the same name. Raises BusyError, or
    OutputError if the folder cannot be written.

    The operating system frees the lock of a process that has died. On a disk without locks (some
    network mounts) filelock may use the existence of a file; else work continues unprotected.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}.lock")
        owner = folder / f".{name}.owner"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                f"{folder}: {_read_or(owner, 'another process')} is at work here. "
                "Wait until it has ended, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning(f"{folder}: this disk has no locks; run one process at a time here.")
    try:
        with writing(owner):
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {_now()},")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def is_lock(path: Path) -> bool:
    """Whether a file is one that at_work leaves."""
    return path.name.startswith(".") and path.suffix in (".lock", ".owner")


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _read_or(path: Path, default: str) -> str:
    try:
        return path.read_text(encoding="utf-8") or default
    except OSError:
        return default
