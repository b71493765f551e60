"""MNIST, CIFAR-10, iBUG: found in a data folder, else downloaded, else stood in for by images that need no download.

Every file is held against its checksum before it is used (CIFAR-10's are pickles, which can run code), and a damaged,
cut off or missing one is fetched again alone. The archives stay beside what is unpacked from them, as torchvision
leaves them: a file that is damaged later is mended from there without the network.
"""

import gzip
import hashlib
import re
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from flcourse.data.digits import centre_digit
from flcourse.data.shapes import CLASSES, draw_shapes
from flcourse.download import download, file_sum
from flcourse.errors import CourseError, command
from flcourse.files import atomic_write, data_folders, download_folder, fast, find_file, offline

# torchvision knows the archives' sums and two mirrors; the third serves the same files (TensorFlow Datasets uses it).
_MNIST_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_MD5 = {  # of the unpacked files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_CIFAR10_BYTES = 170_498_071  # of the archive: a full disk shows before the download, not at its end
_DIGITS = tuple("0123456789")
_MISSING = "missing"


def _real(name: str) -> str:
    return f"for the real set: {command(f'data {name}')}"


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, split into training and test."""

    name: str  # "MNIST", "CIFAR-10", "scikit-learn's digits" or "drawn shapes"
    classes: tuple[str, ...]  # ten names
    train_x: np.ndarray  # (N, 28, 28) uint8 or (N, 32, 32, 3) uint8 RGB
    train_y: np.ndarray  # (N,) int64
    test_x: np.ndarray
    test_y: np.ndarray
    stand_in: bool  # whether these stand in for the real set


def mnist(download: bool = True) -> ImageSet:
    """MNIST's 60,000 + 10,000 handwritten digits, (28, 28) uint8, light on dark; prints one line saying what it is.

    Where they are not to be had, or not here and `download` is False, these are `digits()`.
    """
    folder, why = _find_or_fetch(_mnist_source(), download)
    if folder is None:
        images = digits()
        print(f"MNIST is not here ({why}), so scikit-learn's 1,797 digits stand in; {_real('mnist')}")
        return images
    from torchvision.datasets import MNIST  # not sooner: the digits need no PyTorch

    halves = [MNIST(folder.parents[1], train=train) for train in (True, False)]
    arrays = [array.numpy() for half in halves for array in (half.data, half.targets)]
    return _announced(ImageSet("MNIST", _DIGITS, *arrays, stand_in=False))


def cifar10(download: bool = True) -> ImageSet:
    """CIFAR-10's 50,000 + 10,000 photographs, (32, 32, 3) uint8 RGB; prints one line saying what it is.

    Where they are not to be had, or not here and `download` is False, these are `shapes()`.
    """
    from torchvision.datasets import CIFAR10

    folder, why = _find_or_fetch(_cifar10_source(), download)
    if folder is None:
        images = shapes()
        print(f"CIFAR-10 is not here ({why}), so drawn shapes of ten classes stand in; {_real('cifar10')}")
        return images
    halves = [CIFAR10(folder.parent, train=train) for train in (True, False)]  # looks at each sum before it unpickles
    arrays = [array for half in halves for array in (np.ascontiguousarray(half.data), np.array(half.targets, np.int64))]
    return _announced(ImageSet("CIFAR-10", tuple(halves[0].classes), *arrays, stand_in=False))


def _announced(images: ImageSet) -> ImageSet:
    print(f"{images.name}: {len(images.train_x):,} + {len(images.test_x):,} images")
    return images


def fetch_mnist() -> Path:
    """The folder of MNIST's four files, fetched (12 MB) if need be. Raises `CourseError`."""
    return _fetch(_mnist_source())


def fetch_cifar10() -> Path:
    """The folder of CIFAR-10's seven files, fetched (170 MB) if need be. Raises `CourseError`."""
    return _fetch(_cifar10_source())


def digits() -> ImageSet:
    """scikit-learn's 1,797 real handwritten digits, 8 x 8, brought to MNIST's form: 1,500 to train on, 297 to test.

    They are the test set of E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), by 13
    writers, whose pages follow each other in the file. The split is random, the same each time, and alike in classes:
    every writer is on both sides, so that its test is easier than one on writers never seen.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.utils import Bunch

    found = cast(Bunch, load_digits())
    x = np.stack([centre_digit(image * (255 / 16)) for image in found.images])
    split = train_test_split(x, found.target.astype(np.int64), test_size=297, stratify=found.target, random_state=0)
    train_x, test_x, train_y, test_y = map(np.asarray, split)
    return ImageSet("scikit-learn's digits", _DIGITS, train_x, train_y, test_x, test_y, stand_in=True)


def shapes() -> ImageSet:
    """10,000 + 2,000 drawn images of `flcourse.data.shapes`; 2,000 + 500 where `FLCOURSE_FAST=1`."""
    n, m = (2_000, 500) if fast() else (10_000, 2_000)
    return ImageSet("drawn shapes", CLASSES, *draw_shapes(n, seed=0), *draw_shapes(m, seed=1), stand_in=True)


@dataclass(frozen=True)
class FaceSet:
    """Annotated faces on disk: imglab XML files for `flcourse.data.imglab.read_imglab`."""

    name: str  # "iBUG 300-W" or "drawn faces"
    train: Path
    test: Path
    stand_in: bool


def ibug() -> FaceSet:
    """The iBUG 300-W set where it lies in a data folder, else drawn faces; prints one line saying which.

    The real set is never fetched from here: it has 1.7 GB and a licence to agree to. Drawn faces are kept in the data
    folder: 1,000 to train on, 160 where `FLCOURSE_FAST=1`, and a fifth as many to test on. Raises `CourseError` where
    they cannot be written.
    """
    from flcourse.data.imglab import IBUG_TEST, IBUG_TRAIN

    train = find_file(IBUG_TRAIN)
    if train and (test := train.with_name(Path(IBUG_TEST).name)).exists():
        print("faces: iBUG 300-W")
        return FaceSet("iBUG 300-W", train, test, stand_in=False)
    train = fetch_drawn_faces(160 if fast() else 1_000)
    print(f"faces: iBUG 300-W is not here, so drawn faces stand in; {_real('ibug')}")
    return FaceSet("drawn faces", train, train.with_name("labels_drawn_test.xml"), stand_in=True)


def fetch_drawn_faces(count: int, progress: bool = True) -> Path:
    """The training labels of `count` drawn faces, drawn if need be, with a fifth as many to test on beside them.

    Raises `CourseError` where they cannot be written, and where `count` is not positive.
    """
    from flcourse.data.drawn_faces import write_drawn_faces

    if count < 1:
        raise CourseError(f"{count} faces to draw, expected at least 1")
    folder = download_folder() / f"drawn_faces_{count}"
    labels = folder / "labels_drawn_train.xml"  # written last
    return labels if labels.exists() else write_drawn_faces(folder, count, test=max(1, count // 5), progress=progress)


def portrait() -> tuple[str, str, np.ndarray]:
    """A face to try things on: a name for files, whose it is, and the image, (H, W, 3) uint8 RGB.

    It is scikit-image's astronaut; a drawn face where that package, which the light base does without, is missing.
    """
    try:
        from skimage.data import astronaut
    except ImportError:
        from flcourse.data.drawn_faces import draw_face

        return "drawn", "a face that the course draws (the photograph needs scikit-image)", draw_face(3, 512).image
    return "astronaut", "scikit-image's astronaut (NASA)", astronaut()


# --- finding, fetching ---


@dataclass(frozen=True)
class _Source:
    folder: str  # below a data folder, as torchvision has it
    md5: dict[str, str]  # file name -> checksum
    fetch_files: Callable[[Path, set[str]], None]  # fetches the files of these names into a folder


def _mnist_source() -> _Source:
    return _Source("MNIST/raw", _MNIST_MD5, _fetch_files_mnist)


def _fetch_files_mnist(folder: Path, names: set[str]) -> None:
    from torchvision.datasets import MNIST

    for archive, md5 in MNIST.resources:
        name = archive.removesuffix(".gz")
        if name in names:
            urls = [mirror + archive for mirror in (_MNIST_MIRROR, *MNIST.mirrors)]
            packed = download(urls, folder / archive, md5=md5)
            _write_verified(folder / name, gzip.decompress(packed.read_bytes()), _MNIST_MD5[name])


def _cifar10_source() -> _Source:
    from torchvision.datasets import CIFAR10

    md5 = {name: md5 for name, md5 in (*CIFAR10.train_list, *CIFAR10.test_list)}
    md5[CIFAR10.meta["filename"]] = CIFAR10.meta["md5"]
    return _Source(CIFAR10.base_folder, md5, _fetch_files_cifar10)


def _fetch_files_cifar10(folder: Path, names: set[str]) -> None:
    from torchvision.datasets import CIFAR10

    md5 = _cifar10_source().md5
    packed = download(CIFAR10.url, folder.parent / CIFAR10.filename, md5=CIFAR10.tgz_md5, size=_CIFAR10_BYTES)
    with tarfile.open(packed) as archive:
        # Only the bytes of the files we know are taken; no name, link or mode of the archive's reaches the disk.
        for member in archive:
            name = member.name.removeprefix(f"{folder.name}/")
            if name in names and member.isreg() and (file := archive.extractfile(member)):
                _write_verified(folder / name, file.read(), md5[name])


def _write_verified(path: Path, data: bytes, md5: str) -> None:
    """Write an unpacked file, if it is what it should be."""
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise CourseError(f"{path.name}: its archive holds another file, expected md5 {md5}; nothing was replaced")
    atomic_write(path, data)


def _find_or_fetch(source: _Source, allowed: bool) -> tuple[Path | None, str]:
    """The folder of a whole copy and "", or None and why there is none."""
    folder, broken = _find(source)
    if folder is not None:
        return folder, ""
    if not allowed:
        return None, "; ".join([*broken, "download=False"])
    try:
        return _fetch(source), ""
    except CourseError as error:
        if offline():
            return None, "; ".join([*broken, "FLCOURSE_OFFLINE is set"])
        trouble = str(error).partition("; check the network")[0]  # our line has advice of its own
        return None, re.sub(r"https?://([^/\s]+)/\S*:", r"\1:", trouble)  # hosts will do, addresses fill the screen


def _find(source: _Source) -> tuple[Path | None, list[str]]:
    """The first data folder's copy that is whole, or None and what is wrong with those that are not."""
    broken = []
    for folder in (root / source.folder for root in data_folders()):
        wrong = _wrong(folder, source.md5)
        if not wrong:
            return folder, []
        if set(wrong.values()) != {_MISSING} or len(wrong) < len(source.md5):  # something is there
            broken += [f"{source.folder}/{name}: {trouble}" for name, trouble in wrong.items()]
    return None, broken


def _wrong(folder: Path, md5: dict[str, str]) -> dict[str, str]:
    """File name -> what is wrong with it, for those files of a set that are not as they should be."""
    wrong = {}
    for name, expected in md5.items():
        path = folder / name
        try:
            if file_sum(path, "md5") != expected:
                wrong[name] = f"damaged or cut off ({path.stat().st_size:,} bytes)"
        except (FileNotFoundError, NotADirectoryError):
            wrong[name] = _MISSING
        except OSError as error:
            wrong[name] = error.strerror or str(error)
    return wrong


def _fetch(source: _Source) -> Path:
    """The folder of a whole copy, made in the download folder if need be. Raises `CourseError`."""
    folder, broken = _find(source)
    if folder is not None:
        return folder
    try:
        folder = download_folder() / source.folder
        if broken and not offline():
            print(f"{'; '.join(broken)}; fetching again", file=sys.stderr)  # where the progress bar goes, too
        source.fetch_files(folder, set(_wrong(folder, source.md5)))
        if wrong := _wrong(folder, source.md5):
            raise CourseError(f"{', '.join(wrong)}: not in the archive that was fetched")
    except OSError as error:
        raise CourseError("; ".join([*broken, f"{folder}: {error.strerror or error}"])) from error
    except CourseError as error:
        raise CourseError("; ".join([*broken, str(error)])) from error
    return folder
