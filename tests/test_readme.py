"""README: its commands are run by a test or say why not, its figures are the notebooks', its pictures are there."""

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from flcourse.apps.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)

# A command of README -> the test that runs it, as file::test; or why none does.
RUN_BY = {
    "python3 course.py demo": "test_course.py::test_setup_the_whole_way",
    "python3 course.py demo photo.jpg holiday/": "test_course.py::test_setup_the_whole_way",
    "py course.py demo": "test_course.py::test_setup_the_whole_way",
    "UV_TORCH_BACKEND=cpu python3 course.py demo": "test_course.py::test_setup_the_whole_way",
    "python3 course.py setup": "test_course.py::test_setup_the_whole_way",
    "python3 course.py lab": "test_lab.py",
    "python3 course.py run ...": "test_course.py::test_setup_the_whole_way",
    "python3 course.py run COMMAND": "test_course.py::test_setup_the_whole_way",
    "python3 course.py run detect photo.jpg": "test_howtos.py::test_photos",
    "python3 course.py run webcam": "test_webcam.py",
    "python3 course.py book": "test_book.py::test_every_page_is_there_with_its_neighbours",
    "python3 course.py test": "test_course.py::test_test_runs_ruff_tests_and_notebooks_and_hides_data",
    "pip install .": "test_wheel.py::test_it_detects",
    'pip install ".[course]"': "not run: the extras' gigabytes are what course.py installs, by the same lines",
    'pip install ".[dev]" -c constraints.txt': "not run: the extras' gigabytes are what course.py installs",
    'uv pip install -e ".[dev]" -c constraints.txt': "not run: course.py's own command, by which this was installed",
    "conda env create -f environment.yml": "not run: no conda here; test_repository.py holds the file to pyproject",
    "ssh -L 8888:127.0.0.1:8888 that-machine": "not run: no second machine; test_howtos.py::test_lan has such a tunnel",
    "flcourse detect": "test_cli.py::test_detect_draws_and_tells",
    "flcourse detect photo.jpg holiday/": "test_cli.py::test_detect_draws_and_tells",
    "flcourse train --data labels.xml --recipe course": "test_cli.py::test_three_faces_are_enough_to_train_on",
    "flcourse webcam": "test_webcam.py",
    "flcourse app": "test_howtos.py::test_lan",
    "flcourse train-detector labels.xml": "test_train_detector.py",
    "flcourse evaluate": "test_cli.py::test_evaluate_reports_every_figure",
    "flcourse evaluate labels.xml --boxes course": "test_cli.py::test_evaluate_by_detector_and_tight_boxes",
    "flcourse export --weights best.safetensors --onnx mine.onnx": "test_howtos.py::test_fine_tune",
    "flcourse calibrate --weights best.safetensors --in-place": "test_calibration.py",
    "flcourse bench": "test_bench.py",
    "flcourse data detectors": "test_cli.py::test_data_fetches_and_prints_where_it_lies",
    "flcourse fit-boxes labels.xml": "test_cli.py::test_fit_boxes_prints_a_table",
}


def commands():
    """Every command that README shows, in blocks and in the text, without comments."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced if not language]
    shown = [line for block in blocks for part in block.splitlines() for line in part.split("#")[:1]]
    shown += re.findall(r"#.*?: (python3 course\.py .*)", "\n".join(blocks))
    shown += re.findall(r"`((?:UV_\w+=\w+ )?(?:flcourse|python3|py|pip|uv|conda|ssh) [^`]+)`", PROSE)
    return {line.strip() for line in shown} - {"flcourse COMMAND", ""}


def test_every_command_is_run_by_a_test_or_says_why_not():
    assert commands() == set(RUN_BY)
    for command, place in RUN_BY.items():
        if not place.startswith("not run: "):
            file, _, name = place.partition("::")
            assert f"def {name or 'test'}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), command


@pytest.mark.parametrize("command", [command for command in RUN_BY if command.startswith("flcourse ")])
def test_commands_are_as_the_program_takes_them(command):
    arguments = shlex.split(command)[1:]
    if arguments in (["detect"], ["evaluate"]):
        arguments.append("x")  # named as a command, without what it needs
    build_parser(arguments[0]).parse_args(arguments)


def test_every_command_of_the_program_is_told():
    for name in COMMANDS:
        assert re.search(rf"(flcourse|course\.py)( run)? {name}\b", README), name


def test_the_path_says_what_the_notebooks_say():
    rows = re.findall(r"^\|.*\]\((notebooks/\d\d_\w+\.ipynb)\) \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert [file for file, *_ in rows] == [f"notebooks/{path.name}" for path in sorted(ROOT.glob("notebooks/*.ipynb"))]
    for file, about, runs in rows:
        cells = json.loads((ROOT / file).read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        [time] = re.findall(r"^\*\*Time:?\*\*.*?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)[:1]
        assert f"{runs} to run" in " ".join(time.split()), f"{file}: README says {runs!r}, the notebook {time!r}"
        for figure in re.findall(r"\d[\d.]* %", about):
            assert figure in text, f"{file}: README says {figure}"


def test_pictures_are_there_and_described():
    shown = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)
    shown += [(alt, file) for file, alt in re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]+)"', README)]
    assert len(shown) == README.count("<img ") + README.count("![") >= 7
    for alt, file in shown:
        assert len(alt) > 20 and (ROOT / file).is_file(), file


def test_the_animation_is_short_and_small():
    file = ROOT / "docs" / "flcourse.webp"
    assert file.stat().st_size < 1_500_000
    with Image.open(file) as image:
        assert image.n_frames > 30


def test_the_api_example_has_five_lines():
    [example] = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(example.splitlines()) == 5  # test_wheel.py runs them, with the light base alone
