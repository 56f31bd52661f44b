"""How long each section of the executed notebooks took, for the table at the top of each.

python -m benchmarks.sections [OUT] [--write]

OUT holds what `make run` left (default: out). With --write the times are put into the notebooks' own tables: after a run from
nothing, on a machine that does nothing else.
"""

import argparse
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
ROW = r"^(\| {number} [^|]+\|[^|]+\| )[^|]*( \|)"


def seconds_by_section(notebook: nbformat.NotebookNode) -> dict[int, float]:
    """Of the cells under "## 1 · …", "## 2 · …"; what stands above the first counts for it."""
    spent, section = {}, 1
    for cell in notebook.cells:
        heading = re.search(r"^## (\d+) · ", cell.source, re.M) if cell.cell_type == "markdown" else None
        section = int(heading[1]) if heading else section
        spent[section] = spent.get(section, 0.0) + (cell.metadata.get("papermill", {}).get("duration") or 0.0)
    return spent


def told(seconds: float) -> str:
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def write(path: Path, spent: dict[int, float]) -> None:
    notebook = nbformat.read(path, 4)
    for section, seconds in spent.items():
        row = ROW.format(number=section)
        notebook.cells[0].source = re.sub(row, rf"\g<1>{told(seconds)}\g<2>", notebook.cells[0].source, count=1, flags=re.M)
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sections", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "out")
    parser.add_argument("--write", action="store_true", help="into the notebooks' tables")
    a = parser.parse_args()
    for path in sorted(ROOT.glob("0*.ipynb")):
        spent = seconds_by_section(nbformat.read(a.out / path.name, 4))
        print(f"{path.stem:14}", *(f"{section}: {told(s)}" for section, s in spent.items()), f"all: {told(sum(spent.values()))}")
        if a.write:
            write(path, spent)


if __name__ == "__main__":
    main()
