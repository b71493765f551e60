"""What helps where no face was found: only what was tried and found one is advised."""

import numpy as np
import pytest
from skimage import data
from test_cli import flcourse

from flcourse.apps.advice import advice
from flcourse.apps.results import find, sentence
from flcourse.face.landmarker import FaceLandmarker
from flcourse.images import write_image
from flcourse.points import BoxMap

HEAD = data.astronaut()[:260, 90:350]


class Blind:
    """A detector that finds nothing."""

    name, box_map, threshold = "blind", BoxMap(1, 0, 0), 0.5

    def __call__(self, image: np.ndarray) -> list:
        return []


@pytest.fixture(scope="module")
def haar():
    return FaceLandmarker(detector="haar", threads=1, tta=1)


def told(landmarker: FaceLandmarker, image: np.ndarray) -> str:
    found = find(landmarker, image, "a.jpg")
    return sentence(found, advice(landmarker, found))


@pytest.mark.parametrize(
    "quarters, way", [(1, "by 90 degrees to the right"), (3, "by 90 degrees to the left"), (2, "upside down")]
)
def test_an_image_that_lies_on_its_side_is_to_be_turned(haar, quarters, way):
    lying = np.ascontiguousarray(np.rot90(HEAD, quarters))
    assert told(haar, lying) == f"a.jpg: no face found, but 1 face in it turned {way}: turn the image"


def test_a_detector_that_finds_it_is_named(haar):
    blind = FaceLandmarker(haar.network, detector=Blind())
    text = told(blind, HEAD)
    assert text.startswith("a.jpg: no face found; --detector ") and text.endswith(" finds 1 face")


def test_where_nothing_helps_it_says_what_was_tried(haar):
    wall = np.repeat(data.brick()[:200, :200, None], 3, axis=2)
    text = told(FaceLandmarker(haar.network, detector=Blind()), wall)
    assert ", nor turned" in text and "with --detector haar" in text and "seen from the front" in text


def test_with_a_face_there_is_nothing_to_advise(haar):
    found = find(haar, HEAD, "a.jpg")
    assert found.faces and advice(haar, found) == "" and "1 face, confidence" in sentence(found)


def test_the_command_says_it(tmp_path):
    write_image(tmp_path / "lying.png", np.rot90(HEAD))
    done = flcourse("detect", tmp_path / "lying.png", "--out", tmp_path / "out", "--detector", "haar")
    assert "no face found, but 1 face in it turned by 90 degrees to the right: turn the image" in done.stdout
