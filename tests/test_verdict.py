"""What happens to an answer after its check: which one the next cells use, and where a mistake is said to be."""

import sys

import numpy as np
import pytest
import torch

from flcourse.exercises import live_landmarks
from flcourse.exercises.verdict import Wrong, array, ask, exercise, number, pair, same


@exercise(reference=lambda x: 2 * x)
def double(answer) -> str:
    if not same(ask(answer, 3.0), 6.0):
        raise Wrong("not twice as much")
    return "right"


@exercise(reference=235146)
def count(answer) -> str:
    if number(answer) != 235146:
        raise Wrong("another number")
    return "right"


class Cells:
    """Cells of a notebook: run one by one, in any order, again, with the same names."""

    def __init__(self):
        self.names = {"check": double, "np": np, "sys": sys}

    def run(self, source: str):
        exec(compile(source, "<cell>", "exec"), self.names)
        return self.names


def test_a_solved_exercise_is_used_from_then_on_and_one_line_says_so(capsys):
    cells = Cells()
    stub, use = "def mine(x):\n    return ...", "twice = check.use(mine); calls = []"
    cells.run(stub)
    assert cells.run(use)["twice"](4) == 8
    assert capsys.readouterr().out.splitlines() == [
        "double: the course's answer is used; yours takes its place once it passes the check above"
    ]
    cells.run("def mine(x):\n    calls.append(x)\n    return x + x")
    cells.run("calls = []")
    assert cells.run(use)["twice"](4) == 8 and cells.names["calls"] == [4]
    assert capsys.readouterr().out.splitlines() == ["double: mine, yours, is used from here on"]
    cells.run(use)
    assert cells.names["twice"](5) == 10 and cells.names["calls"] == [5]
    # Broken later, and its cell run again: what passed is still there, until the cell that chooses is run again.
    cells.run("def mine(x):\n    return 7")
    assert cells.names["twice"](5) == 10
    assert cells.run(use)["twice"](5) == 10
    assert capsys.readouterr().out.splitlines()[-1].startswith("double: the course's answer is used")


def test_an_answer_that_fails_in_use_is_replaced_and_told_with_its_line(capsys):
    cells = Cells()
    cells.run("factor = 2\n\n\ndef mine(x):\n    return factor * x")
    twice = cells.run("twice = check.use(mine)")["twice"]
    assert twice(2) == 4
    cells.run("del factor")
    assert twice(2) == 4 and twice(3) == 6
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        "mine: your code raised NameError: name 'factor' is not defined [mine, line 5]; "
        "the course's answer is used from here on"
    ]


def test_a_call_that_is_wrong_in_itself_raises():
    twice = double.use(lambda x: 2 * x)
    with pytest.raises(TypeError):
        twice(None)


def test_numbers_come_back_as_the_courses_kind():
    for given in (235146, "235,146", [235146], np.float64(235146), 7, ..., "many"):
        used = count.use(given)
        assert used == 235146 and type(used) is int


def test_without_a_reference_the_author_is_told():
    @exercise
    def bare(answer) -> str:
        return "right"

    assert bare(1).right and bare.__name__ == "bare"
    with pytest.raises(TypeError, match="bare has no reference"):
        bare.use(1)


# --- where a mistake is said to be ---

RAISES = {
    "division": ("def mine(x):\n    y = x\n    return y / 0", "ZeroDivisionError", "[mine, line 3]"),
    "a helper": (
        "def helper(x):\n    return x[0]\n\ndef mine(x):\n    return helper(x)",
        "TypeError",
        "[helper, line 2]",
    ),
    "NumPy": ("def mine(x):\n\n    return np.linalg.inv(np.zeros((2, 3)))", "LinAlgError", "[mine, line 3]"),
    "the end": ("def mine(x):\n    sys.exit(1)", "SystemExit: 1 (a function ends with return)", "[mine, line 2]"),
    "recursion": ("def mine(x):\n    return mine(x)", "RecursionError", "[mine, line 2]"),
    "a lambda": ("mine = lambda x: x.foo", "AttributeError", "[<lambda>, line 1]"),
}


@pytest.mark.parametrize("name", RAISES)
def test_the_line_of_the_learners_code_is_named(name):
    source, kind, where = RAISES[name]
    verdict = double(Cells().run(source)["mine"])
    assert not verdict.right and "\n" not in verdict.text
    assert verdict.text.startswith(f"your code raised {kind}") and verdict.text.endswith(where)


def test_the_line_itself_is_shown_where_it_can_be_read():
    def mine(x):
        return x / 0

    assert double(mine).text.endswith(": return x / 0]")


def test_an_answer_of_another_kind_is_not_called_an_error_of_the_code():
    assert double(lambda x: "six").text == "expected numbers, got str six"
    assert live_landmarks.share(len).text.startswith("checking your answer raised TypeError: len() takes")


def test_an_interrupt_stays_an_interrupt():
    def mine(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        double(mine)


# --- numbers in whatever form ---

SEVENS = [7, 7.0, np.float32(7), np.array(7), np.array([7.0]), [7], (7,), [[7]], "7", " 7.0 ", torch.tensor(7.0)]
SEVENS += [torch.tensor([7.0], requires_grad=True), [torch.tensor(7.0, requires_grad=True)], "0,007", "0_7"]


@pytest.mark.parametrize("given", SEVENS, ids=str)
def test_one_number_in_many_forms(given):
    assert number(given) == 7.0


@pytest.mark.parametrize("given", [[1, 2], [], "seven", None, np.nan, float("inf"), {"a": 1}, [[1], [2, 3]]], ids=str)
def test_what_is_not_one_number(given):
    with pytest.raises(Wrong, match="expected"):
        number(given)


def test_arrays_in_many_forms():
    right = np.array([[1.0, 2.0], [3.0, 4.0]])
    ones = torch.tensor(right, requires_grad=True)
    for given in (right, right.tolist(), tuple(map(tuple, right)), list(right), ones, list(ones), right.astype("f4")):
        assert same(given, right) and array(given).shape == (2, 2)
    for wrong in (right[0], right.T, right * np.nan, right[None]):
        assert not same(wrong, right)


def test_two_things_in_many_forms():
    for given in ((1, 2), [1, 2], np.array([1, 2]), torch.tensor([1, 2])):
        first, second = pair(given, "one and two")
        assert (int(first), int(second)) == (1, 2)
    for wrong in (1, (1, 2, 3), None):
        with pytest.raises(Wrong, match="two things: one and two"):
            pair(wrong, "one and two")
