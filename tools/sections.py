"""How long each section of the executed notebooks took, for the table at the top of each.

python -m tools.sections [OUT] [--write]

OUT holds what `make run` left (default: out). With --write the times are written into the
notebooks' own tables: do so after a run from an empty folder, on a machine that does nothing else.
"""

import re
from pathlib import Path

import nbformat

from utils import cli

ROOT = Path(__file__).parent.parent
ROW = r"^(\| {number} [^|]+\|[^|]+\| )[^|]*( \|)"  # of the table, with its time
SHOWN_IN_SECONDS = 90  # s; longer times are shown in minutes


def seconds_by_section(notebook: nbformat.NotebookNode) -> dict[int, float]:
    """Seconds of the cells under "## 1 · …", "## 2 · …"; cells above the first count for it."""
    spent: dict[int, float] = {}
    section = 1
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = re.search(r"^## (\d+) · ", cell.source, re.M)
            section = int(heading[1]) if heading else section
        seconds = cell.metadata.get("papermill", {}).get("duration") or 0.0
        spent[section] = spent.get(section, 0.0) + seconds
    return spent


def as_text(seconds: float) -> str:
    """As the tables say it, "7 s" or "3 min"; at least one second."""
    if seconds < SHOWN_IN_SECONDS:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min"


def write(path: Path, spent: dict[int, float]) -> None:
    """Put the times into the table in a notebook's first cell."""
    notebook = nbformat.read(path, 4)
    first_cell = notebook.cells[0]
    for section, seconds in spent.items():
        row = re.compile(ROW.format(number=section), re.M)
        first_cell.source = row.sub(rf"\g<1>{as_text(seconds)}\g<2>", first_cell.source, count=1)
    nbformat.write(notebook, path)


def main() -> None:
    parser = cli.parser("tools.sections", __doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "out")
    parser.add_argument("--write", action="store_true", help="into the notebooks' tables")
    a = parser.parse_args()
    for path in sorted(ROOT.glob("0*.ipynb")):
        spent = seconds_by_section(nbformat.read(a.out / path.name, 4))
        times = [f"{section}: {as_text(seconds)}" for section, seconds in spent.items()]
        print(f"{path.stem:14}", *times, f"all: {as_text(sum(spent.values()))}")
        if a.write:
            write(path, spent)


if __name__ == "__main__":
    cli.run(main)
