"""All measurements of cost in turn, on the phantom, written as docs/bench.md: `make bench`.

python -m benchmarks [--only reading training] [--out docs/bench.md]

Some eight minutes on two cores. The peers are installed into an environment in a temporary folder,
and take turns with ours in one process. The times of `make run` are those of the notebooks that it
left in out/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import nbformat

from benchmarks import parts, peers
from benchmarks.machine import machine
from benchmarks.rows import Row, as_table, markdown, short_of_goals
from tools.sections import as_text, seconds_by_section
from utils import cli
from utils.files import write_atomic

WITH_PEERS = ("reading", "viewer")  # parts that run where the peers are
PAGE = """# Benchmarks

Written by `make bench` on the phantom; nothing here is typed by hand. Every row is of one process
in which ours and what it is beside took turns (two workers, and viewers, one after the other). The
ratio is the median over rounds of ours divided by the other, so less than 1 is faster; the spread
is from the 5th to the 95th percentile. The peak memory is that of the process that measured, with
whatever it is beside.

{machine}

{rows}

{short}{left_out}{sections}"""


def measured(name: str, python: Path, folder: Path) -> list[Row]:
    """The rows of a part, in a process of its own. Raises RuntimeError with its last line if it
    fails."""
    out = folder / f"{name}.json"
    command = [python, "-W", "ignore", "-m", "benchmarks", "--part", name, "--out", out]
    ran = subprocess.run(command, cwd=parts.PROJECT, env=environment(), stderr=subprocess.PIPE)
    if ran.returncode:
        told = ran.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise RuntimeError(told[-1])
    return [Row(**row) for row in json.loads(out.read_text())]


def environment() -> dict[str, str]:
    """JupyterLab's own files are in this environment, whichever Python runs it."""
    share = Path(sys.prefix) / "share" / "jupyter"
    return os.environ | {"JUPYTER_PATH": str(share), "JUPYTERLAB_DIR": str(share / "lab")}


def run_part(name: str, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = parts.measure(name, Path(folder))
    write_atomic(out, json.dumps([asdict(row) for row in rows]))


def run_all(names: list[str], folder: Path) -> tuple[list[Row], dict[str, str], list[str]]:
    """The rows of all parts, the versions of the peers, and a line for what is left out."""
    python, versions, left_out = Path(sys.executable), {}, []
    if set(names) & set(WITH_PEERS):
        python = peers.make_environment(folder / "peers")
        versions, left_out = peers.install(python)
    rows: list[Row] = []
    for name in names:
        print(f"== {name}", flush=True)
        try:
            own = python if name in WITH_PEERS else Path(sys.executable)
            found = measured(name, own, folder)
        except RuntimeError as error:
            left_out.append(f"{name}: {error}")
            continue
        print(markdown(found), flush=True)
        rows += found
    return rows, versions, left_out


def page(rows: list[Row], about: dict[str, str], left_out: list[str], out: Path) -> str:
    """The whole of docs/bench.md."""
    short = [str(each) for each in short_of_goals(rows)]
    return PAGE.format(
        machine=as_table(["", ""], [[name, value] for name, value in about.items()]),
        rows=markdown(rows),
        short=listed("Short of its goal", short) or "Every goal is reached.\n\n",
        left_out=listed("Left out", left_out),
        sections=sections(out),
    )


def listed(title: str, lines: list[str]) -> str:
    """A section with a list; empty where there is nothing to list."""
    return f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) + "\n" if lines else ""


def sections(out: Path) -> str:
    """What each section of the executed notebooks took; empty where there are none."""
    lines = []
    for path in sorted(out.glob("0*.ipynb")):
        spent = seconds_by_section(nbformat.read(path, 4))
        each = ", ".join(f"{section}: {as_text(seconds)}" for section, seconds in spent.items())
        lines.append([path.stem, as_text(sum(spent.values())), each])
    table = as_table(["notebook", "all", "by section"], lines)
    return f"## `make run`\n\n{table}\n" if lines else ""


def main() -> None:
    parser = cli.parser("benchmarks", __doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(parts.PARTS), choices=parts.PARTS)
    parser.add_argument("--part", choices=parts.PARTS, help="this one, in this process, as JSON")
    parser.add_argument("--out", type=Path, default=parts.PROJECT / "docs" / "bench.md")
    a = parser.parse_args()
    if a.part:
        run_part(a.part, a.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows, versions, left_out = run_all(a.only, Path(folder))
    text = page(rows, machine() | versions, left_out, parts.PROJECT / "out")
    write_atomic(a.out, text.rstrip() + "\n")
    print(f"written: {a.out}")


if __name__ == "__main__":
    cli.run(main)
