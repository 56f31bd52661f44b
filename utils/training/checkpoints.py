"""Checkpoints that prove themselves: the last two of each model, in the run's folder and its
backup.

A checkpoint's name holds the first digits of its own SHA-256: epoch-0007-3f2a9c1b5d6e.pt. It is
written under another name, renamed, and only then is an older one deleted: a kill, a full disk or a
dropped mount leaves a good one to resume from.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from utils.files import Folder, digest, partial_name, reason

KEEP = 2


class Checkpoints:
    """The checkpoints of one model, the last two in each place."""

    def __init__(self, folder: Folder):
        self.folder = folder

    def save(self, state: dict, epoch: int) -> None:
        """Tensors, numbers, strings, lists and dicts only: what weights_only=True reads. If the
        disk fails, a warning is logged once and training continues; earlier checkpoints stay."""
        unfinished = self.folder.path / partial_name()
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            torch.save(state, unfinished)
            name = f"epoch-{epoch:04d}-{digest(unfinished)}.pt"
            unfinished.replace(self.folder.path / name)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
            _remove(unfinished)
            self.folder.report_once(
                f"{self.folder.path} cannot be written ({reason(error)}). "
                "Free some space; training continues."
            )
            return
        self.folder.copy(name)
        for place in (self.folder.path, self.folder.backup):
            self._remove_outdated(place, name, epoch)

    def _remove_outdated(self, place: Path | None, name: str, epoch: int) -> None:
        """All but the one just saved and the ones before it. Others of this epoch or a later one
        were damaged, or training would have gone on from there."""
        found = self._found(place)
        earlier = [path for path in found if _epoch(path) < epoch]
        saved = [path for path in found if path.name == name]
        kept = saved + earlier[len(saved) - KEEP :]
        for path in found:
            if path not in kept:
                _remove(path)

    def newest(self) -> dict | None:
        """The newest state that is whole, from either place; one that is damaged, or not finite, is
        named and passed over. None if there is none."""
        found = self._found(self.folder.path) + self._found(self.folder.backup)
        for path in sorted(found, key=_epoch, reverse=True):
            state = _read(path)
            if state is not None and all_finite(state):
                return state
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
        """By epoch, never by time: clocks are set back. Of one epoch, which comes twice after a
        damaged one has been passed over, the one written last is last."""
        if folder is None:
            return []
        try:
            return sorted(folder.glob(pattern), key=_epoch_and_time)
        except OSError:
            return []


def all_finite(state: Any) -> bool:
    """Whether every tensor in nested dicts and lists has finite values only."""
    if isinstance(state, torch.Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, dict):
        return all(map(all_finite, state.values()))
    return not isinstance(state, list | tuple) or all(map(all_finite, state))


def _epoch(path: Path) -> int:
    number = path.name.split("-")[1]
    return int(number) if number.isdecimal() else 0


def _epoch_and_time(path: Path) -> tuple[int, int]:
    return _epoch(path), path.stat().st_mtime_ns


def _read(path: Path) -> dict | None:
    """The state in a checkpoint; None if it is not what was written."""
    try:
        if digest(path) != path.stem.split("-")[-1]:
            return None
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  unreadable, or no checkpoint: each its own type
        return None


def _remove(path: Path) -> None:
    """Emptied first, because what is deleted on Drive goes to its bin and still counts; an old file
    that stays does no harm."""
    with contextlib.suppress(OSError):
        path.write_bytes(b"")
        path.unlink()
