"""The variants that benchmarks measure are of this code, and their tables in docs are of them."""

import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pandas as pd
import pytest
from tiny import TINY

from benchmarks import ablation, gpu, transfer
from utils.presets import get_preset

DOCS = Path(__file__).parent.parent / "docs"
TABLES = {"ablation": (ablation.VARIANTS, "grader"), "transfer": (transfer.VARIANTS, "choice")}
VARIANTS = [*ablation.VARIANTS.values(), *transfer.VARIANTS.values()]
REPLACED = sorted({name for variant in VARIANTS for name in variant.training | variant.inference})


@pytest.mark.parametrize("name", REPLACED)
def test_what_a_variant_replaces_is_where_it_says(name):
    assert resolve_name(name) is not None


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_variant_sets_is_a_setting(variant):
    variant.preset(get_preset("demo"))  # TypeError for a field that a preset does not have


@pytest.mark.parametrize("table", TABLES)
def test_the_table_in_docs_has_a_row_for_each_variant_in_their_order(table):
    variants, column = TABLES[table]
    rows = pd.read_csv(DOCS / f"{table}.csv")[column]
    assert list(dict.fromkeys(rows)) == list(variants)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_where_there_is_none(prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "STUDIES", 1)
    gpu.measure([TINY], prepared, tmp_path, steps=2)
    said = capsys.readouterr().out
    assert "no GPU" in said
    assert "loss after 20 steps in bf16" in said  # not close to that in 32 bits: the net is tiny
    for check in ("stopped twice, resumed, finished", "released run on GPU and CPU within 0.001"):
        assert f"holds  {check}" in said


def test_without_a_gpu_nothing_is_measured(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match="no GPU here: nothing is measured"):
        gpu.main()


@pytest.mark.slow
def test_the_memory_of_a_step_is_counted_without_a_gpu():
    """With tensors that have no values; in a process of its own, which torch needs."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--presets", "smoke"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent)
    assert ran.returncode == 0, ran.stderr[-2000:]
    name, *gigabytes, allowed, _, _ = ran.stdout.splitlines()[-1].split()
    assert (name, allowed) == ("smoke", "NaN")
    assert all(0 < float(each) < 2 for each in gigabytes)
