"""Tries to break the project for a while, and writes docs/soak.md: `make soak`.

python -m benchmarks.soak [MINUTES] [--seed S] [--out docs/soak.md]

Every kind of harm in turn until the time is up. Ends with 1 if anything was lost.
"""

from __future__ import annotations

import itertools
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.rows import as_table
from benchmarks.soak.disks import may_mount
from benchmarks.soak.kinds import Kind, all_kinds
from benchmarks.soak.works import make_bench
from utils import cli
from utils.files import write_atomic

DOCS = Path(__file__).parents[2] / "docs"
LOST = "lost"
NO_DISK = "not tried: this user may not mount a small disk"
NO_TIME = "not tried: the time was up"
HEADER = ("kind", "tried", "survived", "how", "lost")
PAGE = """# What was tried to break it

Written by `make soak`: random harm on a small phantom for {minutes:g} minutes (seed {seed}), each
checked against what an undisturbed run leaves; nothing here is typed by hand. **{tried:,} tried,
{lost} lost.**

{machine}

{rows}

{losses}## What is done, and what counts as survived

{titles}
"""
Results = dict[str, Counter]  # of every kind: how often it ended how


def attack(bench: Path, kinds: list[Kind], seconds: float, seed: int) -> tuple[Results, list[str]]:
    """Every kind in turn until the time is up: how it was survived, and a line for each loss, which
    is also printed at once."""
    results: Results = {kind.name: Counter() for kind in kinds}
    losses: list[str] = []
    end = time.monotonic() + seconds
    for turn, kind in enumerate(in_turn(kinds)):
        if time.monotonic() > end:
            break
        for k in range(kind.times):
            how, why = suffered(bench, kind, random.Random(f"{seed} {turn} {k}"))
            results[kind.name][how] += 1
            if why:
                losses.append(f"{kind.name}, turn {turn}.{k}: {why}")
                print(f"lost: {losses[-1]}", flush=True)
        print(f"{kind.name}: {how_text(results[kind.name])}", flush=True)
    return results, losses


def in_turn(kinds: list[Kind]) -> Iterator[Kind]:
    """All of them, then again and again those for which a single turn is not enough."""
    often = [kind for kind in kinds if not kind.once]
    return itertools.chain(kinds, itertools.cycle(often))


def suffered(bench: Path, kind: Kind, rng: random.Random) -> tuple[str, str]:
    """How a single harm was survived; or LOST, and why."""
    folder = Path(tempfile.mkdtemp(dir=bench))
    try:
        return kind.harm(bench, folder, rng), ""
    except Exception as error:  # noqa: BLE001  whatever it is, it is a loss
        return LOST, f"{type(error).__name__}: {' '.join(str(error).split())}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def how_text(counts: Counter) -> str:
    return ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))


def page(kinds: list[Kind], results: Results, losses: list[str], **about: float) -> str:
    """The whole of docs/soak.md.

    about  minutes and seed
    """
    return PAGE.format(
        machine=as_table(["", ""], [[name, value] for name, value in machine().items()]),
        tried=sum(counts.total() for counts in results.values()),
        lost=len(losses),
        rows=as_table(HEADER, [row(kind, results.get(kind.name)) for kind in kinds]),
        losses=listed("Lost", losses),
        titles="\n".join(f"- {title}" for title in dict.fromkeys(kind.title for kind in kinds)),
        **about,
    )


def row(kind: Kind, counts: Counter | None) -> list[str]:
    """A line of the table; without counts the kind could not be tried."""
    if not counts:
        return [kind.name, "0", "", NO_DISK if counts is None else NO_TIME, ""]
    survived = Counter({how: count for how, count in counts.items() if how != LOST})
    figures = counts.total(), survived.total(), how_text(survived), counts[LOST]
    return [kind.name, *map(str, figures)]


def listed(title: str, lines: Iterable[str]) -> str:
    """A section with a list; empty where there is nothing to list."""
    lines = [f"- {line}\n" for line in lines]
    return f"## {title}\n\n{''.join(lines)}\n" if lines else ""


def main() -> None:
    parser = cli.parser("benchmarks.soak", "Try to break the project for a while.")
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DOCS / "soak.md")
    a = parser.parse_args()
    logging.getLogger("utils").setLevel(logging.ERROR)  # what is left out of a damaged table
    kinds = all_kinds()
    possible = kinds if may_mount() else [kind for kind in kinds if not kind.mounts]
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder))
        results, losses = attack(bench, possible, 60 * a.minutes, a.seed)
    write_atomic(a.out, page(kinds, results, losses, minutes=a.minutes, seed=a.seed))
    print(f"written: {a.out}")
    sys.exit(bool(losses))


if __name__ == "__main__":
    cli.run(main)
