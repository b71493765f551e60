"""The repository itself: one-way imports, dependencies with reasons, no addresses, a wheel that works elsewhere."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted((ROOT / "flcourse").rglob("*.py"))


def tracked_files():
    """The text files git knows or would add; in a copy without git, what lies about outside .venv and data."""
    try:
        listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, capture_output=True, check=True, encoding="utf-8").stdout.split("\0")
        files = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", ".git", "data", "outputs", "runs", "__pycache__", ".ruff_cache", ".pytest_cache"}
        files = [path for path in ROOT.rglob("*") if not skipped & set(path.relative_to(ROOT).parts[:-1])]
    suffixes = {".py", ".md", ".txt", ".toml", ".yml", ".yaml", ".ipynb", ".json", ".js", ".css", ".cfg", "", ".in"}
    return [path for path in files if path.is_file() and path.suffix in suffixes]


# --- imports go one way ---

FOUNDATION = {"download", "errors", "files", "points", "metrics", "images"}
MAY_IMPORT = {  # a part of the package -> the parts it may import, itself aside
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "data": FOUNDATION,
    "training": FOUNDATION | {"data"},
    "face": FOUNDATION | {"weights"},
    "exercises": FOUNDATION | {"data", "training"},
    "show": FOUNDATION | {"data", "training", "face", "weights"},
    "apps": FOUNDATION | {"data", "training", "face", "show", "weights"},
    "weights": set(),
    "__main__": {"apps"},
    "__init__": FOUNDATION | {"face"},
}
ONLY_IN = {  # a package -> the parts that may import it
    "streamlit": {"apps/streamlit_app.py"},
    "matplotlib": {"show"},
    "ipywidgets": {"show"},
    "anywidget": {"show"},
    "torch": {"data", "training", "exercises", "show", "apps"},
    "torchvision": {"data", "training", "show", "apps"},
    "timm": set(),
}


def part_of(path):
    """The first name below flcourse: `data` for flcourse/data/imglab.py, `points` for flcourse/points.py."""
    return path.relative_to(ROOT / "flcourse").with_suffix("").parts[0]


def imports(path):
    """Every module that a file imports, anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import, line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    part = part_of(path)
    assert part in MAY_IMPORT, f"say in MAY_IMPORT what flcourse.{part} may import"
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("flcourse.")} - {"__version__"}
    assert inside <= MAY_IMPORT[part] | {part}
    where = path.relative_to(ROOT / "flcourse").as_posix()
    for name in {name.split(".")[0] for name in imports(path)} & set(ONLY_IN):
        assert {part, where} & ONLY_IN[name], f"{where} imports {name}"


def test_points_and_metrics_need_only_numpy():
    for name in ("points", "metrics"):
        outside = {module.split(".")[0] for module in imports(ROOT / "flcourse" / f"{name}.py")}
        assert outside - sys.stdlib_module_names <= {"numpy", "flcourse"}


def test_using_landmarks_leaves_torch_alone():
    modules = [path.relative_to(ROOT).with_suffix("") for path in SOURCES if part_of(path) == "face"]
    names = [".".join(path.parts).removesuffix(".__init__") for path in modules]
    heavy = "{'torch', 'torchvision', 'timm', 'matplotlib', 'streamlit', 'sklearn', 'skimage'}"
    code = f"import sys, {', '.join(names)}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- dependencies ---


def dependencies():
    extras = PROJECT["optional-dependencies"]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *extras["app"], *extras["dev"]]]


def constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_dependency_says_who_needs_it():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *extras["app"], *extras["dev"]]:
        [line] = [line for line in lines if line.strip().startswith(f'"{requirement}"')]
        assert re.search(r'",\s+# \w.{10,}', line), line


def test_constraints_are_exact_and_within_the_ranges():
    pinned = {}
    for line in constraints():
        [only] = line.specifier
        assert only.operator == "==" and not line.url, line
        pinned.setdefault(canonicalize_name(line.name), []).append(Version(only.version))
    for requirement in dependencies():
        if requirement.name == "flcourse":
            continue
        for version in pinned[canonicalize_name(requirement.name)]:
            assert version in requirement.specifier, requirement
    assert "opencv-python-headless" not in pinned  # course.py puts it in opencv-python's place, in the same version
    assert "://" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_environment_yml_only_points_to_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["channels"] == ["conda-forge"]
    python, pip, with_pip = environment["dependencies"]
    assert pip == "pip" and with_pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}
    wanted, offered = Requirement(f"python{PROJECT['requires-python']}"), Requirement(python)
    for version in ("3.10.9", "3.11.0", "3.14.0", "3.14.1", "3.14.2"):
        assert (version in wanted.specifier) == (version in offered.specifier), version


def test_github_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert {name.split("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run", "python course.py test"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "course.py test" in script
    if os.name != "nt":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)


# --- files ---


def test_no_file_names_a_place_of_one_machine():
    place = re.compile(r"(?<![\w.])/(work|root|home|Users|tmp|opt)/\w")
    for path in tracked_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not place.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"


def test_relative_links_lead_somewhere():
    for page in [path for path in tracked_files() if path.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_gitignore_hides_data_but_not_the_data_code():
    ignored = ["data/MNIST/raw/x", "outputs/a.png", "runs/course/last.pt", ".venv/bin/python"]
    kept = ["data/README.md", "flcourse/data/imglab.py", "flcourse/weights/xception.onnx"]
    done = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "--no-index", *ignored, *kept], capture_output=True, text=True
    )
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.split() == ignored


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy (building leaves folders behind), unpacked in a folder of its own."""
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
    unpacked = tmp_path_factory.mktemp("elsewhere")
    zipfile.ZipFile(built).extractall(unpacked)
    return unpacked


def run_wheel(wheel, cwd, *command):
    env = dict(os.environ, PYTHONPATH=str(wheel), PYTHONUTF8="1", XDG_CACHE_HOME=str(cwd), LOCALAPPDATA=str(cwd))
    return subprocess.run([sys.executable, *command], capture_output=True, encoding="utf-8", cwd=cwd, env=env)


def test_wheel_holds_the_package_and_nothing_else(wheel):
    top = {path.name for path in wheel.iterdir()}
    [info] = [name for name in top if name.endswith(".dist-info")]
    assert top == {"flcourse", info}
    beside = {".py", ".js", ".css", ".onnx", ".safetensors", ".json", ".md", ""}
    for path in (ROOT / "flcourse").rglob("*"):
        if path.is_file() and path.suffix in beside and "__pycache__" not in path.parts:
            assert (wheel / path.relative_to(ROOT)).is_file(), path
    metadata = (wheel / info / "METADATA").read_text(encoding="utf-8")
    assert "License-Expression: MIT AND LicenseRef-iBUG" in metadata
    assert {path.name for path in (wheel / info / "licenses").rglob("*") if path.is_file()} == {"LICENSE"}
    assert "flcourse = flcourse.apps.cli:main" in (wheel / info / "entry_points.txt").read_text()


def test_wheel_runs_elsewhere(wheel, tmp_path):
    where = run_wheel(wheel, tmp_path, "-c", "import flcourse; print(flcourse.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(wheel)
    done = run_wheel(wheel, tmp_path, "-m", "flcourse", "--help")
    assert done.returncode == 0 and "detect" in done.stdout


def test_wheel_detects_elsewhere(wheel, tmp_path):
    if not list((ROOT / "flcourse" / "weights").glob("*.onnx")):
        pytest.skip("no weights are shipped yet: flcourse/weights/*.onnx")
    import skimage.data
    import skimage.io

    skimage.io.imsave(tmp_path / "astronaut.png", skimage.data.astronaut())
    done = run_wheel(wheel, tmp_path, "-m", "flcourse", "detect", "astronaut.png", "--out", "found")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found" / "astronaut_faces.png").stat().st_size > 10_000
