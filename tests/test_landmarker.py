"""The landmarker, with small ONNX networks of known answers: points come back to where the image has them."""

import json
import pickle
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from skimage import data
from toys import template

from flcourse.apps.results import find, json_text, sentence
from flcourse.data.drawn_faces import draw_face
from flcourse.errors import CourseError
from flcourse.face.detect import open_detector
from flcourse.face.detections import Detection
from flcourse.face.draw import draw_faces
from flcourse.face.landmark_network import OnnxNetwork, shipped_weights
from flcourse.face.landmarker import FaceLandmarker
from flcourse.metadata import ACCEPT
from flcourse.points import CROP_SCALE, MIRROR, Box, BoxMap, face_box

SIZE = 64
POINTS01 = (template() * 0.6 + 0.5).astype(np.float32)


def network_bytes(
    points01: np.ndarray = POINTS01,
    crops=("n", 1, SIZE, SIZE),
    half: bool = False,
    calibrated: bool = True,
    metadata: dict | None = None,
) -> bytes:
    """A network that answers `points01` for every crop; `calibrated`, its confidence is the crop's grey, 0 to 1."""
    constant = numpy_helper.from_array(points01[None].astype(np.float16 if half else np.float32), "constant")
    nodes = [helper.make_node("Cast", ["constant"], ["points"], to=TensorProto.FLOAT)]
    nodes += [
        helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["crops"], ["mean3"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["mean3"], ["mean2"], axes=[1], keepdims=1),
        helper.make_node("Unsqueeze", ["mean2", "axis"], ["mean4"]),
        helper.make_node("Mul", ["mean4", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "points"], ["points01"]),
        helper.make_node("Mul", ["mean", "half"], ["grey"]),  # crops are in [-1, 1]
        helper.make_node("Add", ["grey", "half"], ["confidence"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, crops)],
        [
            helper.make_tensor_value_info("points01", TensorProto.FLOAT, ("n", *points01.shape)),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ("n",)),
        ][: 2 if calibrated else 1],
        [
            constant,
            numpy_helper.from_array(np.array([2]), "axis"),
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(np.full(1, 0.5, np.float32), "half"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata is not None:
        helper.set_model_props(model, {"flcourse": json.dumps(metadata)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def landmarker(tmp_path_factory):
    path = tmp_path_factory.mktemp("Größe") / "netz 顔.onnx"
    path.write_bytes(network_bytes())
    return FaceLandmarker(path, detector=None, threads=1)


@settings(max_examples=40)
@given(
    st.tuples(st.floats(-50, 350), st.floats(-50, 250)),
    st.floats(8, 800),
    st.tuples(st.integers(1, 300), st.integers(1, 400)),
)
def test_points_come_back_to_image_pixels(landmarker, centre, side, shape):
    """Boxes partly or wholly outside, smaller and larger than the crop, images down to one pixel."""
    (face,) = landmarker.at(np.zeros((*shape, 3), np.uint8), [Box.around(centre, side)])
    # The crop is 1.3 boxes wide about a centre a tenth lower; 0.5 is its middle.
    wanted = (POINTS01 - 0.5) * 1.3 * side + (centre[0], centre[1] + 0.1 * side)
    assert np.abs(face.points - wanted).max() < 1e-3 * max(1, side / 100)
    assert face.points.dtype == np.float32 and face.points.shape == (68, 2)


def test_several_boxes_are_cropped_each_for_itself(landmarker):
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 255
    boxes = [Box.around((50, 50), 30), Box.around((150, 50), 30)]
    dark, bright = landmarker.at(image, boxes, scores=[0.25, 0.5])
    assert (dark.confidence, bright.confidence) == (pytest.approx(0), pytest.approx(1))
    assert (dark.score, bright.score) == (0.25, 0.5) and [dark.box, bright.box] == boxes
    assert np.allclose(bright.points - dark.points, (100, 0), atol=1e-3)
    assert landmarker.at(image, []) == []


def test_detections_pass_through_the_detectors_box_map(landmarker, tmp_path):
    class Fixed:
        name, box_map = "fixed", BoxMap(scale=0.5, dx=0.1, dy=0.2)

        def __call__(self, image):
            return [Detection(Box.around((60, 60), 40), 0.7)]

    path = tmp_path / "toy.onnx"
    path.write_bytes(network_bytes())
    (face,) = FaceLandmarker(path, detector=Fixed(), tta=1)(np.full((120, 120, 3), 255, np.uint8))
    assert np.allclose(face.box.centre, (64, 68)) and face.box.side == pytest.approx(20) and face.score == 0.7
    with pytest.raises(ValueError, match="without a detector"):
        landmarker(np.zeros((9, 9, 3), np.uint8))


def test_half_precision_constants_are_cast(tmp_path):
    (tmp_path / "half.onnx").write_bytes(network_bytes(half=True))
    (face,) = FaceLandmarker(tmp_path / "half.onnx", detector=None).at(
        np.zeros((99, 99, 3), np.uint8), [Box.around((50, 50), 40)]
    )
    assert np.abs((face.points - (50, 54)) / 52 + 0.5 - POINTS01).max() < 1e-3


def test_bad_networks_are_one_clear_line(tmp_path):
    def check(name: str, content: bytes | None, message: str) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CourseError, match=message) as caught:
            FaceLandmarker(tmp_path / name, detector=None)
        assert "\n" not in str(caught.value) and name in str(caught.value)

    good = network_bytes()
    check("gone.onnx", None, "No such file")
    check("cut.onnx", good[: len(good) // 2], "truncated, or not an ONNX network")
    check("empty.onnx", b"", "truncated, or not an ONNX network")
    check("colour.onnx", network_bytes(crops=("n", 3, SIZE, SIZE)), r"expected crops \(N, 1, size, size\)")
    check("oblong.onnx", network_bytes(crops=("n", 1, SIZE, 32)), r"takes .*crops.*32")
    check("67.onnx", network_bytes(POINTS01[:67]), r"expected .*points01 \(N, 68, 2\)")
    check("weights.h5", good, "neither shipped weights")


def test_shipped_network_says_what_it_is():
    path = shipped_weights()["xception"]
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    described = json.loads(metadata["flcourse"])
    assert described["recipe"]["head"] == "heatmap" and described["figures"]["val_nme"] < 5
    assert FaceLandmarker(detector=None).size == described["recipe"]["size"]


@pytest.mark.parametrize("name", shipped_weights())
def test_shipped_networks_state_their_error_on_held_out_photographs(name):
    """Measured by `tools/measure_shipped.py`; 196 faces of iBUG's training file that no training saw."""
    held_out = OnnxNetwork(name).held_out
    assert (held_out.faces, held_out.of) == (196, "faces of iBUG 300-W") and 2 < held_out.nme < 8
    assert str(held_out).endswith("% on 196 held-out faces of iBUG 300-W")


@pytest.mark.parametrize(
    "metadata, text",
    [
        (None, "None"),
        ({"recipe": {}, "faces": [90, 10]}, "None"),
        ({"faces": [90, 10], "figures": {"val_nme": 12.345}}, "12.35 % on 10 held-out faces of its training set"),
        (
            {"faces": [90, 10], "figures": {"val_nme": 9, "held_out": {"nme": 7.5, "faces": 3, "of": "drawn faces"}}},
            "7.50 % on 3 held-out drawn faces",
        ),
    ],
)
def test_a_network_says_how_accurate_it_was_on_held_out_faces(tmp_path, metadata, text):
    (tmp_path / "net.onnx").write_bytes(network_bytes(metadata=metadata))
    network = OnnxNetwork(tmp_path / "net.onnx")
    assert str(network.held_out) == text and network.metadata == (metadata or {})


def test_mirrored_is_the_mean_of_both_answers():
    """By hand: the same network on the image and on the flipped image, whose points are flipped back."""
    landmarker = FaceLandmarker(detector=None)
    image = data.astronaut()
    box, width = Box.around((215, 118), 95), image.shape[1]
    flipped = Box.around((width - 1 - box.centre[0], box.centre[1]), box.side)
    (one,) = landmarker.at(image, [box])
    (other,) = landmarker.at(np.ascontiguousarray(image[:, ::-1]), [flipped])
    back = (other.points * (-1, 1) + (width - 1, 0))[MIRROR]
    (found,) = landmarker.at(image, [box], tta=2)
    shift = landmarker.network.label_shift * CROP_SCALE * box.side, 0  # one lies right by it, back left
    assert np.abs(found.points - (one.points + back) / 2 - shift).max() < 0.3  # the warp rounds grey levels
    assert found.confidence == pytest.approx((one.confidence + other.confidence) / 2, abs=0.05)


def test_four_looks_are_two_at_the_box_and_two_about_their_points():
    landmarker, image = FaceLandmarker(detector=None), data.astronaut()
    box = Box.around((228, 112), 110)
    (first,) = landmarker.at(image, [box], tta=2)
    (again,) = landmarker.at(image, [face_box(first.points)], tta=2)
    (found,) = landmarker.at(image, [box], [0.5], tta=4)
    assert np.allclose(found.points, (first.points + again.points) / 2) and found.box == box and found.score == 0.5
    assert found.confidence == pytest.approx((first.confidence + again.confidence) / 2)
    with pytest.raises(ValueError, match="tta=3, expected one of 1, 2, 4"):
        landmarker.at(image, [box], tta=3)


def test_what_is_no_face_to_the_network_is_left_out():
    class Everywhere:
        name, box_map = "everywhere", BoxMap(1, 0, 0)

        def __call__(self, image):
            return [Detection(Box.around(centre, 90), 0.9) for centre in ((222, 118), (420, 330), (60, 60))]

    (face,) = FaceLandmarker(detector=Everywhere())(data.astronaut())
    assert face.box.centre == (222, 118) and face.confidence > 0.5


def test_shipped_network_is_surer_of_a_face_than_of_a_wall():
    landmarker = FaceLandmarker(detector=None)
    (face,) = landmarker.at(data.astronaut(), [Box.around((222, 118), 90)])
    wall = np.repeat(data.brick()[..., None], 3, axis=2)
    (none,) = landmarker.at(wall, [Box.around((222, 118), 90)])
    assert face.confidence > 0.5 > ACCEPT > none.confidence


# --- a network that was never calibrated ---


class Everything:
    """A detector that finds one face in the middle of every image."""

    name, box_map, threshold = "everything", BoxMap(1, 0, 0), 0.5

    def __call__(self, image: np.ndarray) -> list[Detection]:
        height, width = image.shape[:2]
        return [Detection(Box.around((width / 2, height / 2), height / 2), 0.9)]


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "uncalibrated.onnx"
    path.write_bytes(network_bytes(calibrated=False))
    return path


@pytest.mark.parametrize("tta", [1, 2, 4])
def test_a_network_never_calibrated_has_no_confidence(uncalibrated, tta):
    landmarker = FaceLandmarker(uncalibrated, detector=Everything(), tta=tta)
    for (face,) in (
        landmarker(np.zeros((120, 160, 3), np.uint8)),
        landmarker.at(data.astronaut(), [Box(9, 9, 50, 50)]),
    ):
        assert face.confidence is None and face.confidence_text == "–"
    assert landmarker.at(data.astronaut(), [Box(9, 9, 50, 50)])[0].score == 1


def test_no_confidence_is_a_dash_in_drawings_and_texts_and_null_in_json(uncalibrated):
    landmarker, image = FaceLandmarker(uncalibrated, detector=Everything()), np.zeros((240, 320, 3), np.uint8)
    found = find(landmarker, image, "black.png")
    assert "confidence –," in sentence(found)
    assert json.loads(json_text(found))["faces"][0]["confidence"] is None
    (face,) = found.faces
    only = {"boxes": False, "points": False}
    dash, nothing = (
        draw_faces(image, [face], **only),
        draw_faces(image, [face], boxes=False, points=False, confidence=False),
    )
    number = draw_faces(image, [replace(face, confidence=1.0)], **only)
    assert 0 < (dash != nothing).sum() < (number != nothing).sum() / 2  # a short stroke, not "1.00" nor "???"


@pytest.mark.parametrize(
    "figures, message",
    [
        ({"val_nme": "good"}, "figures.val_nme is 'good', expected a percentage"),
        ({"val_nme": float("nan")}, "figures.val_nme is nan"),
        ({"val_nme": -1}, "figures.val_nme is -1"),
        ({"held_out": 3.5}, "held_out is 3.5, expected names and values"),
        ({"held_out": {"nme": 3.5}}, "expected nme, faces, of"),
        ({"held_out": {"nme": None, "faces": 3, "of": "faces"}}, "nme is None"),
        ({"held_out": {"nme": 3.5, "faces": 3.5, "of": "faces"}}, "faces is 3.5"),
        ({"held_out": {"nme": 3.5, "faces": 3, "of": "x" * 101}}, "of is 'xxx"),
    ],
)
def test_figures_that_cannot_be_are_refused(tmp_path, figures, message):
    (tmp_path / "net.onnx").write_bytes(network_bytes(metadata={"faces": [90, 10], "figures": figures}))
    with pytest.raises(CourseError, match=message):
        OnnxNetwork(tmp_path / "net.onnx")


@pytest.mark.parametrize("threads", [0, -1, 5000, 1.5, "2"])
def test_threads_out_of_bounds(threads):
    with pytest.raises(CourseError, match="expected a whole number from 1 to 256"):
        FaceLandmarker(detector=None, threads=threads)


def turned(face, degrees):
    """A drawn face turned about the image's middle, farther than the detector has learned."""
    height, width = face.image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(face.image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def test_what_the_detector_doubts_is_a_face_where_the_network_is_sure():
    landmarker, detector = FaceLandmarker(), open_detector("course")
    images = [turned(draw_face(seed), 60) for seed in range(20)]
    images += [data.coffee(), data.hubble_deep_field(), np.repeat(data.moon()[..., None], 3, axis=2)]
    doubted, found = [], []
    for image in images:
        candidates, sure = detector.candidates(image), detector(image)
        assert sure == [each for each in candidates if each.score >= detector.threshold]
        assert sure == open_detector("course", detector.threshold).candidates(image)  # none is lost by looking lower
        doubted.append([each.score for each in candidates[len(sure) :]])
        assert all(detector.threshold > score >= detector.doubtful for score in doubted[-1])
        found.append([face for face in landmarker(image) if face.score < detector.threshold])
        assert all(face.score in doubted[-1] and face.confidence >= 0.2 for face in found[-1])
    assert sum(map(bool, doubted[:20])) > sum(map(bool, found[:20])) >= 3  # turned faces, and not all that is doubted
    assert all(doubted[20:]) and not any(found[20:])  # a cup, stars and craters


def test_of_thousands_of_doubts_the_likeliest_are_looked_into(monkeypatch):
    landmarker, looked = FaceLandmarker(), []
    monkeypatch.setattr(landmarker, "_is_sure", lambda image, found: looked.append(found.score) or True)
    stars = np.tile(data.hubble_deep_field(), (3, 3, 1))
    candidates = [each.score for each in landmarker.detector.candidates(stars)]
    found = [each.score for each in landmarker.detect(stars)]
    assert len(candidates) > 100 + sum(score >= 0.5 for score in candidates)
    assert len(looked) == 100 and found == candidates[: len(found)] and found[-100:] == looked


def test_a_threshold_that_is_given_holds():
    image = next(image for seed in range(20) if FaceLandmarker()(image := turned(draw_face(seed), 60)))
    strict = FaceLandmarker()
    strict.detector = open_detector("course", 0.5)
    assert not any(face.score < 0.5 for face in strict(image))
    assert pickle.loads(pickle.dumps(strict.detector)).doubtful == 0.5
    assert pickle.loads(pickle.dumps(open_detector("course"))).doubtful < 0.5
