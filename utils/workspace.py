"""Where am I (Colab, Kaggle, laptop), where do data and runs live, and how do they get there?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils.phantom import SIZES, make_dataset
from utils.presets import Preset, get_preset

COMPETITION = "rsna-2024-lumbar-spine-degenerative-classification"
RULES = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
RELEASED = Path(__file__).parent.parent / "released"  # the run that ships with the project; see its CARD.md
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pydicom", "ipywidgets", "anywidget", "accelerate")


def place() -> str:
    """'kaggle', 'colab' or 'laptop'."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    return "colab" if "COLAB_RELEASE_TAG" in os.environ else "laptop"


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

    @property
    def phantom_run(self) -> Path:
        """The run of the same preset trained on the phantom: what 04 uses when there is none on this source."""
        return self.home / "runs" / f"{_phantom_name(self.preset)}-{self.preset.name}"


def open_workspace(
    source: str = "phantom", preset: str | Preset = "demo", data: bool = True, only_test: bool = False
) -> Workspace:
    """The folders for a source: "phantom", "kaggle", or the path of a folder in the competition's layout.

    With data=True the data are made ready first: the phantom is drawn, the competition's files are fetched (36 GB; an
    account that has accepted the rules is needed). Raises FileNotFoundError for a folder that is not there.
    only_test: of a phantom that is not there yet draw the test studies alone, which is all that grading needs.
    """
    preset, base = get_preset(preset), home()
    if source == "phantom":
        folder, studies = base / "data" / _phantom_name(preset), preset.phantom_studies
        if only_test and not (folder / "sample_submission.csv").is_file():
            folder, studies = folder.with_name(folder.name + "-test"), 0
        if data:
            drawn = {"contrast": preset.phantom_contrast, "grading": preset.phantom_grading, "size": SIZES[preset.phantom_size]}
            make_dataset(folder, studies, preset.phantom_seed, preset.phantom_test_studies, jobs=os.cpu_count() or 1, **drawn)
    elif source == "kaggle":
        folder = download() if data else base / "data" / "kaggle"
    else:
        folder = Path(source).expanduser().resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"SOURCE = {source!r}: no such folder. Use 'phantom', 'kaggle', or the folder with train.csv")
    name = "kaggle" if source == "kaggle" else folder.name
    return Workspace(source, preset, folder, base / "prepared" / name, base / "runs" / f"{name}-{preset.name}", base)


def _phantom_name(preset: Preset) -> str:
    """What is not as usual is in the name."""
    usual, words = Preset(""), [f"phantom-{preset.phantom_studies}"]
    for part in ("contrast", "grading", "size", "seed"):
        value = getattr(preset, f"phantom_{part}")
        words += [f"{part}-{value}"] if value != getattr(usual, f"phantom_{part}") else []
    return "-".join(words)


def download() -> Path:
    """The competition's folder: attached on Kaggle, else fetched by kagglehub and cached. Raises RuntimeError with what to do."""
    attached = Path("/kaggle/input") / COMPETITION
    if attached.is_dir():
        return attached
    import kagglehub

    free = shutil.disk_usage(Path.home()).free / 1e9
    if free < 75:
        print(f"Only {free:.0f} GB are free here; the archive (36 GB) and its contents need about 75 GB for a while.")
    try:
        return Path(kagglehub.competition_download(COMPETITION))
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise RuntimeError(
            f"The competition's files cannot be fetched ({reason}). 1. Accept the rules at {RULES}. 2. Make an API token at "
            "https://www.kaggle.com/settings and put it in the environment (or Colab secret) KAGGLE_API_TOKEN. "
            "Until then SOURCE = 'phantom' runs every cell."
        ) from error


def report() -> pd.DataFrame:
    """Versions and machine, one row each, to put at the top of a notebook."""
    rows = {"place": place(), "folder": str(home()), "Python": platform.python_version()}
    rows |= {name: _version(name) for name in PACKAGES}
    rows["CPU cores"], rows["free disk"] = str(os.cpu_count()), f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB"
    rows["GPU"] = _gpu()
    return pd.DataFrame(rows.items(), columns=["what", "value"]).set_index("what")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gpu() -> str:
    try:
        import torch  # notebook 1 needs no torch, so this module must not
    except ImportError:
        return "not asked: torch is not installed; notebooks 3 and 4 need it"
    if not torch.cuda.is_available():
        return "none; on Colab: Runtime ▸ Change runtime type"
    gpu = torch.cuda.get_device_properties(0)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, trains in {'bf16' if native else 'fp16'}"
