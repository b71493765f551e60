"""The contributors' tools: what they train and measure is what they say."""

import importlib.util
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from flcourse.data.drawn_faces import write_drawn_faces
from flcourse.training.recipes import RECIPES

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def tool(name: str):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_ablation_leads_from_the_original_to_the_course_one_change_a_row():
    rows = list(tool("measure").ablation(width=0.25, epochs=3).values())
    described = [recipe.describe() for recipe in rows]
    for before, after in pairwise(described):
        assert sum(before[name] != after[name] for name in before) == 1
    small = {"width": 0.25, "config": replace(RECIPES["course"].config, epochs=3)}
    assert rows[-1] == replace(RECIPES["course"], **small)
    original = RECIPES["original"]
    assert (rows[0].head, rows[0].loss, rows[0].augment) == (original.head, original.loss, original.augment)
    assert rows[0].config == replace(original.config, epochs=3)


def test_the_cifar10_ablation_changes_what_its_rows_say():
    measure = tool("measure_cifar10")
    kinds = {name: {type(m).__name__ for m in row.net().modules()} for name, row in measure.ROWS.items()}
    assert [name for name, found in kinds.items() if "Residual" not in found] == ["no residuals"]
    assert [name for name, found in kinds.items() if "BatchNorm2d" not in found] == [
        "no batch norm, and a rate it can bear (0.02)"
    ]
    weights = {name: sum(p.numel() for p in row.net().parameters() if p.ndim > 1) for name, row in measure.ROWS.items()}
    assert len(set(weights.values())) == 1
    first, *others = measure.ROWS.values()
    for row in others:
        assert 1 <= sum(getattr(row, name) != getattr(first, name) for name in vars(first)) <= 2


def test_peers_are_measured_on_the_same_squares(tmp_path, monkeypatch, capsys):
    """Our own package, drawn faces: small errors show that squares and true points belong together."""
    labels = write_drawn_faces(tmp_path, 4, progress=False)
    monkeypatch.setattr("sys.argv", ["measure_peers.py", "flcourse", str(labels)])
    tool("measure_peers").main()
    said = re.match(r"flcourse: 4 faces, 0 missed; NME (\S+) %, without the jaw (\S+) %", capsys.readouterr().out)
    assert said and float(said[1]) < 6 and float(said[2]) < 6
