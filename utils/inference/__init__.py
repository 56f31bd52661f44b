"""From a study to 25 × 3 probabilities, with the points, the confidence and what could not be seen.

In: a study (`Tables`, or a prepared study) and a trained run. Out: predictions (one row per
target), a submission, a report. Read in the way of the data: `run` (what training left),
`localisation` (heat maps to points in mm; with `segmentation`, `counting` and `levels`, where a run
can count discs, too), `measures` (with `fat`), `grading` (crops to logits), `probabilities` (with
`openness`: what measures say of grades), `prediction` (one study), `studies` (many); then `explain`
(what a prediction is based on), `outlines` (of structures and measures) and `report` (one HTML page
per study).
"""

from utils.inference.grading import grade
from utils.inference.localisation import Located, locate
from utils.inference.outlines import outliner, outlines
from utils.inference.prediction import (
    MODEL,
    PRIOR,
    locate_study,
    predict_study,
    prior_prediction,
)
from utils.inference.run import Run, RunError, load_run, load_runs, read_settings
from utils.inference.studies import (
    known_grades,
    predict,
    predict_studies,
    read_predictions,
    studies_of_split,
)

__all__ = [
    "MODEL",
    "PRIOR",
    "Located",
    "Run",
    "RunError",
    "grade",
    "known_grades",
    "load_run",
    "load_runs",
    "locate",
    "locate_study",
    "outliner",
    "outlines",
    "predict",
    "predict_studies",
    "predict_study",
    "prior_prediction",
    "read_predictions",
    "read_settings",
    "studies_of_split",
]
