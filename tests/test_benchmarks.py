"""The variants that benchmarks measure are of this code, and their tables in docs are of them; the
tables of growth and of `make bench`."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from pkgutil import resolve_name

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY

from benchmarks import __main__ as bench
from benchmarks import ablation, alternatives, gpu, growth, real_foramen, rows, transfer
from benchmarks.peak import peak_gb
from benchmarks.rows import Row
from utils import rsna
from utils.presets import get_preset
from utils.rsna import GRADE_COLUMNS, TARGETS, row_id

DOCS = Path(__file__).parent.parent / "docs"
TABLES = {"ablation": (ablation.VARIANTS, "grader"), "transfer": (transfer.VARIANTS, "choice")}
VARIANTS = [
    *ablation.VARIANTS.values(),
    *transfer.VARIANTS.values(),
    *real_foramen.ARMS.values(),
]
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


def test_a_label_that_another_grader_is_nearly_sure_is_wrong_is_left_out():
    """Worked by hand: of Normal/Mild it says 0.1 at the first target and 0.3 at the others."""
    logits = pd.DataFrame(np.log([[0.1, 0.8, 0.1]] + [[0.3, 0.5, 0.2]] * 24), columns=GRADE_COLUMNS)
    logits = logits.assign(study_id=7, row_id=[row_id(7, *target) for target in TARGETS])
    labels = pd.DataFrame(TARGETS, columns=["condition", "level"])
    labels = labels.assign(study_id=7, grade="Normal/Mild")
    grades = real_foramen.without_doubtful(logits)(labels)
    assert grades[7].tolist() == [-1] + [0] * 24


def test_features_of_a_study_can_be_its_own_reference(monkeypatch):
    """Worked by hand: two views of one slice and feature, 10.0 and 10.2, are one standard deviation
    on either side of their mean; a second study has its own."""
    features = torch.tensor([[[10.0]], [[10.2]], [[-3.0]], [[-1.0]]])
    monkeypatch.setattr(alternatives, "encoded", lambda *_: features)
    crops, there = torch.zeros(2, 3, 1, 4, 4), torch.tensor([0, 1, 3, 5])
    found = alternatives.within_study(None, crops, there).flatten().tolist()
    assert found == pytest.approx([-1, 1, -1, 1], abs=1e-3)


def test_the_loss_by_its_own_weights_heeds_no_others():
    """Two studies, one term: (1 + 3) / (2 + 2). The trainer gives weights, its validation none."""
    terms = torch.tensor([[[1.0], [2.0]], [[3.0], [2.0]]])
    assert alternatives.own_weights(terms).item() == 1.0
    assert alternatives.own_weights(terms, torch.tensor([5.0])).item() == 1.0


# --- growth and make bench ------------------------------------------------------------------------


def test_growth_compares_the_processors_seconds_a_study_with_those_for_100():
    """Worked by hand: 2 s for 100 studies are 20 ms each; 30 s for 1,000 are 30 ms, 1.5 times."""
    figures = [
        {"what": "read", "studies": count, "seconds": seconds, "cpu": seconds, "peak MB": 300.0}
        for count, seconds in ((1, 1.0), (100, 2.0), (1000, 30.0))
    ]
    table = growth.with_ratios(figures)
    assert table["ms a study"].tolist() == pytest.approx([1000, 20, 30])
    assert table["against 100"].tolist() == pytest.approx([50, 1, 1.5])
    assert growth.faults(table) == ["read, 1000 studies: 1.50 times the seconds a study"]


def test_growth_names_memory_that_grows_and_keys_that_are_slow():
    key = growth.KEYS[0]
    figures = [
        {"what": key, "studies": 100, "seconds": 0.01, "cpu": 0.01, "peak MB": 200.0},
        {"what": key, "studies": 1000, "seconds": 0.06, "cpu": 0.06, "peak MB": 400.0},
    ]
    memory, slow = growth.faults(growth.with_ratios(figures))
    assert memory.endswith("1000 studies: 2.00 times the memory")
    assert slow.endswith("60 ms, more than 50")


def test_a_grown_data_folder_has_as_many_whole_studies(phantom_root, tmp_path):
    """Four phantoms become nine studies, whose labels, points and images belong together."""
    tables = rsna.load_tables(growth.grown(phantom_root, 9, tmp_path))
    source = rsna.load_tables(phantom_root)
    assert len(tables.studies()) == tables.labels.study_id.nunique() == 9
    copied, first = tables.studies()[5], source.studies()[1]
    points = tables.points[tables.points.study_id == copied]
    assert set(points.series_id) <= set(tables.series_on_disk(copied))
    assert points.x.tolist() == source.points[source.points.study_id == first].x.tolist()
    assert not tables.rejected


def test_the_ratio_of_a_row_is_the_median_over_rounds():
    """Worked by hand: 2/1, 2/4, 9/3; unpaired 2/3 by medians."""
    assert Row("", "", [2, 2, 9], "x", [1, 4, 3]).ratio == 2
    assert Row("", "", [2, 2, 9], "x", [3]).ratio == pytest.approx(2 / 3)
    assert np.isnan(Row("", "", [2]).ratio)


def test_a_goal_that_is_not_reached_is_named_with_its_cause():
    within = Row("reading / dicomsdl", "read", [1.0], "dicomsdl", [1.0])
    short = Row("reading / dicomsdl", "read", [3.0], "dicomsdl", [2.0])
    assert rows.short_of_goals([within]) == []
    (told,) = map(str, rows.short_of_goals([within, short]))
    assert told.startswith("read beside dicomsdl: ratio 1.500, goal ≤ 1. Decoding")
    slow = Row("a study", "a study", [4.0, 4.0], memory=1.0)
    (told,) = map(str, rows.short_of_goals([slow]))
    assert told == f"a study: median 4.00 s, goal median ≤ 3.00 s. {rows.NO_CAUSE}"


def test_every_cause_is_of_a_goal():
    assert set(rows.CAUSES) <= set(rows.GOALS)


def test_rows_become_a_table_in_markdown():
    header, _, line = rows.markdown([Row("", "a step", [0.05] * 3, "plain", [0.1] * 3)]).split("\n")
    assert header.count("|") == line.count("|") == len(rows.HEADER) + 1
    assert line == "| a step | 50.0 ms | 50.0 ms to 50.0 ms | plain | 0.10 s | 0.500 |  |  |"


def test_the_page_of_all_benchmarks_names_what_is_left_out(tmp_path):
    found = [Row("", "a step", [0.05])]
    text = bench.page(found, {"cores": "2"}, ["viewer: no Chromium"], tmp_path)
    assert "| cores | 2 |" in text
    assert "Every goal is reached." in text
    assert "## Left out\n\n- viewer: no Chromium\n" in text
    assert "make run`\n" not in text  # there are no executed notebooks
    assert all(line == "" for line in re.findall(r"(.*)\n## ", text)), "a heading stands alone"


def test_the_page_has_the_seconds_of_executed_notebooks(tmp_path):
    cell = nbformat.v4.new_code_cell("1", metadata={"papermill": {"duration": 12.0}})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "01_eda.ipynb")
    assert "| 01_eda | 12 s | 1: 12 s |" in bench.sections(tmp_path)


def test_the_peak_of_a_process_is_not_that_of_its_parent():
    """getrusage would tell a child the peak of this one, which has loaded torch."""
    command = [sys.executable, "-c", "from benchmarks.peak import peak_gb; print(peak_gb())"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent)
    assert 0.005 < float(ran.stdout) < 0.1 < peak_gb()


def test_rows_are_the_same_after_json():
    row = Row("a", "b", [1.0], "c", [2.0], 0.5)
    assert Row(**json.loads(json.dumps(asdict(row)))) == row
