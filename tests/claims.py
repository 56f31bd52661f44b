"""Numbers in the text of a notebook that could be results of one run.

The text stays as it is when data, seed or preset change, so no result of the run may stand in it:
a cell prints it, or the sentence is worded so that it holds for any outcome. Looked at are numbers
with a decimal point or a percent sign.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import nbformat

from utils.presets import PRESETS

NUMBER = re.compile(r"\d+\.\d+|\d+(?= ?%)")
# Where numbers are given and not found: a question, what is folded away, code, links, sources.
GIVEN = re.compile(
    r"\*\*Check yourself\.\*\*.*?(?=\n\n|\Z)|<details>.*?</details>|```.*?```|`[^`]+`"
    r"|\]\([^)]*\)|\*\*Sources\.\*\*.*",
    re.S,
)
SETTINGS = {f"{preset.spacing_mm:g}" for preset in PRESETS.values()}
CONSTANTS = (  # true whatever was run
    "95 % confidence interval",
    "95 % interval",
    "a probability of 0.5 to 0.27, and one of 0.98 only to 0.95",  # by one unit of log-odds
    "no grade reaches 60 %",  # the viewer's filter
    "the model says 0.7",
    "*Severe 0.9* everywhere",
)
SENTENCE_END = re.compile(r"(?<=[.?!])[*)]*\s+|\n+")
ELSEWHERE = re.compile(r"\b(real|readers|winners)\b", re.I)  # of whom it was measured
HERE = re.compile(r"\b(phantoms?|this run)\b", re.I)


class Claim(NamedTuple):
    """A number in a sentence of a cell."""

    cell: int
    number: str
    sentence: str

    def __str__(self) -> str:
        return f"cell {self.cell} says {self.number}: {self.sentence!r}"


def claims(nb: nbformat.NotebookNode) -> Iterator[Claim]:
    """The numbers of all texts that are neither given nor constant."""
    for k, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            for sentence in sentences(cell.source):
                for number in NUMBER.findall(sentence):
                    if number not in SETTINGS:
                        yield Claim(k, number, sentence)


def sentences(text: str) -> list[str]:
    """What a text says, without what it gives."""
    text = GIVEN.sub(" ", text)
    for constant in CONSTANTS:
        text = text.replace(constant, "")
    return SENTENCE_END.split(text)


def of_nobody(nb: nbformat.NotebookNode) -> list[str]:
    """Claims whose sentence does not say that they were measured elsewhere, on real patients."""

    def is_elsewhere(sentence: str) -> bool:
        return bool(ELSEWHERE.search(sentence)) and not HERE.search(sentence)

    return [str(claim) for claim in claims(nb) if not is_elsewhere(claim.sentence)]


def of_one_seed(nb: nbformat.NotebookNode, other: nbformat.NotebookNode) -> list[str]:
    """Claims that the code before or after them prints with one seed and not with the other."""
    return [
        str(claim)
        for claim in claims(nb)
        if (claim.number in printed_round(nb, claim.cell))
        != (claim.number in printed_round(other, claim.cell))
    ]


def printed_round(nb: nbformat.NotebookNode, k: int) -> set[str]:
    """All numbers in the outputs of the code cells before and after a text."""
    before = [cell for cell in nb.cells[:k] if cell.cell_type == "code"][-1:]
    after = [cell for cell in nb.cells[k:] if cell.cell_type == "code"][:1]
    return {n for cell in before + after for n in re.findall(r"\d+(?:\.\d+)?", printed(cell))}


def printed(cell: nbformat.NotebookNode) -> str:
    """What a cell printed or showed as a table, and the alt texts of its figures."""
    return "\n".join(text for output in cell.get("outputs", []) for text in texts_of(output))


def texts_of(output: nbformat.NotebookNode) -> Iterator[str]:
    """The texts of one output; none of a progress bar."""
    figure = output.get("metadata", {}).get("image/png", {})
    shown = output.get("text") or output.get("data", {}).get("text/plain", "")
    yield from (text for text in (shown, figure.get("alt", "")) if text and "/s]" not in text)
