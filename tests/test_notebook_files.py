"""The notebook files as they are committed: whole runs with their outputs, small, without widget state."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from test_landmarker import network_bytes

from flcourse.face.landmark_network import shipped_weights
from flcourse.show.networks import networks_table

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


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.name < "04"], ids=lambda path: path.name)
def test_below_every_figure_stands_what_is_to_be_seen(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell, below in pairwise(cells):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            first = "".join(below["source"]).split("\n")[0]
            assert first.startswith("*") and first.endswith("*") and len(first) > 30, "".join(cell["source"])[:200]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_guess_comes_before_its_result(path):
    """Between a question and its result, what is trained or revealed is hidden in the saved notebook."""
    asked = None
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        if " = predict(" in source:
            asked = source
        elif asked and (".reveal(" in source or "fit_in_cell(" in source):
            assert cell["metadata"].get("jupyter", {}).get("outputs_hidden"), source[:200]
        if ".reveal(" in source:
            # The first line of what is hidden is shown: of a figure its size, of text a result.
            first = re.search(r"plt\.show\(|display\(|print\(|fit_in_cell\(|\.use\(|\.reveal\(", source)
            assert first and first[0] != ".reveal(", source[:200]
            asked = None


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.name[:2] in ("04", "05")], ids=lambda p: p.name)
def test_every_figure_has_an_alternative_text(path):
    """In its cell's metadata, as nbconvert reads it, and in the output's, which tools/save.py writes."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                text = cell["metadata"].get("alt", "")
                assert len(text) > 30, f"no alternative text: {''.join(cell['source'])[:60]}"
                assert output["metadata"].get("image/png", {}).get("alt") == text
        if cell["cell_type"] == "markdown":
            assert "![](" not in "".join(cell["source"])


def test_figures_stated_in_words_are_the_recorded_ones():
    measured = json.loads((shipped_weights()["xception"].parent / "measured.json").read_text(encoding="utf-8"))
    [text04], [text05] = (
        [path.read_text(encoding="utf-8") for path in NOTEBOOKS if path.name.startswith(n)] for n in ("04", "05")
    )
    recorded = measured["set"]
    one, two, three = (f"{mode:.0f}" for mode in recorded["modes"][:3])
    assert f"On {recorded['faces']:,} real training faces" in text04
    assert f"{one}, {two} and {three} % of the variance" in text04
    for text in (text04, text05):
        assert f"{measured['mean_shape']:.1f} %" in text and f"{recorded['mean_shape_aligned']:.1f} %" in text
    gain = measured["ablation_2"]["val_nme"] - measured["ablation_3"]["val_nme"]
    assert f"worth {gain:.2f} of NME" in text05
    shares = [measured[f"ablation_{i}"]["minutes"] for i in range(6)]
    assert f"{min(shares):.0f} to {max(shares):.0f} minutes each" in text05
    poses = measured["poses"]
    for k, (low, high) in enumerate(pairwise(poses["edges"])):
        row = " | ".join(str(poses["nme"][name][k]) for name in ("front", "all", "one side"))
        assert f"| {low} to {high} | {row} |" in text05
    side = poses["nme"]["one side"]
    assert f"{side[0]} % at one end and {side[-1]} % at the other" in text05
    faces, held_out = measured["course_15"]["training_faces"], measured["validation"]["faces"]
    assert f"trained on {faces - held_out:,}, with {held_out} held out" in text05


# --- notebook 5's network in notebook 6 ---


def line(notebook: str, begins: str) -> str:
    """The one line of a notebook's code that begins so, without its indentation."""
    [path] = (path for path in NOTEBOOKS if path.name.startswith(notebook))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [row.strip() for cell in cells if cell["cell_type"] == "code" for row in cell["source"]]
    [found] = (row for row in lines if row.startswith(begins))
    return found


def test_notebook_6_finds_what_notebook_5_exports_and_uses_the_shipped_network_unless_told(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    names = {"Path": Path, "fast": lambda: False, "NAME": "my first", "shipped_weights": shipped_weights}
    exec(line("05", 'out = Path(mkdtemp() if fast() else f"../runs/{NAME}")'), names)
    exported = line("05", "export_onnx(").partition('"')[2].partition('"')[0]
    names["out"].mkdir(parents=True)
    metadata = {"figures": {"held_out": {"nme": 7.94, "faces": 41, "of": "drawn faces"}}}
    (names["out"] / exported).write_bytes(network_bytes(calibrated=False, metadata=metadata))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / exported).write_bytes(b"cut")

    exec(line("06", "NETWORK ="), names)
    exec(line("06", "networks ="), names)
    assert names["NETWORK"] == "xception" and set(names["networks"]) == {*shipped_weights(), "my first", "broken"}
    rows = networks_table(names["networks"], names["NETWORK"]).splitlines()
    assert "| | my first | 7.94 % on 41 held-out drawn faces | – |" in rows
    assert [row for row in rows if "in use" in row] == [
        "| **in use** | xception | 3.47 % on 196 held-out faces of iBUG 300-W | calibrated |"
    ]
    [broken] = [row for row in rows if "| broken |" in row]
    assert "truncated, or not an ONNX network" in broken
