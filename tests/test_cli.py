"""The command line as its users meet it: in processes of its own, on the shipped weights."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data
from toys import template, toy_set

from flcourse import files, weights
from flcourse.apps.cli import COMMANDS, main
from flcourse.apps.results import pts_text
from flcourse.apps.terminal import strict_json
from flcourse.data import datasets, ibug_archive
from flcourse.data.imglab import Face, write_imglab
from flcourse.errors import CourseError
from flcourse.face.overlays import OVERLAYS
from flcourse.images import read_image, write_image
from flcourse.points import Box


def flcourse(*arguments: object, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "flcourse", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, encoding="utf-8")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The astronaut, once as she is and once with a second copy beside her, under a name with a space and an umlaut."""
    folder = tmp_path_factory.mktemp("Bilder für alle")
    astronaut = data.astronaut()
    write_image(folder / "astronaut.png", astronaut)
    write_image(folder / "zwei Köpfe.png", np.concatenate([astronaut, astronaut[:, ::-1]], axis=1))
    return folder


EYES = np.array([[202, 101], [247, 103]])  # the middles of the astronaut's eyes, read off the enlarged image


def assert_on_the_astronauts_face(points: np.ndarray, shift: float = 0) -> None:
    middles = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)]) - (shift, 0)
    assert np.abs(middles - EYES).max() < 4
    mouth, nose, chin = points[48:].mean(axis=0), points[30], points[8]
    assert middles[:, 1].max() < nose[1] < mouth[1] < chin[1] < 210
    assert points[17:27, 1].max() < middles[:, 1].min()  # brows above the eyes


HEAVY = {"numpy", "cv2", "onnxruntime", "torch", "matplotlib", "sklearn", "skimage", "streamlit", "tqdm", "PIL"}


def imported(*arguments: object, code: int = 0) -> set[str]:
    """Which of `HEAVY` a process has imported once `flcourse ARGUMENTS` has ended."""
    run = f"""
import atexit, sys
atexit.register(lambda: print({HEAVY} & set(sys.modules), file=sys.stderr))
from flcourse.apps.cli import main
main({list(map(str, arguments))!r})
"""
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    return set() if last == "set()" else set(ast.literal_eval(last))


def test_help_lists_every_command_and_is_quick():
    assert imported("--help") == set()
    assert set(COMMANDS) == set(
        "demo detect data train train-detector evaluate calibrate fit-boxes bench export webcam app".split()
    )
    assert re.findall(r"^    (\S+)", flcourse("--help").stdout, re.MULTILINE) == list(COMMANDS)

    def seconds(*command: str) -> float:
        """The least of several: what the machine does beside it only adds."""
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert seconds("-m", "flcourse", "--help") < 3 * seconds("-c", "pass") + 0.1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command):
    assert imported(command, "--help") == set()
    assert f"flcourse {command}" in flcourse(command, "--help").stdout


def test_detect_draws_and_tells(folder, tmp_path):
    done = flcourse("detect", folder, "--out", tmp_path / "out", "--pts")
    assert "astronaut.png: 1 face, confidence 0." in done.stdout and "zwei Köpfe.png: 2 faces" in done.stdout
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"astronaut_faces.png", "astronaut_face1.pts", "zwei Köpfe_faces.png", "zwei Köpfe_face2.pts"} <= names
    drawn = read_image(tmp_path / "out" / "astronaut_faces.png").astype(int)
    changed = np.abs(drawn - data.astronaut()).max(axis=2) > 30
    assert changed[60:200, 160:280].sum() > 300  # on the face
    assert changed[300:].sum() == 0  # and not on the suit


def test_detect_json_is_all_that_stdout_holds(folder, tmp_path):
    done = flcourse("detect", folder / "astronaut.png", "--json", cwd=tmp_path)
    (result,) = json.loads(done.stdout)
    (face,) = result["faces"]
    assert (result["width"], result["height"]) == (512, 512)
    assert 0.5 < face["confidence"] <= 1 and set(face["box"]) == {"left", "top", "width", "height"}
    assert_on_the_astronauts_face(np.array(face["points"]))
    assert not list(tmp_path.iterdir())


def test_detect_never_imports_torch(folder, tmp_path):
    assert "torch" not in imported("detect", folder / "astronaut.png", "--out", tmp_path)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder in which `flcourse demo` ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, flcourse("demo", "--out", "images", cwd=folder).stdout


def test_demo_finds_the_astronauts_points(demo):
    tmp_path, said = demo
    assert "1 face" in said and "ms a face" in said and "flcourse detect photo.jpg --json" in said
    (face,) = json.loads((tmp_path / "images" / "astronaut_faces.json").read_text())["faces"]
    assert_on_the_astronauts_face(np.array(face["points"]))
    assert read_image(tmp_path / "images" / "astronaut_faces.png").shape == (512, 512, 3)
    assert read_image(tmp_path / "images" / "astronaut_face1.png").shape == (480, 480, 3)


def test_demo_plays_every_overlay_on_two_faces(demo):
    tmp_path, said = demo
    assert "overlays.mp4" in said and "flcourse webcam" in said
    video = cv2.VideoCapture(str(tmp_path / "images" / "overlays.mp4"))
    frames = video.get(cv2.CAP_PROP_FRAME_COUNT)
    assert 6 < frames / video.get(cv2.CAP_PROP_FPS) < 10  # s
    rows = (tmp_path / "images" / "overlays.csv").read_text().splitlines()[1:]
    assert len(rows) == 2 * frames  # both faces, in every frame
    assert {row.split(",")[2] for row in rows} == {"1", "2"}
    sheet = read_image(tmp_path / "images" / "overlays_sheet.png")
    tiles = sheet.reshape(4, 320, 2, 640, 3).swapaxes(1, 2).reshape(-1, 320, 640, 3)
    assert len(tiles) == 1 + len(OVERLAYS)
    for tile in tiles[1:]:
        assert (tile != tiles[0]).any(axis=-1).mean() > 0.03


def test_an_image_without_faces_says_so(tmp_path):
    write_image(tmp_path / "brick.png", np.repeat(data.brick()[..., None], 3, axis=2))
    done = flcourse("detect", tmp_path / "brick.png", "--out", tmp_path)
    assert "no face found" in done.stdout


def test_one_bad_image_among_several_does_not_lose_the_others(folder, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    done = flcourse("detect", tmp_path / "a.png", folder / "astronaut.png", "--json", code=2)
    assert [len(result["faces"]) for result in json.loads(done.stdout)] == [1]
    assert "a.png: not an image" in done.stderr and "1 of 2 images could not be read" in done.stderr


def test_pts_counts_from_one():
    lines = pts_text(template()).splitlines()
    assert lines[:3] == ["version: 1", "n_points: 68", "{"] and lines[-1] == "}"
    assert np.allclose([list(map(float, line.split())) for line in lines[3:-1]], template() + 1, atol=1e-3)


def test_a_second_run_replaces_its_own_results_and_looks_at_none(tmp_path):
    """Where results lie beside the images, and one of the user's own files has the name of a result."""
    portrait = data.astronaut()[:256, 80:336]
    for name in ("a.jpg", "a.png", "x.png"):
        write_image(tmp_path / name, portrait)
    (tmp_path / "x_faces.png").write_bytes(b"mine")
    (tmp_path / "._a.jpg").write_bytes(b"what macOS leaves on foreign disks")
    before = None
    for _ in range(2):
        done = flcourse("detect", ".", "--out", ".", "--pts", "--tta", 1, cwd=tmp_path, code=2)
        assert done.stdout.count("1 face") == 3 and "x_faces.png: not an image" in done.stderr
        assert "left out, hidden: ._a.jpg" in done.stderr and "1 of 4 images" in done.stderr
        names = {path.name for path in tmp_path.iterdir()}
        assert before in (None, names)
        before = names
    assert {name for name in names if "_face" in name} == {
        *("a_faces.png", "a_face1.pts", "a_2_faces.png", "a_2_face1.pts"),
        *("x_faces.png", "x_2_faces.png", "x_2_face1.pts"),
    }
    assert (tmp_path / "x_faces.png").read_bytes() == b"mine"


def test_demo_passes_over_what_is_no_image_and_times_faces_only(folder, tmp_path):
    write_image(tmp_path / "bricks.png", np.repeat(data.brick()[..., None], 3, axis=2))
    for name, content in (("._IMG.jpg", "a Mac's"), ("bad.jpg", "no image")):
        (tmp_path / name).write_text(content)
    shutil.copy(folder / "zwei Köpfe.png", tmp_path)
    done = flcourse("demo", tmp_path, "--out", tmp_path / "out", code=2)
    assert "bad.jpg: not an image" in done.stderr and "1 of 3 images" in done.stderr
    taken = float(re.search(r"2 faces, confidence .*, (\d+) ms", done.stdout)[1])  # of the one image with faces
    assert float(re.search(r"2 faces, ([\d.]+) ms a face", done.stdout)[1]) == pytest.approx(taken / 2, abs=0.6)
    assert (tmp_path / "out" / "zwei Köpfe_face2.png").exists() and "Your own images" in done.stdout


@pytest.fixture(scope="module")
def astronaut_xml(folder):
    """An annotated set of one real face: the points as the shipped network finds them, so its NME is almost 0."""
    (result,) = json.loads(flcourse("detect", folder / "astronaut.png", "--json").stdout)
    points = np.array(result["faces"][0]["points"])
    box = Box(**result["faces"][0]["box"])
    write_imglab(folder / "labels.xml", [Face(folder / "astronaut.png", "astronaut.png", box, points)])
    return folder / "labels.xml"


def test_evaluate_reports_every_figure(astronaut_xml, tmp_path):
    figures = json.loads(flcourse("evaluate", astronaut_xml, "--json", "--gallery", tmp_path / "sheets").stdout)
    wanted = "faces missed nme fr8 fr10 auc8 auc10 within15of299 ms_per_face boxes weights engine"
    assert set(wanted.split()) <= figures.keys()
    assert figures["faces"] == 1 and figures["missed"] == 0 and figures["nme"] < 0.1 and figures["auc8"] > 0.98
    assert figures["within15of299"] == 100 and figures["fr10"] == 0 and figures["engine"] == "onnxruntime"
    assert {p.name for p in (tmp_path / "sheets").glob("*.png")} == {
        "best.png",
        "median.png",
        "worst.png",
        "error_curve.png",
    }


def test_a_gallery_leaves_what_is_there(astronaut_xml, tmp_path):
    (tmp_path / "best.png").write_bytes(b"my best")
    for _ in range(2):
        flcourse("evaluate", astronaut_xml, "--gallery", tmp_path, "--tta", 1)
    assert (tmp_path / "best.png").read_bytes() == b"my best"
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"best.png", "best_2.png", "median.png", "worst.png", "error_curve.png"}


def test_evaluate_as_in_video(astronaut_xml):
    """One view, and the smaller crops; a still image has the larger ones."""
    live, still = (
        json.loads(flcourse("evaluate", astronaut_xml, "--json", *how).stdout) for how in (["--live"], ["--tta", 1])
    )
    assert (live["tta"], live["size"], still["tta"], still["size"]) == (1, 224, 1, 320)
    assert live["nme"] != still["nme"] and abs(live["nme"] - still["nme"]) < 1
    assert "not allowed with" in flcourse("evaluate", astronaut_xml, "--live", "--tta", 2, code=2).stderr


def test_evaluate_imports_torch_only_for_its_weights(astronaut_xml, tmp_path):
    assert not {"torch", "sklearn"} & imported("evaluate", astronaut_xml, "--gallery", tmp_path, "--boxes", "course")
    path = Path(weights.__file__).parent / "xception.safetensors"
    assert "torch" in imported("evaluate", astronaut_xml, "--weights", path)


def test_evaluate_by_detector_and_tight_boxes(astronaut_xml):
    for boxes, limit in (("course", 0.5), ("tight", 5)):
        figures = json.loads(flcourse("evaluate", astronaut_xml, "--json", "--boxes", boxes).stdout)
        assert figures["boxes"] == boxes and figures["missed"] == 0 and figures["nme"] < limit
    assert "NME" in flcourse("evaluate", astronaut_xml).stdout


@pytest.mark.parametrize("name", ["xception", "drawn"])
def test_shipped_weights_are_the_same_in_onnx_and_safetensors(name, astronaut_xml):
    path = Path(weights.__file__).parent / f"{name}.safetensors"
    one, two = (
        json.loads(flcourse("evaluate", astronaut_xml, "--json", "--weights", found).stdout) for found in (name, path)
    )
    assert (one["engine"], two["engine"]) == ("onnxruntime", "torch")
    assert one["nme"] == pytest.approx(two["nme"], abs=0.05)


def test_export_makes_a_network_that_detect_takes(folder, tmp_path):
    path = Path(weights.__file__).parent / "xception.safetensors"
    flcourse("export", "--weights", path, "--onnx", tmp_path / "mine.onnx")
    done = flcourse("detect", folder / "astronaut.png", "--json", "--weights", tmp_path / "mine.onnx")
    assert_on_the_astronauts_face(np.array(json.loads(done.stdout)[0]["faces"][0]["points"]))


def test_fit_boxes_prints_a_table(astronaut_xml):
    done = flcourse("fit-boxes", astronaut_xml, "--sources", "course", "haar", "tight")
    assert '"course": BoxMap(scale=' in done.stdout and "'missed': 0" in done.stdout


def test_bad_input_is_one_line_and_exit_code_2(folder, astronaut_xml, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    xml = toy_set(tmp_path, 3)
    text = xml.read_text()
    files = {
        "cut.xml": text[: len(text) // 2],
        "empty.xml": "",
        "bomb.xml": '<!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><dataset>&b;</dataset>',
        "67.xml": text.replace("<part name='30'", "<!-- <part name='30'", 1).replace(
            "<part name='31'", "--><part name='31'", 1
        ),
        "flat.xml": text.replace("width='", "width='0' was='", 1),
        "text.png": "no image",
        "cut.onnx": "no network",
        "cut.safetensors": "no weights",
        "pickle.pt": "cos\nsystem\n(S'exit 1'\ntR.",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    png = folder / "astronaut.png"
    cases = [
        (["train", "--data", tmp_path / "gone.xml"], "gone.xml: No such file"),
        (["train", "--data", tmp_path / "cut.xml"], "cut.xml: not whole XML"),
        (["train", "--data", tmp_path / "empty.xml"], "empty.xml: not whole XML"),
        (["evaluate", tmp_path / "bomb.xml"], "bomb.xml: declares a DTD or entities"),
        (["evaluate", tmp_path / "67.xml"], "67 points, expected 68"),
        (["evaluate", tmp_path / "flat.xml"], "box of 0 x"),
        (["evaluate", xml, "--boxes", "nose"], "invalid choice: 'nose' (choose from"),
        (["evaluate", astronaut_xml, "--weights", tmp_path / "cut.safetensors"], "not a safetensors file"),
        (["evaluate", astronaut_xml, "--weights", tmp_path / "pickle.pt"], "not a checkpoint that flcourse wrote"),
        (
            ["evaluate", astronaut_xml, "--weights", tmp_path / "cut.onnx"],
            "cut.onnx: truncated, or not an ONNX network",
        ),
        (["train", "--data", xml, "--recipe", "orginal"], "unknown recipe 'orginal'"),
        (["train", "--data", xml, "--epochs", "0"], "argument --epochs: 0: expected 1 to 100000"),
        (["train", "--data", xml, "--also", xml, "1.0"], "--also: shares 1.0, expected numbers above 0"),
        (["train", "--data", xml, "--also", xml, "half"], "--also: shares half, expected numbers above 0"),
        (["train", "--data", xml, "--device", "tpu"], "device 'tpu': not on this machine, expected "),
        (
            ["train", "--data", xml, "--size", "100"],
            "size=100, expected at least 32 and, for heatmaps, a multiple of 16",
        ),
        (["detect", tmp_path / "gone.jpg"], "gone.jpg: No such file"),
        (["detect", tmp_path / "text.png"], "text.png: not an image"),
        (["detect", png, "--weights", "nobody"], "nobody: neither shipped weights (drawn, xception) nor an .onnx file"),
        (["export", "--weights", tmp_path / "gone.pt", "--onnx", tmp_path / "x.onnx"], "gone.pt: No such file"),
        (["export", "--weights", tmp_path / "gone.pt"], "nothing to write"),
    ]
    for arguments, message in cases:  # in this process: importing PyTorch for each of them would take minutes
        with pytest.raises(SystemExit) as stopped:
            main(list(map(str, arguments)))
        told = capsys.readouterr()
        assert stopped.value.code == 2 and told.out == "", arguments
        assert message in told.err and told.err.count("\n") == 1, (arguments, told.err)
    next((tmp_path / "toys").iterdir()).unlink()
    done = flcourse("train", "--data", xml, "--epochs", "1", cwd=tmp_path, code=2)
    assert "No such file" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "x.onnx").exists()  # nothing half-written


NUMBERS = {  # option -> what it goes with, values that are refused, and what is expected instead
    "--epochs": ("train", ["0", "-1", "1.5", "nan", "many", "1" * 30, ""], "1 to 100000"),
    "--batch-size": ("train", ["0", "-32", "1e3", "65537"], "1 to 65536"),
    "--lr": ("train", ["-1", "0", "nan", "inf", "-inf", "11", "fast", ""], "a number above 0, at most 10"),
    "--seed": ("train", ["-1", "1e9", str(2**32)], f"0 to {2**32 - 1}"),
    "--size": ("train", ["0", "31", "-112", "1000000"], "32 to 1024"),
    "--width": ("train", ["nan", "inf", "-0.5", "0", "5", "0.001"], "a number from 0.01 to 4"),
    "--middle-blocks": ("train", ["-1", "0", "1000000000"], "1 to 64"),
    "--workers": ("train", ["-1", "100000"], "0 to 256"),
    "--device": ("train", ["cpu:x", "cpu:", "", "../cpu", "cuda:-1"], "cuda, cuda:N, mps or cpu"),
    "--count": ("data drawn-faces", ["0", "-5", "1e9", "1000001"], "1 to 1000000"),
    "--seconds": ("bench", ["nan", "inf", "0", "-2", "3601"], "a number above 0, at most 3600"),
    "--port": ("app", ["0", "-1", "65536", "http"], "1 to 65535"),
    "--tta": ("detect x.jpg", ["0", "3", "-1", "x"], "invalid"),
    "--detector": ("detect x.jpg", ["", "nose", "YUNET"], "invalid choice"),
    "--boxes": ("evaluate x.xml", ["", "nose"], "invalid choice"),
    "--sources": ("fit-boxes x.xml", ["file", ""], "invalid choice"),
}


@pytest.mark.parametrize("option", NUMBERS)
def test_values_are_checked_where_they_are_parsed(option, capsys):
    command, values, expected = NUMBERS[option]
    for value in values:
        with pytest.raises(SystemExit) as stopped:
            main([*command.split(), f"{option}={value}"])
        told = capsys.readouterr()
        assert stopped.value.code == 2 and told.out == "" and told.err.count("\n") == 1, (option, value)
        assert f"argument {option}: " in told.err and expected in told.err, told.err
        assert told.err.startswith(f"flcourse {command.split()[0]}: ") and told.err.endswith("--help\n")


def test_json_is_strict():
    assert json.loads(strict_json({"nme": 1.5, "ä": [None]})) == {"nme": 1.5, "ä": [None]}
    for value in (float("nan"), float("inf"), np.float64("-inf")):
        with pytest.raises(CourseError, match="no number"):
            strict_json({"figures": [value]})


def test_names_reach_the_terminal_escaped(capsys):
    with pytest.raises(SystemExit):
        main(["detect", "evil\x1b[2J\u202egnp.jpg\r\nflcourse: all well"])
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and r"evil\x1b[2J\u202egnp.jpg\r\nflcourse: all well: No such file" in told
    with pytest.raises(SystemExit):
        main(["detect", "x.jpg", "--detector", "\x1b[2J"])
    assert "\x1b" not in capsys.readouterr().err


# --- standard output and standard error ---


def test_nothing_is_lost_where_the_code_page_lacks_letters(folder, tmp_path):
    """Windows with redirected output: no arrow, no umlaut in ASCII; every command is the same there."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "flcourse", "detect", str(folder), "--out", str(tmp_path / "größe →")]
    done = subprocess.run([*command, "--tta", "1"], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"face") >= 4 and b"zwei K?pfe.png: 2 faces" in done.stdout
    bad = [*command[:3], "detect", "größe →.jpg"]
    done = subprocess.run(bad, capture_output=True, env=environment)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"gr??e ?.jpg: No such file" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="no such pipes there")
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["detect", "FOLDER", "--json"]])
def test_a_reader_that_goes_away_is_no_error(folder, arguments):
    arguments = [str(folder) if word == "FOLDER" else word for word in arguments]
    command = [sys.executable, "-m", "flcourse", *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=300)
    os.close(writing)
    told = [line for line in done.stderr.decode().splitlines() if "labels.xml" not in line]
    assert (done.returncode, told) == (141, [])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk to be had")
@pytest.mark.parametrize("arguments", [["--version"], ["detect", "FOLDER", "--json"], ["detect", "FOLDER"]])
def test_a_full_disk_under_standard_output_is_one_line(folder, tmp_path, arguments):
    command = [sys.executable, "-m", "flcourse", *(str(folder) if word == "FOLDER" else word for word in arguments)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=300, cwd=tmp_path)
    told = [line for line in done.stderr.decode().splitlines() if "labels.xml" not in line]
    assert (done.returncode, told) == (2, ["flcourse: standard output: No space left on device"])


def test_an_unreadable_path_is_one_line_and_a_fault_of_ours_is_not_hidden(monkeypatch, capsys):
    from flcourse.apps import data as command

    def fail(error):
        def run(args):
            raise error

        monkeypatch.setattr(command, "run", run)

    fail(PermissionError(13, "Permission denied", "secret/labels.xml"))
    with pytest.raises(SystemExit) as stopped:
        main(["data", "mnist"])
    assert stopped.value.code == 2 and capsys.readouterr().err == "flcourse: secret/labels.xml: Permission denied\n"
    fail(OSError("no file at all"))
    with pytest.raises(OSError, match="no file at all"):
        main(["data", "mnist"])


def test_a_running_training_is_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"precious")
    done = flcourse("train", "--data", toy_set(tmp_path, 3), "--out", tmp_path / "run", code=2)
    assert "--resume" in done.stderr and (tmp_path / "run" / "last.pt").read_bytes() == b"precious"
    (tmp_path / "run" / "last.pt").rename(tmp_path / "run" / "best.safetensors")  # all that a maker kept of it
    done = flcourse("train", "--data", toy_set(tmp_path, 3), "--out", tmp_path / "run", code=2)
    assert "holds a training already (best.safetensors)" in done.stderr
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == b"precious"


def test_export_writes_neither_over_its_input_nor_over_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("w.safetensors").write_bytes(b"precious")
    for outputs in (
        ["--safetensors", "w.safetensors", "--half"],
        ["--safetensors", str(tmp_path / "w.safetensors")],
        ["--onnx", "x.onnx", "--int8", "./x.onnx"],
        ["--onnx", "w.safetensors"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["export", "--weights", "w.safetensors", *outputs])
        assert "give every file a name of its own" in capsys.readouterr().err
    assert Path("w.safetensors").read_bytes() == b"precious" and not Path("x.onnx").exists()


def test_export_replaces_networks_only(tmp_path, capsys):
    mine, out = Path(weights.__file__).parent / "xception.safetensors", tmp_path / "net.onnx"
    for what in (b"a thesis", b""):
        out.write_bytes(what)
        with pytest.raises(SystemExit, match="2"):
            main(["export", "--weights", str(mine), "--onnx", str(out)])
        assert out.read_bytes() == what and "is there already" in capsys.readouterr().err
    out.unlink()
    for _ in range(2):  # its own it replaces
        main(["export", "--weights", str(mine), "--onnx", str(out)])


def test_three_faces_are_enough_to_train_on(tmp_path, capsys):
    """The natural case for makers: it ends with weights, and says in one line that there is no confidence."""
    out = tmp_path / "run"
    small = ["--epochs", "1", "--size", "48", "--width", "0.05", "--middle-blocks", "1", "--device", "cpu"]
    main(["train", "--data", str(toy_set(tmp_path, 3)), "--out", str(out), *small])
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith("training course on 3 faces") and lines[1].startswith("epoch 1/1: train_loss ")
    [missing] = [line for line in lines if line.startswith("no confidence: ")]
    assert "too few" in missing or "% of the answers are right" in missing
    assert lines[-1] == f"weights: {out / 'best.safetensors'}, curves: {out / 'curves.png'}"
    assert {"last.pt", "best.safetensors", "curves.png", "history.csv"} <= {path.name for path in out.iterdir()}
    assert told.err == ""  # no bars where nobody sees them


def test_a_leaner_recipe_keeps_its_shape_and_takes_further_faces(tmp_path):
    xml = str(toy_set(tmp_path, 3))
    what = ["--weights", "xception", "--recipe", "detail", "--size", "64", "--also", xml, "0.5"]
    main(["train", "--data", xml, "--epochs", "1", "--device", "cpu", *what, "--out", str(tmp_path / "run")])
    from flcourse.training.checkpoints import load_network

    network, metadata = load_network(tmp_path / "run" / "best.safetensors")
    assert metadata["recipe"]["stem_stride"] == 4 and metadata["recipe"]["size"] == 64
    assert len(network.middle) == 3 and metadata["also"] == [[3, 0.5]]


def test_training_goes_on_from_shipped_weights_in_their_shape(tmp_path, capsys):
    xml = toy_set(tmp_path, 3)
    base = ["train", "--data", str(xml), "--epochs", "1", "--device", "cpu"]
    main([*base, "--weights", "xception", "--recipe", "finish", "--middle-blocks", "1", "--out", str(tmp_path / "run")])
    from flcourse.training.checkpoints import load_network

    recipe = load_network(tmp_path / "run" / "best.safetensors")[1]["recipe"]
    assert (recipe["width"], recipe["size"], recipe["middle_blocks"]) == (
        0.5,
        224,
        1,
    )  # its own, but for what was asked
    assert recipe["refine"] is True
    capsys.readouterr()
    shipped = Path(weights.__file__).parent / "xception.safetensors"
    for name in ("xception", shipped):
        for more, message in (
            (["--middle-blocks", "8"], "has 3; give --middle-blocks 3 or fewer"),
            (["--width", "0.25"], "is 0.5 wide; leave --width out"),
            (["--recipe", "original"], "has a heatmap head; give --recipe course"),
        ):
            with pytest.raises(SystemExit, match="2"):
                main([*base, "--weights", str(name), *more, "--out", str(tmp_path / "other")])
            told = capsys.readouterr().err
            assert told.count("\n") == 1 and f"{name} {message}" in told and told.startswith(f"flcourse: {more[0]}")
    for name, message in (
        ("nobody", "neither a shipped name (drawn, xception) nor a .safetensors or last.pt file"),
        (tmp_path / "gone.safetensors", "gone.safetensors: no such file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*base, "--weights", str(name), "--out", str(tmp_path / "other")])
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and message in told
    assert not (tmp_path / "other").exists()


def test_data_fetches_and_prints_where_it_lies(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "fetch_mnist", lambda: tmp_path / "MNIST" / "raw")
    monkeypatch.setattr(datasets, "fetch_cifar10", lambda: tmp_path / "cifar-10-batches-py")
    monkeypatch.setattr(ibug_archive, "fetch_ibug", lambda archive: tmp_path / f"ibug from {archive}")
    main(["data", "mnist"])
    main(["data", "cifar10"])
    assert capsys.readouterr().out == f"{tmp_path / 'MNIST' / 'raw'}\n{tmp_path / 'cifar-10-batches-py'}\n"
    main(["data", "ibug"])
    main(["data", "ibug", "--archive", "my.zip"])
    assert capsys.readouterr().out == f"{tmp_path / 'ibug from None'}\n{tmp_path / 'ibug from my.zip'}\n"


def test_no_bars_where_nobody_sees_them(tmp_path):
    environment = os.environ | {"FLCOURSE_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "flcourse", "data", "drawn-faces", "--count", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    labels = tmp_path / "drawn_faces_2" / "labels_drawn_train.xml"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{labels}\n", "")
    code = (
        "import sys; from flcourse.apps.cli import main; sys.argv = ['', '--version']\ntry: main()\nexcept SystemExit: "
    )
    code += "from tqdm.auto import tqdm; list(tqdm([1])); tqdm(total=2, delay=0.3).update()"  # as a download's
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stderr == b""


def test_data_that_cannot_be_had_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    for module in (files, datasets, ibug_archive):  # not the checkout's own data folder, which may hold the sets
        monkeypatch.setattr(module, "data_folders", lambda: [tmp_path])
    archives = {
        "mnist": "train-images-idx3-ubyte.gz",
        "cifar10": "cifar-10-python.tar.gz",
        "ibug": "ibug_300W_large_face_landmark_dataset.tar.gz",
    }
    for what, archive in archives.items():
        with pytest.raises(SystemExit) as stopped:
            main(["data", what])
        told = capsys.readouterr()
        assert stopped.value.code == 2 and told.out == "" and told.err.count("\n") == 1
        assert told.err.startswith(f"flcourse: {archive}: not downloaded, FLCOURSE_OFFLINE forbids the network")
    for arguments, message in (
        (["data", "mnist", "--archive", "my.zip"], "--archive goes with ibug, not with mnist"),
        (["data", "mnist", "--count", "5"], "--count goes with drawn-faces, not with mnist"),
        (["data", "drawn-faces", "--count", "-5"], "--count: -5: expected 1 to "),
        (["data", "ibug", "--archive", "gone.zip"], "gone.zip: No such file"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        told = capsys.readouterr()
        assert stopped.value.code == 2 and message in told.err and told.err.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main(["data", "imagenet"])
    assert stopped.value.code == 2 and "invalid choice: 'imagenet'" in capsys.readouterr().err
