"""Damaged, twisted and hostile files by the thousand: whatever comes, the answer is a result or one line.

`python tests/fuzzing.py 10000 xml` tries ten thousand cases of a kind and prints what they cost; the suite tries a few.
A case is made from its number alone, so a failure can be tried again.
"""

import gzip
import io
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from toys import template

from flcourse.data import ibug_archive
from flcourse.data.imglab import Face, read_imglab, write_imglab
from flcourse.errors import CourseError
from flcourse.images import decode_image
from flcourse.points import Box

LABELS = ("labels_ibug_300W_train.xml", "labels_ibug_300W_test.xml")
WORDS = [
    *("0", "-1", "1e15", "1e-300", "nan", "inf", "1_0", "٦٧", "9" * 5000, "999999", "67", "68", "99", "", " ", "0x1"),
    *(
        "../../x.png",
        "/dev/zero",
        "C:\\x",
        "a\\b",
        "&#0;",
        "&#10;",
        "&amp;",
        "&lol;",
        "\u202e",
        "x" * 2000,
        "]]>",
        "<!--",
    ),
    *("<box>", "</box>", "<part/>", "<image>", "</dataset>", "<!DOCTYPE d [<!ENTITY a 'b'>]>", "<?xml encoding='x'?>"),
    *("ignore='1'", "width='5'", "UTF-16", "UTF-7", "ISO-8859-1"),
]
NUMBERS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xff\xff", b"\x80\0\0\0"]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed in one to eight places: bits, numbers, words, pieces cut out, doubled, swapped or cut off."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.5:
            at = min(at, rng.randrange(200))  # headers
        length = rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = rng.choice(NUMBERS)
            case 2:
                data[at : at + length] = rng.randbytes(length)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
            case 5:
                other = rng.randrange(len(data) + 1)
                data[at : at + length] = data[other : other + length]
            case 6:
                data[at:at] = rng.choice(WORDS).encode()
            case _ if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


def face(file: str, rng: random.Random, numbers: Callable[[], float]) -> Face:
    points = template() * rng.choice((1, 30, 3000)) + 20
    points[rng.randrange(68), rng.randrange(2)] = numbers()
    return Face(Path(file), file, Box(numbers(), 5, abs(numbers()), 30), points)


def xml(folder: Path) -> Callable[[random.Random], object]:
    """Label files, read."""
    path = folder / "x.xml"
    faces = [Face(folder / name, name, Box(5, 5, 30, 30), template() * 30 + 20) for name in ("a/1.png", "a/2 _.jpg")]
    write_imglab(path, faces)
    seed = path.read_bytes()
    tokens = seed.decode().split("'")

    def case(rng: random.Random) -> object:
        if rng.random() < 0.5:  # another value of an attribute
            changed = list(tokens)
            for _ in range(rng.choice((1, 1, 2, 5))):
                changed[rng.randrange(min(len(changed), 60)) if rng.random() < 0.5 else rng.randrange(len(changed))] = (
                    rng.choice(WORDS)
                )
            data = "'".join(changed).encode()
        else:
            data = mutated(seed, rng)
        path.write_bytes(data)
        return read_imglab(path)

    return case


def image(folder: Path) -> Callable[[random.Random], object]:
    """Images of every format, decoded."""
    picture = Image.effect_noise((48, 40), 50).convert("RGB")
    seeds = []
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WebP", {}),
        ("WebP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("GIF", {}),
        ("PPM", {}),
        ("AVIF", {}),
        ("PNG", {"save_all": True, "append_images": [picture]}),
    ):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        seeds.append(file.getvalue())

    return lambda rng: decode_image(mutated(rng.choice(seeds), rng), "x")


def archive(folder: Path) -> Callable[[random.Random], object]:
    """Archives with labels in them, looked through and read to the end, never unpacked."""
    path = folder / "x"
    write_imglab(folder / "x.xml", [Face(folder / "a.jpg", "a.jpg", Box(5, 5, 30, 30), template() * 30 + 20)])
    contents = {**dict.fromkeys(LABELS, (folder / "x.xml").read_bytes()), "afw/a.jpg": b"jpeg" * 50}
    tar, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as writer, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"{ibug_archive.FOLDER}/{name}")
            info.size = len(content)
            writer.addfile(info, io.BytesIO(content))
            zipped.writestr(f"{ibug_archive.FOLDER}/{name}", content)

    def case(rng: random.Random) -> object:
        match rng.randrange(4):
            case 0:  # damage inside the compression
                data = gzip.compress(mutated(tar.getvalue(), rng), 1)
            case 1:
                data = mutated(gzip.compress(tar.getvalue(), 1), rng)
            case 2:
                data = mutated(tar.getvalue(), rng)
            case _:
                data = mutated(packed.getvalue(), rng)
        path.write_bytes(data)
        with ibug_archive._archive_errors():
            for member in ibug_archive._members(path, "fuzzing"):
                with member.open() as file:
                    while block := file.read(1 << 16):
                        if Path(member.parts[-1]).name in LABELS and block.startswith(b"<?xml"):
                            (folder / "y.xml").write_bytes(block)
                            read_imglab(folder / "y.xml")

    return case


def round_trip(folder: Path) -> Callable[[random.Random], object]:
    """Faces of any name and number, written: what is written is read back, else nothing is there."""
    path = folder / "r.xml"

    def text(rng: random.Random) -> str:
        if rng.random() < 0.3:
            return rng.choice(WORDS)
        top = rng.choice((0x7F, 0x7F, 0x7F, 0x300, 0x11000))
        return "".join(chr(rng.randrange(0x20 if rng.random() < 0.99 else 0, top)) for _ in range(9))

    def case(rng: random.Random) -> object:
        odd = (np.nan, np.inf, -1e7, 1e15, 1e-300)
        faces = [
            face(text(rng), rng, lambda: rng.choice(odd) if rng.random() < 0.05 else rng.uniform(1, 1e5))
            for _ in range(rng.choice((1, 1, 2)))
        ]
        path.unlink(missing_ok=True)
        try:
            write_imglab(path, faces, text(rng))
        except CourseError:
            assert not path.exists()
            raise
        back = read_imglab(path)
        assert sorted(f.file for f in back) == sorted(f.file for f in faces)
        for one in back:
            twins = [f for f in faces if f.file == one.file]
            assert any(np.allclose(f.points, one.points, rtol=1e-6, atol=0.006) for f in twins)
            assert any(np.allclose(f.box, one.box, rtol=0, atol=0.006) for f in twins)

    return case


KINDS = {"xml": xml, "image": image, "archive": archive, "round_trip": round_trip}
SECONDS = 5.0  # of CPU time for one case at most


def fuzz(kind: str, cases: range) -> Counter:
    """Try the cases of these numbers: how many were read, how many refused. Raises where one does anything else."""
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        case = KINDS[kind](Path(folder))
        for number in cases:
            start = time.process_time()
            try:
                case(random.Random(f"{kind} {number}"))
                outcomes["read"] += 1
            except CourseError as error:
                outcomes["refused"] += 1
                if "\n" in str(error) or len(str(error)) > 3_000:
                    raise AssertionError(f"{kind} {number}: {error}") from error
            except Exception as error:
                raise AssertionError(f"{kind} {number}: {error!r}") from error
            seconds = time.process_time() - start
            if seconds > SECONDS:
                raise AssertionError(f"{kind} {number}: took {seconds:.1f} s")
            outcomes["over 0.5 s"] += seconds > 0.5
    return outcomes


if __name__ == "__main__":
    import resource

    count, kind = int(sys.argv[1]), sys.argv[2]
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    total = Counter()
    for start in range(first, first + count, 1000):
        total += fuzz(kind, range(start, min(start + 1000, first + count)))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        told = f"{total['read']:,} read, {total['refused']:,} refused, {total['over 0.5 s']} took over 0.5 s"
        print(f"{kind} from {first:,}: {told}; {memory:.0f} MB", flush=True)
