"""Plain `pytest` runs as `course.py test` does: as any user has it."""

import os
from collections import Counter

import hypothesis
import pytest

os.environ.update(FLCOURSE_OFFLINE="1", FLCOURSE_FAST="1", MPLBACKEND="Agg")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import onnxruntime before flcourse
for name in ("FLCOURSE_DATA", "FLCOURSE_COMMAND"):
    os.environ.pop(name, None)

# No deadline: how long an example takes says only how busy the machine is.
hypothesis.settings.register_profile("flcourse", deadline=None)
hypothesis.settings.load_profile("flcourse")

# Trainings, measurements of speed, exports, many programs started, set-ups: what course.py test --fast leaves out.
SLOW = {"bench", "book", "calibration", "course", "export", "loop", "recipes", "show_training", "streamlit_app"}
SLOW |= {"cli", "fuzz", "kills", "network_files", "threads", "tools", "train_detector", "webcam", "wheel"}


@pytest.hookimpl(trylast=True)  # below the slowest tests
def pytest_terminal_summary(terminalreporter):
    """How long each notebook took."""
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            file = getattr(report, "nodeid", "").partition("::")[0]
            if file.endswith(".ipynb"):
                seconds[file] += getattr(report, "duration", 0)  # warnings have none
    if seconds:
        terminalreporter.section("notebooks")
        for name, taken in sorted(seconds.items()):
            terminalreporter.line(f"{taken:6.1f} s  {name}")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker("notebook")
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker("slow")
