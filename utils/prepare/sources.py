"""Where the studies that are to be prepared come from: a data folder on this disk, or whatever else
has the same three methods, such as an archive that is read over the network."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Protocol, cast

from utils.prepare.fingerprint import fingerprint
from utils.rsna import Tables

ARCHIVE = "archive.zip"  # the name by which messages call an archive in memory


class Source(Protocol):
    """Tables, and the images of the studies in them."""

    tables: Tables

    @property
    def progress(self) -> str:
        """What is to be said of it beside a progress bar."""

    def studies(self) -> list[int]:
        """Ids of the training studies that have images, ascending."""

    def fingerprint(self, study_id: int) -> str:
        """Letters that change when anything changes that the study is prepared from."""

    def fetch(self, studies: list[int]) -> Iterator[bytes | None]:
        """For each study a zip archive of its files under their paths in the data folder, or None
        where they are in the folder of the tables."""


class FolderSource:
    """A data folder on this disk."""

    progress = ""

    def __init__(self, tables: Tables):
        self.tables = tables

    def studies(self) -> list[int]:
        """Those whose images are here."""
        return self.tables.studies("train")

    def fingerprint(self, study_id: int) -> str:
        """Of names, sizes and times of writing."""
        return fingerprint(self.tables, study_id)

    def fetch(self, studies: list[int]) -> Iterator[None]:
        """Nothing: the files are here."""
        return iter([None] * len(studies))


def opened(tables: Tables, files: bytes | None) -> Tables:
    """The tables with their images in an archive in memory, if one is given."""
    if files is None:
        return tables
    archive = zipfile.ZipFile(BytesIO(files))
    archive.filename = ARCHIVE
    return replace(tables, root=cast(Path, zipfile.Path(archive)))
