"""Where this process runs (Colab, Kaggle, laptop), and on what machine."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import shutil
import sys
import tomllib
from pathlib import Path

import pandas as pd
import psutil

PROJECT = Path(__file__).parents[2]
PACKAGES = (
    *("torch", "torchvision", "numpy", "pandas", "pydicom"),
    *("ipywidgets", "anywidget", "accelerate"),
)
HOMES = {"kaggle": "/kaggle/working", "colab": "/content/lumbar", "laptop": "out"}
GPU_SETTING = {  # where each environment offers a GPU
    "colab": "Runtime ▸ Change runtime type ▸ T4, L4 or A100",
    "kaggle": "Settings ▸ Accelerator ▸ GPU T4 x2",
    "laptop": "a machine with an NVIDIA GPU, or Colab",
}


def environment() -> str:
    """'kaggle', 'colab' or 'laptop'."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    colab = "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules
    return "colab" if colab else "laptop"


def home() -> Path:
    """The folder for everything that is written: LUMBAR_HOME, or the environment's own."""
    return Path(os.environ.get("LUMBAR_HOME", HOMES[environment()])).expanduser().resolve()


def report() -> pd.DataFrame:
    """Machine and versions, one row each, for the top of a notebook; from here on the package's
    log messages are shown under the cells."""
    show_log()
    memory = psutil.virtual_memory().total
    rows = {
        "environment": environment(),
        **_gpu(),
        "CPU cores": str(os.cpu_count()),
        "memory": _gigabytes(memory),
        "free disk": _gigabytes(free_bytes(home())),
        "this project": _project_version(),
        "Python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }
    return pd.DataFrame(rows.items(), columns=["what", "value"]).set_index("what")


def show_log() -> None:
    """Show the package's log from INFO up as plain text on stdout; a second call does nothing.

    Colab's root logger has a handler of its own, which would show every line twice: hence no
    propagation.
    """
    logger = logging.getLogger("utils")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.0f} GB"


def _project_version() -> str:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gpu() -> dict[str, str]:
    """Rows on the GPU, of at most 50 characters: a notebook truncates longer ones."""
    try:
        import torch  # here and not above: notebook 1 runs without torch
    except ImportError:
        return {"GPU": "unknown: no torch; notebooks 3 and 4 need it"}
    if not torch.cuda.is_available():
        to_get = GPU_SETTING[environment()]
        return {"GPU": "none; presets demo and cpu_long need none", "to get a GPU": to_get}
    from utils.models import device, precision  # needs torchvision, too

    if device() == "cpu":  # the log says why
        name = torch.cuda.get_device_name(0)
        return {"GPU": f"{name}, not usable by torch {torch.__version__}"[:50]}
    gpu = torch.cuda.get_device_properties(0)
    described = f"{gpu.name}, {_gigabytes(gpu.total_memory)}, trains in {precision()}"
    return {"GPU": described, "CUDA": str(torch.version.cuda)}
