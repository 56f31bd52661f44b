"""Check-yourself cells and the quiz's marks: a learner's answer gets a tick or a hint, never a stack trace."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from utils import evaluation
from utils.rsna import FAMILIES, GRADE_COLUMNS, GRADES, studies_of


@dataclass(frozen=True)
class Question:
    """What is right, what helps whoever is wrong, and what is said to those who are wrong in a known way."""

    right: str | float
    hint: str
    wrong: dict[str | float, str] = field(default_factory=dict)
    tolerance: float = 0.0  # how far a number may be off


QUESTIONS = {
    # 1 · Look
    "rows": Question(
        200,
        "five conditions at five levels, for each of the 8 studies",
        {8: "so many rows has train.csv; a submission has one for each condition and level", 25: "that is one study's"},
    ),
    "stand-in": Question(
        "weighted prior",
        "the lowest bar in the figure above",
        {
            "uniform": "it knows nothing, and there is something to know: most places are not narrowed",
            "frequencies": "honest about how often, but blind to the weights: a Severe row counts four times",
        },
    ),
    "bright": Question(
        "fluid",
        "look at the middle picture: what fills the canal?",
        {"fat": "fat is bright on T1, and on plain T2 too; on STIR it is made dark. Which is bright on T2 and STIR alike?"},
    ),
    "side": Question("right", "in DICOM's patient space +x points to the patient's left", {"left": "+x is left, and −18 is …"}),
    "clue": Question(
        "their x in mm",
        "in patient space the left has the greater x, whoever scanned",
        {
            "their pixels": "columns run from front to back on a sagittal slice: they say nothing of sides",
            "their instance numbers": "a third of all scanners count the other way",
        },
    ),
    "plane": Question(
        "axial t2",
        "which plane shows the left and the right of one level in one picture?",
        {"sagittal t1": "there left and right lie on different slices, and the recess is a corner seen edge-on"},
    ),
    # 2 · Prepare
    "sorted": Question(
        "swapped",
        "no slice is lost, and no error is raised",
        {"right": "the first slices by number are the patient's left ones", "missing": "all slices are there"},
    ),
    "also flip": Question(
        "labels",
        "left becomes right: which tables speak of sides?",
        {"nothing": "then the model is told that the left foramen is narrowed, and shown the right one"},
    ),
    "width": Question(
        32, "64 pixels, each half a millimetre wide", {64: "that is pixels", 128: "divide or multiply? A pixel is half a mm wide"}
    ),
    "percentiles": Question(
        "series",
        "what must stay comparable: the slices of one patient, or those of all patients?",
        {
            "slice": "an outer slice that shows only muscle would be made as bright as one that shows fluid",
            "data set": "one scanner's 200 is another's 2,000: a range that suits both suits neither",
        },
    ),
    "jitter": Question(
        1.5,
        "as wrong in training as it will be in use, no more and no less",
        {0: "crops in use will be off by 1.5 mm; the grader has never seen that", 10: "most crops would show the next structure"},
        tolerance=0.5,
    ),
    "resumed": Question(
        68,
        "whole studies are kept; the half one is not",
        {128: "nothing is prepared twice", 67: "the 61st was only half written"},
    ),
    "in two folds": Question(0, "a patient is either learnt from or tested on"),
    # 3 · Train
    "tells apart": Question(
        "position",
        "a slice lies at so many mm to the left or right of the canal",
        {"brightness": "both are round, with bright fat and a dark root in it", "size": "both are of one size in one patient"},
    ),
    "times": Question(
        4, "the weights are 1, 2 and 4 by true grade", {2: "that is Moderate", 3: "Severe is the third grade, but …"}
    ),
    "scaler": Question(
        "fp16",
        "which column of the table above holds a zero?",
        {"bf16": "it reaches as far as fp32: 1e-8 survived", "fp32": "nothing was lost there"},
    ),
    "fault": Question(
        "the code",
        "a hundred more studies would not help to learn four by heart",
        {"the data are too few": "fewer are easier to learn by heart", "training was too short": "four studies in twenty steps?"},
    ),
    "levels off": Question(1, "canal points of neighbouring levels lie about 30 mm apart", {31: "that is millimetres"}),
    "evidence": Question(
        "no", "compare the gain with the spread", {"yes": "the fold's own luck is twice as large; ask all folds, or more seeds"}
    ),
    "pale": Question("no", "the caption says what else could explain it", {"yes": "the same sac may be seen in the other view"}),
    # 4 · Predict and doubt
    "checker": Question(
        "refuse it",
        "silent repair hides a mistake somewhere else",
        {"scale it": "1.1 is not rounding: some step went wrong, and nobody would hear of it", "ignore it": "25 rows are due"},
    ),
    "wrong place": Question(
        "the model's place",
        "what did the grader look at?",
        {
            "the grade": "it may be right about the structure it was shown",
            "the label": "look where the cross is, then at its name",
        },
    ),
    "nothing learnt": Question(
        "nothing", "the prior does not look", {"half of it": "an answer without any image scores exactly that"}
    ),
    "too sure": Question(
        "too sure",
        "it said nine of ten, and seven were",
        {"not sure enough": "then more would have been right than it said", "calibrated": "then 90 would have been right"},
    ),
    "trust": Question("no", "what has the model seen of this structure?"),
    "proof": Question(
        "dozens of strangers",
        "how often could that be luck, and who chose the picture?",
        {"one good patient": "one of one is also what luck gives", "many phantoms": "they were all drawn by the same hand"},
    ),
    "map": Question(
        "no",
        "try it on one of the mistakes",
        {"yes": "a map shows what spoke for the answer; a wrong answer has such a place too"},
    ),
}


def check(question: str, answer) -> None:
    """Print a tick (✓), a hint (✗), or what to do (✎) for the answer to one of QUESTIONS; ... means "not answered yet"."""
    asked = QUESTIONS[question]
    if answer is ...:
        print("✎ Replace the ... with your answer and run this cell again.")
    elif _near(answer, asked.right, asked.tolerance):
        print("✓ Yes.")
    elif isinstance(asked.right, numbers.Real) and not isinstance(answer, numbers.Real):
        print(f"✗ A number is expected here, not {type(answer).__name__}. Hint: {_sentence(asked.hint)}")
    else:
        known = (hint for wrong, hint in asked.wrong.items() if _near(answer, wrong))
        print(f"✗ Not yet. Hint: {_sentence(next(known, asked.hint))}")


def _sentence(hint: str) -> str:
    return hint if hint.endswith(("?", "…")) else f"{hint}."


def _near(answer, right, tolerance: float = 0.0) -> bool:
    if isinstance(right, numbers.Real):
        return isinstance(answer, numbers.Real) and abs(answer - right) <= tolerance
    return str(answer).strip().lower() == right


# --- the quiz -------------------------------------------------------------------------------------------------------


def marks(answered: pd.DataFrame, others: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """How a learner graded, beside others asked the same: rows right (%), Severe called something else, kappa per family.

    answered  viewer.answers: row_id, condition, level, answer, label; rows without a label do not count
    others    submissions by name; of each the most probable grade of those rows counts

    The last row is what two readers of real MRI reach (Lurie 2008). Kappa is nan where only one grade was given and said.
    """
    known = answered.dropna(subset=["label"])
    truth = known.rename(columns={"label": "grade"}).assign(study_id=studies_of(known.row_id))
    said = pd.DataFrame(np.eye(len(GRADES))[[GRADES.index(a) for a in known.answer]], columns=list(GRADE_COLUMNS))
    everybody = {"you": said.assign(row_id=known.row_id.to_numpy())} | {
        name: other[other.row_id.isin(known.row_id)] for name, other in others.items()
    }
    rows = {name: _marks(truth, one) for name, one in everybody.items()} if len(known) else {}
    human = {f"kappa, {family}": kappa for family, kappa in evaluation.HUMAN_KAPPA.items()}
    return pd.DataFrame(rows | {"two readers of real MRI": human}).T.reindex(columns=COLUMNS)


def quizzes(kept: Path, picker) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers kept by an earlier notebook and those in a picker; none where there is no file, or no picker (None)."""
    empty = pd.DataFrame(columns=["row_id", "condition", "level", "answer", "label"])
    return pd.read_csv(kept) if kept.is_file() else empty, picker.viewer.answers if picker else empty


COLUMNS = ["places", "right, %", "Severe missed", *(f"kappa, {family}" for family in FAMILIES)]


def _marks(truth: pd.DataFrame, submission: pd.DataFrame) -> dict[str, float]:
    costs = evaluation.decisions(truth, submission)
    kappa = evaluation.agreement(truth, submission, draws=1).kappa
    counted = costs.rows, 100 * (1 - costs.wrong / costs.rows), costs.missed
    return dict(zip(COLUMNS, (*counted, *kappa[list(FAMILIES)])))
