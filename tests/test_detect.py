"""Face detectors: what they find on the astronaut, that nothing makes them crash, and how model files are handled."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

import flcourse.weights
from flcourse.apps import options
from flcourse.data.drawn_faces import draw_face
from flcourse.errors import CourseError
from flcourse.face import course_detector, detector_files, opencv_detectors
from flcourse.face.course_detector import CourseDetector
from flcourse.face.detect import DETECTORS, open_detector
from flcourse.face.detections import Detection, best_match, fit_box_map
from flcourse.face.opencv_detectors import HaarDetector
from flcourse.files import find_file
from flcourse.points import BOX_MAPS, Box, BoxMap, face_box, overlap

FACE = Box.around((221, 120), 90)  # of the astronaut, brows to chin, read off the image


def have(name: str) -> bool:
    wanted = {"yunet": [detector_files.YUNET], "ssd": [detector_files.SSD_WEIGHTS, detector_files.SSD_NET]}.get(
        name, []
    )
    eight_bit = [detector_files.SSD8_WEIGHTS, detector_files.SSD8_NET] if name == "ssd" else wanted
    return any(all(find_file(f"models/{file.name}") for file in files) for files in (wanted, eight_bit))


@pytest.fixture(params=DETECTORS, scope="module")
def detector(request):
    if not have(request.param):
        pytest.skip(f"{request.param}: its model files are not in data/models (flcourse data detectors)")
    return open_detector(request.param)


def astronaut(scale: float = 1.0) -> np.ndarray:
    image = data.astronaut()
    return image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("scale", [0.5, 1, 2, 4])
def test_the_astronaut_has_one_face(detector, scale):
    found, *others = detector(astronaut(scale))
    assert not others or detector.name == "drawn"  # which has seen no photograph of a person and takes more for faces
    mapped = detector.box_map(found.box)
    wanted = Box.around(((FACE.centre[0] + 0.5) * scale - 0.5, (FACE.centre[1] + 0.5) * scale - 0.5), FACE.side * scale)
    assert overlap(mapped, wanted) > 0.7 and 0.5 <= found.score <= 1


def test_faces_are_found_where_they_are_also_in_wide_and_tall_images(detector):
    head = astronaut()[:260, 90:350]
    for axis in (0, 1):
        found = detector(np.concatenate([head, head[:, ::-1]], axis=axis))
        assert len(found) == 2
        (x0, y0), (x1, y1) = sorted(d.box.centre for d in found)
        assert (abs(x1 - x0) > 200) == (axis == 1) and (abs(y1 - y0) > 200) == (axis == 0)
        assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


def test_grey_images_have_faces_too(detector):
    grey = cv2.cvtColor(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert best_match(detector(grey), FACE)


@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (1, 700), (700, 1), (23, 3000), (3000, 4000)])
def test_no_size_of_image_makes_a_crash(detector, shape):
    assert detector(np.full((*shape, 3), 127, np.uint8)) == []


def test_a_face_that_fills_the_image_is_found(detector):
    filled = astronaut()[60:200, 155:290]
    assert len(detector(cv2.resize(filled, (540, 560), interpolation=cv2.INTER_CUBIC))) == 1


GHOSTLY = {  # the two ways in which the SSD is described, cut down to what matters
    "deploy.prototxt": """
layer { name: "conv7_2_h" type: "Convolution" convolution_param { pad: 1 kernel_size: 3 stride: 2 } }
layer { name: "conv8_2_h" type: "Convolution" convolution_param { pad: 1 kernel_size: 3 } }
layer { name: "conv9_2_h" type: "Convolution" convolution_param { pad: 1 kernel_size: 3 } }
layer { name: "conv9_2_mbox_loc" type: "Convolution" convolution_param { pad: 1 kernel_size: 3 } }
""",
    "opencv_face_detector.pbtxt": """
node { name: "conv7_2_h/Conv2D" op: "Conv2D" attr { key: "padding" value { s: "SAME" } } }
node { name: "conv8_2_h/Conv2D" op: "Conv2D" attr { key: "padding" value { s: "SAME" } } }
node { name: "conv9_2_h/Conv2D" op: "Conv2D" attr { key: "padding" value { s: "SAME" } } }
node { name: "conv9_2_mbox_loc/Conv2D" op: "Conv2D" attr { key: "padding" value { s: "SAME" } } }
""",
}


@pytest.mark.parametrize("name", GHOSTLY)
def test_the_ssd_loses_the_padding_that_makes_ghosts_and_no_other(name):
    config = GHOSTLY[name]
    fixed = opencv_detectors._without_ghosts(np.frombuffer(config.encode(), np.uint8)).tobytes().decode()
    changed = [a.split('"')[1] for a, b in zip(config.splitlines(), fixed.splitlines(), strict=True) if a != b]
    assert [layer.split("/")[0] for layer in changed] == ["conv8_2_h", "conv9_2_h"]
    assert fixed.count("pad: 0") + fixed.count('"VALID"') == 2


@pytest.mark.skipif(not have("ssd"), reason="ssd: its model files are not in data/models (flcourse data detectors)")
def test_the_ssds_last_maps_are_as_large_as_its_steps_say():
    shapes = {}
    net = opencv_detectors._read_ssd()
    names, shape = net.getLayerNames(), [1, 3, 300, 300]
    net.setInput(np.zeros(shape, np.float32))
    for wanted in ("conv8_2_h", "conv9_2_h"):
        name = next(n for n in names if n.split("/")[0] == wanted and not n.endswith("Relu"))
        shapes[wanted] = net.forward(name).shape[2:]
    assert shapes == {"conv8_2_h": (3, 3), "conv9_2_h": (1, 1)}  # steps of 100 and 300 px


def test_threshold_leaves_out_the_less_sure():
    image = astronaut()
    all_of_them, sure = HaarDetector(threshold=0.0)(image), HaarDetector(threshold=0.9)(image)
    assert len(all_of_them) >= len(sure) == 1 and all(d.score >= 0.9 for d in sure)


@settings(max_examples=30)
@given(
    st.builds(BoxMap, st.floats(0.5, 2), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    st.integers(0, 1000),
)
def test_fit_recovers_the_map_despite_noise_and_false_matches(true, seed):
    rng = np.random.default_rng(seed)
    source = [Box.around(rng.uniform(0, 500, 2), side) for side in rng.uniform(30, 300, 300)]
    file = []
    for number, box in enumerate(source):
        exact = true(box)
        noisy = Box.around(exact.centre + rng.normal(0, 0.02, 2) * exact.side, exact.side * np.exp(rng.normal(0, 0.03)))
        file.append(noisy if number % 10 else Box.around(rng.uniform(0, 500, 2), 999))
    fitted = fit_box_map(source, file)
    assert np.allclose(fitted, true, atol=0.03)


def test_each_source_has_a_map_and_all_are_near_each_other_on_one_face(detector):
    assert set(BOX_MAPS) == {*DETECTORS, "tight"}
    haar = open_detector("haar")
    boxes = [d.box_map(best_match(d(astronaut()), FACE).box) for d in (haar, detector)]
    assert overlap(*boxes) > 0.75


def test_best_match_wants_the_centre_inside_and_takes_the_largest_overlap():
    box = Box.around((50, 50), 40)
    beside, small, good = (
        Detection(Box.around(c, s), 0.9) for c, s in (((95, 50), 90), ((50, 50), 10), ((53, 50), 44))
    )
    assert best_match([beside, small, good], box) is good
    assert best_match([beside], box) is None and best_match([], box) is None


def test_overlap():
    assert overlap(Box(0, 0, 10, 10), Box(0, 0, 10, 10)) == 1
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 10, 10), Box(20, 0, 10, 10)) == 0


# --- the course's own detector


@pytest.fixture(scope="module")
def course() -> CourseDetector:
    return CourseDetector()


def face_of_side(side: float, frame: tuple[int, int] = (240, 320)) -> tuple[np.ndarray, Box]:
    """The astronaut so small or large that her face box has this side, on grey of at least this size, and the box."""
    scale = side / FACE.side
    image = cv2.resize(data.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = np.maximum(frame, image.shape[:2])
    canvas = np.full((height, width, 3), 110, np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 3
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    x, y = ((at + 0.5) * scale - 0.5 for at in FACE.centre)
    return canvas, Box.around((x + left, y + top), side)


@pytest.mark.parametrize("side", [16, 24, 32, 48, 64, 96, 128, 200, 300, 500])
def test_faces_of_every_size_are_found(course, side):
    image, box = face_of_side(side)
    found = best_match(course(image), box)
    assert found and overlap(course.box_map(found.box), box) > 0.6


@pytest.mark.parametrize("roll", [-40, -20, 20, 40])
def test_turned_faces_are_found(course, roll):
    matrix = cv2.getRotationMatrix2D(FACE.centre, roll, 1)
    turned = cv2.warpAffine(data.astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    found = best_match(course(turned), FACE)
    assert found and overlap(course.box_map(found.box), FACE) > 0.5


def test_dark_faces_are_found(course):
    assert best_match(course(data.astronaut() // 6), FACE)


def group(people: int = 24) -> tuple[np.ndarray, list[Box]]:
    """A photograph of 24 megapixels with drawn heads of 60 to 90 px in it, and their boxes."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(data.coffee(), (6000, 4000), interpolation=cv2.INTER_CUBIC)
    boxes = []
    for number in range(people):
        drawn = draw_face(number, 192, yaw=0, roll=0, plain=True)
        factor = rng.uniform(60, 90) / face_box(drawn.points).side
        small = cv2.resize(drawn.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        left, top = int(rng.integers(1000 * (number % 6), 1000 * (number % 6) + 700)), 1000 * (number // 6) + 300
        scene[top : top + len(small), left : left + len(small)] = small
        x, y = ((at + 0.5) * factor - 0.5 for at in face_box(drawn.points).centre)
        boxes.append(Box.around((x + left, y + top), factor * face_box(drawn.points).side))
    return scene, boxes


def test_everybody_in_a_large_group_is_found_and_in_time(course):
    scene, boxes = group()
    start = time.process_time()  # of all threads: other programs do not count
    found = course(scene)
    seconds = time.process_time() - start
    missed = [box for box in boxes if not best_match(found, box)]
    assert not missed and seconds < 4
    assert len(found) <= len(boxes) + 6


def test_tiles_and_threads_change_no_answer(course, monkeypatch):
    image = np.tile(face_of_side(60)[0], (3, 3, 1))
    whole = course(image)
    assert len(whole) >= 9
    monkeypatch.setattr(CourseDetector, "TILE", 160)
    for threads in (1, 3):
        tiled = CourseDetector(threads=threads)(image)
        assert len(tiled) == len(whole)
        for one, other in zip(sorted(tiled, key=lambda d: d.box), sorted(whole, key=lambda d: d.box), strict=True):
            assert overlap(one.box, other.box) > 0.9 and one.score == pytest.approx(other.score, abs=0.05)


def test_the_shipped_detectors_are_small():
    for weights in course_detector.NAMES:
        path = Path(flcourse.weights.__file__).with_name(f"{weights}.onnx")
        assert path.stat().st_size <= 400_000


def test_the_command_line_knows_every_detector():
    assert options.DETECTORS == DETECTORS


# --- model files


@pytest.fixture
def empty_data(monkeypatch, tmp_path):
    """Data folders that hold nothing, and no memory of earlier failures."""
    for module in (detector_files, opencv_detectors):
        monkeypatch.setattr(module, "find_file", lambda name: (tmp_path / name) if (tmp_path / name).exists() else None)
    monkeypatch.setattr(detector_files, "download_folder", lambda: tmp_path)
    monkeypatch.setattr(detector_files, "_failed", {})
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.mark.parametrize("online", [False, True])
def test_the_courses_own_detector_needs_no_file_and_asks_for_none(empty_data, monkeypatch, capsys, online):
    if online:
        monkeypatch.delenv("FLCOURSE_OFFLINE")
    monkeypatch.setattr(detector_files, "download", lambda *args, **more: pytest.fail("nothing is to be fetched"))
    assert [open_detector(*name).name for name in ((), ("auto",), ("course",))] == 3 * ["course"]
    assert open_detector("drawn").name == "drawn"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["yunet", "ssd"])
def test_a_named_detector_that_cannot_be_had_is_an_error(empty_data, name):
    with pytest.raises(CourseError, match="FLCOURSE_OFFLINE") as caught:
        open_detector(name)
    assert "\n" not in str(caught.value)


def test_a_dead_network_is_not_waited_for_twice(empty_data, monkeypatch):
    monkeypatch.delenv("FLCOURSE_OFFLINE")
    tries = []

    def dead(urls, target, **sums):
        tries.append(target.name)
        raise CourseError(f"{target.name}: no network")

    monkeypatch.setattr(detector_files, "download", dead)
    for _ in range(2):
        with pytest.raises(CourseError, match="no network"):
            open_detector("yunet")
    assert tries == [detector_files.YUNET.name]


def test_half_a_minute_later_a_download_is_tried_again(empty_data, monkeypatch):
    monkeypatch.delenv("FLCOURSE_OFFLINE")
    now, alive, tries = [1000.0], [False], []
    monkeypatch.setattr(detector_files.time, "monotonic", lambda: now[0])

    def fetch(urls, target, **sums):
        tries.append(now[0])
        if not alive[0]:
            raise CourseError(f"{target.name}: no network at {now[0]:.0f} s")
        target.write_bytes(b"a network")
        return target

    monkeypatch.setattr(detector_files, "download", fetch)
    for moment, told in ((1000.0, 1000), (1029.0, 1000), (1031.0, 1031), (1060.0, 1031)):
        now[0] = moment
        with pytest.raises(CourseError, match=f"no network at {told} s"):
            detector_files.model_path(detector_files.YUNET)
    alive[0], now[0] = True, 1062.0
    assert detector_files.model_path(detector_files.YUNET).read_bytes() == b"a network"
    assert tries == [1000.0, 1031.0, 1062.0]


@pytest.mark.parametrize("name, file", [("yunet", detector_files.YUNET.name), ("ssd", detector_files.SSD_WEIGHTS.name)])
def test_a_damaged_model_file_is_named(empty_data, name, file):
    for other in (detector_files.SSD_NET.name, file):
        (empty_data / "models" / other).write_bytes(b"not a network")
    with pytest.raises(CourseError, match="damaged or another file") as caught:
        open_detector(name)
    assert file in str(caught.value) or detector_files.SSD_NET.name in str(caught.value)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_thresholds_out_of_bounds(threshold):
    with pytest.raises(CourseError, match=r"threshold=.*: expected a number from 0 to 1"):
        open_detector("haar", threshold)


def test_unknown_detector():
    with pytest.raises(CourseError, match="expected auto, course, drawn, yunet, ssd, haar"):
        open_detector("nose")
