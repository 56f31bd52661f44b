"""Both models on a GPU, as far as that can be tried without one: see pretended_gpu."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# How often a training step may make the host wait for the device: once for the seeds of the noise,
# in the grader once more for the number of views. (Before a ceiling was set it was 27 and 49.)
MOST_WAITS = {"locator, scanner": 1, "grader, scanner": 2, "grader, every view": 2}
IN_USE = ("locate", "grade", "attention")


@pytest.fixture(scope="module", params=["fp16", "bf16"])
def seen(request, prepared):
    """What a process with a pretended GPU reports, one that has native bf16 or not."""
    command = [sys.executable, str(HERE / "on_pretended_gpu.py"), str(prepared), request.param]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    report = json.loads(ran.stdout)
    assert report.pop("precision") == request.param
    return report


def test_losses_are_finite_in_16_bits_with_every_augmentation(seen):
    for part in ("locator", "grader"):
        for kind in ("scanner", "randomised", "every view"):
            assert seen[f"{part}, {kind}"].get("finite"), seen[f"{part}, {kind}"]


@pytest.mark.parametrize("part", MOST_WAITS)
def test_a_training_step_hardly_ever_makes_the_host_wait(seen, part):
    assert seen[part]["waits"] <= MOST_WAITS[part], seen[part]["lines"]


@pytest.mark.parametrize("part", IN_USE)
def test_studies_are_located_graded_and_explained(seen, part):
    assert seen[part].get("finite"), seen[part]


def test_what_was_left_on_the_cpu_is_an_error_as_on_a_gpu(seen):
    assert "tensors on cuda:0 and on the cpu" in seen["crops left on the CPU"]["error"]
