"""What can be shown live on tracked faces: points, a driver's attention, expression, head pose, masks, alignment.

An overlay draws on an image, in place: `overlay(image, faces, time)`. `open_overlay` gives a fresh one by its name;
those that follow a face over time keep what they know of a face under its number. Each takes a few milliseconds.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import cv2
import numpy as np

from flcourse.colours import BLACK, GREEN, ORANGE, SKY, VERMILION, WHITE
from flcourse.errors import CourseError
from flcourse.face.behaviour import LEVELS, Attention, AttentionMeter, ExpressionMeter
from flcourse.face.draw import PART_COLOURS, draw_box, draw_label, draw_points
from flcourse.face.glasses import put_glasses
from flcourse.face.masks import put_tiger
from flcourse.face.measure import HeadPose, align_face, expression_word, head_pose
from flcourse.face.panels import draw_bar, draw_panel, fill_rectangle, panel_unit, text_width, write_text
from flcourse.face.track import TrackedFace
from flcourse.images import FIXED, FIXED_LIMIT, fixed_point
from flcourse.points import PARTS, Box, overlap

Overlay = Callable[[np.ndarray, Sequence[TrackedFace], float], None]

_LEVEL_COLOURS: dict[str, tuple] = dict(zip(LEVELS, (GREEN, ORANGE, VERMILION), strict=True))
_WORD_COLOURS = {"neutral": WHITE, "smile": SKY, "surprise": ORANGE}
FORGET = 30.0  # s after which a face that is not seen any more is forgotten


def open_overlay(name: str) -> Overlay:
    """A fresh overlay; names are those of `OVERLAYS`. Raises `CourseError` for another name.

    Call it as `overlay(image, faces, time)`: it draws on the (H, W, 3) uint8 RGB image, in place, which was taken
    at `time` seconds. One overlay serves one video.
    """
    if name not in OVERLAYS:
        raise CourseError(f"unknown overlay {name!r}, expected one of {', '.join(OVERLAYS)}")
    draw = OVERLAYS[name]()

    def overlay(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        ground = np.require(image, np.uint8, ["C", "W"])  # itself, but for a view, which OpenCV cannot draw on
        draw(ground, [face for face in faces if np.isfinite(face.points).all()], float(time))
        if ground is not image:
            image[...] = ground

    return overlay


Kind = TypeVar("Kind")


class _PerFace(Generic[Kind]):
    """One of `kind` for each face number, kept while the face is seen and for `FORGET` seconds after."""

    def __init__(self, kind: Callable[[], Kind]) -> None:
        self._kind = kind
        self._known: dict[int, tuple[Kind, float]] = {}

    def __call__(self, number: int, time: float) -> Kind:
        self._known = {n: (one, seen) for n, (one, seen) in self._known.items() if time - seen <= FORGET}
        one = self._known[number][0] if number in self._known else self._kind()
        self._known[number] = one, time
        return one


# --- what the overlays draw with, beside panels ---


def _line(image: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple, thickness: int) -> None:
    one, two = fixed_point(np.stack([start, end])).tolist()
    cv2.line(image, one, two, colour, thickness, cv2.LINE_AA, FIXED)


def _ring(image: np.ndarray, points: np.ndarray, colour: tuple, thickness: int) -> None:
    line = fixed_point(points)
    for ink, wide in ((BLACK, thickness + 2), (colour, thickness)):
        cv2.polylines(image, [line], True, ink, wide, cv2.LINE_AA, FIXED)


def _pose(image: np.ndarray, points: np.ndarray) -> HeadPose | None:
    return head_pose(points, (image.shape[1], image.shape[0]))


# --- the overlays ---


def _points() -> Overlay:
    """Box, points, the face's number and the network's confidence."""

    def draw(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        for face in faces:
            size = face.box.side
            draw_box(image, face.box)
            draw_points(image, face.points, size)
            draw_label(image, point_label(face), (face.box.left, face.box.top), size)

    return draw


def point_label(face: TrackedFace) -> str:
    """What stands above a face's box: its number and the network's confidence."""
    return f"{face.number}: {face.confidence_text}"


def _attention() -> Overlay:
    """The driver is the largest face: its eyes, meters, blinks and PERCLOS, and a banner where there is a reason.

    The other faces are watched too, and only their level is shown: whoever comes nearest becomes the driver.
    """
    meters = _PerFace(AttentionMeter)

    def draw(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        if not faces:
            return
        driver = max(faces, key=lambda face: face.box.side)
        for face in faces:
            pose = _pose(image, face.points)
            # As the network gave them: smoothing would round off a blink.
            told = meters(face.number, time).update(face.raw, pose, time)
            colour = _LEVEL_COLOURS[told.level]
            for part in ("right_eye", "left_eye"):
                ink = VERMILION if told.closure >= AttentionMeter.CLOSED else PART_COLOURS[part]
                _ring(image, face.points[list(PARTS[part])], ink, max(1, round(face.box.side / 120)))
            if face is driver:
                _attention_panel(image, told, pose, colour)
            else:
                draw_label(image, f"{face.number}: {told.level}", (face.box.left, face.box.top), face.box.side)

    return draw


def _attention_panel(image: np.ndarray, told: Attention, pose: HeadPose | None, colour: tuple) -> None:
    unit = panel_unit(image)
    scale, step, pad = 0.5 * unit, 24 * unit, 10 * unit
    perclos = "..." if told.perclos is None else f"{100 * told.perclos:.0f} %"
    head = "" if pose is None else f"{pose.yaw:+z.0f} {pose.pitch:+z.0f} deg"  # z: never "-0"
    limits = [2 * limit for limit in (AttentionMeter.TIRED, AttentionMeter.DROWSY)]  # the bar ends at 50 %
    rows = [
        ("eyes open", f"{100 * (1 - told.closure):.0f} %", 1 - told.closure, ()),
        ("PERCLOS", perclos, 2 * (told.perclos or 0.0), limits),
        ("blinks", f"{told.blinks}   {told.per_minute:.0f}/min", None, ()),
        ("yawns", str(told.yawns), None, ()),
        ("yaw, pitch", head, None, ()),
    ]
    # As wide as the image allows, but for narrow ones.
    width, height = min(268 * unit, image.shape[1]), step * len(rows) + pad
    left, top = draw_panel(image, pad, image.shape[0] - height - pad, width, height)
    for number, (name, value, part, marks) in enumerate(rows):
        base = top + step * (number + 1) - 0.15 * step + pad / 4
        write_text(image, name, left + pad, base, scale)
        if part is not None:
            draw_bar(image, left + 105 * unit, base - 11 * unit, 90 * unit, 11 * unit, part, colour, marks)
        write_text(image, value, left + (205 if part is not None else 105) * unit, base, scale)
    words = [told.level, *told.reasons]
    text = f"{words[0].upper()}: {', '.join(words[1:])}" if told.reasons else words[0]
    size = scale * (1.5 if told.reasons else 1)
    size *= min(1.0, (image.shape[1] - 4 * pad) / max(1, text_width(text, size)))
    wide, high = text_width(text, size) + 2 * pad, 30 * size / 0.5 + pad / 2
    if told.reasons:
        fill_rectangle(image, 0, 0, image.shape[1], high, BLACK)
        fill_rectangle(image, 0, 0, image.shape[1], high - 3 * unit, colour)
        write_text(image, text, (image.shape[1] - wide) / 2 + pad, 0.68 * high, size)
    else:
        left, top = draw_panel(image, pad, pad, wide + 1.6 * pad, high)
        cv2.circle(image, (round(left + 1.3 * pad), round(top + high / 2)), max(2, round(5 * unit)), colour, -1, 16)
        write_text(image, text, left + 2.4 * pad, top + 0.66 * high, size)


def _expression() -> Overlay:
    """Four meters beside every face, and the word that the rule makes of them."""
    meters = _PerFace(ExpressionMeter)

    def draw(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        taken: list[Box] = []
        for face in faces:
            values = meters(face.number, time).update(face.points, time)
            word = expression_word(values)
            # Panels fit their faces, but stay legible.
            unit = float(np.clip(face.box.side / 180, 0.75 * panel_unit(image), 1.6 * panel_unit(image)))
            scale, step, pad = 0.45 * unit, 20 * unit, 8 * unit
            place = _free_place(image, face.box, 152 * unit, step * len(values) + 34 * unit, taken)
            taken.append(place)
            left, top = draw_panel(image, *place)
            write_text(image, word, left + pad, top + 23 * unit, 1.5 * scale, _WORD_COLOURS[word])
            for number, (name, value) in enumerate(zip(values._fields, values, strict=True)):
                base = top + 28 * unit + step * (number + 0.8)
                write_text(image, name, left + pad, base, scale)
                bar = left + 68 * unit, base - 10 * unit, 74 * unit, 10 * unit
                draw_bar(image, *bar, float(value), _WORD_COLOURS[word] if word != "neutral" else GREEN)

    return draw


def _free_place(image: np.ndarray, box: Box, width: float, height: float, taken: Sequence[Box]) -> Box:
    """Where a panel for the face in `box` covers least: to its right or left, below or above, inside the image."""
    beside = box.left + 1.12 * box.width, box.left - 0.12 * box.width - width
    places = [(x, box.top) for x in beside] + [(box.left, box.top + 1.25 * box.height), (box.left, box.top - height)]
    room = max(0.0, image.shape[1] - width), max(0.0, image.shape[0] - height)
    inside = [Box(min(max(x, 0.0), room[0]), min(max(y, 0.0), room[1]), width, height) for x, y in places]
    return min(inside, key=lambda place: sum(overlap(place, other) for other in [box, *taken]))  # the first of equals


# The edges of a box about the head, mm: before the face, and behind it.
_CAGE = np.array([[x, y, z] for z in (35, -90) for x, y in ((-75, -72), (75, -72), (75, 112), (-75, 112))], float)
_RING = [(0, 1), (1, 2), (2, 3), (3, 0)]
_EDGES = [*_RING, *((a + 4, b + 4) for a, b in _RING), *((a, a + 4) for a in range(4))]


def _head_pose() -> Overlay:
    """The head's axes from the nose, a box about the head, and its angles in degrees."""

    def draw(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        for face in faces:
            pose = _pose(image, face.points)
            if pose is None:
                continue
            size = face.box.side
            thin, thick = max(1, round(size / 160)), max(2, round(size / 60))
            cage = pose.project(_CAGE)
            for rim in (2, 0):  # all dark rims first
                for a, b in _EDGES[::-1]:
                    front = max(a, b) < 4
                    colour = BLACK if rim else (WHITE if front else (170, 170, 170))
                    _line(image, cage[a], cage[b], colour, thin + front + rim)
            origin, *ends = pose.axes(75.0)
            order = np.argsort([(pose.rotation @ axis)[2] for axis in np.eye(3)])  # the farthest first
            for k in order:
                for colour, wide in ((BLACK, thick + 3), ((VERMILION, GREEN, SKY)[k], thick)):
                    _line(image, origin, ends[k], colour, wide)
            text = f"yaw {pose.yaw:+z.0f}  pitch {pose.pitch:+z.0f}  roll {pose.roll:+z.0f}"
            draw_label(image, text, (face.box.left, face.box.top - 0.12 * size), 0.8 * size)

    return draw


def _worn(put: Callable[[np.ndarray, np.ndarray], None]) -> Overlay:
    def draw(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        for face in sorted(faces, key=lambda face: face.box.side):  # nearer faces over farther ones
            put(image, np.asarray(face.points, float))

    return draw


def _aligned() -> Overlay:
    """Each face as a recognition network wants it, upright and in place, inset from the lower right corner on."""

    def draw(image: np.ndarray, faces: Sequence[TrackedFace], time: float) -> None:
        height, width = image.shape[:2]
        unit = panel_unit(image)
        side, gap = min(height, width) // 4, max(1, round(6 * unit))
        room = (width - gap) // (side + gap)
        if side < 8:
            return
        largest = sorted(faces, key=lambda face: -face.box.side)[:room]
        crops = [(face, align_face(image, face.points, side)) for face in largest if _spread(face.points)]
        for face in faces:
            draw_box(image, face.box)
            draw_label(image, str(face.number), (face.box.left, face.box.top), face.box.side)
        for k, (face, crop) in enumerate(crops):
            left, top = width - (k + 1) * (side + gap), height - side - gap
            fill_rectangle(image, left - 2, top - 2, side + 4, side + 4, WHITE)
            image[top : top + side, left : left + side] = crop
            write_text(image, str(face.number), left + 4 * unit, top + 18 * unit, 0.6 * unit)

    return draw


def _spread(points: np.ndarray) -> bool:
    """Whether points are apart enough, and near enough, to be aligned."""
    return 1e-3 < float(np.ptp(points, axis=0).max()) < FIXED_LIMIT and float(np.abs(points).max()) < FIXED_LIMIT


OVERLAYS: dict[str, Callable[[], Overlay]] = {
    "points": _points,
    "attention": _attention,
    "expression": _expression,
    "pose": _head_pose,
    "glasses": lambda: _worn(put_glasses),
    "mask": lambda: _worn(put_tiger),
    "aligned": _aligned,
}
