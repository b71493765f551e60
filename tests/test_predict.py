"""Guesses before figures, without a browser: fields and button are set as the browser would set them."""

import pytest

from flcourse.show import predict as module
from flcourse.show.predict import predict, recap


@pytest.fixture(autouse=True)
def new_notebook(monkeypatch):
    monkeypatch.setattr(module, "_asked", {})


def guess(prediction, value):
    prediction.field.value = value
    prediction.button.click()


def test_a_number_is_kept_and_told_beside_the_result(capsys):
    asked = predict("How large is the error?", unit="%")
    guess(asked, "4,5")
    assert asked.guess == 4.5 and "kept: 4.5 %" in asked.status.value
    asked.reveal(3.0412)
    assert capsys.readouterr().out == "your guess: 4.5 %   result: 3.04 %\n"
    assert "| How large is the error? | 4.5 % | 3.04 % |" in recap().data


def test_without_the_button_a_guess_is_kept_until_there_is_a_result():
    """Enter, or a click elsewhere, such as into the next cell."""
    number, choice = predict("How many?"), predict("Which?", ["a", "b"])
    number.field.value, choice.field.value = "4", "b"
    assert (number.guess, choice.guess) == (4, "b") and "kept: 4" in number.status.value
    number.reveal(7)
    number.field.value = "7"
    assert number.guess == 4 and "| How many? | 4 | 7 |" in recap().data


def test_a_choice_is_kept():
    asked = predict("Which?", ["the left one", "the right one"])
    asked.button.click()
    assert asked.guess is None and asked.status.value == "choose one"
    guess(asked, "the left one")
    asked.reveal("the right one")
    assert asked.status.value == "your guess: the left one; result: the right one"
    assert "| Which? | the left one | the right one |" in recap().data


def test_nothing_waits_and_a_late_guess_is_told(capsys):
    """*Run All*, nbval, a page without a browser: results come before guesses, or guesses never."""
    asked = predict("How many?")
    asked.reveal(7)
    assert capsys.readouterr().out == "your guess: –   result: 7\n"
    assert "| How many? | – | 7 |" in recap().data
    guess(asked, "9")
    assert asked.status.value == "your guess: 9; result: 7"
    assert "| How many? | 9 | 7 |" in recap().data


@pytest.mark.parametrize("text", ["", "many", "nan and", "1 2", "nan", "inf"])
def test_what_is_no_number_is_asked_for_again(text):
    asked = predict("How many?")
    guess(asked, text)
    assert asked.guess is None and asked.status.value == "a number, please"


def test_a_cell_run_again_keeps_its_guess_and_is_listed_once():
    for question in ("First?", "Second?"):
        guess(predict(question), "3")
    again = predict("First?")
    assert again.guess == 3 and again.field.value == "3" and "kept: 3" in again.status.value
    assert sum("First?" in row for row in recap().data.splitlines()) == 1
    assert predict("Second?", ["a", "b"]).guess is None  # another kind of question by now


def test_readers_without_a_kernel_see_the_question():
    assert repr(predict("Which?", ["a", "b"])) == "Guess first: Which? (a / b)"
    assert repr(predict("How many?")) == "Guess first: How many?"


def test_text_of_the_author_is_text():
    asked = predict("Is a < b | c?", ["<b>", "|"])
    guess(asked, "<b>")
    assert "&lt;b&gt;" in asked.status.value and "a < b \\| c?" in recap().data
