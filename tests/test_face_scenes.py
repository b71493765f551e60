"""Scenes for the face detector: faces lie where they are said to, the same again for the same seed, and what counts."""

import cv2
import numpy as np
import pytest

from flcourse.data.collage import similarity_about, warp_grey
from flcourse.data.drawn_faces import write_drawn_faces
from flcourse.data.face_scenes import SceneComposer, Sources
from flcourse.data.imglab import hold_out, read_imglab
from flcourse.data.photos import Photo, halved, read_photos
from flcourse.data.scene_dataset import (
    BOXED,
    DX,
    DY,
    HEAT,
    LARGEST,
    LOG_SIDE,
    SMALLEST,
    STRIDE,
    UNIT,
    VALID,
    FaceScenes,
    target_maps,
)
from flcourse.points import Box, apply, face_box

SIZE = 128


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Discs instead of faces, brighter than anything else: what is where can be measured."""
    canvas = np.full((220, 220), 60, np.uint8)
    disc = cv2.circle(canvas.copy(), (110, 100), 40, 250, cv2.FILLED)
    photo = Photo(halved(disc), np.array([[110.0, 100.0, 80.0]]), np.empty((0, 3)))
    return Sources([photo], small=np.full((3, 32, 32), 60, np.uint8))


def scenes(sources: Sources, count: int = 120) -> list:
    compose = SceneComposer(sources, SIZE)
    return [compose(np.random.default_rng((0, i))) for i in range(count)]


def test_faces_lie_where_they_are_said_to(sources, monkeypatch):
    monkeypatch.setattr("flcourse.data.face_scenes._photographed", lambda rng, scene: scene)
    monkeypatch.setattr(SceneComposer, "_cover", lambda *_: None)
    monkeypatch.setattr(SceneComposer, "_decoys", lambda *_: None)
    checked = 0
    for scene, faces, _ in scenes(sources):
        for x, y, side in faces:
            inside = side / 2 + 2 < x < SIZE - side / 2 - 3 and side / 2 + 2 < y < SIZE - side / 2 - 3
            alone = all(np.hypot(x - u, y - v) > side + s for u, v, s in faces if (u, v) != (x, y))
            if not (inside and alone and side > 12):
                continue
            low, high = int(x - side * 0.7), int(x + side * 0.7) + 1
            part = scene[max(0, int(y - side * 0.7)) : int(y + side * 0.7) + 1, max(0, low) : high]
            bright = part > 200
            rows, columns = np.nonzero(bright)
            centre = columns.mean() + max(0, low), rows.mean() + max(0, int(y - side * 0.7))
            if not 0.7 < bright.sum() / (np.pi * side**2 / 4) < 1.2:  # another one's edge lies over it
                continue
            assert np.hypot(centre[0] - x, centre[1] - y) < 0.04 * side + 0.5
            checked += 1
    assert checked > 20


def test_scenes_have_faces_of_all_sizes_crowds_and_none(sources):
    counts = [len(faces) for _, faces, _ in scenes(sources)]
    sides = np.concatenate([faces[:, 2] for _, faces, _ in scenes(sources) if len(faces)])
    assert 0.1 < np.mean(np.array(counts) == 0) < 0.5 and max(counts) > 4
    assert sides.min() < 12 and sides.max() > SIZE


def test_an_item_depends_on_seed_epoch_and_index_alone(sources):
    one, two = (FaceScenes(sources, SIZE, 10, seed=3) for _ in range(2))
    two[0, 4]
    for first, second in zip(one[1, 4], two[1, 4], strict=True):
        assert np.array_equal(first, second)
    for other in (FaceScenes(sources, SIZE, 10, seed=4)[1, 4], one[2, 4], one[1, 5]):
        assert not np.array_equal(one[1, 4][0], other[0])
    scene, maps = one[0]
    assert scene.shape == (1, SIZE, SIZE) and maps.shape == (6, SIZE // STRIDE, SIZE // STRIDE)
    assert scene.dtype == maps.dtype and -1 <= scene.min() and scene.max() <= 1 and len(one) == 10


def test_small_copies_are_warped_to_the_same_place():
    image = np.full((400, 400), 20, np.uint8)
    cv2.circle(image, (150, 260), 40, 220, cv2.FILLED)
    grey = halved(image)
    assert [level.shape for level in grey] == [(400, 400), (200, 200), (100, 100), (50, 50), (25, 25), (12, 12)]
    for scale in (1.0, 0.5, 0.3, 0.11):
        matrix = similarity_about((150, 260), (40, 40), scale, roll=30, mirror=True)
        rows, columns = np.nonzero(warp_grey(grey, matrix, 80, 80) > 120)
        assert np.hypot(rows.mean() - 40, columns.mean() - 40) < 0.2
        assert np.allclose(apply(np.array([150.0, 260]), matrix), 40)


def test_the_maps_say_where_a_face_is_and_how_large():
    maps = target_maps(np.array([[50.0, 70.0, 30.0]]), np.empty((0, 3)), SIZE)
    row, column = np.unravel_index(maps[HEAT].argmax(), maps[HEAT].shape)
    assert maps[HEAT, row, column] == 1 and (maps[HEAT] == 1).sum() == 1
    for i, j in np.argwhere(maps[BOXED] > 0):
        x = (j + maps[DX, i, j]) * STRIDE + (STRIDE - 1) / 2
        y = (i + maps[DY, i, j]) * STRIDE + (STRIDE - 1) / 2
        assert (x, y, UNIT * np.exp(maps[LOG_SIDE, i, j])) == pytest.approx((50, 70, 30), abs=1e-3)
    assert maps[VALID].all() and (maps[HEAT] >= 0).all()


@pytest.mark.parametrize(
    "face",
    [
        (60, 60, SMALLEST - 1),
        (60, 60, LARGEST + 1),
        (-3, 60, 40),  # its centre is outside
        (1, 1, 60),  # three quarters of it are
    ],
)
def test_what_this_scale_cannot_answer_is_neither_a_face_nor_none(face):
    maps = target_maps(np.array([face], float), np.empty((0, 3)), SIZE)
    assert not maps[HEAT].any() and not maps[BOXED].any()
    assert not maps[VALID].all() and maps[VALID].mean() > 0.6


def test_doubtful_faces_do_not_count_but_a_sure_one_beside_them_does():
    maps = target_maps(np.array([[60.0, 60, 24]]), np.array([[70.0, 60, 30]]), SIZE)
    row, column = np.unravel_index(maps[HEAT].argmax(), maps[HEAT].shape)
    assert maps[VALID, row, column] == 1 and not maps[VALID, row, column + 2]


def test_photographs_are_read_with_every_face_in_them(tmp_path):
    faces = read_imglab(write_drawn_faces(tmp_path, 3, size=160, progress=False))
    sure, doubtful = Box(2, 2, 20, 20), Box(130, 2, 20, 20)

    def label(image: np.ndarray) -> list[tuple[Box, float]]:
        scale = len(image) / 160
        known = face_box(faces[0].points)
        boxes = ((sure, 0.9), (doubtful, 0.4), (Box(2, 130, 20, 20), 0.1), (known, 0.99))
        return [(Box(*(scale * value for value in box)), score) for box, score in boxes]

    photo = read_photos(faces[:1], label)[0]
    assert photo.faces == pytest.approx(
        np.array([(*box.centre, box.side) for box in (face_box(faces[0].points), sure)]), abs=1e-3
    )
    assert photo.doubtful == pytest.approx(np.array([[*doubtful.centre, doubtful.side]]), abs=0.6)
    assert [len(photo.faces) for photo in read_photos(faces, None)] == [1, 1, 1]


def test_people_are_held_out_by_the_names_of_their_images_alone(tmp_path):
    faces = read_imglab(write_drawn_faces(tmp_path, 6, size=64, progress=False))
    kept, held = hold_out(faces, 2)
    assert len(kept) == 4 and len(held) == 2 and not {f.file for f in kept} & {f.file for f in held}
    assert {f.file for f in hold_out(faces[::-1], 2)[1]} == {f.file for f in held}
