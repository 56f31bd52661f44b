"""What was measured on: the first table of docs/bench.md and docs/soak.md."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("torch", "pydicom", "numpy", "accelerate")


def machine() -> dict[str, str]:
    """What was measured on, and with which versions."""
    memory = psutil.virtual_memory().total / 1e9
    own = {"CPU": cpu(), "cores": str(os.cpu_count()), "memory": f"{memory:.0f} GB"}
    return own | {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def cpu() -> str:
    """The processor's own name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
