"""The notebook files as they are committed: whole runs with their outputs, small, without widget state."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


def text(cell):
    """What a cell printed."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_file(path):
    assert path.stat().st_size < 1_000_000, "GitHub does not show large notebooks"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"], "widget state: strip metadata.widgets"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) <= 30
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1)), "not saved by Restart & Run All"
    for number, cell in enumerate(code, 1):
        tags = cell["metadata"].get("tags", [])
        if "nbval-check-output" in tags:
            assert cell["outputs"], f"cell {number} is tagged nbval-check-output and has no output"
        data = [output.get("data", {}) for output in cell["outputs"]]
        assert not any("widget-view" in kind for outputs in data for kind in outputs), f"cell {number} shows a widget"
        assert len(cell["source"]) <= 25, f"cell {number} is long: a reader loses the thread"
        assert path.name < "04" or "faces: iBUG 300-W\n" not in text(cell), (
            "a run that had the real faces: its images must not be published; run it with the drawn ones"
        )
        if "raises-exception" not in tags:
            assert not any(output["output_type"] == "error" for output in cell["outputs"]), f"cell {number} failed"
