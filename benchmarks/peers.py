"""The packages that this project is measured beside, in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

# What is installed together, by the name of the peer.
PEERS = {
    "dicomsdl": ["dicomsdl"],
    "SimpleITK": ["SimpleITK"],
    "MONAI": ["monai"],
    "ipyniivue": ["ipyniivue", "nibabel"],
}
VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


def make_environment(folder: Path) -> Path:
    """A new environment that also sees this one's packages, so that ours and the peers are measured
    in one process; returns its Python."""
    venv.create(folder, with_pip=True)
    own = next(folder.glob("[Ll]ib/**/site-packages"))
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (own / "project.pth").write_text("\n".join(ours))
    return next(folder.glob("bin/python")) if (folder / "bin").is_dir() else Path(sys.executable)


def install(python: Path) -> tuple[dict[str, str], list[str]]:
    """Install every peer; returns the versions of those that are there, and a line for each that is
    not."""
    versions, missing = {}, []
    for name, packages in PEERS.items():
        command = [python, "-m", "pip", "install", "-q", *packages]
        if subprocess.run(command, capture_output=True).returncode:
            missing.append(f"{name} cannot be installed here (pip install {' '.join(packages)})")
        else:
            versions[name] = version_in(python, packages[0])
    return versions, missing


def version_in(python: Path, package: str) -> str:
    ran = subprocess.run([python, "-c", VERSION, package], capture_output=True, text=True)
    return ran.stdout.strip()
