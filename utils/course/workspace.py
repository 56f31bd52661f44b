"""Where data, prepared studies and runs are: the folders of one source of data and one preset.

`environment`, `home` and `report` can be imported from here too: a notebook needs one module.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.course import kaggle, settings
from utils.course.environment import PROJECT, environment, home, report
from utils.course.exams import fetch_volunteer, upload
from utils.errors import LumbarError
from utils.files import make_folder
from utils.phantom import make_dataset
from utils.presets import SPACING_MM, Preset, PresetError, get_preset, names_a_folder, shaped_like
from utils.rsna import is_data_folder, load_tables

__all__ = [
    "RELEASED",
    "Workspace",
    "WorkspaceError",
    "backup_folder",
    "choose",
    "environment",
    "find_run",
    "find_runs",
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
SOURCES = ("phantom", "volunteer", "upload", "sample", "kaggle", "kaggle-raw")
_BRING = {"volunteer": fetch_volunteer, "upload": upload}  # sources that are exams
RUNS = ("newest", "released", "drive")  # what RUN may be besides folders
NOT_MOUNTED = (
    "What other notebooks on Colab chose is known here if Google Drive is mounted (the folder icon "
    "on the left) in each of them before this cell is run."
)


class WorkspaceError(LumbarError):
    """A folder that a setting names and that cannot be used."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one source of data and one preset; printed, they say which of them exist.

    data      in the competition's layout
    prepared  what notebook 2 leaves
    run       what notebook 3 leaves
    home      everything else that is written
    exam      a folder or zip with an exam, which has no grades; None for other sources
    """

    source: str
    preset: Preset
    data: Path
    prepared: Path
    run: Path
    home: Path
    exam: Path | None = None

    def __str__(self) -> str:
        lines = []
        for name in ("data", "prepared", "run"):
            path = getattr(self, name)
            state = "there" if path.exists() else "not there yet"
            lines.append(f"{name:9} {path}  ({state})")
        if self.exam:
            lines.append("exam      there; it has no grades, so what needs some uses the phantom")
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
    graded: bool = True,
) -> Workspace:
    """The folders for a source: "phantom", "sample", "kaggle", "kaggle-raw", a folder in the
    competition's layout; or an exam without grades: "volunteer", "upload" (on Colab), a folder, a
    zip or a CD. Beside an exam the data are the phantom.

    data       make the data ready first: simulate the phantom, or fetch from Kaggle the tables and
               a few studies ("sample", or "sample 20" for so many; "kaggle", where `preparation`
               gets all of them without their files) or all 36 GB ("kaggle-raw"), which needs an
               account that has accepted the rules
    only_test  of a phantom that is not there yet simulate the test studies alone, which is all that
               grading needs, and fetch no others from Kaggle
    graded     of an exam make the phantom ready, too

    Raises WorkspaceError for a folder that is not there, kaggle.KaggleError and exams.FetchError.
    """
    preset = get_preset(preset)
    base = home()
    exam = _exam(source, base, data)
    source = "phantom" if exam else source
    if source == "phantom":
        name = preset.phantom.name
        folder = base / "data" / name
        folder = _phantom_folder(folder, preset, data and (graded or not exam), only_test)
    elif source in SOURCES or _SAMPLE.fullmatch(source):
        name = source.removesuffix("-raw").replace(" ", "-")
        folder = _real_folder(base / "data" / name, source, data, only_test)
    else:
        folder = _own_path(source)
        name = folder.name
    make_folder(base)
    run = base / "runs" / f"{name}-{preset.name}"
    finer = "" if preset.spacing_mm == SPACING_MM else f"-{preset.spacing_mm:g}mm"
    return Workspace(source, preset, folder, base / "prepared" / f"{name}{finer}", run, base, exam)


def choose(notebook: str, **form: Any) -> list:
    """The settings of a notebook's form (SOURCE, PRESET …), in its order; an empty one is as it
    was chosen last, in whichever notebook. What is chosen is kept in the home, and in the project's
    folder on Google Drive if that is mounted already.

    Raises LumbarError for a value that cannot be used.
    """
    folders = _homes()
    advice = NOT_MOUNTED if environment() == "colab" and len(folders) == 1 else ""
    return settings.choose(notebook, form, _KINDS, folders, advice)


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

    "" or "newest"  the newest finished one here, else the one that ships with the project
    "drive"         the newest backup on Google Drive: on Colab each notebook has a machine of its
                    own
    else            the folder named, here or among one's runs

    Raises WorkspaceError for Drive outside Colab, and if it holds no finished run.
    """
    if named in ("", "newest"):
        return work.finished or RELEASED
    if named != "drive":
        return _finished_run(named) or Path(named).expanduser()
    backups = drive_folder("RUN")
    found = replace(work, run=backups / work.run.name).finished
    if found is None:
        raise WorkspaceError(
            f"{backups}: no finished run of {work.run.name}; "
            "train it in 03_train with BACKUP = 'drive'"
        )
    return found


def find_runs(named: str | list[str], work: Workspace) -> list[Path]:
    """The runs to grade with, each as find_run finds it: one, or several separated by commas."""
    return [find_run(one, work) for one in _names(named) or [""]]


def _names(named: str | list[str]) -> list[str]:
    """The runs that RUN names; a folder may have a comma in its name."""
    if not isinstance(named, str):
        return named
    one = _finished_run(named)
    return [named] if one else [part for part in map(str.strip, named.split(",")) if part]


def _finished_run(named: str) -> Path | None:
    """The folder of a finished run: as it is named, in a home, or among the runs there."""
    there = [Path(named).expanduser()]
    there += [base / part / named for base in _homes() for part in ("", "runs")]
    return next((folder for folder in there if (folder / "run.json").is_file()), None)


def _homes() -> list[Path]:
    """The home, and the project's folder on Google Drive if that is mounted."""
    with contextlib.suppress(OSError):  # a mount that has died
        if environment() == "colab" and (MOUNT / "MyDrive").is_dir():
            return [home(), MOUNT / "MyDrive" / "lumbar"]
    return [home()]


def _usable_source(source: Any) -> str:
    if source not in SOURCES and not _SAMPLE.fullmatch(str(source)):
        _own_path(str(source))
    return str(source)


def _usable_preset(preset: Any) -> str | Preset:
    """The name of a preset; or one with settings of one's own, as it is or as JSON has it."""
    if isinstance(preset, str):
        return get_preset(preset).name
    own = Preset.from_dict(preset) if isinstance(preset, dict) else preset
    if not isinstance(own, Preset) or not names_a_folder(own.name):
        raise PresetError(f"PRESET is {preset!r}, no preset whose name can be that of a folder")
    return own


def _usable_run(named: Any) -> str | list[str]:
    for one in _names(named):
        if one not in RUNS and _finished_run(one) is None:
            raise WorkspaceError(
                f"RUN = {one!r}: no finished run there. Name one of those in {home() / 'runs'}, a "
                f"folder, or {', '.join(RUNS)}; several separated by commas are averaged"
            )
    return named if isinstance(named, str) else [str(one) for one in named]


def _usable_store(store: Any) -> str:
    if not isinstance(store, str):
        raise WorkspaceError(f"STORE is {store!r}; name a folder, or drive, or kaggle:owner/name")
    return store


_KINDS = {
    "SOURCE": settings.Kind("phantom", _usable_source),
    "PRESET": settings.Kind("demo", _usable_preset),
    "STORE": settings.Kind("none", _usable_store),
    "RUN": settings.Kind("newest", _usable_run, depends=("SOURCE", "PRESET")),
}


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


def _own_path(source: str) -> Path:
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise WorkspaceError(
            f"SOURCE = {source!r}: no such folder or file. Use one of {', '.join(SOURCES)}, the "
            "folder with train.csv, or a folder or zip with an MRI exam"
        )
    return path


def _exam(source: str, base: Path, data: bool) -> Path | None:
    """The exam that a source names; None for one that names data with grades."""
    if source in _BRING:
        folder = base / "data" / source
        return _BRING[source](folder) if data else folder
    if source in SOURCES or _SAMPLE.fullmatch(source):
        return None
    path = _own_path(source)
    if path.is_dir() and not any(path.iterdir()):
        raise WorkspaceError(f"SOURCE = {source!r}: the folder is empty")
    return None if is_data_folder(path) else path


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
    settings.carry(_KINDS, _homes())
    return MOUNT / "MyDrive" / "lumbar"
