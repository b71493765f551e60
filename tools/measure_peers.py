"""Measure other packages' points beside ours: the same faces and machine, each by its own Python (for contributors).

    .venv/bin/python tools/measure_peers.py flcourse LABELS.xml
    PEERS/bin/python tools/measure_peers.py dlib LABELS.xml         # pip install dlib-bin face_recognition_models
    PEERS/bin/python tools/measure_peers.py mediapipe LABELS.xml    # pip install mediapipe==0.10.21

`LABELS.xml` is imglab XML with 68 points, iBUG's `labels_ibug_300W_test.xml`, say. Each package gets a square of twice
a face's box, finds the faces in it by itself and the points of the one in the middle. Printed are the mean error in
percent of the distance of the outer eye corners, over all 68 points and over the 51 without the jaw, the faces that
were missed, and the median time of one square, on one thread. MediaPipe has other points: those of its 478 are taken
that lie where the 68 are, but its jaw is the outline of the visible face. NumPy and OpenCV are all this file needs, so
that packages that want another NumPy than ours can be measured, too.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

# The points of MediaPipe's face mesh where the 68 are, in their order.
MESH = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
Find = Callable[[np.ndarray], list[np.ndarray]]  # (H, W, 3) uint8 RGB -> points (68, 2) of each face, image pixels


def flcourse() -> Find:
    """The shipped detector and network, one view."""
    from flcourse import FaceLandmarker

    landmarker = FaceLandmarker(threads=1, tta=1)
    return lambda image: [face.points for face in landmarker(image)]


def dlib() -> Find:
    """dlib's detector and regression trees, with the weights that face_recognition_models brings."""
    import dlib

    # Beside the module: importing it needs a part of setuptools that newer ones lack.
    [weights] = Path(dlib.__file__).parents[1].glob("face_recognition_models/models/shape_predictor_68*.dat")
    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights))
    return lambda image: [
        np.array([(point.x, point.y) for point in predict(image, box).parts()], float) for box in detect(image, 1)
    ]


def mediapipe() -> Find:
    """MediaPipe's face mesh and its detector."""
    import mediapipe

    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=3)

    def find(image: np.ndarray) -> list[np.ndarray]:
        faces = mesh.process(image).multi_face_landmarks or []
        return [np.array([(f.landmark[i].x, f.landmark[i].y) for i in MESH]) * image.shape[1::-1] for f in faces]

    return find


PEERS = {"flcourse": flcourse, "dlib": dlib, "mediapipe": mediapipe}


def read(labels: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Squares of twice the box of an imglab file's faces, RGB, edges repeated, and the true points (68, 2) in them."""
    faces = []
    for image in ElementTree.parse(labels).iter("image"):
        pixels = cv2.cvtColor(cv2.imread(str(labels.parent / image.get("file", ""))), cv2.COLOR_BGR2RGB)
        for box in image.iter("box"):
            left, top, width, height = (round(float(box.get(side, 0))) for side in ("left", "top", "width", "height"))
            parts = sorted(box.iter("part"), key=lambda part: int(part.get("name", 0)))
            points = np.array([(float(part.get("x", 0)), float(part.get("y", 0))) for part in parts])
            side = max(width, height)
            framed = cv2.copyMakeBorder(pixels, side, side, side, side, cv2.BORDER_REPLICATE)
            corner = np.array([left + (width - 2 * side) // 2, top + (height - 2 * side) // 2])
            x, y = corner + side
            faces.append((np.ascontiguousarray(framed[y : y + 2 * side, x : x + 2 * side]), points - corner))
    return faces


def main() -> None:
    """Measure one package and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("labels", type=Path, metavar="LABELS.xml")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    find = PEERS[args.peer]()
    errors, seconds, missed = [], [], 0
    for number, (image, true) in enumerate(read(args.labels)):
        for _ in range(1 if number else 3):  # the first ones warm up
            started = time.perf_counter()
            found = find(image)
            took = time.perf_counter() - started
        seconds.append(took)
        middle = np.array(image.shape[1::-1]) / 2
        points = min(found, key=lambda face: np.linalg.norm(face[17:].mean(axis=0) - middle), default=None)
        if points is None:
            missed += 1
            continue
        distances = np.linalg.norm(points - true, axis=1) / np.linalg.norm(true[36] - true[45])
        errors.append((100 * distances.mean(), 100 * distances[17:].mean()))
    all_points, inner = np.mean(errors, axis=0)
    print(
        f"{args.peer}: {len(seconds)} faces, {missed} missed; NME {all_points:.2f} %, without the jaw {inner:.2f} %; "
        f"{1000 * np.median(seconds):.1f} ms a face (median)"
    )


if __name__ == "__main__":
    main()
