"""The notebook files as they are committed: whole runs with their outputs, small, without widget state."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


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
        if "raises-exception" not in tags:
            assert not any(output["output_type"] == "error" for output in cell["outputs"]), f"cell {number} failed"
