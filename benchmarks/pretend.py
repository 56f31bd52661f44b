"""Everything that a GPU would run, on one that is pretended: whole trainings and the notebooks.

python -m benchmarks.pretend HOME [--bf16]     (make pretend: both)

In fp16, or in bf16: fit, stopped after the first epoch of either model and resumed; then every
code cell of 03_train and 04_infer. Values are real, the device is not (tests/pretended_gpu.py).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

from tests import pretended_gpu

# isort: split
from IPython.core.interactiveshell import InteractiveShell

from benchmarks.gpu import stops_and_resumes
from utils import cli, models, phantom, prepare
from utils.presets import get_preset

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ("03_train", "04_infer")
STUDIES = 6
SHORT = {"locator_epochs": 2, "grader_epochs": 2, "folds": 2, "train_folds": (0,), "workers": 0}


def trainings(prepared: Path) -> dict[str, bool]:
    """A small training with each preset's batch and accumulation, stopped and resumed."""
    checks = {}
    for name in ("t4", "l4"):
        preset = replace(get_preset(name), **pretended_gpu.SMALL, **SHORT)
        with tempfile.TemporaryDirectory() as folder:
            found = stops_and_resumes(preset, prepared, Path(folder) / "run")
        checks |= {f"{name}, {models.precision()}: {check}": held for check, held in found.items()}
    return checks


def cells(notebook: str) -> dict[str, bool]:
    """Every code cell of a notebook, one after the other, as Jupyter runs them."""
    shell = InteractiveShell.instance()
    content = json.loads((ROOT / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    checks = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace('PRESET = ""', 'PRESET = "smoke"')
            ran = shell.run_cell(source, store_history=False)
            checks[f"{notebook}, cell {cell['id']}"] = ran.success
    return checks


def main() -> None:
    parser = cli.parser("benchmarks.pretend", __doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="a folder for phantoms and runs")
    parser.add_argument("--bf16", action="store_true", help="the card has native bf16")
    a = parser.parse_args()
    root = phantom.make_dataset(a.home / "data" / "pretend", STUDIES)
    spacing_mm = get_preset("t4").spacing_mm
    prepared = a.home / "prepared" / "pretend"
    prepare.prepare(root, prepared, folds=SHORT["folds"], spacing_mm=spacing_mm)
    os.environ["LUMBAR_HOME"] = str(a.home)
    pretended_gpu.restart_with_engine()
    pretended_gpu.install(a.bf16)
    os.environ["MPLBACKEND"] = "Agg"
    warnings.simplefilter("ignore")
    with pretended_gpu.Pretended():
        checks = trainings(prepared)
        for notebook in NOTEBOOKS:
            checks |= cells(notebook)
    failed = [name for name, holds in checks.items() if not holds]
    print(f"{len(checks) - len(failed)} of {len(checks)} hold", *failed, sep="\n", file=sys.stderr)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    cli.run(main)
