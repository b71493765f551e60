"""What stands where a widget cannot: a note for readers without its kernel, and a word when the kernel ends.

A widget lives in a kernel. In a page that is opened again later JupyterLab only says "model not found" in its place; so
each widget puts a line of text before itself, which its own script hides while the widget is there.
"""

import uuid
from typing import Any

import anywidget
import ipywidgets
import traitlets
from IPython.display import display

from flcourse.show.assets import script, style
from flcourse.show.cell_figures import keep_figures_in_their_cells

TEXT = "Here stands a widget while its kernel runs. Run the notebook's cells, from the top, to use it."


class Noted(traitlets.HasTraits):
    """A widget that puts a note before itself; its script calls `attend`."""

    note = traitlets.Unicode(read_only=True, help="names the note in the page").tag(sync=True)

    @traitlets.default("note")
    def _name(self) -> str:
        return uuid.uuid4().hex

    def _ipython_display_(self) -> None:
        show_with_note(self, self.note)

    def close(self) -> None:
        """Take the widget off the page."""
        close_all(self)


class KernelNote(Noted, anywidget.AnyWidget):
    """The child that does it for widgets without a script of their own: nothing to see until the kernel has ended."""

    _esm = script("kernel_note.js")
    _css = style("kernel_note.css")


def show_with_note(widget, note: str) -> None:
    """Display a widget below the note that its script hides; `note` is that of a `Noted`."""
    keep_figures_in_their_cells()
    html = f'<div class="flcourse-note flcourse-note-{note}">{TEXT}</div>'
    display({"text/html": html, "text/plain": repr(widget)}, raw=True)
    bundle = widget._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    display(data, raw=True, metadata=metadata)


def close_all(widget: Any) -> None:
    """Close a widget with its children, layouts and styles: ipywidgets keeps each that is open, for ever."""
    for child in getattr(widget, "children", ()):
        close_all(child)
    parts = [getattr(widget, name, None) for name in ("layout", "style")]
    ipywidgets.Widget.close(widget)  # not the method of `explore` and `play`, which call this
    for part in parts:
        if isinstance(part, ipywidgets.Widget):
            part.close()
