"""`flcourse bench`: every row is measured, ratios are of its medians, and what cannot be measured says so."""

import json

import numpy as np
import pytest

from flcourse.apps.bench import PARTS
from flcourse.apps.benchmark import bench, entry, in_turn, table
from flcourse.apps.cli import main


@pytest.fixture(scope="module")
def result():
    return bench(PARTS, seconds=0.05, compiled=False, progress=False)


def test_all_parts_have_rows(result):
    assert list(dict.fromkeys(row["part"] for row in result["rows"])) == list(PARTS)
    names = {row["name"] for row in result["rows"] if "median_ms" in row}
    for name in ("course, 640 x 480", "ONNX Runtime, 1 thread", "ONNX Runtime, int8, 1 thread", "PyTorch, 1 thread"):
        assert name in names
    assert {"PyTorch, channels last, 1 thread", "tracking, course", "tracking and drawing, course"} < names
    assert json.loads(json.dumps(result)) == result and result["machine"]["cores"] >= 1


def test_ratios_are_those_of_the_medians(result):
    for part in PARTS:
        rows = [row for row in result["rows"] if row["part"] == part and "median_ms" in row]
        assert rows[0]["ratio"] == 1
        for found in rows:
            assert found["ratio"] == pytest.approx(found["median_ms"] / rows[0]["median_ms"], abs=1e-3)
            low, high = found["quartiles_ms"]
            assert 0 < low <= found["median_ms"] <= high and found["runs"] >= 1
    assert 0 < rows[-1]["waiting"] < 1  # of the training


def test_the_table_has_a_line_for_each_row(result):
    lines = table(
        result | {"rows": [*result["rows"], {"part": "live", "name": "x", "missing": "not here"}]}
    ).splitlines()
    assert len(lines) == 3 + len(result["rows"]) + 1 and lines[-1].endswith("not here")
    assert "% of it waiting for data" in "".join(lines)


def test_an_entry():
    found = entry("ten", [5.0, 10.0, 20.0], things=4)
    assert found == {"name": "ten", "median_ms": 10, "quartiles_ms": [7.5, 15], "per_second": 400, "runs": 3}


def test_rows_take_turns():
    order = []
    rows = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, seconds=0)
    assert order[:2] == ["a", "b"] and "".join(order[2:]) == 5 * "ab" and [r["runs"] for r in rows] == [5, 5]
    assert np.isfinite([r["median_ms"] for r in rows]).all()


def test_unknown_parts_are_told(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "engine"])
    assert "unknown part engine, expected detectors, engines, live, training" in capsys.readouterr().err
