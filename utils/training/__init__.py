"""Prepared studies to a trained run: the locator, its measured error, the grader, both out of fold.

In: prepared studies with labels and points. Out: a run folder that `inference.load_run` reads. Read
`recipe` first (the order of everything), then `trainer` (one model's epochs), `losses`,
`tasks`, `locator_samples` and `grader_samples` (what is trained on; `samples` is what they share),
`evaluation` (both models on held-out studies), `board` (a row for every finished run),
`checkpoints` (nothing is lost).
"""

from utils.training.board import finished_runs, write_board
from utils.training.evaluation import (
    POINT_ERRORS,
    measure_locator,
    measured_jitter,
    oof_score,
    point_errors,
)
from utils.training.grader_samples import GraderDataset, GraderSample, Jitter, grade_table
from utils.training.locator_samples import LocatorDataset, LocatorSample
from utils.training.recipe import TrainingError, fit
from utils.training.samples import to_device

__all__ = [
    "POINT_ERRORS",
    "GraderDataset",
    "GraderSample",
    "Jitter",
    "LocatorDataset",
    "LocatorSample",
    "TrainingError",
    "finished_runs",
    "fit",
    "grade_table",
    "measure_locator",
    "measured_jitter",
    "oof_score",
    "point_errors",
    "to_device",
    "write_board",
]
