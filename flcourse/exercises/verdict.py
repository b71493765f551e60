"""What a check says of an answer: one line, right or wrong and why; and which answer the next cells use."""

import linecache
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from pathlib import Path
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
FAILURES = (Exception, SystemExit)  # what a learner's code may do; an interrupt stays an interrupt


class Check:
    """An exercise's check: called with an answer it gives a `Verdict`; `use` gives what the next cells use."""

    __name__: str

    def __init__(self, check: Callable[[Any], str], reference: Any = None):
        self.check, self.reference = check, reference
        update_wrapper(self, check)

    def __call__(self, answer: Any) -> Verdict:
        """An answer of `...`, as the notebooks' stubs give it, is "not answered yet"; an error in the learner's own
        code is told, with its line, not raised, so that *Run All* goes on.
        """
        try:
            if answer is ...:
                raise Wrong(NOT_YET)
            return Verdict(True, self.check(answer))
        except Wrong as wrong:
            return Verdict(False, str(wrong))
        except FAILURES as error:
            return Verdict(False, told(error))

    def use(self, answer: Any) -> Any:
        """The answer itself if it passes this check now, else the course's; one printed line says which of the two.

        A function that passed and later raises (a global that it needs is gone, say) is replaced by the course's in the
        middle of the work, and a second line says why. A number comes back as the course's kind of number.
        """
        if self.reference is None:
            raise TypeError(f"the check {self.__name__} has no reference answer: @exercise(reference=...)")
        right = self(answer).right
        name = getattr(answer, "__name__", "your answer")
        if right:
            print(f"{self.__name__}: {name}, yours, is used from here on")
        else:
            print(f"{self.__name__}: the course's answer is used; yours takes its place once it passes the check above")
        if callable(self.reference):
            return Used(answer if right else None, self.reference, name)
        return type(self.reference)(number(answer)) if right else self.reference


class Used:
    """A function that passed its check, with the course's own behind it should it fail all the same."""

    def __init__(self, own: Callable | None, reference: Callable, name: str):
        self.own, self.reference, self.name = own, reference, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.own is not None:
            try:
                return self.own(*arguments, **named)
            except FAILURES as error:
                answer = self.reference(*arguments, **named)  # raises where the call itself is at fault
                print(f"{self.name}: {told(error)}; the course's answer is used from here on")
                self.own = None
                return answer
        return self.reference(*arguments, **named)


def exercise(check: Callable[[Any], str] | None = None, *, reference: Any = None) -> Any:
    """Turn a function that returns praise or raises `Wrong` into a `Check`; `reference` is the course's own answer."""
    return partial(Check, reference=reference) if check is None else Check(check, reference)


_NOT_THE_LEARNERS = [Path(__file__).resolve().parents[1], *map(Path, map(sysconfig.get_path, ("stdlib", "purelib")))]


def told(error: BaseException) -> str:
    """An exception of a learner's code as one line that names the function, the line number and the line."""
    kind = type(error).__name__
    said = str(error).strip().split("\n")[0]
    what = f"{kind}: {said}" if said else kind
    if isinstance(error, SystemExit):
        what += " (a function ends with return)"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.filename.startswith("<frozen") or any(path.is_relative_to(folder) for folder in _NOT_THE_LEARNERS):
            continue
        line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
        return f"your code raised {what} [{frame.name}, line {frame.lineno}" + (f": {line}]" if line else "]")
    return f"checking your answer raised {what}: is it of the kind that is asked for?"


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


def array(answer: Any) -> np.ndarray:
    """An answer as an array of floats, whatever holds them: lists, NumPy, tensors (with a gradient, on a GPU)."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
    elif isinstance(answer, list | tuple):
        answer = [array(part) for part in answer]
    try:
        return np.asarray(answer, float)
    except (TypeError, ValueError):
        raise Wrong(f"expected numbers, got {type(answer).__name__} {' '.join(str(answer).split())[:60]}") from None


def number(answer: Any) -> float:
    """An answer that is one number, in whatever form: 7, np.float32(7), [7.0], tensor(7.), "235,146"."""
    if isinstance(answer, str):
        answer = answer.replace(",", "").replace("_", "").strip()
    values = array(answer)
    if values.size != 1:
        raise Wrong(f"expected one number, got an array of shape {values.shape}")
    value = float(values.ravel()[0])
    if not np.isfinite(value):
        raise Wrong(f"got {value}, expected a finite number")
    return value


def pair(answer: Any, names: str) -> tuple[Any, Any]:
    """An answer of two things, in whatever holds them (tuple, list, array); `names` says which two are expected."""
    try:
        first, second = answer
    except (TypeError, ValueError):
        raise Wrong(f"return two things: {names}") from None
    return first, second


def same(answer: Any, right: Any, tolerance: float = 1e-5) -> bool:
    """Whether two numbers or arrays agree, in shape too, within `tolerance` of the largest right value."""
    answer, right = array(answer), array(right)
    if answer.shape != right.shape:
        return False
    return bool(np.abs(answer - right).max(initial=0) <= tolerance * max(1.0, np.abs(right).max(initial=0)))


def explain(given: Sequence[Any], cases: Sequence[tuple], hints: Mapping[str, Callable[..., Any]]) -> None:
    """Raise `Wrong` with the first hint whose rule gives, in every case, what the learner's function gave."""
    for hint, rule in hints.items():
        if all(same(value, rule(*case)) for value, case in zip(given, cases, strict=True)):
            raise Wrong(hint)


def recognise(given: Any, hints: Mapping[str, Any]) -> None:
    """Raise `Wrong` with the first hint whose numbers are the learner's."""
    for hint, values in hints.items():
        if same(given, values):
            raise Wrong(hint)
