"""Drawn faces: the hand-built head, expressions, pose, the painter's exactness, and the files written."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from flcourse.data.drawing import shape
from flcourse.data.drawing.camera import Camera, rotation_matrix, visible_points
from flcourse.data.drawing.canvas import Canvas, ellipse, noise, normals, rasterise, ribbon
from flcourse.data.drawing.scene import pick
from flcourse.data.drawing.shape import NEUTRAL, Expression, express, skin_vertices
from flcourse.data.drawn_faces import DrawnFace, draw_face, write_drawn_faces
from flcourse.data.imglab import read_imglab
from flcourse.errors import CourseError
from flcourse.images import read_image
from flcourse.metrics import eye_distance
from flcourse.points import MIRROR, PARTS

CALM = Expression()
FRONT = {"yaw": 0, "pitch": 0, "roll": 0}


def digest(face: DrawnFace) -> str:
    return hashlib.sha256(face.image.tobytes() + face.points.tobytes() + repr(face.box).encode()).hexdigest()


def height(points, upper, lower):
    """How far the points `lower` lie below the points `upper`, in parts of the eye distance."""
    return float((points[lower, 1] - points[upper, 1]).mean() / eye_distance(points))


# --- the hand-built head ---


def test_the_average_face_is_symmetric():
    mirrored = NEUTRAL[MIRROR] * (-1, 1, 1)
    assert (mirrored == NEUTRAL).all()


def test_the_points_lie_in_the_order_of_the_scheme():
    x, y = NEUTRAL[:, 0], NEUTRAL[:, 1]
    assert (np.diff(x[1:17]) > 0).all() and y[8] == y.max()  # ear to ear through the chin, from the image's left
    for part in ("right_brow", "left_brow", "nose_base"):
        assert (np.diff(x[list(PARTS[part])]) > 0).all()
    assert (np.diff(y[27:31]) > 0).all() and NEUTRAL[30, 2] == NEUTRAL[:, 2].max()  # down the nose to its tip
    for upper, lower in (
        ([37, 38], [41, 40]),
        ([43, 44], [47, 46]),
        ([50, 51, 52], [58, 57, 56]),
        ([61, 62, 63], [67, 66, 65]),
    ):
        assert (y[lower] > y[upper]).all()


def test_the_skin_goes_through_the_jaw_points():
    seen = visible_points(NEUTRAL, skin_vertices(NEUTRAL), Camera(np.eye(3), 1000, np.ones(3)))
    assert np.abs(seen[:17] - Camera(np.eye(3), 1000, np.ones(3)).project(NEUTRAL[:17])).max() < 3  # mm


# --- expressions ---


@pytest.mark.parametrize(
    ("name", "values", "upper", "lower", "direction"),
    [
        ("eyes_closed", (-0.3, 0, 0.5, 1), [37, 38, 43, 44], [41, 40, 47, 46], -1),  # eyes shut
        ("mouth_open", (0, 0.3, 0.6, 1), [61, 62, 63], [67, 66, 65], 1),  # the mouth opens
        ("mouth_open", (0, 0.3, 0.6, 1), [30], [8], 1),  # the chin goes down
        ("lips_apart", (0, 0.5, 1), [61, 62, 63], [67, 66, 65], 1),
        ("smile", (-1, -0.5, 0, 0.5, 1), [48, 54], [57, 57], 1),  # corners go up
        ("brow_raise", (-1, 0, 0.5, 1), [19, 24], [36, 45], 1),
    ],
)
def test_an_expression_moves_its_points(name, values, upper, lower, direction):
    for seed in (1, 2):
        faces = [draw_face(seed, 64, expression=replace(CALM, **{name: v}), **FRONT).points for v in values]
        steps = np.diff([height(points, upper, lower) for points in faces])
        assert (direction * steps > 0.005).all()


def test_closed_eyes_are_closed_and_calm_lips_are():
    for seed in range(5):
        face = draw_face(seed, 64, expression=Expression(eyes_closed=1), **FRONT)
        assert abs(height(face.points, [37, 38, 43, 44], [41, 40, 47, 46])) < 0.01
        assert abs(height(face.points, [61, 62, 63], [67, 66, 65])) < 0.03


def test_a_smile_and_a_pucker_change_the_mouths_width():
    wide, calm, narrow = (
        express(NEUTRAL, e)[54, 0] - express(NEUTRAL, e)[48, 0]
        for e in (Expression(smile=1), CALM, Expression(pucker=1))
    )
    assert wide > calm + 10 and calm > narrow + 10  # mm


# --- pose ---


def test_signs_of_the_pose():
    def nose(**pose):  # the tip of the nose, from the middle of the outer eye corners, in parts of the eye distance
        points = draw_face(3, 64, expression=CALM, **(FRONT | pose)).points
        return (points[30] - points[[36, 45]].mean(axis=0)) / eye_distance(points)

    middle = nose()
    assert nose(yaw=25)[0] > middle[0] + 0.1 and nose(yaw=-25)[0] < middle[0] - 0.1  # right and left in the image
    assert nose(pitch=20)[1] < middle[1] - 0.05 and nose(pitch=-20)[1] > middle[1] + 0.05  # up and down
    points = draw_face(3, 64, expression=CALM, **(FRONT | {"roll": 20})).points
    across = points[45] - points[36]
    assert np.rad2deg(np.arctan2(-across[1], across[0])) == pytest.approx(20, abs=4)  # counter-clockwise as seen


def test_a_roll_turns_the_points_and_nothing_else():
    upright, turned = (
        visible_points(NEUTRAL, skin_vertices(NEUTRAL), Camera(rotation_matrix(15, 5, roll), 1e6, np.ones(3)))
        for roll in (0, 90)
    )
    pivot = np.array([0, 30])  # of the head, seen from so far away that there is no perspective
    assert turned == pytest.approx((upright - pivot) @ np.array([[0, -1], [1, 0]]) + pivot, abs=0.6)


def test_perspective_makes_a_near_nose_large():
    near, far = (Camera(np.eye(3), distance, np.ones(3)).project(NEUTRAL) for distance in (400, 4000))
    assert np.ptp(near[31:36, 0]) > np.ptp(far[31:36, 0]) and np.ptp(near[:17, 0]) < np.ptp(far[:17, 0])


def test_the_far_jaw_slides_along_the_visible_contour():
    camera = Camera(rotation_matrix(35, 0, 0), 900, np.ones(3))
    vertices = skin_vertices(NEUTRAL)
    seen = visible_points(NEUTRAL, vertices, camera)
    fixed = camera.project(NEUTRAL)
    assert (seen[13:17, 0] > fixed[13:17, 0] + 3).all()  # farther out than the jaw's own points, which are hidden now
    skin = camera.project(vertices[: len(shape.head().plane)][: shape.head().spokes * (shape.OUTLINE + 1)])
    for point in seen[11:16]:  # and at the rim of the skin at that height
        level = skin[np.abs(skin[:, 1] - point[1]) < 6]
        assert point[0] == pytest.approx(level[:, 0].max(), abs=3)


# --- the image ---


def test_the_same_seed_draws_the_same_bytes():
    faces = [draw_face(seed) for seed in (0, 1, 2**32 + 5)]
    code = (
        "import hashlib\nfrom flcourse.data.drawn_faces import draw_face\n"
        "draw_face(77)\n"
        "for seed in (2**32 + 5, 1, 0):\n"
        "    f = draw_face(seed)\n"
        "    print(hashlib.sha256(f.image.tobytes() + f.points.tobytes() + repr(f.box).encode()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(face) for face in faces][::-1]
    assert len({digest(face) for face in faces}) == 3


def test_a_face_is_what_it_says():
    for seed in range(6):
        face = draw_face(seed, 128)
        assert face.image.shape == (128, 128, 3) and face.image.dtype == np.uint8
        assert face.points.shape == (68, 2) and np.isfinite(face.points).all()
        assert (face.points > -13).all() and (face.points < 128 + 13).all()
        assert 0.35 < face.box.side / 128 < 0.65  # half a box of surroundings about it
        inside = (face.points > np.array(face.box[:2]) - 0.25 * face.box.side).all()
        assert inside and (face.points < np.array(face.box[:2]) + 1.25 * face.box.side).all()


def test_pose_and_expression_given_are_kept_and_change_no_one():
    free, posed = draw_face(4), draw_face(4, yaw=-30, pitch=5, roll=-10, expression=Expression(smile=1))
    assert (posed.yaw, posed.pitch, posed.roll, posed.expression) == (-30, 5, -10, Expression(smile=1))
    assert draw_face(4, yaw=free.yaw, expression=free.expression).image.tobytes() == free.image.tobytes()


def test_the_paint_lies_where_the_points_say():
    """The pupil's darkest place and the dark between the lips, in faces as plain as they come."""
    errors = []
    for seed in range(40):
        calm = Expression(mouth_open=0.6)
        face = draw_face(seed, 384, expression=calm, **FRONT, plain=True)
        grey = face.image.astype(float).mean(axis=2)
        top, low = face.points[62], face.points[66]
        column = round((top[0] + low[0]) / 2)
        inside = grey[round(top[1] + 0.6 * (low[1] - top[1])), column]
        lip = grey[round(face.points[[57, 66], 1].mean()), column]
        errors.append(inside - lip)
        outer = face.points[48:60]
        assert np.abs(outer.mean(axis=0) - face.points[60:68].mean(axis=0)).max() < 0.1 * eye_distance(face.points)
    assert np.mean(np.array(errors) < 0) > 0.85  # the mouth's inside is darker than the lower lip


def test_the_iris_follows_the_gaze():
    x = []
    for gaze in (-1, 1):
        face = draw_face(12, 384, expression=Expression(eyes_closed=-0.3, gaze_x=gaze), **FRONT, plain=True)
        left, right = face.points[36], face.points[39]
        y = round(face.points[36:42, 1].mean())
        row = face.image[y, round(left[0]) + 6 : round(right[0]) - 6].astype(float).mean(axis=1)
        x.append(np.argmin(row) / len(row))
    assert x[0] < 0.5 < x[1]


def test_a_face_says_who_is_drawn_and_what_is_before_it():
    many = [draw_face(seed, 48) for seed in range(40)]
    assert 0 < sum(face.glasses for face in many) < 20 and 0 < sum(face.covered for face in many) < 20
    for seed, face in enumerate(many[:3]):
        plain = draw_face(seed, 48, yaw=20, plain=True)
        assert not plain.glasses and not plain.covered
        assert plain.person.darkness == face.person.darkness and plain.light.hard == face.light.hard


def test_plain_faces_hide_nothing_and_are_the_same_people():
    for seed in range(3):
        assert (draw_face(seed, 96, plain=True).points == draw_face(seed, 96).points).all()


def test_faces_vary():
    faces = [draw_face(seed, 64, plain=True) for seed in range(60)]
    skin = [face.image[tuple(face.points[29].round().astype(int)[::-1])].mean() for face in faces]
    assert np.ptp(skin) > 80  # grey levels of the bridge of the nose
    assert np.std([face.yaw for face in faces]) > 8 and np.std([face.pitch for face in faces]) > 4
    opened = [height(face.points, [62], [66]) for face in faces]
    assert min(opened) < 0.03 and max(opened) > 0.15
    assert len({face.expression for face in faces}) == 60


# --- painting ---


def test_a_filled_square_covers_its_pixels():
    canvas = Canvas(np.zeros((20, 20, 3), np.float32))
    canvas.fill(np.array([[4.5, 4.5], [9.5, 4.5], [9.5, 9.5], [4.5, 9.5]]), colour=np.ones(3))
    painted = canvas.image[..., 0]
    assert painted[5:10, 5:10].min() > 0.99 and painted[11:].max() == 0 and painted.sum() == pytest.approx(25, abs=4)


@pytest.mark.parametrize("blur", [0, 0.5, 1.5])
def test_a_pair_of_shapes_is_painted_in_one_stroke_as_in_two(blur):
    square = np.array([[4.0, 4], [11, 4], [11, 9], [4, 9]])
    pair, single = Canvas(np.zeros((40, 40, 3), np.float32)), Canvas(np.zeros((40, 40, 3), np.float32))
    pair.fill(np.stack([square, square + 20]), colour=np.ones(3), blur=blur)
    for shape_ in (square, square + 20):
        single.fill(shape_, colour=np.ones(3), blur=blur)
    assert np.abs(pair.image - single.image).max() < 0.02
    assert pair.image[..., 0].sum() > 2 * 30


def test_ribbons_and_ellipses_of_several_are_those_of_each():
    curves = np.random.default_rng(0).normal(0, 5, (2, 7, 2))
    assert ribbon(curves, 2.0) == pytest.approx(np.stack([ribbon(curve, 2.0) for curve in curves]))
    discs = ellipse(curves[0], np.arange(1.0, 8)[:, None], 3.0, 0.4)
    assert discs == pytest.approx(np.stack([ellipse(c, k, 3.0, 0.4) for k, c in enumerate(curves[0], start=1)]))


def test_normals_point_outwards_with_length_one():
    angle, height_ = np.meshgrid(np.arange(36) * np.pi / 18, np.linspace(0.2, 1.2, 9))
    ball = np.stack([np.sin(height_) * np.cos(angle), np.sin(height_) * np.sin(angle), np.cos(height_)], axis=-1)
    found = normals(ball.reshape(-1, 3), 9, 36).reshape(9, 36, 3)[1:-1]
    assert np.abs(np.einsum("ijk,ijk->ij", found, ball[1:-1])).min() > 0.99
    assert np.linalg.norm(found, axis=2) == pytest.approx(1)


def test_picks_are_as_likely_as_their_weights():
    rng = np.random.default_rng(0)
    counts = np.bincount([pick(rng, (1, 0, 3, 0)) for _ in range(4000)], minlength=4)
    assert counts[1] == counts[3] == 0 and counts[2] / 4000 == pytest.approx(0.75, abs=0.03)


def test_shapes_outside_the_image_paint_nothing():
    canvas = Canvas(np.full((8, 8, 3), 0.5, np.float32))
    canvas.fill(np.array([[20.0, 20], [30, 20], [25, 30]]), colour=np.ones(3))
    canvas.shade(ribbon(np.array([[-9.0, -9], [-20, -20]]), np.ones(2)), factor=0, blur=1)
    assert (canvas.image == 0.5).all()


def test_attributes_vary_linearly_over_a_flat_mesh():
    points = np.array([[2.0, 2], [30, 2], [30, 30], [2, 30]])
    attributes = np.column_stack([points, points.sum(axis=1)])
    (rows, columns), cover, (x, _, both) = rasterise(40, points, np.zeros(4), np.array([[0, 1, 2, 3]]), attributes)
    true_y, true_x = np.mgrid[rows, columns]
    core = cover == 1
    assert core.sum() > 600
    assert np.abs((x - true_x)[core]).max() < 1e-3 and np.abs((both - true_x - true_y)[core]).max() < 1e-3
    turned_away = rasterise(40, points, np.zeros(4), np.array([[3, 2, 1, 0]]), attributes)
    assert turned_away is None


def test_noise_has_the_shape_asked_for():
    rng = np.random.default_rng(0)
    assert noise(rng, (33, 57), 0.5).shape == (33, 57) == noise(rng, (33, 57), 3.7).shape
    assert noise(rng, (700, 600), 1.0).shape == (700, 600)


# --- files ---


def test_written_faces_are_read_back(tmp_path):
    xml = write_drawn_faces(tmp_path / "faces", 5, seed=3, size=96, test=2, progress=False)
    assert xml == tmp_path / "faces" / "labels_drawn_train.xml"
    faces, test = read_imglab(xml), read_imglab(tmp_path / "faces" / "labels_drawn_test.xml")
    assert (len(faces), len(test)) == (5, 2)
    assert len({face.photo for face in faces + test}) == 7  # every face is a photograph of its own to `split_faces`
    again = read_imglab(write_drawn_faces(tmp_path / "more", 6, seed=3, size=96, progress=False))
    for one, two in zip(faces, again, strict=False):  # a larger set begins with the smaller one
        assert (one.points == two.points).all() and one.box == two.box
        assert one.path.read_bytes() == two.path.read_bytes()
    image = read_image(faces[0].path)
    assert image.shape == (96, 96, 3) and image.std() > 5
    assert not (faces[0].points == test[0].points).all()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="file"):
        write_drawn_faces(tmp_path / "file", 1, size=64, progress=False)
