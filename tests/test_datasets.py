"""MNIST and CIFAR-10: found, fetched, mended or stood in for.

Small made-up sets in torchvision's layout, from a server on this machine.
"""

import gzip
import hashlib
import io
import os
import pickle
import socket
import struct
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from loopback import RangeHandler, serving
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST

from flcourse import files
from flcourse.data import datasets
from flcourse.data.imglab import IBUG_TRAIN, read_imglab
from flcourse.data.shapes import draw_shapes
from flcourse.errors import CourseError

TRAIN, TEST = 30, 10  # images


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Handler(RangeHandler):
    """Serves `server.archives` below /good/, reversed below /wrong/, a third at a time below /cut/."""

    def do_GET(self):
        _, how, name = self.path.split("/")
        content = self.server.archives[name]
        start = self.begin(content)
        body = content[::-1] if how == "wrong" else content
        self.wfile.write(body[start : start + len(content) // 3 + 1] if how == "cut" else body[start:])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("FLCOURSE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Handler) as server:
        server.archives = {}
        yield server


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only data folder, empty: what lies in the checkout's is no business of the tests."""
    use_folders(monkeypatch, tmp_path / "data")
    monkeypatch.setattr(datasets, "draw_shapes", lambda n, seed: draw_shapes(n // 500, seed))  # a few will do
    return tmp_path / "data"


def use_folders(monkeypatch, *folders: Path) -> None:
    for module in (files, datasets):
        monkeypatch.setattr(module, "data_folders", lambda: list(folders))


@pytest.fixture(params=["mnist", "cifar10"])
def small(request, folder, server, monkeypatch):
    """A small set in the place of a real one: its arrays, its files' contents, its loader and fetcher."""
    rng = np.random.default_rng(0)
    shape = (28, 28) if request.param == "mnist" else (32, 32, 3)
    arrays = [
        array
        for n in (TRAIN, TEST)
        for array in (rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n, np.int64))
    ]
    make = make_mnist if request.param == "mnist" else make_cifar10
    contents = make(arrays, server, monkeypatch)
    load, fetch = getattr(datasets, request.param), getattr(datasets, f"fetch_{request.param}")
    return SimpleNamespace(key=request.param, arrays=arrays, contents=contents, load=load, fetch=fetch)


def make_mnist(arrays, server, monkeypatch) -> dict[str, bytes]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    contents = {}
    for name, array in zip(names, arrays, strict=True):
        header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
        contents[f"MNIST/raw/{name}-ubyte"] = header + array.astype(np.uint8).tobytes()
    unpacked = {Path(name).name: content for name, content in contents.items()}
    server.archives.update({f"{name}.gz": gzip.compress(content, mtime=0) for name, content in unpacked.items()})
    monkeypatch.setattr(datasets, "_MNIST_MD5", {name: md5(content) for name, content in unpacked.items()})
    monkeypatch.setattr(MNIST, "resources", [(name, md5(content)) for name, content in server.archives.items()])
    monkeypatch.setattr(datasets, "_MNIST_MIRROR", f"{server.root}/good/")
    monkeypatch.setattr(MNIST, "mirrors", [])
    return contents


def make_cifar10(arrays, server, monkeypatch) -> dict[str, bytes]:
    def batch(x, y):
        return pickle.dumps({"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), "labels": y.tolist()})

    train_x, train_y, test_x, test_y = arrays
    part = TRAIN // 5
    batches = {
        f"data_batch_{i + 1}": batch(train_x[i * part : (i + 1) * part], train_y[i * part : (i + 1) * part])
        for i in range(5)
    }
    batches |= {"test_batch": batch(test_x, test_y), "batches.meta": pickle.dumps({"label_names": list("abcdefghij")})}
    sums = {name: md5(content) for name, content in batches.items()}
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    contents = {f"cifar-10-batches-py/{name}": content for name, content in batches.items()}
    serve_cifar10(contents, server, monkeypatch)
    return contents


def serve_cifar10(members: dict[str, bytes | str], server, monkeypatch) -> None:
    """Serve an archive of these members; one whose content is a string is a link to that."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname, content = tarfile.SYMTYPE, content, b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    server.archives[CIFAR10.filename] = packed.getvalue()
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(datasets, "_CIFAR10_BYTES", len(packed.getvalue()))
    monkeypatch.setattr(CIFAR10, "url", f"{server.root}/good/{CIFAR10.filename}")


def zeros() -> list[np.ndarray]:
    return [np.zeros((n, *shape), np.uint8) for n in (TRAIN, TEST) for shape in ((32, 32, 3), ())]


def write(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def assert_real(small, images, capsys) -> str:
    """These are the set's own bytes, and one line said so; what went to stderr."""
    for array, expected in zip(
        (images.train_x, images.train_y, images.test_x, images.test_y), small.arrays, strict=True
    ):
        assert array.dtype == expected.dtype and np.array_equal(array, expected)
    assert not images.stand_in and len(images.classes) == 10
    told = capsys.readouterr()
    name = {"mnist": "MNIST", "cifar10": "CIFAR-10"}[small.key]
    assert images.name == name and told.out == f"{name}: {TRAIN} + {TEST} images\n"
    return told.err


def assert_stand_in(small, images, capsys) -> str:
    """These stand in, and one line without a place of this machine said so; that line."""
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and told.endswith(f"for the real set: flcourse data {small.key}\n")
    assert os.getcwd() not in told and "pytest" not in told
    assert images.stand_in and images.name == {"mnist": "scikit-learn's digits", "cifar10": "drawn shapes"}[small.key]
    return told


def refused() -> str:
    """An address on this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def go_dead(monkeypatch) -> None:
    monkeypatch.setattr(datasets, "_MNIST_MIRROR", f"{refused()}/")
    monkeypatch.setattr(CIFAR10, "url", f"{refused()}/{CIFAR10.filename}")


# --- found and fetched ---


def test_found_locally(small, folder, server, capsys):
    write(folder, small.contents)
    assert assert_real(small, small.load(), capsys) == ""
    assert small.fetch() == folder / Path(next(iter(small.contents))).parent
    assert server.requests == []


def test_downloaded(small, folder, server, capsys):
    images = small.load()
    assert_real(small, images, capsys)
    assert len(server.requests) == len(server.archives)
    small.load()
    assert len(server.requests) == len(server.archives)  # it was found this time
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in left if not name.endswith("gz")} == set(small.contents)  # no part files


@pytest.mark.parametrize("first", ["wrong", "dead"])
def test_mnist_from_another_mirror(folder, server, monkeypatch, capsys, first):
    arrays = [np.arange(n * 784, dtype=np.uint8).reshape(n, 28, 28) for n in (3, 2)]
    labels = [np.arange(n) for n in (3, 2)]
    make_mnist([arrays[0], labels[0], arrays[1], labels[1]], server, monkeypatch)
    monkeypatch.setattr(datasets, "_MNIST_MIRROR", f"{server.root}/wrong/" if first == "wrong" else f"{refused()}/")
    monkeypatch.setattr(MNIST, "mirrors", [f"{server.root}/good/"])
    assert np.array_equal(datasets.mnist().train_x, arrays[0])
    assert capsys.readouterr().out == "MNIST: 3 + 2 images\n"


def test_cut_transfers_are_resumed(small, server, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "_MNIST_MIRROR", f"{server.root}/cut/")
    monkeypatch.setattr(CIFAR10, "url", f"{server.root}/cut/{CIFAR10.filename}")
    assert_real(small, small.load(), capsys)
    assert sum(asked is not None for _, asked in server.requests) >= 2


def test_real_sums_are_consistent():
    """The two lists of MNIST's files name the same four, and CIFAR-10's source has its seven."""
    assert {name.removesuffix(".gz") for name, _ in MNIST.resources} == set(datasets._MNIST_MD5)
    assert len(datasets._cifar10_source().md5) == 7


# --- damaged ---

DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_fetched_again(small, folder, server, capsys, damage):
    write(folder, small.contents)
    broken, *whole = [folder / name for name in small.contents]
    DAMAGE[damage](broken)
    before = [path.stat().st_mtime_ns for path in whole]
    told = assert_real(small, small.load(), capsys)
    what = "missing" if damage == "missing" else "damaged or cut off ("
    assert f"{broken.relative_to(folder).as_posix()}: {what}" in told and told.splitlines()[0].endswith(
        "; fetching again"
    )
    assert [path.stat().st_mtime_ns for path in whole] == before  # only the broken one was replaced
    assert len(server.requests) == 1
    assert broken.read_bytes() == next(iter(small.contents.values()))


def test_a_damaged_file_is_mended_from_its_archive_without_the_network(small, folder, monkeypatch, capsys):
    small.fetch()
    monkeypatch.setenv("FLCOURSE_OFFLINE", "1")
    (folder / next(iter(small.contents))).write_bytes(b"damaged")
    assert_real(small, small.load(), capsys)


@pytest.mark.parametrize("how", ["offline", "dead"])
def test_a_damaged_set_without_network(small, folder, monkeypatch, capsys, how):
    write(folder, small.contents)
    name = next(iter(small.contents))
    (folder / name).write_bytes(b"damaged")
    monkeypatch.setenv("FLCOURSE_OFFLINE", "1") if how == "offline" else go_dead(monkeypatch)
    told = assert_stand_in(small, small.load(), capsys)
    assert f"{name}: damaged or cut off (7 bytes); " in told
    assert ("FLCOURSE_OFFLINE is set" if how == "offline" else "refused") in told
    assert (folder / name).read_bytes() == b"damaged"  # nothing was deleted
    with pytest.raises(CourseError, match=f"{name}: damaged or cut off"):
        small.fetch()


def test_a_whole_copy_in_a_later_folder_serves(small, folder, server, tmp_path, monkeypatch, capsys):
    use_folders(monkeypatch, folder, tmp_path / "other")
    write(folder, {name: b"damaged" for name in small.contents})
    write(tmp_path / "other", small.contents)
    assert_real(small, small.load(), capsys)
    assert server.requests == []


class Evil:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_nothing_wrong_is_unpickled(folder, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_cifar10(zeros(), server, monkeypatch)
    evil = {f"cifar-10-batches-py/{name}": pickle.dumps(Evil()) for name in datasets._cifar10_source().md5}
    write(folder, evil)
    monkeypatch.setenv("FLCOURSE_OFFLINE", "1")
    assert datasets.cifar10().stand_in
    monkeypatch.delenv("FLCOURSE_OFFLINE")
    serve_cifar10(evil, server, monkeypatch)
    with pytest.raises(CourseError, match="its archive holds another file"):
        datasets.fetch_cifar10()
    assert not (tmp_path / "unpickled").exists()


def test_a_hostile_archive_writes_nothing_elsewhere(folder, server, tmp_path, monkeypatch):
    members = make_cifar10(zeros(), server, monkeypatch)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    hostile = {"../evil": b"evil", str(tmp_path / "evil"): b"evil", "cifar-10-batches-py/../../evil": b"evil"}
    serve_cifar10(hostile | {"cifar-10-batches-py/extra": b"evil"} | members, server, monkeypatch)
    datasets.fetch_cifar10()  # the seven files are right, and nothing else was taken
    assert {path.name for path in (folder / "cifar-10-batches-py").iterdir()} == {Path(name).name for name in members}
    assert not (tmp_path / "evil").exists() and not (folder / "evil").exists()
    linked = "cifar-10-batches-py/data_batch_1"
    (folder / linked).unlink()
    (folder / CIFAR10.filename).unlink()
    serve_cifar10(members | {linked: str(secret)}, server, monkeypatch)
    with pytest.raises(CourseError, match="data_batch_1: not in the archive"):
        datasets.fetch_cifar10()
    assert not (folder / linked).exists() and secret.read_bytes() == b"secret"


# --- stand-ins ---


def test_offline_says_which_images_stand_in(small, folder, server, monkeypatch, capsys):
    monkeypatch.setenv("FLCOURSE_OFFLINE", "1")
    told = assert_stand_in(small, small.load(), capsys)
    standing = {"mnist": "MNIST is not here (FLCOURSE_OFFLINE is set), so scikit-learn's 1,797 digits stand in; "}
    standing["cifar10"] = "CIFAR-10 is not here (FLCOURSE_OFFLINE is set), so drawn shapes of ten classes stand in; "
    assert told.startswith(standing[small.key])
    assert server.requests == []
    with pytest.raises(CourseError, match="FLCOURSE_OFFLINE"):
        small.fetch()


def test_dead_network_says_so(small, monkeypatch, capsys):
    go_dead(monkeypatch)
    told = assert_stand_in(small, small.load(), capsys)
    assert "not downloaded (127.0.0.1:" in told and "refused" in told and len(told) < 300


def test_not_downloaded_unless_allowed(small, server, capsys):
    assert "(download=False)" in assert_stand_in(small, small.load(download=False), capsys)
    assert server.requests == []


def test_full_disk_is_noticed_first(folder, server, monkeypatch):
    make_cifar10(zeros(), server, monkeypatch)
    monkeypatch.setattr(datasets, "_CIFAR10_BYTES", 10**18)
    with pytest.raises(CourseError, match="make room"):
        datasets.fetch_cifar10()
    assert server.requests == []


def test_digits():
    images, again = datasets.digits(), datasets.digits()
    assert images.train_x.shape == (1500, 28, 28) and images.test_x.shape == (297, 28, 28)
    assert images.train_x.dtype == np.uint8 and images.train_y.dtype == np.int64
    assert np.array_equal(images.train_x, again.train_x) and np.array_equal(images.test_y, again.test_y)
    both = np.concatenate([images.train_y, images.test_y])
    assert np.array_equal(np.bincount(both), np.bincount(load_digits().target))
    assert np.ptp(np.bincount(images.test_y)) <= 2  # alike in classes
    for x in (images.train_x, images.test_x):  # light digits in the middle of a dark frame, as MNIST's
        columns, rows = (x.sum(axis=axis) @ np.arange(28.0) / x.sum(axis=(1, 2)) for axis in (1, 2))
        assert np.abs(columns - 13.5).max() < 1.5 and np.abs(rows - 13.5).max() < 1.5
        assert 20 < x.mean() < 60 and (x.max(axis=(1, 2)) > 200).all()


def test_shapes(monkeypatch):
    images = datasets.shapes()  # the tests run with FLCOURSE_FAST=1
    assert images.train_x.shape == (2000, 32, 32, 3) and images.test_x.shape == (500, 32, 32, 3)
    assert images.train_x.dtype == np.uint8 and images.train_y.dtype == images.test_y.dtype == np.int64
    assert len(images.classes) == 10 and images.name == "drawn shapes"
    drawn = []
    monkeypatch.delenv("FLCOURSE_FAST")
    monkeypatch.setattr(datasets, "draw_shapes", lambda n, seed: drawn.append((n, seed)) or (None, None))
    datasets.shapes()
    assert drawn == [(10_000, 0), (2_000, 1)]


# --- faces ---


def test_drawn_faces_stand_in_for_ibug_and_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "download_folder", lambda: tmp_path)
    monkeypatch.setattr(datasets, "find_file", lambda name: None)
    labels = datasets.fetch_drawn_faces(6)
    assert (len(read_imglab(labels)), len(read_imglab(labels.with_name("labels_drawn_test.xml")))) == (6, 1)
    written = labels.stat().st_mtime_ns
    assert datasets.fetch_drawn_faces(6) == labels and labels.stat().st_mtime_ns == written
    monkeypatch.setattr(datasets, "fetch_drawn_faces", lambda count: labels)
    faces = datasets.ibug()
    assert faces.stand_in and faces.train == labels and faces.test.exists()
    assert capsys.readouterr().out == (
        "faces: iBUG 300-W is not here, so drawn faces stand in; for the real set: flcourse data ibug\n"
    )


def test_ibug_is_found_in_a_data_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FLCOURSE_DATA", str(tmp_path))
    for part in ("train", "test"):
        (tmp_path / IBUG_TRAIN).parent.mkdir(exist_ok=True)
        (tmp_path / IBUG_TRAIN.replace("train", part)).touch()
    faces = datasets.ibug()
    assert not faces.stand_in and faces.train == tmp_path / IBUG_TRAIN
    assert capsys.readouterr().out == "faces: iBUG 300-W\n"
