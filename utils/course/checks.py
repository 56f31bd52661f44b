"""Check-yourself cells: a learner's answer is compared with the right one, and a hint is printed.

The questions are data, in questions.toml beside this module.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import Path

from utils.errors import LumbarError

QUESTIONS_FILE = Path(__file__).with_name("questions.toml")


class QuestionError(LumbarError):
    """A record of the questions file that cannot be used; the message names file and question."""


@dataclass(frozen=True)
class Question:
    """The right answer, a hint, and hints of their own for known wrong answers.

    tolerance  by how much a numerical answer may differ from the right one
    """

    right: str | float
    hint: str
    wrong: dict[str | float, str] = field(default_factory=dict)
    tolerance: float = 0.0


def load_questions(path: Path = QUESTIONS_FILE) -> dict[str, Question]:
    """The questions of a TOML file, by name. Raises QuestionError for a record that is not one."""
    records = tomllib.loads(path.read_text(encoding="utf-8"))
    questions = {}
    for name, record in records.items():
        try:
            questions[name] = _question(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise QuestionError(f"{path}: question {name!r}: {error}") from error
    return questions


def _question(record: dict) -> Question:
    """A record as a Question; raises if a field is missing, unknown or of another type."""
    unknown = set(record) - {f.name for f in fields(Question)}
    if unknown:
        raise ValueError(f"unknown field {', '.join(sorted(unknown))}")
    wrong = {mistake["answer"]: mistake["hint"] for mistake in record.get("wrong", [])}
    question = Question(record["right"], record["hint"], wrong, record.get("tolerance", 0.0))
    for answer in (question.right, *wrong):
        _check_answer(answer)
    for hint in (question.hint, *wrong.values()):
        if not isinstance(hint, str) or not hint:
            raise TypeError(f"hint {hint!r} is not text")
    if any(_near(answer, question.right, question.tolerance) for answer in wrong):
        raise ValueError("the right answer is listed among the wrong ones")
    return question


def _check_answer(answer: object) -> None:
    """An answer is a number, or text as check() compares it: lower case, without outer spaces."""
    if isinstance(answer, str):
        if answer != answer.strip().lower():
            raise ValueError(f"answer {answer!r} is not in lower case")
    elif not isinstance(answer, Real) or isinstance(answer, bool):
        raise TypeError(f"answer {answer!r} is neither text nor a number")


def _near(answer: object, right: str | float, tolerance: float = 0.0) -> bool:
    """Is an answer (of any type) the right one: within the tolerance, or the same words?"""
    if isinstance(right, Real):
        return isinstance(answer, Real) and abs(answer - right) <= tolerance
    return str(answer).strip().lower() == right


QUESTIONS = load_questions()


def check(name: str, answer: object) -> None:
    """Print a tick (✓), a hint (✗), or what to do (✎) for the answer to one of QUESTIONS.

    `...` means "not answered yet".
    """
    question = QUESTIONS[name]
    if answer is ...:
        print("✎ Replace the ... with your answer and run this cell again.")
    elif _near(answer, question.right, question.tolerance):
        print("✓ Yes.")
    elif isinstance(question.right, Real) and not isinstance(answer, Real):
        kind = type(answer).__name__
        print(f"✗ A number is expected here, not {kind}. Hint: {_sentence(question.hint)}")
    else:
        print(f"✗ Not yet. Hint: {_sentence(_hint_for(answer, question))}")


def _hint_for(answer: object, question: Question) -> str:
    """The hint of a known wrong answer, or else the question's own."""
    for wrong, hint in question.wrong.items():
        if _near(answer, wrong):
            return hint
    return question.hint


def _sentence(hint: str) -> str:
    return hint if hint.endswith(("?", "…")) else f"{hint}."
