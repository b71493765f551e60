"""Faces the course draws itself, with exact points: the stand-in for iBUG 300-W where no data set is at hand.

`draw_face` builds a person from a seed, puts them in front of a camera and paints them from back to front (`drawing`):
skin over a shaded mesh, features as smooth shapes through the projected points, then hair, glasses, hats and hands,
then what cameras do. Everything is drawn from the seed; what the caller gives stays as given. All of it is the course's
own work: no photograph, scan or data set is in it. `write_drawn_faces` writes images and imglab XML, so everything
that reads the real set reads these.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from flcourse.data.drawing import body, extras, features, shape
from flcourse.data.drawing.camera import Camera, rotation_matrix, visible_points
from flcourse.data.drawing.canvas import Canvas, ellipse, noise, spread, tinted, white_noise
from flcourse.data.drawing.scene import Light, Person, Scene, chance, pick
from flcourse.data.drawing.shape import Expression
from flcourse.data.imglab import Face, write_imglab
from flcourse.images import write_image
from flcourse.points import Box

POSES = ((19, 50), (10, 28), (8, 25))  # degrees: deviation and limit of yaw, pitch and roll
NEAREST, FARTHEST = 420, 2500  # mm from camera to eyes: an arm's length, and a portrait lens
GLASSES, COVERED = 0.17, 0.12  # how many wear glasses; how many have a hand or something else before the face
BOX_PART = 0.5  # of the image's side: the face box, so that half a box of surroundings is left on each side


@dataclass(frozen=True, eq=False)
class DrawnFace:
    """A drawn image and what is true of it."""

    image: np.ndarray  # (size, size, 3) uint8 RGB
    points: np.ndarray  # (68, 2) float64, image pixels, integers at pixel centres; also where something covers them
    box: Box  # as a detector would give it, as in the iBUG file: a square, forehead to chin, not quite exact
    expression: Expression
    yaw: float  # degrees; > 0: the face turns to the image's right
    pitch: float  # degrees; > 0: the face looks up
    roll: float  # degrees; > 0: the head is tipped counter-clockwise as seen
    person: Person
    light: Light
    glasses: bool
    covered: bool  # whether a hand or something else is before the face


def draw_face(
    seed: int,
    size: int = 192,
    *,
    expression: Expression | None = None,
    yaw: float | None = None,
    pitch: float | None = None,
    roll: float | None = None,
    plain: bool = False,
) -> DrawnFace:
    """Draw the face of a seed, `size` pixels wide and high: the same seed gives the same bytes in any process.

    The person, the light and the surroundings depend on the seed only, so one person can be drawn with any expression
    or pose. `plain` leaves out what hides parts of a face: glasses, hats, hair and hands before it.
    """
    # Each part has numbers of its own, so that nobody's glasses depend on how wide their mouth is open.
    streams = [np.random.Generator(np.random.PCG64(part)) for part in np.random.SeedSequence(seed).spawn(7)]
    building, looking, behind, dressing, painting, adding, lens = streams
    points, factors = shape.random_person(building)
    drawn = _random_expression(building)
    expression = drawn if expression is None else expression
    turns = [float(np.clip(building.normal(0, deviation), -limit, limit)) for deviation, limit in POSES]
    turns = [float(t if given is None else given) for t, given in zip(turns, (yaw, pitch, roll), strict=True)]
    pose = (turns[0], turns[1], turns[2])

    points = shape.express(points, expression)
    vertices = shape.skin_vertices(points)
    distance = float(np.exp(building.uniform(np.log(NEAREST), np.log(FARTHEST))))
    camera = Camera(rotation_matrix(*pose), distance, factors)
    camera, seen, box = _frame(camera, visible_points(points, vertices, camera), size, building)

    person, light, canvas = Person.random(looking, plain), Light.random(looking), Canvas(_background(size, behind))
    scene = Scene(canvas, person, light, expression, camera, pose, points, seen, vertices, plain)
    for paint in (body.back_hair, body.neck, body.clothes, body.ears, body.head, body.near_ear):
        paint(scene, dressing)
    for paint in (features.eyes, features.brows, features.nose, features.mouth):
        paint(scene, painting)
    extras.front_hair(scene, adding)
    glasses = covered = False
    if not plain:
        extras.brim(scene, adding)
        if glasses := chance(adding, GLASSES):
            extras.glasses(scene, adding)
        if covered := chance(adding, COVERED):
            extras.something_before(scene, adding)
    image = _photograph(canvas.image, lens)
    return DrawnFace(image, seen, box, expression, *pose, person, light, glasses, covered)


def write_drawn_faces(
    folder: str | Path, n: int, seed: int = 0, size: int = 192, test: int = 0, progress: bool = True
) -> Path:
    """Draw `n` faces into `folder` as JPEG images and imglab XML; return the path of `labels_drawn_train.xml`.

    `test` further faces go to `labels_drawn_test.xml`. Faces of one seed are the first ones of any larger set of that
    seed. The training labels are written last of all, so where they lie, everything does.
    Raises `CourseError` where a file cannot be written.
    """
    folder = Path(folder)
    labels = {name: folder / f"labels_drawn_{name}.xml" for name in ("train", "test")}
    for xml in labels.values():
        with suppress(OSError):
            xml.unlink()  # of an earlier set, whose images are now written over
    for name, count, part in (("test", test, 1), ("train", n, 0)):
        faces = []
        for i in tqdm(range(count), desc=f"drawing {name} faces", unit="face", disable=not progress):
            drawn = draw_face(int(np.random.SeedSequence((seed, part, i)).generate_state(1)[0]), size)
            file = f"{name}/{i:06d}.jpg"
            write_image(folder / file, drawn.image)
            faces.append(Face(folder / file, file, drawn.box, drawn.points))
        if faces:
            write_imglab(labels[name], faces, f"drawn faces, seed {seed}")
    return labels["train"]


def _random_expression(rng: np.random.Generator) -> Expression:
    """Expressions as photographs show them: about half of the people smile, many with teeth; few shut their eyes."""
    kinds = {"calm": 0.27, "smile": 0.2, "laugh": 0.33, "talk": 0.08, "shout": 0.03, "sad": 0.05, "odd": 0.04}
    kind = list(kinds)[pick(rng, list(kinds.values()))]
    u = rng.random(8).tolist()
    value = {
        "calm": dict(smile=0.4 * u[0] - 0.2, lips_apart=0.25 * (u[1] > 0.7) * u[2]),
        "smile": dict(smile=0.2 + 0.8 * u[0], lips_apart=0.15 * u[1] * (u[2] > 0.6)),
        "laugh": dict(smile=0.3 + 0.7 * u[0], lips_apart=0.25 + 0.75 * u[1], mouth_open=0.2 * u[2] ** 2),
        "talk": dict(
            smile=0.6 * u[0] - 0.2, lips_apart=0.7 * u[1], mouth_open=0.35 * u[2], pucker=0.6 * u[3] * (u[4] > 0.6)
        ),
        "shout": dict(smile=1.0 * u[0] - 0.2, lips_apart=u[1], mouth_open=0.2 + 0.7 * u[2]),
        "sad": dict(smile=-0.7 * u[0], lips_apart=0.2 * u[1] * (u[2] > 0.7), brow_raise=-0.8 * u[3]),
        "odd": dict(smile=u[0] - 0.5, pucker=u[1], mouth_open=0.3 * u[2] * (u[3] > 0.5)),
    }[kind]
    value.setdefault("brow_raise", float(np.clip(rng.normal(0, 0.35), -1, 1)))
    if u[5] < 0.06:
        closed = 0.75 + 0.25 * u[6] if u[5] < 0.03 else 1.0
    else:
        closed = float(np.clip(rng.normal(0.08 + 0.15 * max(value["smile"], 0), 0.13), -0.3, 0.7))
    gaze = np.clip(rng.normal(0, 0.35, 2), -1, 1).tolist()
    return Expression(eyes_closed=closed, gaze_x=gaze[0], gaze_y=0.6 * gaze[1], **value)


def _frame(camera: Camera, seen: np.ndarray, size: int, rng: np.random.Generator) -> tuple[Camera, np.ndarray, Box]:
    """Place the face, seen by a camera of scale 1, in the image; return also its points and box."""
    low, high = seen.min(axis=0), seen.max(axis=0)
    side = (high - low).mean()
    middle = 0.5 * (low + high)
    jitter = rng.standard_normal(7).clip(-2, 2)
    box_side = 1.05 * side * np.exp(0.08 * jitter[0])
    box_centre = middle + 0.055 * jitter[1:3] * side - (0, 0.105 * side)  # detectors take in the forehead
    scale = size * BOX_PART * np.exp(0.06 * jitter[3]) / box_side
    at = (size - 1) / 2 + 0.03 * size * jitter[4:6] + (0, 0.02 * size)
    shift = at - scale * box_centre
    box = Box.around((float(at[0]), float(at[1])), float(box_side * scale))
    return replace(camera, scale=scale, shift=tuple(shift)), seen * scale + shift, box


WALLS, _WALL_SIZE = 64, 256


@cache
def wall_image(number: int) -> np.ndarray:
    """One of `WALLS` backgrounds (_WALL_SIZE, _WALL_SIZE, 3) uint8, the same in any run, made when first needed."""
    image = _painted_wall(_WALL_SIZE, np.random.default_rng((number, 4)))
    return cv2.convertScaleAbs(image, alpha=255)


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Something behind the person: a cut of a wall, turned, flipped and tinted anew, (size, size, 3) float32.

    To make every background from nothing would take a tenth of the time of a face.
    """
    wall, side = wall_image(int(rng.integers(WALLS))), int(rng.integers(_WALL_SIZE // 2, _WALL_SIZE + 1))
    left, top = rng.integers(0, _WALL_SIZE - side + 1, 2)
    cut = wall[top : top + side, left : left + side]
    kind = int(rng.integers(8))
    if kind & 1:
        cut = cut[:, ::-1]
    if kind & 2:
        cut = cut[::-1]
    if kind & 4:
        cut = cut.transpose(1, 0, 2)
    if chance(rng, 0.5):
        cut = cut[..., ::-1]
    gain = np.exp(rng.normal(0, 0.25)) * rng.normal(1, 0.08, 3) / 255
    image = cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, np.array([*gain.tolist(), 0.0]), dtype=cv2.CV_32F)


def _painted_wall(size: int, rng: np.random.Generator) -> np.ndarray:
    """Clouds of colour, and shapes, in focus or not, (size, size, 3) float32."""
    sharp = rng.random() < 0.4
    side = size if sharp else (size + 1) // 2  # what is out of focus is made at half the size
    one, two = rng.random() ** 1.2 + rng.normal(0, 0.12, (2, 3))
    two = two + rng.normal(0, 0.3)
    slopes, loud = rng.normal(0, 0.4, 2), rng.uniform(0.02, 0.4)
    mix = loud * noise(rng, (side, side), rng.uniform(0.5, 3))
    mix += 0.5 + np.linspace(-1, 1, side, dtype=np.float32) * float(slopes[0])
    mix += (np.linspace(-1, 1, side, dtype=np.float32) * float(slopes[1]))[:, None]
    mix = np.clip(mix, 0, 1)
    image = tinted(1 - mix, one) + tinted(mix, two)
    for _ in range(rng.integers(0, 14) if rng.random() < 0.75 else 0):
        at, (wide, high) = rng.uniform(0, side, 2), np.exp(rng.uniform(np.log(0.01), np.log(0.5), 2)) * side
        shape = ellipse(at, wide, high, rng.uniform(0, 3), 2 if rng.random() < 0.5 else 12)
        shape = np.round(shape * 16).astype(np.int32)
        colour = np.clip(rng.random() + rng.normal(0, 0.12, 3), 0, 1).tolist()
        cv2.fillPoly(image, [shape], colour, cv2.LINE_8, 4)
    if rng.random() < 0.25:  # a striped or barred wall
        bars = np.sin(np.arange(side) * rng.uniform(0.05, 1.0) + rng.uniform(0, 6)) > rng.uniform(-0.8, 0.8)
        bars = 1 + rng.uniform(-0.4, 0.4) * np.broadcast_to(bars if rng.random() < 0.6 else bars[:, None], (side, side))
        image *= spread(bars.astype(np.float32))
    blur = ((0, 0.5)[rng.integers(2)] if sharp else (0.7, 2.0, 4.0)[rng.integers(3)]) * size / 192
    if blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return np.clip(image if sharp else cv2.resize(image, (size, size)), 0, 1)


def _photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera does: exposure, contrast, colour cast, blur, noise, compression; (size, size, 3) uint8."""
    size = len(image)
    u = rng.random(8).tolist()
    middle = float(image[size // 4 : -size // 4 : 2, size // 4 : -size // 4 : 2].mean())
    gain = min(max(rng.uniform(0.3, 0.68) / (middle + 1e-3), 0.5), 2.2)
    image = cv2.multiply(image, np.array([*(255 * gain * rng.normal(1, 0.04, 3)).tolist(), 0.0]))
    image = cv2.convertScaleAbs(image)  # rounded, at most 255
    # Contrast, then the levels of a hazy or faded image.
    curve = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.2))
    curve += rng.uniform(-0.3, 1) * 0.5 * (curve * curve * (3 - 2 * curve) - curve)
    low, high = 0.12 * u[0] ** 2, 1 - 0.12 * u[1] ** 2
    image = cv2.LUT(image, (255 * (low + curve * (high - low)) + 0.5).astype(np.uint8))
    if rng.random() < 0.25:  # the photograph ends near the face; crops repeat its last pixels beyond
        cut = int(size * rng.uniform(0.03, 0.2))
        for side in rng.choice(4, rng.integers(1, 3), replace=False):
            turned = np.rot90(image, side)  # a view
            turned[:cut] = turned[cut]
    if u[2] < 0.12:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if u[3] < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), (0.3 + 1.1 * u[4] ** 2) * size / 192)
    elif u[3] > 0.6:  # cameras sharpen
        width = 2 * int(2 * size / 192 + 0.5) + 1
        soft = cv2.GaussianBlur(image, (width, width), size / 192)
        image = cv2.addWeighted(image, 1 + u[4], soft, -u[4], 0)
    if u[5] > 0.55:  # less is not seen
        grain = white_noise(rng, size) * np.float32(6 * u[5] ** 4)
        image = cv2.add(image, spread(grain), dtype=cv2.CV_8U)
    if u[6] < 0.25:  # compression; the order of the colours makes no difference to it that matters
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(30 + 65 * u[7])])[1]
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return image
