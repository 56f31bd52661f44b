"""Both models in training and in use on a pretended GPU: python tests/on_pretended_gpu.py PREPARED
fp16|bf16. Prints what happened as JSON; tests/test_pretended_gpu.py says what should."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pretended_gpu
import torch
from pretended_gpu import SMALL, WAITS, Pretended
from torch.utils.data import default_collate

from utils import inference, models
from utils.crops import grader_crops, point_table
from utils.inference import explain
from utils.models import Grader, Locator
from utils.prepare import load_study
from utils.presets import VIEW_SETS, Preset, get_preset
from utils.training import GraderDataset, Jitter, LocatorDataset, losses
from utils.training.samples import StudyDataset, to_device

PRESETS = {"scanner": replace(get_preset("t4"), **SMALL)}
PRESETS["randomised"] = replace(PRESETS["scanner"], intensity="randomised", truncation=0.5)
PRESETS["every view"] = replace(PRESETS["scanner"], views=VIEW_SETS, attention_loss=0.2, mixup=0.2)


def counted(call: Callable) -> dict:
    """What a call returned, whether that is finite, or the error it raised; and the waits."""
    WAITS.clear()
    try:
        found = call()
        said = {"finite": bool(torch.isfinite(torch.as_tensor(found)).all())}
    except RuntimeError as error:
        said = {"error": str(error)[:300]}
    return said | {"waits": sum(WAITS.values()), "lines": dict(WAITS)}


def loss(data: StudyDataset, model: torch.nn.Module, terms: Callable, preset: Preset) -> dict:
    """One batch of two studies, from samples to the loss."""
    data.cache_crops()
    batch = to_device(default_collate([data[0], data[1]]), "cuda")

    def call():
        with models.mixed_precision():
            return pretended_gpu.inner(terms(model.train(), batch, preset))

    return counted(call)


def main(prepared: Path) -> dict:
    ids = pd.read_csv(prepared / "folds.csv").study_id[:2].tolist()
    report: dict = {"precision": models.precision()}
    for kind, preset in PRESETS.items():
        locator, grader = Locator(preset).to("cuda"), Grader(preset).to("cuda")
        data = LocatorDataset(prepared, ids, preset)
        report[f"locator, {kind}"] = loss(data, locator, losses.locator_terms, preset)
        data = GraderDataset(prepared, ids, preset, Jitter((2.0,) * 3, (0.1,) * 3))
        report[f"grader, {kind}"] = loss(data, grader, losses.grader_terms, preset)
    study = load_study(prepared, ids[0])
    points = point_table(study.points)
    crops, exists = grader_crops(study, points, preset)
    locator.eval(), grader.eval()
    report["locate"] = counted(lambda: inference.locate(locator, study, preset).confidence)
    report["grade"] = counted(lambda: inference.grade(grader, study, points, preset)[0])
    report["attention"] = counted(lambda: explain.attention(grader, crops, exists)[exists])
    report["crops left on the CPU"] = counted(
        lambda: grader(torch.zeros(1, *crops.shape), torch.ones(1, len(crops), dtype=torch.bool))
    )
    return report


if __name__ == "__main__":
    pretended_gpu.install(bf16=sys.argv[2] == "bf16")
    with torch.no_grad(), Pretended():
        print(json.dumps(main(Path(sys.argv[1]))))
