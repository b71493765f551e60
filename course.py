#!/usr/bin/env python3
"""Set up the course and run it. Needs Python 3.11 to 3.14 and nothing else.

    python3 course.py demo [IMAGE...]     set up, find the 68 points in real photographs, write images
    python3 course.py lab                 set up, open notebook 01 in JupyterLab, in copies of yours: my_notebooks/
    python3 course.py run COMMAND ...     set up, run the program flcourse: course.py run detect photo.jpg
    python3 course.py test                set up, check and run everything (--fast: only what is quick)
    python3 course.py test PYTEST...      set up, run only pytest, with these arguments
    python3 course.py book                set up, make the course a web site to read offline: build/book/index.html
    python3 course.py setup               only set up

Windows: py course.py ...   What comes after demo, lab, run or test is passed on: course.py test -k points
The first run makes .venv and downloads packages: 3.5 GB (7.8 GB on disk) on Linux, 0.6 GB (3 GB) on macOS and Windows.
On Linux without an NVIDIA card, UV_TORCH_BACKEND=cpu saves about 5 GB of disk.
"""
# Standard library only, no annotations, no syntax newer than Python 3.6: an old Python has to be able to complain.

import os
import sys

if __name__ == "__main__":  # a json.py that lies about is not the one meant: nothing is imported from the folder here
    sys.path[:] = [folder for folder in sys.path if folder not in ("", os.path.dirname(os.path.abspath(__file__)))]

import ast
import hashlib
import importlib.util
import json
import platform
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "course-setup.json"  # what a finished set-up was made from; written last
UNFINISHED = {"unfinished": True}  # the stamp while .venv is being changed
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build"
COPIES = ROOT / "my_notebooks"  # a learner's own: the originals stay as they are, so git pull and test do not mind
ORIGINALS = COPIES / ".originals.json"  # what each copy was made from
LAB_SETTINGS = VENV / "etc" / "jupyter" / "labconfig" / "page_config.json"  # JupyterLab's, of this .venv alone
UV = "uv>=0.13,<1"  # fast, and keeps what it has downloaded; older ones do not know UV_SYSTEM_CERTS
NO_NETWORK = re.compile("connection broken by|Max retries exceeded|timed out|ProxyError|SSLError", re.I)  # pip's words


def me():
    """How to call this script again from where its reader stands."""
    here = sys.argv[0] if os.path.basename(sys.argv[0]) == "course.py" else "course.py"
    return ("py " if os.name == "nt" else "python3 ") + shlex.quote(here)


def say(text):
    print(text, flush=True)


def stop(text, code=1):
    """End with one clear line."""
    print("course.py: " + text, file=sys.stderr, flush=True)
    raise SystemExit(code)


# --- what this machine can do -----------------------------------------------------------------------------------------


def unsupported(version, system, machine, macos, bits, has_ensurepip):
    """Say in one line why the course cannot be set up here and what to do; None where it can."""
    shown = "this is Python " + ".".join(str(part) for part in version[:3])
    if not (3, 11) <= tuple(version[:2]) <= (3, 14):
        return f"{shown}, the course needs 3.11 to 3.14: install one (python.org has them) and run course.py with it"
    if tuple(version[:3]) == (3, 14, 1):
        return f"{shown}, which torchvision excludes for a bug: install 3.14.2 or newer and run course.py with it"
    if bits != 64 or (system, machine) in (("Darwin", "x86_64"), ("Windows", "ARM64")):
        right = {"Darwin": "the arm64 Python (Intel Macs: no longer supported)", "Windows": "the 64-bit x64 Python"}
        return f"{shown} for {machine}, PyTorch or OpenCV do not come for it: use {right.get(system, 'a 64-bit one')}"
    if system == "Darwin" and int(macos.split(".")[0] or 99) < 14:
        return f"this is macOS {macos}, ONNX Runtime needs macOS 14 or newer: update, then run course.py again"
    if not has_ensurepip:
        names = f"python3-venv python3.{version[1]}-venv"
        return f"this Python cannot make a venv: run sudo apt install {names}, then run course.py again"
    return None


def room_needed():
    """Gigabytes a first set-up needs: what .venv was measured to take, and some air. On Linux PyTorch brings CUDA."""
    return 8.5 if platform.system() == "Linux" and os.environ.get("UV_TORCH_BACKEND") != "cpu" else 3.5


def free_room():
    return shutil.disk_usage(str(ROOT)).free / 1e9


def disk_full():
    return free_room() < 0.5


def check_room():
    free, needed = free_room(), room_needed()
    if free < needed:
        cheaper = " (without an NVIDIA card, UV_TORCH_BACKEND=cpu needs only 3.5 GB)" if needed > 5 else ""
        stop(f"the disk is too full, {free:.1f} GB free but {needed:g} GB needed{cheaper}: make room, then run again")


# --- setting up -------------------------------------------------------------------------------------------------------


def fingerprint():
    """What a finished set-up depends on: while the stamp says the same, there is nothing to do."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    python = f"{sys.version_info[0]}.{sys.version_info[1]} {os.path.realpath(str(PYTHON))}"
    return {"place": str(VENV), "python": python, "files": hashlib.sha256(files).hexdigest()}


def read_stamp():
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return stamp if isinstance(stamp, dict) else UNFINISHED
    except FileNotFoundError:
        return {}
    except ValueError:
        return UNFINISHED


def write_json(path, value):
    """Whole or not at all: what is cut short here would be believed or refused at every later start."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(str(part), str(path))


def write_stamp(stamp):
    write_json(STAMP, stamp)


def can_update(stamp, now):
    """Whether .venv can be kept and brought up to date: it is whole, was made here and by this Python."""
    if stamp:
        return PYTHON.exists() and all(stamp.get(key) == now[key] for key in ("place", "python"))
    version = tuple(sys.version_info[:2])  # no stamp: an editor's or a hand-made .venv, or one that was never finished
    return PYTHON.exists() and quiet(PYTHON, "-c", f"import pip, sys; sys.exit(sys.version_info[:2] != {version})")[0]


def make_venv():
    VENV.mkdir(exist_ok=True)
    write_stamp(UNFINISHED)
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        elif entry != STAMP:  # stays to the end: killed anywhere in here, the next run begins anew
            entry.unlink()
    made, output = quiet(getattr(sys, "_base_executable", sys.executable), "-m", "venv", VENV)
    if not made:
        stop(f"Python could not make {VENV}: {last_line(output)}")


def uv_environment(pip_config, environ):
    """Tell uv what pip was told (`pip config list`), as uv reads none of it, and to trust the system's certificates.

    pip's find-links are left out: a folder of wheels made for other projects may hold a torch that fits nothing here.
    """
    told = {}
    for section in ("global", "install", ":env:"):  # the later wins, as in pip
        for key, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", pip_config, re.MULTILINE):
            told[key] = ast.literal_eval(value)
    links = [urlsplit(url) for url in told.get("extra-index-url", "").split()]
    extra = " ".join(x.geturl() for x in links if x.scheme != "file" or os.path.isdir(url2pathname(x.path)))
    wanted = {
        "UV_SYSTEM_CERTS": "1",
        "UV_DEFAULT_INDEX": told.get("index-url"),
        "UV_INDEX": extra,
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else None,  # look in every index, as pip does
        "UV_INSECURE_HOST": told.get("trusted-host"),
        "SSL_CERT_FILE": told.get("cert"),
        "ALL_PROXY": told.get("proxy"),
    }
    return {key: value for key, value in wanted.items() if value and key not in environ}


def install(has_uv, *what):
    """Install with uv, else with pip; both show how far they are. True where it worked."""
    what = ["install", "-c", ROOT / "constraints.txt", *what]
    if has_uv:
        settings = uv_environment(quiet(PYTHON, "-m", "pip", "config", "list")[1], os.environ)
        # Compiled now, as pip does: else the first import of PyTorch takes ten seconds instead of two, and every one
        # where nothing may be written into .venv, or PYTHONDONTWRITEBYTECODE is set.
        how = ["--compile-bytecode", "--python", PYTHON]
        if run(PYTHON, "-m", "uv", "pip", *what, *how, cwd=ROOT, settings=settings) == 0:
            return True
        if os.environ.get("UV_TORCH_BACKEND") or disk_full():  # pip knows no backends and would fetch CUDA's gigabytes
            return False
        say("uv could not do it; pip tries, which is slower.")
    return run(PYTHON, "-m", "pip", *what, "--no-input", cwd=ROOT) == 0


def installed(package):
    """The version of a package in .venv, None where it is not there."""
    found, output = quiet(PYTHON, "-c", f"from importlib.metadata import version; print(version({package!r}))")
    return output.strip() if found else None


def uninstall(package):
    quiet(PYTHON, "-m", "pip", "uninstall", "-y", package)


def settle_opencv(has_uv):
    """Where OpenCV's usual wheel lacks libGL (a bare server), put the headless one of the same version in its place."""
    works, output = quiet(PYTHON, "-c", "import cv2")
    if "cannot open shared object file" in output:
        say(f"OpenCV's window cannot work here: {last_line(output)}")
        say("Putting opencv-python-headless in its place. Only the webcam's window is lost; all else works.")
        version = installed("opencv-python")
        uninstall("opencv-python")  # first: with both there, removing one would break the other
        if not install(has_uv, "--no-deps", f"opencv-python-headless=={version}"):
            explain_failure(UNFINISHED)
        works, output = quiet(PYTHON, "-c", "import cv2")
    if not works:
        stop(f"OpenCV does not start: {last_line(output)}")


def explain_failure(stamp, output=None):
    """End a set-up that failed: with the reason where it can be told, with what to do in any case."""
    if disk_full():
        stop("the disk is full: make room, then run the same command again")
    if output is None:
        output = quiet(PYTHON, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", UV)[1]
    if NO_NETWORK.search(output):
        write_stamp(stamp)  # nothing was changed yet: a .venv that was whole still is
        proxy = "behind a company proxy, set HTTPS_PROXY or pip's index-url"
        stop(f"no network: the package index does not answer. Connect ({proxy}), then run the same command again")
    stop("the packages could not be installed, the lines above say why; mend that, then run the same command again")


def setup():
    """Make .venv what pyproject.toml and constraints.txt ask for; whether there was something to do."""
    stamp, now = read_stamp(), fingerprint()
    if stamp == now and PYTHON.exists():
        return False
    machine = platform.system(), platform.machine(), platform.mac_ver()[0], 64 if sys.maxsize > 2**32 else 32
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None  # Debian packs it apart
    trouble = unsupported(sys.version_info, *machine, has_ensurepip)
    if trouble:
        stop(trouble)
    if can_update(stamp, now):
        say("Bringing .venv up to date.")
        write_stamp(UNFINISHED)
    else:
        if VENV.exists():  # its packages are in uv's cache, from where they are linked, so little room is needed
            say("[1/3] making .venv anew: it is incomplete, moved or another Python's")
        else:
            check_room()
            say("[1/3] making .venv")
        make_venv()
        stamp = UNFINISHED
    say("[2/3] fetching uv, which installs the packages (25 MB)")
    has_uv, output = quiet(PYTHON, "-m", "pip", "install", "--no-input", UV)
    if not has_uv and NO_NETWORK.search(output):
        explain_failure(stamp, output)
    if not has_uv:
        say("uv cannot be had here; pip installs, which is slower.")
    size = "3.5 GB" if room_needed() > 5 else "0.6 GB"
    say(f"[3/3] installing the packages (the first time {size} to download, some minutes; stop and go on as you like)")
    if installed("opencv-python-headless"):
        uninstall("opencv-python-headless")  # before the usual one comes; settle_opencv swaps them again
        stamp = UNFINISHED
    if not install(has_uv, "-e", ".[dev]"):
        explain_failure(stamp)
    settle_opencv(has_uv)
    write_stamp(fingerprint())
    return True


# --- running programs -------------------------------------------------------------------------------------------------


def environment():
    """What every program started here sees: .venv first, UTF-8 on Windows too, no code from outside."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    env.setdefault("PIP_RETRIES", "2")  # a dead network is noticed in seconds
    if "OMP_WAIT_POLICY" not in env:  # as flcourse sets it, for kernels that import torch first
        env.setdefault("GOMP_SPINCOUNT", "20000")
    path = str(PYTHON.parent) + os.pathsep + env.get("PATH", "")
    env.update(PATH=path, VIRTUAL_ENV=str(VENV), PYTHONUTF8="1", PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env["PYTHONSAFEPATH"] = "1"  # python -m would run a numpy.py that lies in the folder where the user stands
    return env


def quiet(*command):
    """Run a program out of sight: (whether it succeeded, what it printed)."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(list(map(str, command)), env=environment(), encoding="utf-8", errors="replace", **pipes)
    return done.returncode == 0, done.stdout


def last_line(text):
    return (text.strip() or "no message").splitlines()[-1]


def run(*command, cwd=None, settings=None, hide=None):
    """Run a program in the foreground: its exit status. Ctrl-C is for the program to answer (JupyterLab asks first)."""
    env = dict(environment(), **(settings or {}))
    env.pop(hide, None)
    child = subprocess.Popen(list(map(str, command)), env=env, cwd=cwd)
    interrupts = []

    def interrupt(number, frame):
        interrupts.append(number)
        if os.name != "nt" and not (sys.stdin and sys.stdin.isatty()):  # from a terminal it reaches the child by itself
            child.send_signal(number)

    before = signal.signal(signal.SIGINT, interrupt)
    status = child.wait()
    signal.signal(signal.SIGINT, before)
    if interrupts and status:
        raise KeyboardInterrupt
    return status if status >= 0 else 128 - status  # killed by a signal: counted as shells do


def demo(*args):
    status = flcourse("demo", *args)
    if not status:
        say(f"\nNext, the course: {me()} lab")
    return status


def flcourse(*args):
    return run(PYTHON, "-m", "flcourse", *args, settings={"FLCOURSE_COMMAND": f"{me()} run"})


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_notebooks():
    """Give the learner copies of the notebooks: what they have worked in is kept, what they have not is kept new."""
    try:
        made_from = json.loads(ORIGINALS.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        made_from = {}
    COPIES.mkdir(exist_ok=True)
    for original in sorted([*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("*.md")]):
        copy, new = COPIES / original.name, digest(original)
        if copy.exists() and made_from.get(copy.name) == new:
            continue  # whatever the learner has done in it
        if copy.exists() and digest(copy) not in (new, made_from.get(copy.name)):
            say(f"{original.relative_to(ROOT)} has changed; {copy.relative_to(ROOT)}, in which you worked, is kept.")
            say(f"For the new one: rename yours, then {me()} lab")
        else:
            shutil.copyfile(str(original), str(copy))
            made_from[copy.name] = new
    write_json(ORIGINALS, made_from)


def lab(*args):
    copy_notebooks()
    say(f"Opening the course in your browser; your copies of its notebooks are in {COPIES}. Ctrl-C here ends it.")
    first = "/lab/tree/my_notebooks/01_numpy_mnist.ipynb"
    place = ["--ServerApp.root_dir=" + str(ROOT), "--LabApp.default_url=" + first]
    if not LAB_SETTINGS.exists():  # else the first thing a learner sees is a question about Jupyter's news
        LAB_SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        write_json(LAB_SETTINGS, {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    return run(PYTHON, "-m", "jupyterlab", *place, *args, cwd=ROOT, settings={"FLCOURSE_COMMAND": f"{me()} run"})


def book(*args):
    """The pages, the notebooks as they are saved, and the API, as a web site; a warning is an error."""
    site = BUILD / "book"
    places = ["-c", ROOT / "docs" / "book", "-d", BUILD / "doctrees"]
    status = run(PYTHON, "-m", "sphinx", "-q", "-W", "--keep-going", *places, *args, ROOT, site, cwd=ROOT)
    if not (status or args):
        say(f"The book is in {site}: open index.html there in a browser, no server and no network is needed.")
    return status


CHECKS = (  # what test runs before the tests, of code and notebooks alike
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("deptry", "--no-ansi", "flcourse", "notebooks"),
    ("deptry", "--no-ansi", "flcourse", "notebooks", "tests", "tools", "--ignore", "DEP004"),  # tests have [dev]'s, too
    ("basedpyright",),
)
FAST = ("-n2", "--dist=loadfile", "-m", "not slow and not browser", "tests")
ALL = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "tests", "notebooks")


def test(*args):
    """The checks, then every test and every notebook as any user has them: no network, small settings, no own data."""
    failed, everything = [], not args
    if args in ((), ("--fast",)):
        failed = [check for check in CHECKS if run(PYTHON, "-m", *check, cwd=ROOT)]
        args = ("--durations=15", *(FAST if args else ALL))
    settings = {"FLCOURSE_OFFLINE": "1", "FLCOURSE_FAST": "1"}
    # Not pytest-cov: with its --cov nbval starts coverage in each notebook's kernel and waits for an answer in vain.
    pytest = ("coverage", "run", "-m", "pytest") if everything else ("pytest",)
    status = run(PYTHON, "-m", *pytest, *args, cwd=ROOT, settings=settings, hide="FLCOURSE_DATA")
    if everything:
        run(PYTHON, "-m", "coverage", "report", "--skip-covered", cwd=ROOT)
    for check in failed:
        say(f"failed, see above the tests: {' '.join(check)}")
    return status or int(bool(failed))


def main(argv):
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a path that the console cannot show must not end the set-up
    commands = {"demo": demo, "lab": lab, "run": flcourse, "test": test, "book": book, "setup": lambda: 0}
    if not argv or argv[0] in ("-h", "--help") or (argv[0] != "run" and argv[1:2] in (["-h"], ["--help"])):
        say(__doc__.strip())
        return 0 if argv else 2
    if argv[0] not in commands or (argv[0] == "setup" and argv[1:]):
        stop(f"{' '.join(argv)!r} is no command; there are demo, lab, run, test, book and setup, see --help", 2)
    try:
        if setup() and argv[0] == "setup":
            say(f"Ready. Next, your first points: {me()} demo")
        return commands[argv[0]](*argv[1:])
    except KeyboardInterrupt:
        stop("interrupted; run the same command again to go on", 130)
    except OSError as error:
        why = "the disk is full." if disk_full() else "is this folder yours, is a program using .venv?"
        stop(f"{error}: {why} Mend that, then run the same command again")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
