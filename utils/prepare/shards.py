"""A copy of a prepared data set elsewhere, in a few large files: network drives and Kaggle's data
sets are slow with many small ones.

A shard is a tar archive of the .npy and .json of some studies, in the order of all studies, so the
same studies make the same bytes. Its name does not end in .tar, because whoever stores archives may
unpack them, as Kaggle does. index.json says which studies are in which shard, what they were made
of, and the shard's SHA-256. It is written after the shard, so what it lists is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import re
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from tqdm.auto import tqdm

from utils.files import partial_name, read_json, reason, write_atomic
from utils.prepare.storage import PreparedDataError, read_made_of

log = logging.getLogger(__name__)
SHARD_BYTES = 500_000_000
INDEX, LABELS = "index.json", "labels.csv"
SUFFIXES = (".npy", ".json")  # of a study's files, in the order in which they are written
_NAME = re.compile(r"shard-\d{4,6}\.shard")
_AGAIN = "choose another folder, or delete this one: it is made again from the studies"


class Shards:
    """The copy in one folder, which is made now and never again: where a mount has gone there is an
    empty folder, and what is written there is lost.

    Where the copy cannot be written this is said once, and work continues; another call of
    `prepare.prepare` copies what is missing. Raises PreparedDataError for an index that is damaged.

    shard_bytes  a shard is full when its studies have as many
    """

    def __init__(self, folder: str | Path, shard_bytes: int = SHARD_BYTES):
        self.folder, self.shard_bytes = Path(folder), shard_bytes
        with contextlib.suppress(OSError):  # said when something is to be copied
            self.folder.mkdir(parents=True, exist_ok=True)
        self.index = self._read_index()
        self._waiting: list[int] = []  # studies for the next shard
        self._bytes = 0  # theirs
        self._failed = False

    def __str__(self) -> str:
        size = sum(shard["bytes"] for shard in self.index["shards"].values())
        there = "complete" if self.index["complete"] else "not complete"
        return f"{self.folder}: {len(self.made_of):,} studies, {size / 1e9:.1f} GB ({there})"

    @property
    def made_of(self) -> dict[int, str]:
        """The studies that are there, each with the fingerprint of what it was prepared from."""
        shards = self.index["shards"].values()
        return {int(study): of for shard in shards for study, of in shard["studies"].items()}

    @property
    def complete(self) -> list[int]:
        """All studies of the data set, if it has been copied to the end; else none."""
        return self.index["complete"]

    def bind(self, settings: dict) -> None:
        """Say how the studies are prepared, and remove what a killed process was writing. Raises
        PreparedDataError where the studies that are there already were prepared otherwise."""
        found = self.index["settings"]
        if found not in ({}, settings):
            raise PreparedDataError(
                f"{self.folder}: its studies were prepared with {found}, now asked for {settings}; "
                f"{_AGAIN}"
            )
        self.index["settings"] = settings
        with contextlib.suppress(OSError):  # a folder that is read-only, or has gone
            for unfinished in self.folder.glob("partial-*.tmp"):
                unfinished.unlink()

    # -- to there

    def add(self, out: Path, study_id: int) -> None:
        """A study that is finished, each in the order of all; when there is enough of them, they
        become a shard."""
        if self.made_of.get(study_id) == read_made_of(out, study_id):
            return
        self._waiting.append(study_id)
        self._bytes += sum(path.stat().st_size for path in _files(out, study_id))
        if self._bytes >= self.shard_bytes and not self._failed:
            self._flush(out)

    def finish(self, out: Path) -> None:
        """All studies have been added: the last shard, and the labels."""
        self._flush(out)
        studies = sorted(self.made_of)
        if self._failed or self.complete == studies:
            return
        self._try(partial(self._complete, out, studies))

    def _flush(self, out: Path) -> None:
        """The studies that wait, into shards: after a failure there may be more than one."""
        self._failed = False
        while self._waiting and not self._failed:
            self._try(lambda: self._write_shard(out, self._next_studies(out)))

    def _next_studies(self, out: Path) -> list[int]:
        """The first of those that wait which fill a shard, or all of them."""
        size = 0
        for count, study in enumerate(self._waiting, 1):
            size += sum(path.stat().st_size for path in _files(out, study))
            if size >= self.shard_bytes:
                return self._waiting[:count]
        return list(self._waiting)

    def _complete(self, out: Path, studies: list[int]) -> None:
        write_atomic(self.folder / LABELS, (out / LABELS).read_bytes())
        self._write_index(self.index | {"complete": studies})

    def _try(self, write: Callable[[], None]) -> None:
        """If it fails this is said, and nothing more is copied for now."""
        try:
            if not self.folder.is_dir():
                raise FileNotFoundError("it is not there any more")
            write()
        except OSError as error:
            self._failed = True
            log.warning(
                f"{self.folder} cannot be written ({reason(error)}). Work continues without this "
                "copy; run this again when it can be: what is missing there is copied then."
            )

    def _write_shard(self, out: Path, studies: list[int]) -> None:
        """Write the studies' shard, read it back, list it, and forget where else they were."""
        numbers = [int(name[6:].removesuffix(".shard")) for name in self.index["shards"]]
        path = self.folder / f"shard-{max(numbers, default=0) + 1:04d}.shard"
        hashed = hashlib.sha256()
        write_atomic(path, partial(_write_tar, out=out, studies=studies, hashed=hashed))
        made_of = {str(study): read_made_of(out, study) for study in studies}
        shards = {
            name: shard | {"studies": _without(shard["studies"], made_of)}
            for name, shard in self.index["shards"].items()
        }
        empty = [name for name, shard in shards.items() if not shard["studies"]]
        kept = {name: shard for name, shard in shards.items() if name not in empty}
        size = path.stat().st_size
        kept[path.name] = {"sha256": hashed.hexdigest(), "bytes": size, "studies": made_of}
        self._write_index(self.index | {"shards": kept, "complete": []})
        for name in empty:
            (self.folder / name).unlink(missing_ok=True)
        self._waiting, self._bytes = self._waiting[len(studies) :], 0

    # -- from there

    def restore(self, out: Path) -> None:
        """Bring the studies to out that it lacks, or has otherwise; what is there is kept. A shard
        that is damaged is said to be, and forgotten: its studies are prepared again."""
        wanted = {name: self._lacking(out, shard) for name, shard in self.index["shards"].items()}
        wanted = {name: studies for name, studies in wanted.items() if studies}
        total = sum(self.index["shards"][name]["bytes"] for name in wanted)
        bar = tqdm(total=total, desc="from the copy", unit="B", unit_scale=True, disable=not wanted)
        with bar:
            for name, studies in wanted.items():
                try:
                    self._restore_shard(out, name, studies)
                except (OSError, tarfile.TarError) as error:
                    log.warning(f"{self.folder / name} cannot be used ({reason(error)}).")
                    del self.index["shards"][name]
                    self.index["complete"] = []
                bar.update(self.index["shards"].get(name, {}).get("bytes", 0))

    def _lacking(self, out: Path, shard: dict) -> dict[int, str]:
        """The studies of a shard that are not in out as they are in the shard."""
        of_shard = {int(study): of for study, of in shard["studies"].items()}
        return {
            study: of
            for study, of in of_shard.items()
            if read_made_of(out, study) != of or not all(p.is_file() for p in _files(out, study))
        }

    def _restore_shard(self, out: Path, name: str, studies: dict[int, str]) -> None:
        """Copy a shard, check it, take the studies out of it. Raises OSError, TarError."""
        local = out / partial_name(name)
        try:
            with (self.folder / name).open("rb") as there, local.open("wb") as here:
                shutil.copyfileobj(there, here, 1 << 20)
            if _sha256(local) != self.index["shards"][name]["sha256"]:
                raise OSError("its bytes are others than were written")
            with tarfile.open(local) as tar:
                for study, made_of in studies.items():
                    for path in _files(out, study):
                        member = cast(IO[bytes], tar.extractfile(path.name))
                        write_atomic(path, member.read())
                    write_atomic(out / f"{study}.made_of", made_of)
        except KeyError as error:
            raise OSError("it lacks a study") from error
        finally:
            local.unlink(missing_ok=True)

    # -- the index

    def _read_index(self) -> dict:
        path = self.folder / INDEX
        if not path.is_file():
            return {"settings": {}, "shards": {}, "complete": []}
        index = read_json(path, PreparedDataError, _AGAIN)
        if not _is_index(index):
            raise PreparedDataError(f"{path} is damaged; {_AGAIN}")
        return index

    def _write_index(self, index: dict) -> None:
        write_atomic(self.folder / INDEX, json.dumps(index))
        self.index = index


def _is_index(index: dict) -> bool:
    """Whether this is one that _write_index wrote: no name in it leads out of the folder."""
    try:
        shards = all(_is_shard(name, shard) for name, shard in index["shards"].items())
        studies = all(type(study) is int for study in index["complete"])
        return shards and studies and isinstance(index["settings"], dict)
    except (KeyError, TypeError, AttributeError):
        return False


def _is_shard(name: str, shard: dict) -> bool:
    made_of = shard["studies"].items()
    studies = all(study.isdecimal() and isinstance(of, str) for study, of in made_of)
    kinds = isinstance(shard["sha256"], str) and isinstance(shard["bytes"], int)
    return studies and kinds and bool(_NAME.fullmatch(name))


def _files(out: Path, study_id: int) -> list[Path]:
    return [out / f"{study_id}{suffix}" for suffix in SUFFIXES]


def _without(studies: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    return {study: of for study, of in studies.items() if study not in others}


def _write_tar(path: Path, out: Path, studies: list[int], hashed: Any) -> None:
    """Nothing but names and contents, so that the same studies are the same bytes. Raises OSError
    where what was written reads back otherwise."""
    with _Hashed(path, hashed) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for study in studies:
            for source in _files(out, study):
                info = tarfile.TarInfo(source.name)
                info.size = source.stat().st_size
                with source.open("rb") as content:
                    tar.addfile(info, content)
    if _sha256(path) != hashed.hexdigest():
        raise OSError("what was written reads back otherwise")


class _Hashed(io.FileIO):
    """A new file that is hashed as it is written."""

    def __init__(self, path: Path, hashed: Any):
        super().__init__(path, "w")
        self.hashed = hashed

    def write(self, content: Any) -> int:
        """All of it."""
        self.hashed.update(content)
        rest = memoryview(content)
        while len(rest):
            rest = rest[super().write(rest) or 0 :]
        return len(content)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
