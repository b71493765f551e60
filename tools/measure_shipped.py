"""Measure what the model card and README state of the shipped weights, on the real sets (for contributors).

    .venv/bin/python tools/measure_shipped.py [--weights xception]

Needs iBUG 300-W and, for images of things, CIFAR-10 in a data folder. Every figure goes to
`flcourse/weights/measured.json`: numbers only, no image; the error on the held-out faces also into the networks' own
files. The test faces choose nothing.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import skimage.data
import skimage.util
from measure import MEASURED, real, summarise
from safetensors.torch import load_file, save
from tqdm.auto import tqdm

from flcourse import metrics
from flcourse.apps.evaluation import BOX_SOURCES, predict
from flcourse.data.datasets import cifar10
from flcourse.data.drawing.shape import Expression
from flcourse.data.drawn_faces import draw_face
from flcourse.data.imglab import IBUG_TEST, IBUG_TRAIN, Face, read_face_image, read_imglab, split_faces
from flcourse.data.videos import blink_times, blinking_face
from flcourse.face.behaviour import Blinks
from flcourse.face.landmark_network import shipped_weights
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.face.measure import expression_meters, expression_word, eye_openness, head_pose, measure
from flcourse.files import atomic_write
from flcourse.metadata import ACCEPT
from flcourse.points import Box, apply, face_box

DRAWN = 224  # drawn faces, as many as there are test faces; none of their seeds was trained on
DRAWN_SEED = 10_000_000
BLINKERS, BLINKS = range(1, 7), 20  # drawn people, blinks of each
# scikit-image's photographs and scans without a human face. `camera` and `astronaut` show people; `chelsea` is a cat.
FACE_FREE = (
    *("brick", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "horse", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "retina", "rocket", "text"),
)
PIECES = 500  # of those, and as many of CIFAR-10's test images

Changed = tuple[np.ndarray, np.ndarray, Box]  # an image, its points, the face box


def unchanged(image: np.ndarray, face: Face, index: int) -> Changed:
    """The face as it is."""
    return image, face.points, face.box


def grey(image: np.ndarray, face: Face, index: int) -> Changed:
    """Without colours."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), face.points, face.box


def dark(image: np.ndarray, face: Face, index: int) -> Changed:
    """A seventh of the light, rounded to whole grey levels, with a sensor's noise of one and a half of them."""
    noise = np.random.default_rng(index).normal(0, 1.5, image.shape)
    return (image / 7 + noise).round().clip(0, 255).astype(np.uint8), face.points, face.box


def rotated(image: np.ndarray, face: Face, index: int) -> Changed:
    """Turned by 30 degrees about the box's centre, every second face to the other side."""
    matrix = cv2.getRotationMatrix2D(face.box.centre, 30 * (-1) ** index, 1)
    height, width = image.shape[:2]
    turned = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return turned, apply(face.points, matrix), face.box


def half_occluded(image: np.ndarray, face: Face, index: int) -> Changed:
    """One half behind a grey board: in turn the left, right, upper and lower half of the true points' box."""
    low, high = face.points.min(axis=0) - 5, face.points.max(axis=0) + 5
    middle = (low + high) / 2
    if index % 4 < 2:
        low, high = ((low, (middle[0], high[1])), ((middle[0], low[1]), high))[index % 4]
    else:
        low, high = ((low, (high[0], middle[1])), ((low[0], middle[1]), high))[index % 4 - 2]
    corners = [tuple(round(float(v)) for v in corner) for corner in (low, high)]
    return cv2.rectangle(image.copy(), *corners, (128, 128, 128), cv2.FILLED), face.points, face.box


def small(image: np.ndarray, face: Face, index: int) -> Changed:
    """The image shrunk until the face box is 48 px wide."""
    factor = 48 / face.box.side
    height, width = (round(side * factor) for side in image.shape[:2])
    shrunk = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    x, y = width / image.shape[1], height / image.shape[0]
    matrix = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])  # integers are at pixel centres
    left, top = apply(np.array([face.box.left - 0.5, face.box.top - 0.5]), matrix) + 0.5
    return shrunk, apply(face.points, matrix), Box(left, top, face.box.width * x, face.box.height * y)


CHANGES: dict[str, Callable[[np.ndarray, Face, int], Changed]] = {
    "as they are": unchanged,
    "greyscale": grey,
    "dark": dark,
    "rotated by 30 degrees": rotated,
    "half covered": half_occluded,
    "48 px": small,
}


def judge(landmarker: FaceLandmarker, cases: Sequence[Changed], size: int) -> dict:
    """NME, failures and accepted faces over images with known points, one view of crops of `size` pixels."""
    found = [landmarker.at(image, [box], size=size)[0] for image, _, box in cases]
    errors = metrics.nme(np.stack([face.points for face in found]), np.stack([points for _, points, _ in cases]))
    return {
        "faces": len(errors),
        "nme": round(float(errors.mean()), 3),
        "fr8": round(metrics.failure_rate(errors, 8), 2),
        "fr10": round(metrics.failure_rate(errors, 10), 2),
        "accepted": round(100 * float(np.mean([face.confidence >= ACCEPT for face in found])), 2),
    }


def robustness(landmarker: FaceLandmarker, faces: Sequence[Face]) -> dict:
    """The same weights where faces are hard to see, at the size of still images."""
    size = landmarker.still_size
    images = [read_face_image(face) for face in faces]
    rows = {
        name: judge(landmarker, [change(p, f, i) for i, (p, f) in enumerate(zip(images, faces, strict=True))], size)
        for name, change in tqdm(CHANGES.items(), desc="robustness")
    }
    drawn = [draw_face(DRAWN_SEED + i) for i in range(DRAWN)]
    return rows | {"drawn faces": judge(landmarker, [(face.image, face.points, face.box) for face in drawn], size)}


def things() -> Iterator[tuple[np.ndarray, Box]]:
    """`PIECES` random squares of `FACE_FREE` images and as many of CIFAR-10, each with the box that crops it."""
    rng = np.random.default_rng(0)
    photographs = [as_photograph(getattr(skimage.data, name)()) for name in FACE_FREE]
    for i in range(PIECES):
        image = photographs[i % len(photographs)]
        height, width = image.shape[:2]
        side = np.exp(rng.uniform(np.log(40), np.log(min(height, width))))
        x, y = (rng.uniform(side / 2, length - side / 2) for length in (width, height))
        yield image, Box.around((x, y), side / 1.3)  # the crop is 1.3 boxes wide
    images = cifar10().test_x
    for i in rng.choice(len(images), PIECES, replace=False):
        yield cv2.resize(images[i], (224, 224), interpolation=cv2.INTER_CUBIC), Box.around((111.5, 95), 224 / 1.3)


def as_photograph(image: np.ndarray) -> np.ndarray:
    """Any of scikit-image's images as (H, W, 3) uint8."""
    image = skimage.util.img_as_ubyte(image)
    return np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3])


def rejection(landmarker: FaceLandmarker, faces: Sequence[FaceLandmarks]) -> dict:
    """How many things pass where 99 % of the test faces do, and at the threshold that is set."""
    confidence = np.array([face.confidence for face in faces])
    threshold = float(np.quantile(confidence, 0.01))
    size = landmarker.still_size  # as the faces were seen
    answers = [landmarker.at(image, [box], size=size)[0] for image, box in tqdm(things(), desc="things")]
    other = np.array([answer.confidence for answer in answers])
    return {
        "things": len(other),
        "threshold_99": round(threshold, 4),
        "accepted_at_threshold_99": round(100 * float(np.mean(other >= threshold)), 2),
        "accept": ACCEPT,
        "faces_accepted": round(100 * float(np.mean(confidence >= ACCEPT)), 2),
        "things_accepted": round(100 * float(np.mean(other >= ACCEPT)), 2),
        "highest": round(float(other.max()), 3),
        "faces_quantiles": np.quantile(confidence, [0, 0.01, 0.1, 0.5, 1]).round(3).tolist(),
    }


def openness(faces: Sequence[Face], found: Sequence[FaceLandmarks]) -> dict:
    """How the measures of the found points follow those of the true ones: correlations over the faces."""
    true, seen = (measure(np.stack([face.points for face in part])) for part in (faces, found))
    return {name: round(float(np.corrcoef(getattr(true, name), getattr(seen, name))[0, 1]), 3) for name in true._fields}


def shut(landmarker: FaceLandmarker, people: int = 80) -> dict:
    """Openness of drawn people's closed eyes in parts of that of the same eyes open, by the found points."""
    parts = []
    for seed in range(DRAWN_SEED, DRAWN_SEED + people):
        closed, open_ = (draw_face(seed, expression=Expression(eyes_closed=by), plain=True) for by in (1.0, 0.0))
        eyes = [measure(landmarker.at(face.image, [face.box])[0].points).eyes for face in (closed, open_)]
        parts.append(eyes[0] / eyes[1])
    quartiles = np.quantile(parts, [0.25, 0.5, 0.75]).round(3).tolist()
    return {"people": people, "median": quartiles[1], "quartiles": quartiles[::2]}


def blinks(landmarker: FaceLandmarker) -> dict:
    """Blinks of `BLINKERS` drawn people, `BLINKS` each, as the tracker's points count them: by person, right and false.

    The face's box follows from the points before it, as in the tracker, without its detector.
    """
    right, false = [], []
    for person in tqdm(BLINKERS, desc="blinks"):
        counter, box, ended = Blinks(), None, []
        for frame in blinking_face(BLINKS, person=person, seed=person):
            found = landmarker.at(frame.image, [box or face_box(frame.points)])[0]
            box = face_box(found.points)
            if counter.update(float(eye_openness(found.points).mean()), frame.time):
                ended.append(frame.time)
        near = [np.abs(blink_times(BLINKS, person) + 0.2 - time) < 0.25 for time in ended]
        right.append(int(np.any(near, axis=0).sum()) if near else 0)
        false.append(len(ended) - right[-1])
    return {"people": len(BLINKERS), "blinks": BLINKS, "right": right, "false": false}


def pose(landmarker: FaceLandmarker, heads: int = 200) -> dict:
    """Mean error of head pose on drawn heads turned by up to 50 degrees, from the found points and the true ones."""
    faces = [draw_face(DRAWN_SEED + i) for i in range(heads)]
    true = np.array([(face.yaw, face.pitch, face.roll) for face in faces])
    found = [landmarker.at(face.image, [face.box])[0].points for face in faces]

    def errors(points: Sequence[np.ndarray]) -> dict[str, float]:
        poses = [head_pose(p, face.image.shape[1::-1]) for p, face in zip(points, faces, strict=True)]
        seen = np.array([(one.yaw, one.pitch, one.roll) for one in poses if one])
        return dict(zip(("yaw", "pitch", "roll"), np.abs(seen - true).mean(axis=0).round(2).tolist(), strict=True))

    return {"heads": heads, "found": errors(found), "true": errors([face.points for face in faces])}


def expressions(landmarker: FaceLandmarker, people: int = 80) -> dict:
    """Percent of drawn neutral, smiling and surprised faces called so, against their own calm face and the average."""
    right = {"own": [], "average": []}
    for seed in tqdm(range(people, 2 * people), desc="expressions"):  # the rule's limits were chosen on the first
        rng = np.random.default_rng(seed)
        turned = {"yaw": rng.uniform(-15, 15), "pitch": rng.uniform(-10, 10), "roll": rng.uniform(-15, 15)}
        made = {
            "calm": Expression(),
            "neutral": Expression(smile=rng.uniform(-0.1, 0.1), brow_raise=rng.uniform(-0.2, 0.2)),
            "smile": Expression(smile=rng.uniform(0.5, 1), lips_apart=rng.uniform(0, 0.8)),
            "surprise": Expression(brow_raise=rng.uniform(0.6, 1), mouth_open=rng.uniform(0.35, 1)),
        }
        seen = {}
        for word, expression in made.items():
            face = draw_face(DRAWN_SEED + seed, expression=expression, plain=True, **turned)
            seen[word] = measure(landmarker.at(face.image, [face.box])[0].points)
        calm = seen.pop("calm")
        for word, measures in seen.items():
            right["own"].append(expression_word(expression_meters(measures, calm)) == word)
            right["average"].append(expression_word(expression_meters(measures)) == word)
    return {"people": people} | {name: round(100 * float(np.mean(found)), 1) for name, found in right.items()}


def state_held_out(weights: str, judged: dict) -> None:
    """Write into a shipped network's files how accurate it is on held-out faces; its weights stay as they are."""
    path = shipped_weights()[weights]
    model = onnx.load(path)
    metadata = json.loads({prop.key: prop.value for prop in model.metadata_props}["flcourse"])
    metadata["figures"]["held_out"] = {"nme": judged["nme"], "faces": judged["faces"], "of": "faces of iBUG 300-W"}
    onnx.helper.set_model_props(model, {"flcourse": json.dumps(metadata)})
    atomic_write(path, model.SerializeToString())
    tensors = path.with_suffix(".safetensors")
    if tensors.exists():
        atomic_write(tensors, save(load_file(tensors), {"flcourse": json.dumps(metadata)}))


def main() -> None:
    """Measure everything and record it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", default="xception", help="default: xception")
    parser.add_argument("--json", type=Path, default=MEASURED, metavar="FILE", help=f"default: {MEASURED.name}")
    args = parser.parse_args()
    landmarker = FaceLandmarker(args.weights, detector=None)
    test, val = read_imglab(real(IBUG_TEST)), split_faces(read_imglab(real(IBUG_TRAIN)), 0.1)[1]
    record: dict = {"shipped_live": {}, "shipped": {}, "shipped_2": {}, "shipped_4": {}}
    for boxes in BOX_SOURCES:
        for key, tta in (("shipped_live", 1), ("shipped", 1), ("shipped_2", 2), ("shipped_4", 4)):
            faces, found, how = predict(real(IBUG_TEST), args.weights, boxes, tta=tta, live=key == "shipped_live")
            record[key][boxes] = summarise(faces, found, how)
            if key != "shipped":  # their means are enough
                del record[key][boxes]["errors"], record[key][boxes]["parts"]
            elif boxes == "file":
                record["openness"] = openness(faces, found)
                record["things"] = rejection(landmarker, found)
    record["shut"] = shut(landmarker)
    record["blinks"] = blinks(landmarker)
    record["pose"] = pose(landmarker)
    record["expressions"] = expressions(landmarker)
    record["robustness"] = robustness(landmarker, test)
    held_out = [unchanged(read_face_image(face), face, 0) for face in val]
    record["validation"] = judge(landmarker, held_out, landmarker.size)
    record["validation_still"] = judge(landmarker, held_out, landmarker.still_size)
    measured = json.loads(args.json.read_text(encoding="utf-8")) | record
    atomic_write(args.json, json.dumps(measured, indent=1, sort_keys=True) + "\n")
    print(f"recorded in {args.json}: {', '.join(record)}")
    if args.weights in shipped_weights():
        state_held_out(args.weights, record["validation"])


if __name__ == "__main__":
    main()
