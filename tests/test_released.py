"""The run that ships with the project: small, whole, what its card says, and at home on studies it has never seen."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from mirror import mirrored
from safetensors import safe_open

from utils import inference, phantom, prepare, rsna, training, views, workspace
from utils.presets import get_preset

WEIGHTS = sorted(workspace.RELEASED.rglob("*.safetensors"))


@pytest.fixture(scope="module")
def released():
    return inference.load_run(workspace.RELEASED)


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """Phantoms of a seed and a contrast that no training used."""
    root = tmp_path_factory.mktemp("strange") / "data"
    return phantom.make_dataset(root, 4, 97, 0, "real", (256, 192), contrast="random", grading="readers")


def test_it_is_small_and_nothing_but_numbers():
    assert [path.parent.name for path in WEIGHTS] == ["grader", "locator"]
    assert sum(path.stat().st_size for path in WEIGHTS) < 6e6
    others = {path.name for path in workspace.RELEASED.rglob("*") if path.is_file()} - {"model.safetensors"}
    assert others == {"CARD.md", "run.json", "prior.csv", "learned.csv"}
    for path in WEIGHTS:
        with safe_open(path, "pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  no dict


def test_it_is_what_its_preset_says(released):
    assert released.preset == get_preset("zero_shot")


def test_the_card_says_what_is_in_the_folder(released):
    card = (workspace.RELEASED / "CARD.md").read_text()
    parameters = sum(w.numel() for models in released.folds for m in models for w in m.parameters())
    assert f"{parameters / 1e6:.1f} million weights, {sum(p.stat().st_size for p in WEIGHTS) / 1e6:.1f} MB" in card
    preset = released.preset
    assert f"--studies {preset.phantom_studies} --seed {preset.phantom_seed} --contrast {preset.phantom_contrast}" in card
    assert "Not a medical device" in card
    for part in ("data", "preset", "made by", "time", "licence", "## Measured", "## Limits"):
        assert part in card
    assert not re.search(r"/(work|home|root|tmp)/", card)


def test_it_finds_its_way_on_strange_phantoms(released, strange):
    tables = rsna.load_tables(strange)
    truth = phantom.true_labels(strange, "train")
    rows = []
    for study_id in tables.studies():
        study = prepare.prepare_study(tables, study_id)
        found = inference.locate_study(released, study)
        rows += training.point_errors(study, *found, views.point_table(truth[truth.study_id == study_id]))
    errors = pd.DataFrame(rows, columns=training.POINT_ERRORS)
    assert errors.error_mm.median() < 2.5
    assert (errors.error_mm <= 10).mean() > 0.95
    assert errors.right_level.mean() > 0.97


def test_it_expects_grades_as_frequent_as_patients_have(released):
    severe = released.prior.severe - released.learned.severe
    assert severe.groupby("condition").mean().max() < -0.1, "it has learnt from more severe ones"
    assert np.allclose(released.prior.sum(axis=1), 1)


def test_a_mirrored_patient_gets_mirrored_answers(released, strange):
    tables = rsna.load_tables(strange)
    study = prepare.prepare_study(tables, tables.studies()[0])
    here, there = (inference.answer_study(released, one) for one in (study, mirrored(study)))
    there = there.set_index(there.condition.map(rsna.mirror) + there.level).loc[here.condition + here.level]
    assert here.x_mm.to_numpy() == pytest.approx(-there.x_mm.to_numpy(), abs=0.01)
    columns = list(rsna.GRADE_COLUMNS)
    assert (here.note == "").sum() > 20
    assert np.abs(here[columns].to_numpy() - there[columns].to_numpy()).max() < 1e-3
    sides = here.set_index(["condition", "level"])[columns]
    assert not np.allclose(sides.loc["Left Subarticular Stenosis"], sides.loc["Right Subarticular Stenosis"], atol=1e-3)
