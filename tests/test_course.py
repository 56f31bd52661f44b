"""Check-yourself cells reply to every kind of answer, and the quiz is scored as by hand."""

import numpy as np
import pandas as pd
import pytest

from utils import metrics, rsna
from utils.course import quiz
from utils.course.checks import QUESTIONS, QuestionError, check, load_questions
from utils.viewer import StudyPicker

ANSWERED = pd.DataFrame(
    [
        (rsna.row_id(7, rsna.CANAL, "L1/L2"), "Normal/Mild", "Normal/Mild"),
        (rsna.row_id(7, rsna.CANAL, "L2/L3"), "Normal/Mild", "Severe"),
        (rsna.row_id(7, rsna.CANAL, "L3/L4"), "Severe", "Severe"),
        (rsna.row_id(8, rsna.CANAL, "L3/L4"), "Moderate", "Normal/Mild"),
        (rsna.row_id(8, rsna.CANAL, "L4/L5"), "Moderate", None),  # without a label: not scored
    ],
    columns=["row_id", "answer", "label"],
).assign(condition=rsna.CANAL, level=["L1/L2", "L2/L3", "L3/L4", "L3/L4", "L4/L5"])


# --- check-yourself cells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer", "reply"),
    [
        ("row", ..., "✎ Replace the ..."),
        ("row", 300, "✓ Yes."),
        ("row", 300.0, "✓ Yes."),
        ("row", 150, "✗ Not yet. Hint: that row is now only half"),
        ("row", 77, "✗ Not yet. Hint: the same field"),
        ("row", "many", "✗ A number is expected here, not str. Hint: the same field"),
        ("when to call", 0.202, "✓ Yes."),
        ("when to call", 0.25, "✗ Not yet. Hint: nearly"),
        ("recess side", " Left", "✓ Yes."),
        ("recess side", "right", "✗ Not yet. Hint: it narrows on the right"),
        ("recess side", None, "✗ Not yet. Hint: axial slices"),
        ("recess side", np.array([1, 2]), "✗ Not yet."),
    ],
)
def test_a_reply_to_every_kind_of_answer(capsys, question, answer, reply):
    assert check(question, answer) is None
    assert capsys.readouterr().out.startswith(reply)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_accepts_its_answer_and_hints_at_it_without_giving_it_away(capsys, name):
    question = QUESTIONS[name]
    check(name, question.right)
    assert capsys.readouterr().out == "✓ Yes.\n"
    for wrong, hint in [*question.wrong.items(), ("no such answer", question.hint)]:
        check(name, wrong)
        reply = capsys.readouterr().out
        assert reply.startswith("✗")
        assert hint in reply
        words_around_the_hint = reply.replace(hint, "").split()
        assert str(question.right) not in words_around_the_hint


def test_numbers_stay_numbers_in_the_questions_file():
    column = QUESTIONS["row"]
    assert (column.right, column.tolerance, list(column.wrong)) == (300, 1, [150, 75])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('hint = "look"', "'right'"),
        ('right = "left"', "'hint'"),
        ('right = "left"\nhint = ""', "hint '' is not text"),
        ('right = "left"\nhint = "look"\nhints = "look"', "unknown field hints"),
        ('right = "Left"\nhint = "look"', "answer 'Left' is not in lower case"),
        ('right = true\nhint = "look"', "answer True is neither text nor a number"),
        ('right = 1\nhint = "look"\nwrong = ["2"]', "indices must be"),
        ('right = 1\nhint = "look"\nwrong = [{ answer = 2 }]', "'hint'"),
        (
            'right = 1\nhint = "look"\ntolerance = 1\nwrong = [{ answer = 2, hint = "less" }]',
            "the right answer is listed among the wrong ones",
        ),
    ],
)
def test_a_question_that_is_not_whole_is_named_with_its_file(tmp_path, record, message):
    path = tmp_path / "questions.toml"
    path.write_text(f'["image side"]\n{record}\n')
    with pytest.raises(QuestionError, match=f"questions.toml: question 'image side': .*{message}"):
        load_questions(path)


# --- the quiz -------------------------------------------------------------------------------------


def test_a_learner_is_scored_beside_others():
    """Of four scored rows two are right; one of the two Severe ones is missed.

    Kappa by hand: weights 0, 1, 2 steps; disagreement 2 + 1 = 3 steps of 4 rows; by chance (labels
    N N S S, answers N N M S) the mean of all 16 pairs: from N: 0 0 1 2, from S: 2 2 1 0, twice
    each: 16 steps of 16 pairs = 1; so 1 - 0.75 / 1 = 0.25.
    """
    empty = pd.DataFrame(columns=["condition", "level", "grade"])
    all_normal = metrics.prior(empty) * 0 + [1, 0, 0]
    others = {"all normal": metrics.constant_submission(all_normal, [7, 8])}
    table = quiz.compare(ANSWERED, others)
    counts = ["targets", "right, %", "Severe missed"]
    assert table.loc["you", counts].tolist() == [4, 50, 1]
    assert table.loc["you", "kappa, spinal"] == pytest.approx(0.25)
    assert table.loc["all normal", counts].tolist() == [4, 50, 2]
    assert table.loc["all normal", "kappa, spinal"] == pytest.approx(0)
    readers = table.loc["two readers of real MRI"].filter(like="kappa")
    assert readers.tolist() == [0.73, 0.58, 0.49]


def test_until_something_is_answered_an_invented_learner_shows_what_the_table_will_be():
    """Of the first study's four narrowed targets the first and the fourth are graded one grade too
    mild: two of five are wrong, both of them Severe."""
    grades = ["Normal/Mild", "Severe", "Moderate", "Severe", "Severe", "Severe"]
    labels = pd.DataFrame({"study_id": [7] * 5 + [8], "condition": rsna.CANAL, "grade": grades})
    labels = labels.assign(level=[*rsna.LEVELS, "L1/L2"])
    table = quiz.compare(quiz.NO_ANSWERS, {}, labels)
    assert table.index[0] == quiz.EXAMPLE
    assert table.iloc[0, :3].tolist() == [5, 60, 2]
    assert quiz.compare(ANSWERED, {}, labels).index[0] == "you"
    assert len(quiz.compare(quiz.NO_ANSWERS, {}, labels[:0])) == 1


def test_a_quiz_without_scored_answers_has_readers_only():
    assert quiz.compare(quiz.NO_ANSWERS, {}).index.tolist() == ["two readers of real MRI"]
    assert quiz.compare(ANSWERED[4:], {}).index.tolist() == ["two readers of real MRI"]


def test_answers_kept_from_another_data_folder_are_not_compared():
    foreign = ANSWERED.assign(row_id="7" + ANSWERED.row_id)
    normal = np.eye(3)[[0] * len(ANSWERED)]
    model = pd.DataFrame(normal, columns=list(rsna.GRADE_COLUMNS)).assign(row_id=ANSWERED.row_id)
    table = quiz.compare(pd.concat([foreign, ANSWERED]), {"model": model})
    pd.testing.assert_frame_equal(table, quiz.compare(ANSWERED, {"model": model}))


def test_what_the_viewer_hands_back_can_be_scored(tables, whole_study):
    """A learner who grades the 25 targets of a study as its labels do, but for the first."""
    picker = StudyPicker(tables, [whole_study], quiz=True)
    labels = tables.labels[tables.labels.study_id == whole_study]
    grades = labels.set_index(["condition", "level"]).grade
    given = [rsna.GRADES.index(grades[target]) for target in rsna.TARGETS]
    given[0] = (given[0] + 1) % 3
    picker.viewer.quiz = {"on": True, "answers": given, "revealed": False}
    prior = metrics.constant_submission(metrics.prior(tables.labels), [whole_study])
    table = quiz.compare(picker.viewer.answers, {"prior": prior})
    assert table.loc["you", "targets"] == table.loc["prior", "targets"] == 25
    assert table.loc["you", "right, %"] == 96


def test_answers_are_kept_from_one_session_and_notebook_to_the_next(tmp_path):
    path = tmp_path / "quiz.csv"
    assert quiz.keep(quiz.NO_ANSWERS, path).empty
    assert not path.exists()
    quiz.keep(ANSWERED[:3], path)
    again = quiz.keep(quiz.NO_ANSWERS, path)  # all cells were run again
    assert again.row_id.tolist() == ANSWERED.row_id[:3].tolist()
    second = ANSWERED[2:4].assign(answer="Moderate")  # one row once more, and a new one
    both = quiz.keep(second, path).set_index("row_id").answer
    expected = ["Normal/Mild", "Normal/Mild", "Moderate", "Moderate"]
    assert both.loc[ANSWERED.row_id[:4]].tolist() == expected
    assert quiz.compare(quiz.keep(quiz.NO_ANSWERS, path), {}).loc["you", "targets"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["quiz.csv"]
