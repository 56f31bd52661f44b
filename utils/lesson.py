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
    "bright": Question(
        "fluid",
        "look at the middle picture: what fills the canal?",
        {"fat": "fat is bright on T1, and on plain T2 too; on STIR it is made dark. Which is bright on T2 and STIR alike?"},
    ),
    "image side": Question(
        "right",
        "you look from the feet at a patient who lies on the back",
        {"left": "look for the letter L in the axial picture"},
    ),
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
    "row": Question(
        300,
        "the same field of view, in twice as many rows",
        {150: "that row is now only half as far down", 75: "multiply or divide? Smaller pixels, more of them"},
        tolerance=1,
    ),
    "side": Question("right", "in DICOM's patient space +x points to the patient's left", {"left": "+x is left, and −18 is …"}),
    "clue": Question(
        "their x in mm",
        "in patient space the left has the greater x, whoever scanned",
        {
            "their pixels": "columns run from front to back on a sagittal slice: they say nothing of sides",
            "their instance numbers": "in a third of all sagittal series they run the other way",
        },
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
        {"nothing": "then the model is told that the left recess is narrowed, and shown the right one"},
    ),
    "width": Question(
        80,
        "how often do 0.6 mm fit into 48?",
        {48: "that is millimetres", 28.8: "multiply or divide? Smaller pixels, more of them"},
        tolerance=0.5,
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
    "goes on": Question(
        7, "whole epochs are kept, the one under way is not", {1: "six epochs are kept", 8: "the seventh was not whole"}
    ),
    "levels off": Question(1, "canal points of neighbouring levels lie about 30 mm apart", {31: "that is millimetres"}),
    "patients": Question(
        128, "how many times the patients does a line half as long need?", {64: "twice the patients make it shorter by 1.4"}
    ),
    "evidence": Question(
        "no", "compare the gain with the luck", {"yes": "chance in training alone moves it twice as far; ask more seeds"}
    ),
    "pale": Question(
        "no",
        "the sac is shown in two views: what if only one is covered?",
        {"yes": "the same sac is still seen in the other view"},
    ),
    # 4 · Predict and doubt
    "no axial": Question(
        "recesses",
        "which condition is read on axial slices alone?",
        {"canal": "it is also seen on Sagittal T2", "foramina": "they are read on Sagittal T1"},
    ),
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
        "nothing", "how is the prior made?", {"half of it": "the prior has never met an image, and here both are the same"}
    ),
    "too sure": Question(
        "too sure",
        "it said nine of ten, and seven were",
        {"not sure enough": "then more would have been right than it said", "calibrated": "then 90 would have been right"},
    ),
    "seen": Question("no", "when is the prior asked?", {"yes": "then it need not have asked the prior"}),
    "proof": Question(
        "dozens of strangers' studies",
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
    for other in others.values():  # answers kept from another folder are not compared
        known = known[known.row_id.isin(other.row_id)]
    truth = known.rename(columns={"label": "grade"}).assign(study_id=studies_of(known.row_id))
    said = pd.DataFrame(np.eye(len(GRADES))[[GRADES.index(a) for a in known.answer]], columns=list(GRADE_COLUMNS))
    everybody = {"you": said.assign(row_id=known.row_id.to_numpy())} | {
        name: other[other.row_id.isin(known.row_id)] for name, other in others.items()
    }
    rows = {name: _marks(truth, one) for name, one in everybody.items()} if len(known) else {}
    human = {f"kappa, {family}": kappa for family, kappa in evaluation.HUMAN_KAPPA.items()}
    return pd.DataFrame(rows | {"two readers of real MRI": human}).T.reindex(columns=COLUMNS)


def kept(answered: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Answers together with those that the file holds from before (the last of a place counts); the file then holds them all."""
    before = [pd.read_csv(path)] if path.is_file() else []
    if len(answered):
        partial = path.with_suffix(".partial")
        pd.concat([*before, answered]).drop_duplicates("row_id", keep="last").to_csv(partial, index=False)
        partial.replace(path)
    return pd.read_csv(path) if path.is_file() else answered


NO_ANSWERS = pd.DataFrame(columns=["row_id", "condition", "level", "answer", "label"])
COLUMNS = ["places", "right, %", "Severe missed", *(f"kappa, {family}" for family in FAMILIES)]


def _marks(truth: pd.DataFrame, submission: pd.DataFrame) -> dict[str, float]:
    costs = evaluation.decisions(truth, submission)
    kappa = evaluation.agreement(truth, submission, draws=1).kappa
    counted = costs.rows, 100 * (1 - costs.wrong / costs.rows), costs.missed
    return dict(zip(COLUMNS, (*counted, *kappa[list(FAMILIES)])))
