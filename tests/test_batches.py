"""Many images at once: which are read, that no bad one stops the others, and that no file of the user's is replaced."""

import os
import unicodedata
from pathlib import Path

import pytest

from flcourse.apps.inputs import Inputs, gather
from flcourse.apps.outputs import Ledger, OutputFolder, unique_stems
from flcourse.errors import CourseError

SUM = {"composed": "\u00e4.png", "decomposed": "a\u0308.png"}  # one name on macOS


# --- names ---


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a/x.png", "b/x.jpg", "y.png"], ["x", "x_2", "y"]),
        (["a.jpg", "a.png", "a_2.jpg"], ["a", "a_3", "a_2"]),  # a made-up name is nobody's own
        (["a_2.jpg", "a.jpg", "a.png", "a.bmp"], ["a_2", "a", "a_3", "a_4"]),
        (["A.jpg", "a.jpg"], ["A", "a_2"]),  # one file on macOS and Windows
        (["STRASSE.jpg", "straße.jpg"], ["STRASSE", "straße_2"]),
        (list(SUM.values()), ["\u00e4", "a\u0308_2"]),
        (["x.png", "x_2.png", "X.jpg", "x.bmp", "X_2.jpg"], ["x", "x_2", "X_3", "x_4", "X_2_2"]),
        (["x/..png", "..png"], [".", "._2"]),
        ([], []),
    ],
)
def test_every_image_has_a_stem_of_its_own(names, stems):
    assert unique_stems([Path(name) for name in names]) == stems


def test_ten_thousand_equal_names_are_told_apart_at_once():
    stems = unique_stems([Path(f"{i}/IMG.jpg") for i in range(10_000)])
    assert len(set(stems)) == 10_000 and stems[-1] == "IMG_10000"


# --- what is written ---

FILES = {"_faces.png": b"drawn", "_faces.json": b"{}"}


def written(folder: Path, *images: str, files=FILES) -> list[str]:
    """What the results of images are called in a folder."""
    paths = [folder / image for image in images]
    out = OutputFolder(folder, paths)
    return [out.write(path, files)["_faces.png"].name for path in paths]


@pytest.mark.parametrize(
    ("there", "image", "name"),
    [
        ([], "x.jpg", "x_faces.png"),
        (["x_faces.png"], "x.jpg", "x_2_faces.png"),
        (["x_faces.json"], "x.jpg", "x_2_faces.png"),  # all of an image's files keep one stem
        (["x_faces.png", "x_2_faces.json", "x_3_faces.png"], "x.jpg", "x_4_faces.png"),
        (["x_face1.pts"], "x.jpg", "x_faces.png"),  # not in the way
        (["x_faces.png"], "x_faces.png", "x_faces_faces.png"),
        (["x_faces.png/inside"], "x.jpg", "x_2_faces.png"),  # a folder
    ],
)
def test_what_is_the_users_stays(tmp_path, there, image, name):
    for mine in there:
        (tmp_path / mine).parent.mkdir(exist_ok=True)
        (tmp_path / mine).write_bytes(b"mine")
    assert written(tmp_path, image) == [name]
    assert all((tmp_path / mine).read_bytes() == b"mine" for mine in there)
    assert (tmp_path / name).read_bytes() == b"drawn"
    assert written(tmp_path, image) == [name]  # again, over its own


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_the_users_wherever_it_leads(tmp_path):
    (tmp_path / "x_faces.png").symlink_to(tmp_path / "gone")
    assert written(tmp_path, "x.jpg") == ["x_2_faces.png"] and (tmp_path / "x_faces.png").is_symlink()


def test_what_is_ours_is_replaced_until_somebody_changes_it(tmp_path):
    assert written(tmp_path, "x.jpg") == ["x_faces.png"]
    assert written(tmp_path, "x.jpg", files={"_faces.png": b"other", "_faces.json": b"[]"}) == ["x_faces.png"]
    assert (tmp_path / "x_faces.png").read_bytes() == b"other"
    (tmp_path / "x_faces.json").write_text("[1]")
    assert written(tmp_path, "x.jpg") == ["x_2_faces.png"]
    assert (tmp_path / "x_faces.json").read_text() == "[1]" and (tmp_path / "x_faces.png").read_bytes() == b"other"
    assert written(tmp_path, "x.jpg") == ["x_2_faces.png"]


def test_no_result_takes_the_place_of_an_image_that_is_read(tmp_path):
    for name in ("x.jpg", "x_faces.png"):
        (tmp_path / name).write_bytes(b"image")
    assert written(tmp_path, "x.jpg", "x_faces.png") == ["x_2_faces.png", "x_faces_faces.png"]
    assert (tmp_path / "x_faces.png").read_bytes() == b"image"
    other = tmp_path / "other"
    assert (
        OutputFolder(other, [other / "X_FACES.png"]).write(Path("x.jpg"), FILES)["_faces.png"].name == "x_2_faces.png"
    )


def test_a_kill_before_or_after_the_file_is_written_leaves_it_ours(tmp_path):
    assert written(tmp_path, "x.jpg") == ["x_faces.png"]
    Ledger(tmp_path).add({tmp_path / "x_faces.png": b"never written"})
    assert Ledger(tmp_path).has(tmp_path / "x_faces.png")
    assert written(tmp_path, "x.jpg") == ["x_faces.png"]


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"no ledger\n\n1 2\nab [1]\n" * 9, b"# " + b"x" * 100_000])
def test_a_damaged_ledger_owns_nothing(tmp_path, text):
    (tmp_path / Ledger.NAME).write_bytes(text)
    (tmp_path / "x_faces.png").write_bytes(b"mine")
    assert written(tmp_path, "x.jpg") == ["x_2_faces.png"]


def test_the_ledger_does_not_grow_for_ever(tmp_path):
    for i in range(300):
        Ledger(tmp_path).add({tmp_path / "x_faces.png": str(i).encode()})
    assert (tmp_path / Ledger.NAME).read_text().count("\n") < 110
    (tmp_path / "x_faces.png").write_bytes(b"299")
    assert Ledger(tmp_path).has(tmp_path / "x_faces.png")


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be written"):
        OutputFolder(tmp_path / "file", []).write(Path("x.jpg"), FILES)
    with pytest.raises(CourseError, match="cannot be written"):
        OutputFolder(tmp_path, []).write(Path("x" * 250), FILES)
    assert written(tmp_path, "x.jpg") == ["x_faces.png"]  # and the next is


# --- what is read ---


@pytest.fixture
def folder(tmp_path):
    """A folder as they lie about: images, hidden and other files, a folder in a folder, results of an earlier run."""
    for name in ("b.jpg", "a.PNG", "c.avif", "d.gif", "e.jfif", "._b.jpg", ".hidden.png", "notes.txt", "video.mp4"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("sub/f.webp", "sub/.cache/g.jpg", ".trash/h.jpg", "sub/deeper/i.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    OutputFolder(tmp_path).write(Path("b.jpg"), FILES)
    return tmp_path


def names(inputs: Inputs, folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in inputs.images]


TOP = ["a.PNG", "b.jpg", "c.avif", "d.gif", "e.jfif"]


def test_a_folder_gives_its_images_and_says_what_is_left_out(folder):
    inputs = gather([folder])
    assert names(inputs, folder) == TOP and not inputs.failures
    said = {why: [path.name for path in paths] for why, paths in inputs.left_out.items()}
    assert said == {
        "hidden": ["._b.jpg", ".hidden.png"],
        "an earlier result": ["b_faces.json", "b_faces.png"],
        "no image by its name": ["notes.txt", "video.mp4"],
    }
    assert names(gather([folder], recursive=True), folder) == [*TOP, "sub/f.webp", "sub/deeper/i.tiff"]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["b.jpg", "b.jpg", "./b.jpg", "."], ["b.jpg", "a.PNG", "c.avif", "d.gif", "e.jfif"]),  # each once
        (["*.jpg"], ["b.jpg"]),  # as Windows' shell passes it on; hidden ones are not meant
        (["?.*"], TOP),
        (["**/*.webp"], ["sub/f.webp"]),
        (["b.jpg", "b_faces.png"], ["b.jpg"]),  # `*.png` by a shell that expands
        (["b_faces.png"], ["b_faces.png"]),  # named alone, it is meant
        (["._b.jpg"], ["._b.jpg"]),
        (["notes.txt"], ["notes.txt"]),
    ],
)
def test_files_patterns_and_results(folder, monkeypatch, named, expected):
    monkeypatch.chdir(folder)
    assert [path.as_posix() for path in gather([Path(name) for name in named]).images] == expected


def test_a_name_with_brackets_is_a_name_where_it_is_there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "[ab].jpg").write_bytes(b"x")
    assert gather([Path("[ab].jpg")]).images == [Path("[ab].jpg")]
    assert gather([Path("[xyz].jpg")]).images == [Path("[xyz].jpg")]  # reading it says what is wrong


def test_folders_without_images_are_failures_and_the_others_are_read(folder):
    (folder / "empty").mkdir()
    inputs = gather([folder / "empty", folder / "b.jpg"])
    assert names(inputs, folder) == ["b.jpg"]
    assert len(inputs.failures) == 1 and "empty: no image in this folder, expected .jpg, " in inputs.failures[0]
    with pytest.raises(CourseError, match=r"no image in this folder.*--recursive looks into its subfolders"):
        gather([folder / "empty"]).each(print)
    only = folder / "only"
    OutputFolder(only).write(Path("x.jpg"), FILES)
    with pytest.raises(CourseError, match="no image in this folder"):
        gather([only]).each(print)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files there")
def test_pipes_and_broken_links_are_never_opened(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to(folder / "gone")
    inputs = gather([folder])
    assert names(inputs, folder) == TOP
    assert [path.name for path in inputs.left_out["no file"]] == ["link.jpg", "pipe.jpg"]


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="root and Windows read all folders")
def test_a_folder_that_may_not_be_read_is_named(folder):
    (folder / "sub").chmod(0)
    inputs = gather([folder / "sub", folder])
    (folder / "sub").chmod(0o755)
    assert names(inputs, folder) == TOP and "sub: Permission denied" in inputs.failures[0]


def test_one_that_fails_is_said_and_the_others_are_done(tmp_path, capsys):
    done = []

    def do(path: Path) -> None:
        errors = {
            "bad.jpg": CourseError("bad.jpg: damaged\x1b[2J"),
            "full.jpg": OSError(28, "No space left on device", "full.jpg"),
        }
        if path.name in errors:
            raise errors[path.name]
        if path.name == "huge.jpg":
            raise MemoryError
        done.append(path.name)

    images = [tmp_path / name for name in ("a.jpg", "bad.jpg", "full.jpg", "huge.jpg", "z.jpg")]
    error = Inputs(images).each(do)
    assert done == ["a.jpg", "z.jpg"] and str(error).startswith("3 of 5 images could not be read or written")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "flcourse: bad.jpg: damaged\\x1b[2J"  # nothing in a name or message moves the cursor
    assert "full.jpg: cannot be worked on" in lines[1] and "No space left on device" in lines[1]
    assert "huge.jpg: cannot be worked on (MemoryError)" in lines[2] and len(lines) == 3
    with pytest.raises(CourseError, match="damaged"):
        Inputs([tmp_path / "bad.jpg"]).each(do)
    assert Inputs([tmp_path / "a.jpg"]).each(do) is None
    with pytest.raises(ZeroDivisionError):  # a fault of ours is not hidden
        Inputs(images).each(lambda path: 1 / 0)

    def print_to_nobody(path: Path) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):  # nor that nobody reads on
        Inputs(images).each(print_to_nobody)


def test_unicode_forms_are_one_name(tmp_path):
    assert written(tmp_path, SUM["composed"]) == ["\u00e4_faces.png"]
    assert Ledger(tmp_path).has(tmp_path / "\u00e4_faces.png")
    again = unicodedata.normalize("NFD", "\u00e4_faces.png")
    (tmp_path / again).write_bytes(b"drawn")
    assert Ledger(tmp_path).has(tmp_path / again)
