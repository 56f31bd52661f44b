"""Check-yourself cells answer every kind of answer kindly, and the quiz is marked as by hand."""

import numpy as np
import pandas as pd
import pytest

from utils import lesson, metrics, rsna
from utils.lesson import QUESTIONS, check
from utils.viewer import StudyPicker

ANSWERED = pd.DataFrame(
    [
        (rsna.row_id(7, rsna.CANAL, "L1/L2"), "Normal/Mild", "Normal/Mild"),
        (rsna.row_id(7, rsna.CANAL, "L2/L3"), "Normal/Mild", "Severe"),
        (rsna.row_id(7, rsna.CANAL, "L3/L4"), "Severe", "Severe"),
        (rsna.row_id(8, rsna.CANAL, "L3/L4"), "Moderate", "Normal/Mild"),
        (rsna.row_id(8, rsna.CANAL, "L4/L5"), "Moderate", None),  # nobody graded it: not marked
    ],
    columns=["row_id", "answer", "label"],
).assign(condition=rsna.CANAL, level=["L1/L2", "L2/L3", "L3/L4", "L3/L4", "L4/L5"])


@pytest.mark.parametrize(
    ("question", "answer", "begins"),
    [
        ("rows", ..., "✎ Replace the ..."),
        ("rows", 200, "✓ Yes."),
        ("rows", 200.0, "✓ Yes."),
        ("rows", 25, "✗ Not yet. Hint: that is one study's"),
        ("rows", 77, "✗ Not yet. Hint: five conditions"),
        ("rows", "many", "✗ A number is expected here, not str. Hint: five conditions"),
        ("jitter", 1.8, "✓ Yes."),
        ("jitter", 0, "✗ Not yet. Hint: crops in use will be off"),
        ("side", " Right", "✓ Yes."),
        ("side", "left", "✗ Not yet. Hint: +x is left"),
        ("side", None, "✗ Not yet. Hint: in DICOM's"),
        ("side", np.array([1, 2]), "✗ Not yet."),
    ],
)
def test_answers(capsys, question, answer, begins):
    assert check(question, answer) is None
    assert capsys.readouterr().out.startswith(begins)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_knows_its_answer_and_helps_who_is_wrong(capsys, question):
    asked = QUESTIONS[question]
    check(question, asked.right)
    assert capsys.readouterr().out == "✓ Yes.\n"
    for wrong, hint in [*asked.wrong.items(), ("no such answer", asked.hint)]:
        check(question, wrong)
        told = capsys.readouterr().out
        assert told.startswith("✗")
        assert hint in told
        assert str(asked.right) not in told.split() or str(asked.right) in hint.split(), "the hint must not be the answer"


def test_a_learner_is_marked_beside_others():
    """Of four marked places two are right; one of the two Severe ones is missed. Kappa by hand: weights 0, 1, 2 steps;
    disagreement 2 + 1 = 3 steps of 4 places; by chance (labels N N S S, answers N N M S) the mean of all 16 pairs:
    from N: 0 0 1 2, from S: 2 2 1 0, twice each: 16 steps of 16 pairs = 1; so 1 - 0.75 / 1 = 0.25."""
    sure = metrics.prior(pd.DataFrame(columns=["condition", "level", "grade"])) * 0 + [1, 0, 0]
    table = lesson.marks(ANSWERED, {"all normal": metrics.constant_submission(sure, [7, 8])})
    assert table.loc["you", ["places", "right, %", "Severe missed"]].tolist() == [4, 50, 1]
    assert table.loc["you", "kappa, spinal"] == pytest.approx(0.25)
    assert table.loc["all normal", ["places", "right, %", "Severe missed"]].tolist() == [4, 50, 2]
    assert table.loc["all normal", "kappa, spinal"] == pytest.approx(0)
    assert table.loc["two readers of real MRI", ["kappa, spinal", "kappa, foraminal"]].tolist() == [0.73, 0.58]


def test_a_quiz_that_nobody_took_has_readers_only():
    assert lesson.marks(lesson.NO_ANSWERS, {}).index.tolist() == ["two readers of real MRI"]
    assert lesson.marks(ANSWERED[4:], {}).index.tolist() == ["two readers of real MRI"]


def test_answers_kept_from_another_folder_of_data_are_not_compared():
    foreign = ANSWERED.assign(row_id="7" + ANSWERED.row_id)
    model = pd.DataFrame(np.eye(3)[[0] * len(ANSWERED)], columns=list(rsna.GRADE_COLUMNS)).assign(row_id=ANSWERED.row_id)
    table = lesson.marks(pd.concat([foreign, ANSWERED]), {"model": model})
    pd.testing.assert_frame_equal(table, lesson.marks(ANSWERED, {"model": model}))


def test_what_the_viewer_hands_back_can_be_marked(tables, whole_study):
    """A learner who grades 25 places of a study as its labels do, but for the first, which he calls something else."""
    picker = StudyPicker(tables, [whole_study], quiz=True)
    labels = tables.labels[tables.labels.study_id == whole_study].set_index(["condition", "level"]).grade
    given = [rsna.GRADES.index(labels[target]) for target in rsna.TARGETS]
    given[0] = (given[0] + 1) % 3
    picker.viewer.quiz = {"on": True, "answers": given, "revealed": False}
    everywhere = metrics.constant_submission(metrics.prior(tables.labels), [whole_study])
    table = lesson.marks(picker.viewer.answers, {"prior": everywhere})
    assert table.loc["you", "places"] == table.loc["prior", "places"] == 25
    assert table.loc["you", "right, %"] == 96


def test_answers_are_kept_from_one_session_and_notebook_to_the_next(tmp_path):
    path = tmp_path / "quiz.csv"
    assert lesson.kept(lesson.NO_ANSWERS, path).empty
    assert not path.exists()
    lesson.kept(ANSWERED[:3], path)
    assert lesson.kept(lesson.NO_ANSWERS, path).row_id.tolist() == ANSWERED.row_id[:3].tolist()  # all cells were run again
    second = ANSWERED[2:4].assign(answer="Moderate")  # a place once more, and a new one
    both = lesson.kept(second, path).set_index("row_id").answer
    assert both.loc[ANSWERED.row_id[:4]].tolist() == ["Normal/Mild", "Normal/Mild", "Moderate", "Moderate"]
    assert lesson.marks(lesson.kept(lesson.NO_ANSWERS, path), {}).loc["you", "places"] == 4
