"""Power cuts, killed batch jobs and impatience: SIGKILL at ten moments each, and what is left of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name == "nt", reason="forks")
def test_killed_work_is_whole_or_not_there_and_the_next_run_recovers():
    script = Path(__file__).with_name("killing.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parent)}  # of its own accord not, under PYTHONSAFEPATH
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "download",
        "extraction",
        "labels",
        "drawn faces",
        "detect",
    ]
    assert all(" 10 of 10 killed" in line or " 9 of 10 killed" in line for line in done.stdout.splitlines()), (
        done.stdout
    )
