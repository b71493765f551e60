"""The repository itself: one-way imports, dependencies with reasons, no addresses."""

import ast
import os
import re
import subprocess
import sys
import tomllib
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
        skipped = {
            ".venv",
            ".git",
            "data",
            "my_notebooks",
            "outputs",
            "runs",
            "__pycache__",
            ".ruff_cache",
            ".pytest_cache",
        }
        files = [path for path in ROOT.rglob("*") if not skipped & set(path.relative_to(ROOT).parts[:-1])]
    suffixes = {".py", ".md", ".txt", ".toml", ".yml", ".yaml", ".ipynb", ".json", ".js", ".css", ".cfg", "", ".in"}
    return [path for path in files if path.is_file() and path.suffix in suffixes]


# --- imports go one way ---

FOUNDATION = {"colours", "download", "errors", "files", "points", "metadata", "metrics", "images", "web"}
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
    "streamlit": {"apps/streamlit_app.py", "apps/app_server.py"},
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


def test_no_child_process_runs_code_of_the_current_folder():
    for path in SOURCES:  # python -c and -m look there first, unless -P says not to
        for option in re.findall(r"sys\.executable,\s*(\S+?)[,\]]", path.read_text(encoding="utf-8")):
            assert option == '"-P"', f"{path}: {option}"


# --- dependencies ---


def dependencies():
    return [Requirement(line) for line in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])]


def constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_dependency_says_who_needs_it():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"course", "app", "book", "dev"}
    for requirement in sum(extras.values(), PROJECT["dependencies"]):
        found = [line for line in lines if line.strip().startswith(f'"{requirement}"')]
        assert found
        for line in found:
            assert re.search(r'",\s+# \w.{10,}', line), line


def test_the_base_is_light_and_dev_brings_everything():
    names = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert names == {"numpy", "opencv-python", "onnxruntime", "pillow", "tqdm", "certifi", "defusedxml"}
    assert PROJECT["optional-dependencies"]["dev"][0] == "flcourse[course,app]"


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
    for name in ("test", "wheel"):
        pythons = [Version(python) for python in workflow["jobs"][name]["strategy"]["matrix"]["python"]]
        assert Version("3.11") in pythons and max(pythons) >= Version("3.14"), name
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    for command in ("pip wheel --no-deps", "flcourse demo", "course.py run data detectors", "course.py book"):
        assert any(command in step for step in steps), command
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "course.py test" in script
    if os.name != "nt":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_book_is_published_from_main():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))
    assert workflow[True]["push"] == {"branches": ["main"]}  # YAML 1.1 reads "on" as true
    build, publish = workflow["jobs"]["build"]["steps"], workflow["jobs"]["publish"]
    assert [step["run"] for step in build if "run" in step][-1] == "python course.py book"
    assert build[-1]["with"]["path"] == "build/book"  # where course.py puts it
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert workflow["permissions"] == {"contents": "read"}


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
    ignored = [
        "data/MNIST/raw/x",
        "my_notebooks/01_numpy_mnist.ipynb",
        "outputs/a.png",
        "runs/course/last.pt",
        ".venv/bin/python",
    ]
    kept = ["data/README.md", "flcourse/data/imglab.py", "flcourse/weights/xception.onnx"]
    done = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "--no-index", *ignored, *kept], capture_output=True, text=True
    )
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.split() == ignored
