"""The contributors' tools: what they train and measure is what they say."""

import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

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
