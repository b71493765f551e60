"""Measure the face detectors beside each other: what the model card states of them (for contributors).

    .venv/bin/python tools/measure_detector.py --split          # before training: hold 1,000 people of LFW out
    .venv/bin/python tools/measure_detector.py [--times] [course drawn yunet ssd haar]

Needs LFW with points (`more_faces/labels_lfw.xml`), iBUG 300-W and CIFAR-10 in a data folder, and the other detectors'
files. Every detector sees the same images and has one thread. What was measured goes under "detectors" to
`flcourse/weights/measured.json`: numbers only. The people held out and iBUG's test faces chose nothing.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from measure import MEASURED, real
from measure_shipped import PIECES, as_photograph, things
from tqdm.auto import tqdm

from flcourse.apps.evaluation import predict
from flcourse.data.imglab import IBUG_TEST, Face, hold_out, read_imglab, write_imglab
from flcourse.face.course_detector import NAMES, CourseDetector
from flcourse.face.detect import DETECTORS, open_detector
from flcourse.face.detections import Detection, Detector, best_match
from flcourse.files import atomic_write
from flcourse.images import read_image
from flcourse.metrics import nme
from flcourse.points import Box, face_box, overlap

LFW = "more_faces/labels_lfw.xml"
PEOPLE = 1_000  # of LFW's, one photograph each, on whom no detector of ours was trained
SOME = 100  # of the people, for what is measured at many sizes and angles
SIZES = (16, 24, 32, 64, 128, 300)  # px, the face box's side
FRAME = (320, 240)  # px, at least, of the images in which faces of these sizes lie
ROLLS = (0, 10, 20, 30, 40)  # degrees
GROUP = (6000, 4000)  # px
GROUP_FACES = 24
TWO_WOMEN = "photos/two_women_cc0.jpg"  # in the public domain (CC0), 1280 x 845 px
WOMEN = (Box(839, 85, 181, 181), Box(208, 257, 59, 59))  # as YuNet finds them, looked at


def is_hit(detector: Detector, found: Sequence[Detection], box: Box) -> bool:
    """Whether a detection, mapped to the file's convention, has its centre in a true box and overlaps it by 0.3."""
    mapped = [Detection(detector.box_map(d.box), d.score) for d in found]
    best = best_match(mapped, box)
    return best is not None and bool(overlap(best.box, box) > 0.3)


def people() -> list[Face]:
    """The held-out people's annotated faces."""
    return hold_out(read_imglab(real(LFW)), PEOPLE)[1]


@cache
def photographs() -> list[np.ndarray]:
    """scikit-image's photographs without a face, to lie behind faces."""
    return [as_photograph(getattr(skimage.data, name)()) for name in ("coffee", "grass", "brick", "gravel", "rocket")]


def on_background(image: np.ndarray, least: tuple[int, int], index: int) -> tuple[np.ndarray, np.ndarray]:
    """The image laid on a photograph without faces of at least this size; also its corner's place (x, y) there."""
    height, width = image.shape[:2]
    if width >= least[0] and height >= least[1]:
        return image, np.zeros(2)
    rng = np.random.default_rng(index)
    canvas = cv2.resize(photographs()[index % len(photographs())], (max(width, least[0]), max(height, least[1])))
    corner = rng.integers(0, np.array(canvas.shape[1::-1]) - (width, height) + 1)
    canvas[corner[1] : corner[1] + height, corner[0] : corner[0] + width] = image
    return canvas, corner


def scaled(face: Face, side: float) -> tuple[np.ndarray, Box]:
    """The face's photograph, scaled until its box has this side, and the box."""
    image, box = read_image(face.path), face_box(face.points)
    factor = side / box.side
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    x, y = width / image.shape[1], height / image.shape[0]
    centre = (box.centre[0] + 0.5) * x - 0.5, (box.centre[1] + 0.5) * y - 0.5
    return cv2.resize(image, (width, height), interpolation=how), Box.around(centre, box.side * np.sqrt(x * y))


def at_size(face: Face, index: int, side: float) -> tuple[np.ndarray, Box]:
    """A face of this size in a frame of at least `FRAME`."""
    image, box = scaled(face, side)
    canvas, corner = on_background(image, FRAME, index)
    return canvas, Box.around(tuple(np.add(box.centre, corner)), box.side)


def filling(face: Face, index: int) -> tuple[np.ndarray, Box]:
    """The face box alone, 240 px wide and high."""
    image = read_image(face.path)
    box = face_box(face.points)
    factor = 240 / box.side
    matrix = np.array([[factor, 0, 119.5 - factor * box.centre[0]], [0, factor, 119.5 - factor * box.centre[1]]])
    return cv2.warpAffine(image, matrix, (240, 240), borderMode=cv2.BORDER_REPLICATE), Box(0, 0, 240, 240)


def rolled(face: Face, index: int, roll: float) -> tuple[np.ndarray, Box]:
    """The photograph turned about the face, every second one to the other side."""
    image, box = read_image(face.path), face_box(face.points)
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(box.centre, roll * (-1) ** index, 1)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), box


def group(faces: Sequence[Face]) -> tuple[np.ndarray, list[Box]]:
    """A made photograph of `GROUP` px with heads of 60 to 90 px, and where they are."""
    rng = np.random.default_rng(0)
    width, height = GROUP
    scene = cv2.resize(photographs()[0], GROUP, interpolation=cv2.INTER_CUBIC)
    noise = rng.standard_normal((height, width, 1), np.float32) * 3  # a sensor's
    scene = (scene + noise).clip(0, 255).astype(np.uint8)
    boxes = []
    for i in range(GROUP_FACES):
        image, box = scaled(faces[i], rng.uniform(60, 90))
        column, row = i % 6, i // 6
        x, y = (int((column + rng.uniform(0.3, 0.7)) * width / 6), int((row + rng.uniform(0.3, 0.7)) * height / 4))
        left, top = x - int(box.centre[0]), y - int(box.centre[1])
        mask = np.zeros(image.shape[:2], np.float32)
        middle = tuple(round(v) for v in box.centre)
        cv2.ellipse(mask, middle, (round(0.8 * box.side), round(1.05 * box.side)), 0, 0, 360, 1.0, cv2.FILLED)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.05 * box.side)[..., None]
        part = scene[top : top + image.shape[0], left : left + image.shape[1]]
        part[:] = (part + (image.astype(np.float32) - part) * mask).round()
        boxes.append(Box.around((box.centre[0] + left, box.centre[1] + top), box.side))
    return scene, boxes


def recall(detector: Detector, cases: Iterator[tuple[np.ndarray, Box]], total: int, what: str) -> float:
    """Percent of the true boxes that are found."""
    hits = [is_hit(detector, detector(image), box) for image, box in tqdm(cases, what, total, leave=False)]
    return round(100 * float(np.mean(hits)), 2)


def pieces() -> Iterator[np.ndarray]:
    """The squares of `things`, which hold no face."""
    for image, box in things():
        side = 1.3 * box.side  # as the landmark network would crop them
        low = np.add(box.centre, (0, 0.1 * box.side)) - (side - 1) / 2
        left, top = low.round().astype(int).clip(0)
        right, bottom = (low + side).round().astype(int)
        yield np.ascontiguousarray(image[top:bottom, left:right])


def false_faces(detector: Detector) -> dict:
    """On how many of the things there is a face, and how many faces in all."""
    counts = [len(detector(image)) for image in tqdm(pieces(), f"{detector.name}, things", 2 * PIECES, leave=False)]
    return {
        "images": len(counts),
        "with_a_face": int(np.count_nonzero(counts)),
        "of_photographs": int(np.count_nonzero(counts[:PIECES])),
        "of_cifar": int(np.count_nonzero(counts[PIECES:])),
        "faces": int(np.sum(counts)),
    }


def times(detectors: Sequence[Detector], faces: Sequence[Face]) -> dict[str, dict]:
    """What an image takes each detector: two frames with one face, and the group."""
    frame = skimage.data.astronaut()[:384]
    record: dict[str, dict] = {detector.name: {} for detector in detectors}
    for name, image, seconds in (
        ("ms_320x240", cv2.resize(frame, (320, 240), interpolation=cv2.INTER_AREA), 3.0),
        ("ms_640x480", cv2.resize(frame, (640, 480)), 5.0),
        ("ms_6000x4000", group(faces)[0], 5.0),
    ):
        for detector, ms in zip(detectors, milliseconds(detectors, image, seconds), strict=True):
            record[detector.name][name] = ms
    return record


def milliseconds(detectors: Sequence[Detector], image: np.ndarray, seconds: float) -> list[float]:
    """The median time of each detector on an image, all in turn, so that what runs beside them slows all."""
    times: list[list[float]] = [[] for _ in detectors]
    until = time.perf_counter() + seconds * len(detectors)
    while time.perf_counter() < until or len(times[-1]) < 3:
        for detector, own in zip(detectors, times, strict=True):
            start = time.perf_counter()
            detector(image)
            own.append(1e3 * (time.perf_counter() - start))
    return [round(float(np.median(own[1:])), 2) for own in times]


def women(detector: Detector) -> dict:
    """How many of the two faces in the photograph are found, and how many others."""
    found = detector(read_image(real(TWO_WOMEN)))
    hits = sum(is_hit(detector, found, box) for box in WOMEN)
    return {"found": hits, "others": len(found) - hits}


def measure_one(detector: Detector, faces: Sequence[Face]) -> dict:
    """Everything but the times."""
    some = faces[:SOME]
    picture, boxes = group(faces)
    found = detector(picture)
    hits = sum(is_hit(detector, found, box) for box in boxes)
    name = detector.name
    kept, points, how = predict(real(IBUG_TEST), None, name, tta=4)
    errors = nme(np.stack([p.points for p in points]), np.stack([f.points for f in kept]))
    centre = ((read_image(face.path), face_box(face.points)) for face in faces)
    by_size = {
        str(size): recall(detector, (at_size(f, i, size) for i, f in enumerate(some)), SOME, f"{name}, {size} px")
        for size in SIZES
    }
    by_size["filling"] = recall(detector, (filling(f, i) for i, f in enumerate(some)), SOME, f"{name}, filling")
    return {
        "recall": recall(detector, centre, len(faces), f"{name}, people"),
        "false": false_faces(detector),
        "by_size": by_size,
        "by_roll": {
            str(roll): recall(detector, (rolled(f, i, roll) for i, f in enumerate(some)), SOME, f"{name}, {roll} deg")
            for roll in ROLLS
        },
        "two_women": women(detector),
        "group": {"found": hits, "of": len(boxes), "others": len(found) - hits},
        "test_faces": {"missed": how["missed"], "nme_4": round(float(errors.mean()), 3)},
    }


def one_thread(name: str) -> Detector:
    """A detector that takes one thread (OpenCV's have what `cv2.setNumThreads` says)."""
    weights = {own: file for file, own in NAMES.items()}
    return CourseDetector(weights=weights[name], threads=1) if name in weights else open_detector(name)


def main() -> None:
    """Measure the detectors named and record it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("detectors", nargs="*", metavar="NAME", help=f"of {', '.join(DETECTORS)}; default: all")
    parser.add_argument("--times", action="store_true", help="only what an image takes each, in turn")
    parser.add_argument("--split", action="store_true", help="write labels_lfw_train.xml, without those held out")
    parser.add_argument("--json", type=Path, default=MEASURED, metavar="FILE", help=f"default: {MEASURED.name}")
    args = parser.parse_args()
    kept, held = hold_out(read_imglab(real(LFW)), PEOPLE)
    if args.split:
        path = real(LFW).with_name("labels_lfw_train.xml")
        write_imglab(path, kept, "LFW without the people held out")
        print(f"{path}: {len(kept)} faces; {len(held)} held out")
        return
    cv2.setNumThreads(1)
    detectors = [one_thread(name) for name in args.detectors or DETECTORS]
    if args.times:
        record = times(detectors, held)
    else:
        record = {detector.name: measure_one(detector, held) for detector in detectors}
    measured = json.loads(args.json.read_text(encoding="utf-8"))
    found = measured.setdefault("detectors", {})
    for name, figures in record.items():
        found[name] = found.get(name, {}) | figures
    atomic_write(args.json, json.dumps(measured, indent=1, sort_keys=True) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
