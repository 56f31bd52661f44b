"""docs/scale.md and its arithmetic cannot part: its tables are what benchmarks.scale makes of the
rates that are in docs now."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import scale

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
BY_HAND = scale.Rates(
    prepare=0.5,
    from_archive=1.0,
    grade=2.0,
    hours=dict.fromkeys(scale.CARDS, 1.0),
    needs=dict.fromkeys(scale.CARDS, (100.0, 2.0)),
    gives=dict.fromkeys(scale.CARDS, (50.0, 4.0)),
)


def cells(table: str) -> dict[str, list[str]]:
    """The rows of a table in Markdown, by their first cells."""
    lines = [line[2:-2].split(" | ") for line in table.splitlines()[2:]]
    return {name: figures for name, *figures in lines}


def test_the_tables_of_the_page_are_what_the_script_makes_of_the_rates_in_docs():
    same = scale.with_tables(PAGE) == PAGE
    assert same, "a rate has changed: python -m benchmarks.scale --write"
    assert all(f"<!-- {name} -->\n|" in PAGE for name in scale.TABLES)


def test_every_rate_is_found_where_the_page_says():
    rates = scale.read_rates()
    numbers = [rates.prepare, rates.from_archive, rates.grade, *rates.hours.values()]
    numbers += [one for pair in (*rates.needs.values(), *rates.gives.values()) for one in pair]
    assert len(numbers) == 18
    assert all(math.isfinite(one) and one > 0 for one in numbers)
    for row in re.findall(r'(?:measured|bench)\.md, "([^"]+)"', PAGE):
        text = "".join((ROOT / "docs" / name).read_text("utf-8") for name in scale.PAGES)
        assert row in text, row


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(SystemExit, match="no row 'a study, from Mars'"):
        scale.starting(scale.rows("bench.md"), "a study, from Mars")


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("4 to 5 minutes on two workers, 10.8 GB", "minutes", 4.5),
        ("60 phantoms, 3,243 images", "images", 3243),
        ("1.83 s", "s", 1.83),
    ],
)
def test_of_a_range_its_middle_is_taken(text, unit, number):
    assert scale.middle(text, unit) == number


def test_all_studies_on_one_machine_by_hand():
    """36 GB at 50 MB/s are 720 s; 1,975 s of a core on two; a fold of five sees 80 % and not 75 %
    of the studies; ten passes of a third of half a second are 1.67 s a study, on an A100 for each
    of two graders."""
    table = cells(scale.colab(BY_HAND))
    assert table["network"] == ["0.20"] * 3
    assert table["prepare"] == ["0.27", "0.05", "0.05"]
    assert table["four folds"] == ["4.00"] * 3
    assert table["five of five"] == ["5.33"] * 3
    assert table["grade all by one fold"] == ["0.91", "0.91", "1.83"]
    assert table["by four"] == ["3.66", "3.66", "7.31"]


def test_nodes_share_what_is_not_done_by_one_process(monkeypatch):
    """A tenth of a second a study by one process, half a second of one of two cores."""
    monkeypatch.setattr(scale, "per_study", lambda: {"prepare again, nothing changed": 0.1})
    table = cells(scale.cluster(BY_HAND))
    assert table["1"] == [f"{1975 * 0.35 / 60:.1f}", f"{36_000 / (1975 * 0.35):.0f}", "66"]
    assert table["16"][0] == f"{1975 * (0.1 + 0.5 / 32) / 60:.1f}"
    assert table["16"][2] == "4"


def test_eight_gpus_take_an_eighth_and_ask_for_eight_times_as_much():
    table = cells(scale.gpus(BY_HAND))
    assert table["t4 × 1"][:4] == ["2 × 1", "1.00", "2.0", "0.5"]
    assert table["t4 × 8"][:4] == ["8 × 1", "0.12", "16.0", "4.0"]
    assert float(table["t4 × 8"][4]) == pytest.approx(8 * float(table["t4 × 1"][4]), rel=0.1)


def test_memory_is_extrapolated_from_what_a_study_adds(monkeypatch):
    """90 MB for 900 studies are 0.1 MB each, whatever Python itself takes."""
    rows = [("load the tables", count, 0.5, mb) for count, mb in ((100, 500.0), (1000, 590.0))]
    table = pd.DataFrame(rows, columns=["what", "studies", "ms a study", "peak MB"])
    monkeypatch.setattr(scale, "growth", lambda: table)
    assert scale.memory() == pytest.approx(1e-4)
    assert scale.per_study()["load the tables"] == pytest.approx(5e-4)


def test_the_tests_that_the_page_cites_are_there():
    cited = re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE)
    assert len(cited) == 2
    assert all(f"def {name}(" in (ROOT / path).read_text("utf-8") for path, name in cited)
