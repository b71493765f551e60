"""The browser's half of the widgets, as text: each script and each style sheet after what all of them share."""

from pathlib import Path

from flcourse.colours import hex_code
from flcourse.face.draw import PART_COLOURS
from flcourse.points import CLOSED_PARTS, PARTS
from flcourse.show.plot import BLUE, ORANGE

_HERE = Path(__file__).parent
_COLOURS = f"--flcourse-blue: {BLUE}; --flcourse-orange: {ORANGE};"


def script(name: str) -> str:
    """The script `name` of this folder, with `shared.js` before it: one ES module.

    As text, not as a path: anywidget (0.11) watches files, and keeps each widget made of one for ever, closed or not.
    """
    return _read("shared.js") + _read(name)


def style(name: str) -> str:
    """The style sheet `name` of this folder, with the course's colours and `shared.css` before it."""
    return f".flcourse-widget {{ {_COLOURS} }}\n{_read('shared.css')}{_read(name)}"


def parts() -> list[dict]:
    """How a browser draws the 68 points, as `face.draw` does: of each part its `indices`, `closed` and `colour`."""
    return [
        {"indices": list(part), "closed": name in CLOSED_PARTS, "colour": hex_code(PART_COLOURS[name])}
        for name, part in PARTS.items()
    ]


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
