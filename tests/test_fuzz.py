"""A small share of `fuzzing.py`: what was tried by the hundred thousand is in docs/tried.md."""

import pytest
from fuzzing import KINDS, fuzz


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind):
    outcomes = fuzz(kind, range(40 if kind == "image" else 150))
    assert outcomes["refused"] > 10 and outcomes["read"] > 0
