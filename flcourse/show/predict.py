"""A question to guess before its answer is shown, and the guesses beside the results at the end of a notebook.

Whoever has guessed first remembers the answer, and notices what was believed wrongly. Nothing waits for the guess: in
*Run All*, in tests and on a page without a kernel the notebook simply goes on.
"""

import html
import math
from collections.abc import Sequence

import ipywidgets
from IPython.display import Markdown

from flcourse.show.notes import KernelNote, close_all, show_with_note

_asked: dict[str, "Prediction"] = {}  # by question, in the order of the notebook: a cell run again keeps its guess


def shown(value: float | str | None, unit: str) -> str:
    """A guess or result as text; a dash for none."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.3g}{unit and ' '}{unit}"


class Prediction(ipywidgets.VBox):
    """A question with a field or choices and a button; made by `predict`. `guess` and `result` are None until known."""

    def __init__(self, question: str, choices: Sequence[str] = (), unit: str = "", before: "Prediction | None" = None):
        self.question, self.choices, self.unit = question, list(choices), unit
        self.guess, self.result = (before.guess, before.result) if before else (None, None)
        if choices:
            self.field = ipywidgets.RadioButtons(options=self.choices, value=self.guess)
        else:
            typed = "" if self.guess is None else f"{self.guess:g}"
            # Its value changes with Enter, or when the field is left.
            self.field = ipywidgets.Text(typed, placeholder="a number", continuous_update=False)
        self.field.layout.width = "auto" if choices else "8em"
        self.field.tooltip = question  # also what a screen reader says
        self.button = ipywidgets.Button(description="That is my guess", tooltip="Keep this guess for the recap")
        self.button.on_click(lambda _: self.commit(self.field.value))
        self.field.observe(self._changed, "value")
        self.status = ipywidgets.HTML()
        self._note = KernelNote()
        ask = ipywidgets.HTML(f"<b>Guess first.</b> {html.escape(question)}")
        row = [self.field, ipywidgets.Label(unit)] if unit and not choices else [self.field]
        below = ipywidgets.HBox([self.button, self.status])
        super().__init__([ask, ipywidgets.HBox(row), below, self._note])
        self.add_class("flcourse-predict")
        self._tell()

    def __repr__(self):  # what a reader on GitHub sees in its place
        return f"Guess first: {self.question}" + (f" ({' / '.join(self.choices)})" if self.choices else "")

    def _ipython_display_(self) -> None:
        show_with_note(self, self._note.note)

    def close(self) -> None:
        """Take it off the page with all that it is made of."""
        close_all(self)

    def _changed(self, change) -> None:
        """Keep what is typed or chosen without the button, too: whoever runs the next cell at once would lose it."""
        if self.result is None:
            self.commit(change.new)

    def commit(self, guess: float | str | None) -> None:
        """Keep a guess, a choice or a number (as text, too); another one is asked for where it is neither."""
        if self.choices:
            valid = guess if guess in self.choices else None
        else:
            try:
                number = float(str(guess).strip().rstrip("%").replace(",", "."))
            except ValueError:
                number = math.nan
            valid = number if math.isfinite(number) else None
        if valid is None:
            self.status.value = "choose one" if self.choices else "a number, please"
            return
        self.guess = valid
        self._tell()

    def reveal(self, result: float | str) -> None:
        """Print the result beside the guess, and keep it for `recap`; called where the figure is shown."""
        self.result = result if isinstance(result, str) else float(result)
        print(f"your guess: {shown(self.guess, self.unit)}   result: {shown(self.result, self.unit)}")
        self._tell()

    def _tell(self) -> None:
        if self.guess is None:
            self.status.value = ""
        elif self.result is None:
            self.status.value = f"kept: {html.escape(shown(self.guess, self.unit))}. Now run the next cell."
        else:
            both = f"your guess: {shown(self.guess, self.unit)}; result: {shown(self.result, self.unit)}"
            self.status.value = html.escape(both)


def predict(question: str, choices: Sequence[str] = (), unit: str = "") -> Prediction:
    """Ask for a guess: one of `choices`, or a number in `unit` where there are none. As a cell's last line it is shown.

    A cell that is run again keeps what was guessed. Where the result is known, `reveal` tells both; `recap` lists all.
    """
    before = _asked.get(question)
    made = Prediction(question, choices, unit, before if before and before.choices == list(choices) else None)
    if before:
        before.close()
    _asked[question] = made
    return made


def recap() -> Markdown:
    """The table of this notebook's guesses beside the results; a dash where one is not there (yet)."""
    rows = ["| guessed before the figure | your guess | result |", "|---|---|---|"]
    for asked in _asked.values():
        cells = asked.question, shown(asked.guess, asked.unit), shown(asked.result, asked.unit)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return Markdown("\n".join(rows))
