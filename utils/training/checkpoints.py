"""Checkpoints that prove themselves: the last two of each model, in the run's folder and its
backup.

A checkpoint's name holds the first digits of its own SHA-256: epoch-0007-3f2a9c1b5d6e.pt. It is
written under another name, renamed, and only then is an older one deleted: a kill, a full disk or a
dropped mount leaves a good one to resume from.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from utils.files import PARTIAL, Folder, digest, reason

KEEP = 2


class Checkpoints:
    """The checkpoints of one model, the last two in each place."""

    def __init__(self, folder: Folder):
        self.folder = folder

    def save(self, state: dict, epoch: int) -> None:
        """Tensors, numbers, strings, lists and dicts only: what weights_only=True reads. If the
        disk fails, a warning is logged once and training continues; earlier checkpoints stay."""
        partial = self.folder.path / PARTIAL
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            name = f"epoch-{epoch:04d}-{digest(partial)}.pt"
            partial.replace(self.folder.path / name)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
            self.folder.report_once(
                f"{self.folder.path} cannot be written ({reason(error)}). "
                "Free some space; training continues."
            )
            return
        self.folder.copy(name)
        for old in self._found(self.folder.path)[:-KEEP] + self._found(self.folder.backup)[:-KEEP]:
            _remove(old)

    def newest(self) -> dict | None:
        """The newest state that is whole, from either place; a damaged one is named and passed
        over. None if there is none."""
        found = self._found(self.folder.path) + self._found(self.folder.backup)
        for path in sorted(found, key=lambda path: path.name.split("-")[1], reverse=True):
            if _digest_or_none(path) == path.stem.split("-")[-1]:
                return torch.load(path, map_location="cpu", weights_only=True)
            self.folder.report_once(f"{path} is damaged; going on from the one before it.")
        return None

    def clear(self) -> None:
        """After the last epoch: the finished weights have a file of their own. What kills left
        half-written goes too."""
        for pattern in ("epoch-*.pt", "partial-*.tmp"):
            for path in self._found(self.folder.path, pattern) + self._found(
                self.folder.backup, pattern
            ):
                _remove(path)

    @staticmethod
    def _found(folder: Path | None, pattern: str = "epoch-*.pt") -> list[Path]:
        """Oldest first, by when they were written: after a damaged one has been passed over, epochs
        come twice."""
        try:
            return (
                sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
                if folder
                else []
            )
        except OSError:
            return []


def _remove(path: Path) -> None:
    """Emptied first, because what is deleted on Drive goes to its bin and still counts; an old file
    that stays does no harm."""
    with contextlib.suppress(OSError):
        path.write_bytes(b"")
        path.unlink()


def _digest_or_none(path: Path) -> str | None:
    try:
        return digest(path)
    except OSError:
        return None
