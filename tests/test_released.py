"""The run that ships with the project: small, complete, as its card says, and accurate on phantoms
unlike those it was trained on."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from mirror import mirrored
from safetensors import safe_open

from tools import card
from utils import inference, phantom, prepare, rsna, training
from utils.course import workspace
from utils.crops import point_table
from utils.presets import get_preset

WEIGHTS = sorted(workspace.RELEASED.rglob("*.safetensors"))
COLUMNS = list(rsna.GRADE_COLUMNS)


@pytest.fixture(scope="module")
def released():
    return inference.load_run(workspace.RELEASED)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """Phantoms of a seed and a contrast that no training used."""
    spec = phantom.PhantomSpec(
        studies=4,
        seed=97,
        test_studies=0,
        prevalence="real",
        contrast="random",
        grading="readers",
    )
    return phantom.make_dataset(tmp_path_factory.mktemp("unseen") / "data", spec)


def test_it_is_small_and_nothing_but_numbers():
    assert [path.parent.name for path in WEIGHTS] == [
        "axial_segmenter",
        "grader",
        "locator",
        "segmenter",
    ]
    assert sum(path.stat().st_size for path in WEIGHTS) < 6e6
    files = {path.name for path in workspace.RELEASED.rglob("*") if path.is_file()}
    tables = {"prior.csv", "training_prior.csv"}
    assert files == {"CARD.md", "run.json", "model.safetensors"} | tables
    for path in WEIGHTS:
        with safe_open(path, "pt") as file:
            names = file.keys()  # not a dict: cannot be iterated over itself
            assert {file.get_tensor(name).dtype for name in names} == {torch.float16}


def test_it_is_what_its_preset_says(released):
    assert released.preset == get_preset("zero_shot")


def test_the_card_says_what_is_in_the_folder(released):
    text = (workspace.RELEASED / "CARD.md").read_text()
    assert card.weights_of(released) in text
    assert card.command_of(released.preset.phantom) in text
    assert "Not a medical device" in text
    for part in ("data", "preset", "made by", "time", "licence", "## Measured", "## Limits"):
        assert part in text
    assert not re.search(r"/(work|home|root|tmp)/", text)


def test_the_command_on_the_card_is_the_one_that_simulates_its_phantom():
    spec = get_preset("zero_shot").phantom
    assert card.command_of(spec) == (
        "utils.phantom --studies 384 --seed 8 --contrast mixed --grading readers --size real"
    )


@pytest.mark.slow
def test_it_locates_the_points_of_unseen_phantoms(released, unseen):
    tables = rsna.load_tables(unseen)
    truth = phantom.true_labels(unseen, "train")
    rows = []
    for study_id in tables.studies():
        study = prepare.prepare_study(tables, study_id)
        located = inference.locate_study(released, study)
        true = point_table(truth[truth.study_id == study_id])
        rows += training.point_errors(study, located, true)
    errors = pd.DataFrame(rows, columns=training.POINT_ERRORS)
    assert errors.error_mm.median() < 2.5
    assert (errors.error_mm <= 10).mean() > 0.95
    assert errors.right_level.mean() > 0.97


def test_it_expects_the_grade_frequencies_of_patients(released):
    severe = released.prior.severe - released.training_prior.severe
    more_in_training = severe.groupby("condition").mean().max() < -0.1
    assert more_in_training, "it was trained on more severe grades than patients have"
    assert np.allclose(released.prior.sum(axis=1), 1)


@pytest.mark.slow
def test_a_mirrored_patient_gets_mirrored_predictions(released, unseen):
    tables = rsna.load_tables(unseen)
    study = prepare.prepare_study(tables, tables.studies()[0])
    here = inference.predict_study(released, study)
    there = inference.predict_study(released, mirrored(study))
    other_side = there.condition.map(rsna.mirror) + there.level
    there = there.set_index(other_side).loc[here.condition + here.level]
    assert here.x_mm.to_numpy() == pytest.approx(-there.x_mm.to_numpy(), abs=0.01)
    assert (here.note == "").sum() > 20
    assert np.abs(here[COLUMNS].to_numpy() - there[COLUMNS].to_numpy()).max() < 1e-3
    sides = here.set_index(["condition", "level"])[COLUMNS]
    left, right = (sides.loc[f"{side} Subarticular Stenosis"] for side in rsna.SIDES)
    assert not np.allclose(left, right, atol=1e-3), "the sides of this patient are different"
