"""The rows of docs/bench.md: what was measured, beside what, with the goal and what falls short."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

HEADER = ("what", "median", "spread", "beside", "its median", "ratio", "goal", "peak memory")


@dataclass
class Row:
    """One measurement in several rounds.

    key     of its goal and the cause, such as "reading / dicomsdl"
    ours    seconds of every round
    beside  what ours is compared with; theirs: its seconds in the same rounds
    memory  peak of the process that measured, GB
    """

    key: str
    what: str
    ours: list[float]
    beside: str = ""
    theirs: list[float] = field(default_factory=list)
    memory: float = float("nan")

    @property
    def ratio(self) -> float:
        """The median over rounds of ours over theirs, NaN where there is nothing to compare. Where
        rounds are not paired, the ratio of both medians."""
        if not self.theirs:
            return float("nan")
        if len(self.ours) != len(self.theirs):
            return statistics.median(self.ours) / statistics.median(self.theirs)
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs))

    def figure(self, name: str) -> float:
        """One of "ratio", "median" (s), "p95" (s), "memory" (GB)."""
        if name == "median":
            return statistics.median(self.ours)
        if name == "p95":
            return float(np.percentile(self.ours, 95))
        return self.ratio if name == "ratio" else self.memory


class Goal(NamedTuple):
    """The most that a figure of a row may be."""

    figure: str
    most: float

    def __str__(self) -> str:
        if self.figure == "ratio":
            return f"≤ {self.most:.3g}"
        unit = f"{self.most:g} GB" if self.figure == "memory" else seconds_text(self.most)
        return f"{self.figure} ≤ {unit}"


class Short(NamedTuple):
    """A goal that a row has not reached."""

    row: Row
    goal: Goal

    def __str__(self) -> str:
        value = self.row.figure(self.goal.figure)
        beside = f" beside {self.row.beside}" if self.row.beside else ""
        unit = {"ratio": f"{value:.3f}", "memory": f"{value:.2f} GB"}
        told = unit.get(self.goal.figure) or seconds_text(value)
        name = f"{self.row.what}{beside}: {self.goal.figure} {told}, goal {self.goal}"
        return f"{name}. {CAUSES.get(self.row.key, NO_CAUSE)}"


# Two workers are to be 1.8 times as fast as one.
GOALS = {
    "reading / dicomsdl": [Goal("ratio", 1.0)],
    "reading / plain pydicom": [Goal("ratio", 0.15)],
    "preparing / one worker": [Goal("ratio", 1 / 1.8)],
    "locator step / batches in memory": [Goal("ratio", 1.05)],
    "grader step / batches in memory": [Goal("ratio", 1.05)],
    "locator step / plain PyTorch": [Goal("ratio", 1.05)],
    "grader step / plain PyTorch": [Goal("ratio", 1.05)],
    "a study": [Goal("median", 3.0), Goal("memory", 1.5)],
    "viewer / interact": [Goal("p95", 0.016)],
}
NO_CAUSE = "No cause is known; first measure again where nothing else runs."
# Why a goal is not reached, when it is not.
_READING = "Decoding RLE by pylibjpeg-rle is the largest part of ours, checking every tag and plane"
CAUSES: dict[str, str] = {
    "reading / dicomsdl": f"{_READING} in Python the next; dicomsdl is C++ throughout and trusts "
    "the file.",
    "reading / plain pydicom": f"{_READING} in Python the next.",
    "preparing / one worker": "One process alone looks for what has changed and writes the tables, "
    "and the row that only counts says how much faster two can be on this machine at all.",
}


def short_of_goals(rows: Iterable[Row]) -> list[Short]:
    """Every goal that is not reached; a figure that is not there reaches none."""
    wanted = ((row, goal) for row in rows for goal in GOALS.get(row.key, ()))
    return [Short(row, goal) for row, goal in wanted if not row.figure(goal.figure) <= goal.most]


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a table."""
    lines = [_cells(row) for row in rows]
    return as_table(HEADER, lines)


def as_table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    header = list(header)
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(row: Row) -> list[str]:
    least, most = np.percentile(row.ours, [5, 95])
    theirs = seconds_text(statistics.median(row.theirs)) if row.theirs else ""
    return [
        row.what,
        seconds_text(statistics.median(row.ours)),
        f"{seconds_text(least)} to {seconds_text(most)}",
        row.beside,
        theirs,
        f"{row.ratio:.3f}" if row.theirs else "",
        ", ".join(map(str, GOALS.get(row.key, ()))),
        f"{row.memory:.2f} GB" if np.isfinite(row.memory) else "",
    ]


def seconds_text(seconds: float) -> str:
    """ "3.4 ms", "0.25 s", "7.1 s" """
    if seconds < 0.1:
        return f"{1000 * seconds:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
