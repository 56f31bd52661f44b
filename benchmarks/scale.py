"""The tables of docs/scale.md: what more studies, cores or GPUs would take, from measured rates.

python -m benchmarks.scale [--write]

Measures nothing. Rates are read from docs/bench.md, docs/measured.md and docs/growth.csv, so after
those have been measured again, --write puts the new tables into the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.rows import as_table
from utils import cli
from utils.course.machine import ARCHIVE_GB, IMAGES, PATIENTS, RUN_GB, crops_gb, prepared_gb
from utils.presets import PRESETS
from utils.training.processes import global_batch

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("measured.md", "bench.md")
CARDS = ("t4", "l4", "a100")
# Assumed, not measured: cores of Colab's machines; what its network gives, MB/s; the part of a
# training step that is its forward pass.
CORES = {"t4": 2, "l4": 12, "a100": 12}
NETWORK = 50
FORWARD = 1 / 3
PASSES = 10  # of the grader over a study: five affines of test-time augmentation, each mirrored too
MANY = 100_000  # studies
END = "<!-- end -->"  # of a table in the page
SHARD_GB = 0.5
GROWN = ("load the tables", "assign folds", "prepare again, nothing changed", "open the picker")
KEYS = ("a key in the picker, Python", "a key in the picker, browser")


@dataclass(frozen=True)
class Rates:
    """Seconds of one core to prepare a study, from files at 0.75 mm and out of an archive at 0.4;
    of two cores to grade one; and by preset the hours of a fold, and studies a second of locator
    and grader that the card needs and that one loader worker gives."""

    prepare: float
    from_archive: float
    grade: float
    hours: dict[str, float]
    needs: dict[str, tuple[float, float]]
    gives: dict[str, tuple[float, float]]


def read_rates() -> Rates:
    """Each from the row that is named."""
    measured, bench = map(rows, PAGES)
    (_, minutes), *_ = starting(measured, "preparing all 1,975 studies")
    (what, archive), *_ = starting(measured, "out of an archive on a server")
    seconds = middle(archive.partition("prepared in ")[2], "s") / middle(what, "images")
    hours, needs, gives = {}, {}, {}
    for card in CARDS:
        (hour, *_), (locator, *_) = (starting(measured, f"`{card}`")[k:] for k in (0, 1))
        grader = measured[measured.index(locator) + 1]
        hours[card] = float(hour[-1])
        needs[card] = float(locator[-1]), float(grader[-1])
        gives[card] = float(locator[1]), float(grader[1])
    (_, grade, *_), *_ = starting(bench, "a study, from files to 25 predictions")
    prepare = 2 * 60 * middle(minutes, "minutes") / PATIENTS  # by two workers
    from_archive = 2 * seconds * IMAGES / PATIENTS
    return Rates(prepare, from_archive, middle(grade, "s"), hours, needs, gives)


def rows(page: str) -> list[list[str]]:
    """The cells of every table of a page."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    return [[c.strip() for c in line[1:-1].split(" | ")] for line in lines if line[:1] == "|"]


def starting(table: list[list[str]], word: str) -> list[list[str]]:
    """The rows whose first cell starts so. Raises SystemExit if there is none."""
    found = [row for row in table if row[0].startswith(word)]
    if not found:
        raise SystemExit(f"no row {word!r} in docs/bench.md or docs/measured.md")
    return found


def middle(text: str, unit: str) -> float:
    """The number before a unit, of a range its middle: "4 to 5 minutes" is 4.5."""
    found = re.search(rf"([\d.,]+)(?: to ([\d.,]+))? {unit}\b", text)
    ends = [float(end.replace(",", "")) for end in found.groups() if end] if found else []
    return sum(ends) / len(ends) if ends else float("nan")


# --- tables ---------------------------------------------------------------------------------------


def colab(r: Rates) -> str:
    """All studies on one machine, by card."""
    table: dict[str, list[float]] = {}
    for card in CARDS:
        preset = PRESETS[card]
        network, cpu = ARCHIVE_GB * 1e3 / NETWORK, PATIENTS * r.from_archive / CORES[card]
        inside = preset.folds * (1 - 1 / 5) / (preset.folds - 1)  # studies of a fold of five
        grade = PATIENTS * preset.graders * PASSES * FORWARD / r.needs[card][1] / 3600
        disk = prepared_gb(preset) + crops_gb(preset) + RUN_GB
        hours = [network / 3600, cpu / 3600, r.hours[card], preset.folds * r.hours[card]]
        table[card] = [*hours, 5 * inside * r.hours[card], grade, preset.folds * grade, disk]
    names = ["network", "prepare", "a fold of four", "four folds", "five of five"]
    names += ["grade all by one fold", "by four", "disk, GB"]
    lines = ([name, *(f"{table[c][k]:.2f}" for c in CARDS)] for k, name in enumerate(names))
    return as_table(["hours, **estimated**", *CARDS], lines)


def cluster(r: Rates) -> str:
    """Preparing and grading on so many nodes of two cores."""
    alone = PATIENTS * per_study()["prepare again, nothing changed"]
    lines = []
    for nodes in (1, 2, 4, 8, 16):
        seconds = alone + PATIENTS * r.prepare / (2 * nodes)
        grade = PATIENTS * r.grade / nodes / 60
        read = ARCHIVE_GB * 1e3 / seconds
        lines.append([f"{nodes}", f"{seconds / 60:.1f}", f"{read:.0f}", f"{grade:.0f}"])
    header = ["nodes of two cores, **estimated**", "prepare, min", "store reads, MB/s"]
    return as_table([*header, "grade in parts, min"], lines)


def gpus(r: Rates) -> str:
    """One fold on several cards of one machine."""
    lines = []
    for card in CARDS:
        for count in (1, 2, 8):
            batch, accumulate = global_batch(PRESETS[card], count)
            cores = [count * need / one for need, one in zip(r.needs[card], r.gives[card])]
            disk = count * r.needs[card][0] * crops_gb(PRESETS[card]) / PATIENTS
            figures = [f"{r.hours[card] / count:.2f}", *(f"{c:.1f}" for c in cores), f"{disk:.1f}"]
            lines.append([f"{card} × {count}", f"{batch} × {accumulate}", *figures])
    header = ["cards, **estimated**", "studies × steps in an update", "hours a fold, at best"]
    return as_table([*header, "cores: locator", "grader", "crops read, GB/s"], lines)


def store(r: Rates) -> str:
    """What 1,975 and 100,000 studies take."""
    lines = []
    for name, each, form in _amounts(r):
        lines.append([name, *(form.format(count * each) for count in (PATIENTS, MANY))])
    return as_table(["**estimated**", f"{PATIENTS:,} studies", f"{MANY:,} studies"], lines)


def _amounts(r: Rates) -> list[tuple[str, float, str]]:
    """Name, amount a study, how it is written."""
    fine, coarse = (prepared_gb(PRESETS[name]) / PATIENTS for name in ("t4", "cpu_long"))
    grown = per_study()
    return [
        ("DICOM files", IMAGES / PATIENTS, "{:,.0f}"),
        ("archive, GB", ARCHIVE_GB / PATIENTS, "{:,.0f}"),
        ("prepared at 0.4 mm, GB", fine, "{:,.0f}"),
        ("prepared at 0.75 mm, GB", coarse, "{:,.0f}"),
        (f"shards of {SHARD_GB:g} GB, at 0.4 mm", fine / SHARD_GB, "{:,.0f}"),
        ("prepare at 0.75 mm, hours of a core", r.prepare / 3600, "{:,.1f}"),
        ("train a fold on an A100, hours", r.hours["a100"] / PATIENTS, "{:,.1f}"),
        *((f"{name}, s", grown[name], "{:,.2f}") for name in (*GROWN, *KEYS)),
        ("tables in memory beyond those of 100 studies, GB", memory(), "{:,.2f}"),
    ]


def per_study() -> pd.Series:
    """Seconds a study, by what was measured, among the most studies there were (growth.csv)."""
    return growth().groupby("what")["ms a study"].last() / 1000


def memory() -> float:
    """GB that a study adds where tables are loaded."""
    of = growth().set_index(["what", "studies"])["peak MB"]["load the tables"]
    most = of.index.max()
    return (of[most] - of[100]) / (most - 100) / 1000


def growth() -> pd.DataFrame:
    """docs/growth.csv."""
    return pd.read_csv(DOCS / "growth.csv")


TABLES = {"colab": colab, "cluster": cluster, "gpus": gpus, "store": store}


def with_tables(page: str) -> str:
    """The page with every table between its two marks made anew."""
    r = read_rates()
    for name, make in TABLES.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        page = before + mark + make(r) + "\n" + rest[rest.index(END) :]
    return page


def main() -> None:
    parser = cli.parser("benchmarks.scale", __doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    a = parser.parse_args()
    rates = read_rates()
    print(rates, *(make(rates) for make in TABLES.values()), sep="\n\n")
    if a.write:
        path = DOCS / "scale.md"
        path.write_text(with_tables(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    cli.run(main)
