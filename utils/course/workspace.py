"""Where data, prepared studies and runs are: the folders of one source of data and one preset.

`environment`, `home` and `report` can be imported from here too: a notebook needs one module.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from utils.course import kaggle
from utils.course.environment import PROJECT, environment, home, report
from utils.errors import LumbarError
from utils.phantom import make_dataset
from utils.presets import SPACING_MM, Preset, get_preset, shaped_like
from utils.rsna import load_tables

__all__ = [
    "RELEASED",
    "Workspace",
    "WorkspaceError",
    "backup_folder",
    "environment",
    "find_run",
    "home",
    "make_phantom",
    "open_workspace",
    "report",
    "warm_started",
]

RELEASED = PROJECT / "released"  # the run that ships with the project; see its CARD.md
SAMPLE_STUDIES = 3  # of the real data, to be looked at
_SAMPLE = re.compile(r"sample(?: \d{1,4})?")  # "sample", or "sample 20"
MOUNT = Path("/content/drive")  # where Colab mounts Google Drive
SOURCES = ("phantom", "sample", "kaggle", "kaggle-raw")


class WorkspaceError(LumbarError):
    """A folder that a setting names and that cannot be used."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one source of data and one preset; printed, they say which of them exist.

    data      in the competition's layout
    prepared  what notebook 2 leaves
    run       what notebook 3 leaves
    home      everything else that is written
    """

    source: str
    preset: Preset
    data: Path
    prepared: Path
    run: Path
    home: Path

    def __str__(self) -> str:
        lines = []
        for name in ("data", "prepared", "run"):
            path = getattr(self, name)
            state = "there" if path.exists() else "not there yet"
            lines.append(f"{name:9} {path}  ({state})")
        return "\n".join(lines)

    @property
    def finished(self) -> Path | None:
        """The newest finished run of this preset on this source, warm-started or not; if there is
        none, the newest on the phantom; else None."""
        for name in (self.run.name, f"{self.preset.phantom.name}-{self.preset.name}"):
            found = [*self.run.parent.glob(f"{name}/run.json")]
            found += self.run.parent.glob(f"{name}-after-*/run.json")
            if found:
                return max(found, key=lambda path: path.stat().st_mtime).parent
        return None


def open_workspace(
    source: str = "phantom",
    preset: str | Preset = "demo",
    data: bool = True,
    only_test: bool = False,
) -> Workspace:
    """The folders for a source: "phantom", "sample", "kaggle", "kaggle-raw", or a folder in the
    competition's layout.

    data       make the data ready first: simulate the phantom, or fetch from Kaggle the tables and
               a few studies ("sample", or "sample 20" for so many; "kaggle", where `preparation`
               gets all of them without their files) or all 36 GB ("kaggle-raw"), which needs an
               account that has accepted the rules
    only_test  of a phantom that is not there yet simulate the test studies alone, which is all that
               grading needs, and fetch no others from Kaggle

    Raises WorkspaceError for a folder that is not there, and kaggle.KaggleError.
    """
    preset = get_preset(preset)
    base = home()
    if source == "phantom":
        name = preset.phantom.name
        folder = _phantom_folder(base / "data" / name, preset, data, only_test)
    elif source in SOURCES or _SAMPLE.fullmatch(source):
        name = source.removesuffix("-raw").replace(" ", "-")
        folder = _real_folder(base / "data" / name, source, data, only_test)
    else:
        folder = _own_folder(source)
        name = folder.name
    base.mkdir(parents=True, exist_ok=True)
    run = base / "runs" / f"{name}-{preset.name}"
    finer = "" if preset.spacing_mm == SPACING_MM else f"-{preset.spacing_mm:g}mm"
    return Workspace(source, preset, folder, base / "prepared" / f"{name}{finer}", run, base)


def make_phantom(folder: Path, preset: Preset, only_test: bool = False) -> None:
    """Simulate the phantom of a preset, or its test studies alone."""
    make_dataset(folder, replace(preset.phantom, only_test=only_test), jobs=os.cpu_count() or 1)


def warm_started(init_from: str | Path, work: Workspace) -> Workspace:
    """The workspace for a run that starts from another run's weights: its preset has the shape of
    the other's models, its folder a name of its own. Raises WorkspaceError if there is no such run.
    """
    settings = Path(init_from) / "run.json"
    try:
        first = Preset.from_dict(json.loads(settings.read_text(encoding="utf-8"))["preset"])
    except OSError as error:
        raise WorkspaceError(
            f"INIT_FROM = {str(init_from)!r}: no finished run there ({settings} cannot be read). "
            "Name the folder of a run that 03_train has finished, 'released', or leave it empty"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"INIT_FROM: {settings} is damaged or of another version ({error}). "
            "Train that run again, or name another"
        ) from error
    name = f"{work.run.name}-after-{Path(init_from).resolve().name}"
    return replace(work, preset=shaped_like(work.preset, first), run=work.run.with_name(name))


def backup_folder(to: str, work: Workspace) -> Path | None:
    """The backup of the workspace's run, a folder of the run's name: on Google Drive ("drive") or
    in the folder named; None for "".

    Only checkpoints and tables go there, and nothing is read from it while a model is trained.
    Raises WorkspaceError for Drive outside Colab.
    """
    if to == "drive":
        return drive_folder("BACKUP") / work.run.name
    return Path(to).expanduser() / work.run.name if to else None


def find_run(named: str, work: Workspace) -> Path:
    """The run to grade with.

    ""       the newest finished one here, else the one that ships with the project
    "drive"  the newest backup on Google Drive: on Colab each notebook has a machine of its own
    else     the folder named

    Raises WorkspaceError for Drive outside Colab, and if it holds no finished run.
    """
    if named != "drive":
        return Path(named).expanduser() if named else work.finished or RELEASED
    backups = drive_folder("RUN")
    found = replace(work, run=backups / work.run.name).finished
    if found is None:
        raise WorkspaceError(
            f"{backups}: no finished run of {work.run.name}; "
            "train it in 03_train with BACKUP = 'drive'"
        )
    return found


def _phantom_folder(folder: Path, preset: Preset, data: bool, only_test: bool) -> Path:
    """The whole phantom's folder, or, if that is not finished, the folder of its test studies."""
    only_test = only_test and not (folder / "sample_submission.csv").is_file()
    if only_test:
        folder = folder.with_name(f"{folder.name}-test")
    if data:
        make_phantom(folder, preset, only_test)
    return folder


def _real_folder(folder: Path, source: str, data: bool, only_test: bool) -> Path:
    if not data:
        return folder
    if source == "kaggle-raw":
        return kaggle.download_all()
    here = kaggle.downloaded() if source == "kaggle" else None
    if here:
        return here
    if source == "kaggle" and only_test:
        kaggle.download_sample(folder, split="test")
        if load_tables(folder).studies("test"):
            return folder
    number = source.removeprefix("sample").strip()
    return kaggle.download_sample(folder, int(number) if number.isdecimal() else SAMPLE_STUDIES)


def _own_folder(source: str) -> Path:
    folder = Path(source).expanduser().resolve()
    if not folder.is_dir():
        raise WorkspaceError(
            f"SOURCE = {source!r}: no such folder. Use one of {', '.join(SOURCES)}, "
            "or the folder with train.csv"
        )
    return folder


def drive_folder(setting: str) -> Path:
    """The project's folder on Google Drive, which is mounted now (Colab asks for permission).

    setting  of the notebook, that asks for it
    Raises WorkspaceError outside Colab.
    """
    if environment() != "colab":
        raise WorkspaceError(
            f"{setting} = 'drive' is for Colab; name a folder here, or leave it empty"
        )
    from google.colab import drive

    drive.mount(str(MOUNT))
    return MOUNT / "MyDrive" / "lumbar"
