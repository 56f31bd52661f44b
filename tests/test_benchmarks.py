"""The variants that benchmarks measure are of this code, and their tables in docs are of them."""

import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY

from benchmarks import ablation, alternatives, gpu, real_foramen, transfer
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
