"""What a check says of an answer: one line, right or wrong and why."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """The result of a check, shown by a notebook as one line."""

    right: bool
    text: str

    def __repr__(self) -> str:
        return f"{'✓' if self.right else '✗'} {self.text}"


class Wrong(Exception):
    """Raised by a check that has found what is wrong; the message is for the learner."""


NOT_YET = "not answered yet: put your code in place of the ..."


def exercise(check: Callable[[Any], str]) -> Callable[[Any], Verdict]:
    """Turn a function that returns praise or raises `Wrong` into a check that always answers with a `Verdict`.

    An answer of `...`, as the notebooks' stubs give it, is "not answered yet"; an error in the learner's own code is
    told, not raised, so that *Run All* goes on.
    """

    @wraps(check)
    def verdict(answer: Any) -> Verdict:
        try:
            if answer is ...:
                raise Wrong(NOT_YET)
            return Verdict(True, check(answer))
        except Wrong as wrong:
            return Verdict(False, str(wrong))
        except Exception as error:  # whatever a learner's code may do
            return Verdict(False, f"your code raised {type(error).__name__}: {error}")

    return verdict


def ask(function: Callable, *arguments: Any) -> Any:
    """What the learner's function answers; it gets copies, so that changing its arguments does no harm."""
    if not callable(function):
        raise Wrong(f"expected a function, got {type(function).__name__}: hand over its name, without parentheses")
    copies = [a.copy() if isinstance(a, np.ndarray) else a.clone() if hasattr(a, "clone") else a for a in arguments]
    answer = function(*copies)
    if answer is ...:
        raise Wrong(NOT_YET)
    if answer is None:
        raise Wrong("your function returns nothing: end it with return")
    return answer


def same(answer: Any, right: Any, tolerance: float = 1e-5) -> bool:
    """Whether two numbers or arrays agree, in shape too, within `tolerance` of the largest right value."""
    answer, right = np.asarray(answer, float), np.asarray(right, float)
    if answer.shape != right.shape:
        return False
    return bool(np.abs(answer - right).max(initial=0) <= tolerance * max(1.0, np.abs(right).max(initial=0)))
