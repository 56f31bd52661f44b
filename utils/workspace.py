"""Where am I (Colab, Kaggle, laptop), where do data and runs live, and what machine is this?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import psutil

from utils import kaggle
from utils.phantom import SIZES, make_dataset
from utils.presets import Preset, get_preset

PROJECT = Path(__file__).parent.parent
RELEASED = PROJECT / "released"  # the run that ships with the project; see its CARD.md
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pydicom", "ipywidgets", "anywidget", "accelerate")
SAMPLE = 3  # studies of the sample of real data
MOUNT = Path("/content/drive")
SOURCES = ("phantom", "sample", "kaggle")
MORE = {  # where a GPU is to be had
    "colab": "Runtime ▸ Change runtime type ▸ T4, L4 or A100",
    "kaggle": "Settings ▸ Accelerator ▸ GPU T4 x2",
    "laptop": "a machine with an NVIDIA GPU, or Colab",
}


def place() -> str:
    """'kaggle', 'colab' or 'laptop'."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    return "colab" if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules else "laptop"


def home() -> Path:
    """The folder everything is written under: LUMBAR_HOME if set, else one that suits the place."""
    default = {"kaggle": "/kaggle/working", "colab": "/content/lumbar", "laptop": "out"}[place()]
    return Path(os.environ.get("LUMBAR_HOME", default)).resolve()


@dataclass(frozen=True)
class Workspace:
    """The folders of one source of data and one preset."""

    source: str
    preset: Preset
    data: Path
    prepared: Path
    run: Path
    home: Path

    def __str__(self) -> str:
        there = {True: "there", False: "not there yet"}
        rows = [(name, getattr(self, name)) for name in ("data", "prepared", "run")]
        return "\n".join(f"{name:9} {path}  ({there[path.exists()]})" for name, path in rows)

    @property
    def finished(self) -> Path | None:
        """The newest finished run of this preset on this source, whatever it began with; else on the phantom; None if there is
        none."""
        for name in (self.run.name, f"{_phantom_name(self.preset)}-{self.preset.name}"):
            found = [*self.run.parent.glob(f"{name}/run.json"), *self.run.parent.glob(f"{name}-after-*/run.json")]
            if found:
                return max(found, key=lambda path: path.stat().st_mtime).parent
        return None


def open_workspace(
    source: str = "phantom", preset: str | Preset = "demo", data: bool = True, only_test: bool = False
) -> Workspace:
    """The folders for a source: "phantom", "sample", "kaggle", or the path of a folder in the competition's layout.

    With data=True the data are made ready first: the phantom is drawn; the tables and a few studies ("sample") or all of the
    competition (36 GB) are fetched from Kaggle, which needs an account that has accepted the rules. Raises FileNotFoundError
    for a folder that is not there, and kaggle.KaggleError with what to do.
    only_test: of a phantom that is not there yet draw the test studies alone, which is all that grading needs.
    """
    preset, base = get_preset(preset), home()
    name = _phantom_name(preset) if source == "phantom" else source
    if source == "phantom":
        folder = base / "data" / name
        only_test = only_test and not (folder / "sample_submission.csv").is_file()
        folder = folder.with_name(folder.name + "-test") if only_test else folder
        if data:
            draw_phantom(folder, preset, only_test)
    elif source == "kaggle":
        folder = kaggle.download_all() if data else base / "data" / "kaggle"
    elif source == "sample":
        folder = kaggle.download_sample(base / "data" / "sample", SAMPLE) if data else base / "data" / "sample"
    else:
        folder = Path(source).expanduser().resolve()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"SOURCE = {source!r}: no such folder. Use one of {', '.join(SOURCES)}, or the folder with train.csv"
            )
        name = folder.name
    base.mkdir(parents=True, exist_ok=True)
    return Workspace(source, preset, folder, base / "prepared" / name, base / "runs" / f"{name}-{preset.name}", base)


def draw_phantom(folder: Path, preset: Preset, only_test: bool = False) -> None:
    """The phantom of a preset, or its test studies alone."""
    drawn = {"contrast": preset.phantom_contrast, "grading": preset.phantom_grading, "size": SIZES[preset.phantom_size]}
    counts = preset.phantom_studies, preset.phantom_seed, preset.phantom_test_studies
    make_dataset(folder, *counts, jobs=os.cpu_count() or 1, only_test=only_test, **drawn)


def _phantom_name(preset: Preset) -> str:
    """What is not as usual is in the name."""
    usual, words = Preset(""), [f"phantom-{preset.phantom_studies}"]
    for part in ("contrast", "grading", "size", "seed"):
        value = getattr(preset, f"phantom_{part}")
        words += [f"{part}-{value}"] if value != getattr(usual, f"phantom_{part}") else []
    return "-".join(words)


def copies(to: str, work: Workspace) -> Path | None:
    """The second place of the workspace's run, a folder of its name: "" none, "drive" on your Google Drive, or in the folder
    named. Only checkpoints and tables go there; nothing is read from it while training. Raises RuntimeError for Drive off
    Colab."""
    if to == "drive":
        return _drive("COPIES") / work.run.name
    return Path(to).expanduser() / work.run.name if to else None


def chosen_run(named: str, work: Workspace) -> Path:
    """The run to grade with: "" the newest finished one here, else the one that ships with the project; "drive" the newest of
    the copies on your Google Drive, because on Colab each notebook has a machine of its own; or the folder named.

    Raises RuntimeError for Drive off Colab, FileNotFoundError if no finished run is there.
    """
    if named != "drive":
        return Path(named).expanduser() if named else work.finished or RELEASED
    there = _drive("RUN")
    if (found := replace(work, run=there / work.run.name).finished) is None:
        raise FileNotFoundError(f"{there}: no finished run of {work.run.name}; train it in 03_train with COPIES = 'drive'")
    return found


def _drive(setting: str) -> Path:
    """The project's folder on Google Drive, which is mounted now (Colab asks whether it may)."""
    if place() != "colab":
        raise RuntimeError(f"{setting} = 'drive' is for Colab; name a folder here, or leave it empty")
    from google.colab import drive

    drive.mount(str(MOUNT))
    return MOUNT / "MyDrive" / "lumbar"


def report() -> pd.DataFrame:
    """Machine and versions, one row each, to put at the top of a notebook."""
    rows = {"place": place(), **_gpu(), "CPU cores": str(os.cpu_count())}
    rows |= {"memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB", "free disk": f"{_free(home()) / 1e9:.0f} GB"}
    rows |= {"this project": _project_version(), "Python": platform.python_version()}
    rows |= {name: _version(name) for name in PACKAGES}
    return pd.DataFrame(rows.items(), columns=["what", "value"]).set_index("what")


def _free(folder: Path) -> int:
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.is_dir())).free


def _project_version() -> str:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gpu() -> dict[str, str]:
    """Lines of at most 50 characters: longer ones are cut off where a notebook shows them."""
    try:
        import torch  # notebook 1 needs no torch, so this module must not
    except ImportError:
        return {"GPU": "not asked: no torch; notebooks 3 and 4 need it"}
    if not torch.cuda.is_available():
        return {"GPU": "none; presets demo and cpu_long need none", "to get a GPU": MORE[place()]}
    gpu = torch.cuda.get_device_properties(0)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    told = f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, trains in {'bf16' if native else 'fp16'}"
    return {"GPU": told, "CUDA": str(torch.version.cuda)}
