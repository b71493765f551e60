"""The wheel, alone: what is in it, and what it does where only the light base's dependencies are installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flcourse.images import write_image

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
FLCOURSE = "Scripts/flcourse.exe" if os.name == "nt" else "bin/flcourse"
EXTRAS = ["torch", "torchvision", "safetensors", "onnx", "onnxscript", "sklearn", "skimage", "matplotlib", "scipy"]
EXTRAS += ["ipywidgets", "anywidget", "traitlets", "IPython", "jupyterlab", "streamlit", "starlette", "pytest", "timm"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy: building leaves folders behind."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("flcourse", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data").mkdir()
    (copy / "data" / "big.py").write_text("")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    done = subprocess.run([*build, "-w", str(out), "."], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = out.glob("*.whl")
    return built


def closure(names):
    """The installed distributions that `names` need, with all that these need in turn."""
    found, waiting = {}, list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # course.py puts the headless one in its place where there is no libGL
            assert name == "opencv-python"
            found[name] = distribution("opencv-python-headless")
        for line in found[name].requires or []:
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def put(source, target):
    """A link where the system allows one, else a copy."""
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


@pytest.fixture(scope="module")
def base(tmp_path_factory, wheel):
    """A virtual environment of the wheel and, out of the packages at hand, just what its base depends on."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    install = [sys.executable, "-m", "pip", "--python", folder / PYTHON, "install", "--no-deps", "--no-index", "-q"]
    done = subprocess.run([*install, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([folder / PYTHON, "-c", where], text=True).strip())
    [metadata] = packages.glob("flcourse-*.dist-info/METADATA")
    needs = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(encoding="utf-8"), re.MULTILINE)
    for dist in closure(Requirement(line).name for line in needs if "extra ==" not in line).values():
        for top in {file.parts[0] for file in dist.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                put(Path(str(dist.locate_file(top))), packages / top)
    return folder


def run(program, *args, cwd, code=0):
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    env.update(PYTHONUTF8="1", XDG_CACHE_HOME=str(cwd), LOCALAPPDATA=str(cwd))
    done = subprocess.run(list(map(str, [program, *args])), capture_output=True, encoding="utf-8", cwd=cwd, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    from skimage import data

    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    write_image(path, data.astronaut())
    return path


def test_wheel_holds_the_package_and_nothing_else(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    top = {path.name for path in tmp_path.iterdir()}
    [info] = [name for name in top if name.endswith(".dist-info")]
    assert top == {"flcourse", info}
    beside = {".py", ".js", ".css", ".onnx", ".safetensors", ".json", ".md", ""}
    for path in (ROOT / "flcourse").rglob("*"):
        if path.is_file() and path.suffix in beside and "__pycache__" not in path.parts:
            assert (tmp_path / path.relative_to(ROOT)).is_file(), path
    metadata = (tmp_path / info / "METADATA").read_text(encoding="utf-8")
    assert "License-Expression: MIT AND LicenseRef-iBUG" in metadata
    assert {path.name for path in (tmp_path / info / "licenses").rglob("*") if path.is_file()} == {"LICENSE"}
    assert "flcourse = flcourse.apps.cli:main" in (tmp_path / info / "entry_points.txt").read_text()


def test_only_the_base_is_there(base, tmp_path):
    code = f"import flcourse, importlib.util as u; print([n for n in {EXTRAS} if u.find_spec(n)], flcourse.__file__)"
    found, _, file = run(base / PYTHON, "-c", code, cwd=tmp_path).stdout.strip().partition("] ")
    assert found == "["
    assert Path(file).is_relative_to(base)


def test_every_part_for_using_landmarks_imports(base, tmp_path):
    used = [*(ROOT / "flcourse").glob("*.py"), *(ROOT / "flcourse" / "face").glob("*.py")]
    used += [ROOT / "flcourse" / "data" / name for name in ("imglab.py", "drawn_faces.py", "datasets.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in used]
    names.remove("flcourse.__main__")
    run(base / PYTHON, "-c", f"import {', '.join(names)}", cwd=tmp_path)


def test_it_detects(base, photo, tmp_path):
    out = run(base / FLCOURSE, "detect", photo, "--json", "--out", "found", cwd=tmp_path).stdout
    [image] = json.loads(out)
    assert len(image["faces"]) == 1 and image["faces"][0]["confidence"] > 0.8
    assert (tmp_path / "found" / "photo_faces.png").stat().st_size > 10_000


def test_readme_snippet_runs(base, photo, tmp_path):
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "import flcourse" in snippet
    shutil.copy(photo, tmp_path / "photo.jpg")
    assert run(base / PYTHON, "-c", snippet, cwd=tmp_path).stdout.startswith("0.")
    assert (tmp_path / "points.png").stat().st_size > 10_000


def test_demo_draws_a_face_where_scikit_image_is_missing(base, tmp_path):
    out = run(base / FLCOURSE, "demo", cwd=tmp_path).stdout
    assert "a face that the course draws" in out and "1 face, confidence 0." in out
    assert (tmp_path / "outputs" / "drawn_faces.png").exists()


@pytest.mark.parametrize(("command", "package"), [(["train"], "matplotlib|torch"), (["app"], "Streamlit")])
def test_what_needs_more_says_so_in_one_line(base, tmp_path, command, package):
    labels = tmp_path / "labels.xml"
    labels.write_text("<dataset/>")
    more = ["--data", labels] if command == ["train"] else []
    done = run(base / FLCOURSE, *command, *more, cwd=tmp_path, code=2)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert re.search(f'needs ({package}), which is not installed; .* pip install "\\.', done.stderr), done.stderr
