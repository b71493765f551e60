"""course.py on machines of every kind, without a download: small wheels made here stand in for the big ones."""

import ast
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COURSE = ROOT / "course.py"


@pytest.fixture
def course():
    spec = importlib.util.spec_from_file_location("course", COURSE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stopped(capsys):
    """The one line on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("course.py: ")
    return lines[0]


# --- the command line ---


def test_help_names_every_command(course, capsys):
    assert course.main(["--help"]) == 0
    assert course.main(["demo", "-h"]) == 0
    assert course.main([]) == 2
    out = capsys.readouterr().out
    for command in ("demo", "lab", "run", "test", "book", "setup"):
        assert f"course.py {command}" in out


@pytest.mark.parametrize("argv", [["tset"], ["setup", "now"]])
def test_unknown_command_is_one_line_and_exit_2(course, capsys, argv):
    with pytest.raises(SystemExit) as stop:
        course.main(argv)
    assert stop.value.code == 2
    assert repr(" ".join(argv)) in stopped(capsys)


def test_test_runs_ruff_tests_and_notebooks_and_hides_data(course, monkeypatch):
    calls = []
    monkeypatch.setattr(course, "run", lambda *command, **more: calls.append((command[2:], more)) or 0)
    assert course.test() == 0
    *checks, (tests, how), (report, _) = calls
    assert [check[0][0] for check in checks] == [check[0] for check in course.CHECKS]
    assert {"ruff", "deptry", "basedpyright"} <= {check[0] for check in course.CHECKS}
    assert how["settings"] == {"FLCOURSE_OFFLINE": "1", "FLCOURSE_FAST": "1"}
    assert how["hide"] == "FLCOURSE_DATA"
    assert tests[:4] == ("coverage", "run", "-m", "pytest") and report[:2] == ("coverage", "report")
    assert "--durations=15" in tests and {"tests", "notebooks"} < set(tests)
    calls.clear()
    assert course.test("--fast") == 0
    assert [call[0][0] for call in calls] == [check[0] for check in course.CHECKS] + ["pytest"]
    assert "notebooks" not in calls[-1][0] and "not slow and not browser" in calls[-1][0]
    calls.clear()
    assert course.test("-k", "points") == 0
    assert [call[0] for call in calls] == [("pytest", "-k", "points")]


@pytest.mark.parametrize("failing", ["check", "format", "deptry", "pytest"])
def test_test_fails_where_any_part_does(course, monkeypatch, failing):
    monkeypatch.setattr(course, "run", lambda *command, **more: int(failing in command))
    assert course.test() == 1


def test_programs_get_a_clean_environment_and_give_back_their_status(course, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("FLCOURSE_DATA", "mine")
    seen = tmp_path / "seen.json"
    code = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w')); sys.exit(3)"
    assert course.run(sys.executable, "-c", code, seen, settings={"FLCOURSE_FAST": "1"}, hide="FLCOURSE_DATA") == 3
    env = json.loads(seen.read_text(encoding="utf-8"))
    assert env["PYTHONSAFEPATH"] == "1"
    assert env["FLCOURSE_FAST"] == "1" and env["PYTHONUTF8"] == "1"
    assert env["PATH"].startswith(str(course.PYTHON.parent))
    assert "PYTHONPATH" not in env and "FLCOURSE_DATA" not in env
    if os.name != "nt":
        assert course.run(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)") == 137


# --- what to do next ---


@pytest.mark.parametrize("started", ["course.py", "../my course/course.py"])
def test_messages_name_commands_as_they_work_where_the_reader_stands(course, monkeypatch, capsys, started):
    monkeypatch.setattr(sys, "argv", [started, "demo"])
    calls = []
    monkeypatch.setattr(course, "run", lambda *command, **more: calls.append((command[2:], more)) or 0)
    course.flcourse("detect", "a.jpg", "--help")
    assert calls[-1][0] == ("flcourse", "detect", "a.jpg", "--help")
    me = ("py " if os.name == "nt" else "python3 ") + (started if " " not in started else f"'{started}'")
    assert calls[-1][1]["settings"] == {"FLCOURSE_COMMAND": f"{me} run"}
    assert course.demo("a.jpg") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Next, the course: {me} lab"


def test_run_passes_help_on_to_flcourse(course, monkeypatch):
    monkeypatch.setattr(course, "setup", lambda: False)
    calls = []
    monkeypatch.setattr(course, "run", lambda *command, **more: calls.append(command[2:]) or 7)
    assert course.main(["run", "--help"]) == 7
    assert calls == [("flcourse", "--help")]


@pytest.fixture
def lesson(course, monkeypatch, tmp_path):
    """`course` over a small checkout of its own: one notebook and a page."""
    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(course, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(course, "COPIES", tmp_path / "my_notebooks")
    monkeypatch.setattr(course, "ORIGINALS", tmp_path / "my_notebooks" / ".originals.json")
    monkeypatch.setattr(course, "LAB_SETTINGS", tmp_path / "labconfig" / "page_config.json")
    course.NOTEBOOKS.mkdir()
    for name in ("01_numpy_mnist.ipynb", "README.md", "scratch.tmp"):
        (course.NOTEBOOKS / name).write_text(f"first {name}")
    return course


def test_lab_opens_the_first_notebook_in_a_copy(lesson, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(lesson, "run", lambda *command, **more: calls.append(command[2:]) or 0)
    assert lesson.lab("--no-browser") == 0
    assert {"--LabApp.default_url=/lab/tree/my_notebooks/01_numpy_mnist.ipynb", "--no-browser"} <= set(calls[0])
    settings = json.loads(lesson.LAB_SETTINGS.read_text(encoding="utf-8"))
    assert settings["disabledExtensions"] == {"@jupyterlab/apputils-extension:announcements": True}
    assert "my_notebooks" in capsys.readouterr().out
    copies = {path.name: path.read_text() for path in lesson.COPIES.iterdir() if path != lesson.ORIGINALS}
    assert copies == {name: f"first {name}" for name in ("01_numpy_mnist.ipynb", "README.md")}


def test_a_learner_s_work_is_never_overwritten(lesson, capsys):
    original, copy = (folder / "01_numpy_mnist.ipynb" for folder in (lesson.NOTEBOOKS, lesson.COPIES))
    lesson.copy_notebooks()
    original.write_text("second")  # git pull, before the learner did anything in the copy
    lesson.copy_notebooks()
    assert copy.read_text() == "second" and capsys.readouterr().out == ""
    copy.write_text("worked in")
    lesson.copy_notebooks()
    assert copy.read_text() == "worked in" and capsys.readouterr().out == ""
    original.write_text("third")
    for _ in range(2):  # told until they decide
        lesson.copy_notebooks()
        out = capsys.readouterr().out
        assert copy.read_text() == "worked in"
        assert "01_numpy_mnist.ipynb has changed" in out and "rename yours" in out
    lesson.ORIGINALS.write_text("{")  # what is unknown counts as worked in
    lesson.copy_notebooks()
    assert copy.read_text() == "worked in"
    copy.rename(copy.with_name("mine.ipynb"))
    lesson.copy_notebooks()
    assert copy.read_text() == "third" and copy.with_name("mine.ipynb").read_text() == "worked in"
    assert original.read_text() == "third"


# --- machines that cannot ---


def run_patched(course, patch):
    """Run `course.py setup` in a Python that `patch` has changed."""
    code = f"import runpy, sys; {patch}; sys.argv[1:] = ['setup']; runpy.run_path({str(course)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_an_old_python_can_read_course_py():
    source = COURSE.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    for node in ast.walk(tree):  # what old Pythons would parse but then not run
        assert not isinstance(node, ast.AnnAssign)
        assert not (isinstance(node, ast.arg) and node.annotation), node.lineno
        assert not (isinstance(node, ast.FunctionDef) and (node.returns or node.args.posonlyargs))
    assert "=}" not in source  # f"{x=}" is 3.8


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 10, 4), (3, 15, 0)])
def test_another_python_is_one_line_with_what_to_do(version):
    done = run_patched(COURSE, f"sys.version_info = {version}")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert f"this is Python {'.'.join(map(str, version))}, the course needs 3.11 to 3.14: install one" in line


@pytest.mark.parametrize(
    ("version", "system", "machine", "macos", "bits", "ensurepip", "says"),
    [
        ((3, 14, 1), "Linux", "x86_64", "", 64, True, "3.14.2"),
        ((3, 12, 0), "Linux", "x86_64", "", 64, False, "sudo apt install python3-venv python3.12-venv"),
        ((3, 12, 0), "Windows", "AMD64", "", 32, True, "64-bit"),
        ((3, 12, 0), "Windows", "ARM64", "", 64, True, "x64"),
        ((3, 12, 0), "Darwin", "x86_64", "15.1", 64, True, "arm64"),
        ((3, 12, 0), "Darwin", "arm64", "13.6.1", 64, True, "macOS 14"),
    ],
)
def test_unsupported_machines(course, version, system, machine, macos, bits, ensurepip, says):
    line = course.unsupported(version, system, machine, macos, bits, ensurepip)
    assert says in line and "\n" not in line


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 0), (3, 14, 2)])
@pytest.mark.parametrize(
    ("system", "machine", "macos"),
    [("Linux", "aarch64", ""), ("Windows", "AMD64", ""), ("Darwin", "arm64", "14.0"), ("Darwin", "arm64", "")],
)
def test_supported_machines(course, version, system, machine, macos):
    assert course.unsupported(version, system, machine, macos, 64, True) is None


@pytest.mark.parametrize(("free", "backend", "fits"), [(80, "", True), (8.4, "", False), (4, "cpu", True)])
def test_disk_room(course, monkeypatch, capsys, free, backend, fits):
    monkeypatch.setenv("UV_TORCH_BACKEND", backend)
    monkeypatch.setattr(course.platform, "system", lambda: "Linux")
    monkeypatch.setattr(course, "free_room", lambda: free)
    if fits:
        course.check_room()
    else:
        with pytest.raises(SystemExit) as stop:
            course.check_room()
        assert stop.value.code == 1
        line = stopped(capsys)
        assert f"{free:.1f} GB free but 8.5 GB needed" in line and "UV_TORCH_BACKEND=cpu" in line


# --- uv is told what pip was told ---


def test_pip_s_settings_are_passed_on_to_uv(course, tmp_path):
    here = tmp_path.as_uri()
    config = "\n".join(
        [
            "global.index-url='https://first.invalid/simple'",
            f"global.extra-index-url='{here} file:///not/there\\nhttps://second.invalid/simple'",
            "global.find-links='wheels'",
            "global.timeout='60'",
            "install.trusted-host='first.invalid'",
            ":env:.index-url='https://env.invalid/simple'",
            ":env:.cert='bundle.pem'",
        ]
    )
    assert course.uv_environment(config, {}) == {
        "UV_SYSTEM_CERTS": "1",
        "UV_DEFAULT_INDEX": "https://env.invalid/simple",
        "UV_INDEX": f"{here} https://second.invalid/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "first.invalid",
        "SSL_CERT_FILE": "bundle.pem",
    }


def test_uv_s_own_settings_win(course):
    config = "global.index-url='https://pip.invalid'\nglobal.proxy='http://proxy.invalid'\n"
    own = {"UV_DEFAULT_INDEX": "https://own.invalid", "UV_SYSTEM_CERTS": "0"}
    assert course.uv_environment(config, own) == {"ALL_PROXY": "http://proxy.invalid"}
    assert course.uv_environment("", {}) == {"UV_SYSTEM_CERTS": "1"}


# --- the stamp ---


def test_second_setup_is_quick():
    if Path(sys.prefix) != ROOT / ".venv" or not (ROOT / ".venv" / "course-setup.json").exists():
        pytest.skip("these tests run outside the .venv that course.py makes")
    start = time.perf_counter()
    done = subprocess.run([sys.executable, COURSE, "setup"], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if "up to date" in done.stdout:
        pytest.skip("pyproject.toml or constraints.txt had changed since the last set-up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert seconds < 3


def test_stamp_decides_what_can_be_kept(course, monkeypatch, tmp_path):
    now = course.fingerprint()
    monkeypatch.setattr(course, "PYTHON", Path(sys.executable))
    assert course.can_update(dict(now, files="older"), now)
    assert not course.can_update(dict(now, place="moved"), now)
    assert not course.can_update(dict(now, python="3.10 gone"), now)
    assert not course.can_update(course.UNFINISHED, now)
    monkeypatch.setattr(course, "STAMP", tmp_path / "stamp.json")
    assert course.read_stamp() == {}
    for broken in ("", "[]", '{"place": '):
        course.STAMP.write_text(broken, encoding="utf-8")
        assert course.read_stamp() == course.UNFINISHED
    course.write_stamp(now)
    assert course.read_stamp() == now
    assert [path.name for path in tmp_path.iterdir()] == ["stamp.json"]


# --- the whole way, with small wheels ---


def make_wheel(folder, name, version, files, requires=()):
    """Write a wheel by hand: a zip with a few text files beside the code."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: dev"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    info = {
        "METADATA": "\n".join(metadata) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files = dict(files, **{f"{stem}.dist-info/{key}": text for key, text in info.items()})
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        record = "".join(f"{path},,\n" for path in [*files, f"{stem}.dist-info/RECORD"])
        wheel.writestr(f"{stem}.dist-info/RECORD", record)
    return folder / f"{stem}-py3-none-any.whl"


@pytest.fixture
def small_checkout(tmp_path):
    """course.py beside a project that needs only a small OpenCV, under a path with a space and letters beyond ASCII."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    no_gl = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    make_wheel(wheels, "opencv-python", "4.99.1", {"cv2/__init__.py": no_gl})
    make_wheel(wheels, "opencv-python-headless", "4.99.1", {"cv2/__init__.py": ""})
    make_wheel(wheels, "opencv-python-headless", "4.99.2", {"cv2/__init__.py": "raise ImportError('wrong version')"})
    root = tmp_path / "Kürs é" / "fl course"
    root.mkdir(parents=True)
    demo = "import os, sys; print(sys.argv[1:], os.getcwd()); sys.exit(5)"
    make_wheel(root, "flcourse", "1", {"flcourse/__init__.py": "", "flcourse/__main__.py": demo}, ["opencv-python>=4"])
    (root / "backend").mkdir()
    (root / "backend" / "backend.py").write_text(
        "import shutil\n"
        "def build_editable(folder, *_):\n"
        "    return shutil.copy('flcourse-1-py3-none-any.whl', folder) and 'flcourse-1-py3-none-any.whl'\n"
    )
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["backend"]\n'
        '[project]\nname = "flcourse"\nversion = "1"\n'
    )
    (root / "constraints.txt").write_text("opencv-python==4.99.1\n")
    (root / "course.py").write_bytes(COURSE.read_bytes())
    for name in HOSTILE:  # in the folder where the user stands, and beside course.py
        for folder in (tmp_path, root):
            (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n")
    return root


# What course.py and its children import: one of these in the folder where someone stands must not be run.
HOSTILE = [
    "numpy",
    "json",
    "re",
    "shutil",
    "subprocess",
    "hashlib",
    "cv2",
    "flcourse",
    "pip",
    "uv",
    "venv",
    "ensurepip",
]
HOSTILE += ["ast", "shlex", "platform", "signal", "pathlib", "urllib", "importlib"]
HOSTILE += ["sitecustomize", "usercustomize"]


@pytest.mark.skipif(os.name == "nt", reason="signals and the missing libGL are of Linux and macOS")
def test_setup_the_whole_way(small_checkout, tmp_path):
    own = {key: value for key, value in os.environ.items() if not re.match("PIP_|UV_", key)}
    own.update(PIP_CONFIG_FILE=os.devnull, UV_TORCH_BACKEND="cpu")  # cpu: asks for less room
    with socket.socket() as closed:  # a port where nobody listens
        closed.bind(("127.0.0.1", 0))
        dead = dict(own, PIP_INDEX_URL=f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
    no_uv = dict(own, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))  # a mirror without uv
    stamp = small_checkout / ".venv" / "course-setup.json"

    def start(env, *args):
        return subprocess.Popen(
            [sys.executable, small_checkout / "course.py", *args],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where pytest runs with it ignored
        )

    def course(env, *args):
        child = start(env, *args)
        out, _ = child.communicate(timeout=300)
        return child.returncode, out

    def installed():
        packages = (small_checkout / ".venv").glob("lib/python*/site-packages/*.dist-info")
        return {path.name for path in packages if path.name.startswith(("opencv", "flcourse"))}

    # Ctrl-C
    child = start(dead, "setup")
    assert "[1/3]" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "course.py: interrupted; run the same command again to go on\n")
    # no network
    code, out = course(dead, "setup")
    assert code == 1 and "Traceback" not in out
    assert out.splitlines()[-1].startswith("course.py: no network: ")
    assert json.loads(stamp.read_text()) == {"unfinished": True}
    # once more: from the half-made .venv to a whole one, by pip alone, with the headless OpenCV of the same version
    code, out = course(no_uv, "setup")
    assert code == 0, out
    assert "making .venv anew" in out and "Only the webcam's window is lost" in out
    assert installed() == {"opencv_python_headless-4.99.1.dist-info", "flcourse-1.dist-info"}
    # nothing to do; `demo` gets its arguments, runs where the user is, and its exit status is handed back
    began = time.perf_counter()
    assert course(dead, "setup") == (0, "")
    assert time.perf_counter() - began < 3
    assert course(dead, "demo", "my photo.jpg") == (5, f"['demo', 'my photo.jpg'] {tmp_path}\n")
    assert course(dead, "run", "detect", "--help") == (5, f"['detect', '--help'] {tmp_path}\n")
    # something changed: without a network .venv stays whole and known to be; with one the swap stands
    whole = stamp.read_text()
    with (small_checkout / "constraints.txt").open("a") as file:
        file.write("# newer\n")
    code, out = course(dead, "setup")
    assert code == 1 and "no network" in out.splitlines()[-1] and stamp.read_text() == whole
    code, out = course(no_uv, "setup")
    assert code == 0 and "up to date" in out, out
    assert installed() == {"opencv_python_headless-4.99.1.dist-info", "flcourse-1.dist-info"}
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_python_without_venv_is_told_what_to_install(small_checkout):
    """Debian packs ensurepip apart."""
    done = run_patched(small_checkout / "course.py", "sys.modules['ensurepip'] = None")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert f"sudo apt install python3-venv python3.{sys.version_info[1]}-venv" in line
    assert not (small_checkout / ".venv").exists()
