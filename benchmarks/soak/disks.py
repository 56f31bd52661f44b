"""Small disks in memory, which can be full or read-only even for root."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOMY_KB = 500_000


def mount_small(folder: Path, size_kb: int) -> None:
    _quietly("mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", folder)


def remount(folder: Path, options: str) -> None:
    """With other options: "size=200k", "ro", "rw"."""
    _quietly("mount", "-o", f"remount,{options}", folder)


def unmount(folder: Path) -> None:
    _quietly("umount", "-l", folder)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A roomy disk in this folder, which is made; it is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    mount_small(folder, ROOMY_KB)
    try:
        yield
    finally:
        unmount(folder)


def may_mount() -> bool:
    """Whether this user may mount a small disk: only some may, in a container not even root."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount_small(Path(folder), 200)
        except (OSError, subprocess.CalledProcessError):
            return False
        unmount(Path(folder))
    return True


def _quietly(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True, stderr=subprocess.DEVNULL)
