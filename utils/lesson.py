"""Check-yourself cells: a learner's answer gets a tick or a hint, never a stack trace."""

from __future__ import annotations

import numbers


def check(answer, right, hint: str, tolerance: float = 0.0) -> None:
    """Compare an answer with the right one and print a tick (✓), a hint (✗), or what to do (✎).

    answer     ... (Ellipsis) means "not answered yet"
    tolerance  how far a number may be off
    """
    if answer is ...:
        print("✎ Replace the ... with your answer and run this cell again.")
        return
    if isinstance(right, numbers.Real) and not isinstance(answer, numbers.Real):
        print(f"✗ A number is expected here, not {type(answer).__name__}. Hint: {hint}")
        return
    near = abs(answer - right) <= tolerance if isinstance(right, numbers.Real) else _same(answer, right)
    print("✓ Yes." if near else f"✗ Not yet. Hint: {hint}")


def _same(answer, right) -> bool:
    return str(answer).strip().lower() == str(right).strip().lower()
