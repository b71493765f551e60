"""The hand-built head behind the drawn faces: 68 points and a skin mesh in 3D, people, expressions.

Head frame: millimetres, x to the image's right (the person's left), y down, z towards the camera; the origin lies
between the eyes. Every number here was chosen by hand from the rough proportions of an average adult head (outer eye
corners 83 mm apart, eyes to chin 107 mm, head 150 mm wide): no data set's points, no scan, no published model is in it.
Where along brows, lids, lips and jaw the points stand follows 300-W's mark-up: a network trained on it, run on drawn
faces, and one trained on drawn faces, run on 300 of its training photographs, showed which points to move by some
millimetres; the middle of a few proportions (how high the brows, how long the face, how open the mouth) was set by hand
beside those photographs'. No optimiser fitted anything, and no test face was looked at. `face.measure` has an
average head of its own, so that drawn faces can test what it measures.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from flcourse.data.drawing.curves import interpolation, spline
from flcourse.points import N_POINTS, PARTS, both_halves

# The points of the person's right half and of the middle line; the left half is their mirror image.
_RIGHT_HALF = {
    **{0: (-72, -0.4, -64), 1: (-71.5, 17.2, -60.3), 2: (-69.6, 36.3, -55.7), 3: (-65.6, 54.4, -48.4)},
    **{4: (-59.1, 71.4, -37.6), 5: (-48.4, 86.1, -25.8), 6: (-34.1, 97.2, -9.6), 7: (-17, 105.2, 1.5), 8: (0, 107, 6)},
    **{17: (-54.5, -14.2, -19), 18: (-46.5, -20.5, -6.5), 19: (-34.8, -22.9, 1.5), 20: (-22, -21.2, 7.3)},
    **{21: (-11.5, -17, 11), 27: (0, -3, 13), 28: (0, 9, 17), 29: (0, 20, 22.5), 30: (0, 31.5, 27.5)},
    **{31: (-13, 40.5, 11.5), 32: (-6.5, 42.8, 15.5), 33: (0, 44.6, 17)},
    **{36: (-41.5, -0.9, -10), 37: (-34.5, -6, -1), 38: (-25.2, -6.2, 1.5), 39: (-17.2, 1.2, -1.5)},
    **{40: (-25.3, 4, 0.5), 41: (-33.8, 4.1, -2)},
    **{48: (-24.5, 66.5, 4), 49: (-15.5, 61, 11), 50: (-6, 57.4, 15.5), 51: (0, 58.6, 16.5)},
    **{57: (0, 74.5, 15), 58: (-7.5, 73.7, 14), 59: (-16.5, 71.2, 9.5)},
    **{60: (-21, 66.5, 5), 61: (-7, 64.9, 14), 62: (0, 65.5, 15.5), 66: (0, 65.9, 15.5), 67: (-7, 65.5, 14)},
}

NEUTRAL = both_halves(_RIGHT_HALF)  # (68, 3) mm: the average person, eyes open, mouth closed, no expression
NEUTRAL.setflags(write=False)

# Further places on the skin of the right half and the middle, which give the surface its relief between the points.
_RELIEF = """
    0 -14 13;  0 -28 11;  0 -45 8;  0 -64 0;  -25 -40 6;  -24 -28 8;  -44 -38 -9;  -40 -54 -13;  -58 -32 -25
    -63 -14 -30;  -30.5 -11 0;  -30 0 1.5;  -47 -8 -9;  -13 -8 5;  -9 8 2;  -10 18 5;  -13 28 8;  -16.5 36 7
    -22 36 1;  -8 36 20;  -30 13 0;  -44 14 -7;  -30 26 3;  -45 27 -6;  -57 24 -20;  -66 18 -37;  -38 42 -1;  -52 42 -18
    -63 40 -36;  -22 48 5;  -44 60 -13;  -55 58 -30;  -33 67 -2;  0 51 15;  -12 52 12;  0 84 9.5;  0 96 11;  -14 96 8
    -28 86 0;  -42 76 -17;  -14 84 8;  -67 2 -42
"""
# The hairline of the right half, from the temple over the ear's front to the middle of the forehead.
_HAIRLINE = [(-72, -22, -62), (-66, -44, -44), (-52, -60, -24), (-28, -70, -7), (0, -73, -2)]
_AXIS_Z = -95.0  # of the cylinder in whose coordinates the relief is interpolated
_SKULL_CENTRE, _SKULL_RADII = np.array([0, -22, -86.0]), np.array([76, 92, 100.0])
_MIDDLE_Y = 34.0  # where the mesh's spokes meet: the tip of the nose

# Fractions of the way from the nose to the outline; then rings behind the outline, over the skull or under the jaw.
_INNER = np.array([0, 0.07, 0.14, 0.22, 0.31, 0.42, 0.55, 0.7, 0.86, 1.0])
_OUTER = np.array([0.12, 0.3, 0.58, 1.0])
RINGS = len(_INNER) + len(_OUTER)
OUTLINE = len(_INNER) - 1  # the ring that runs along jaw and hairline
SLIDE = 14  # places from each jaw point towards the front, between which the visible contour may lie

_PART_OF = np.repeat(np.arange(len(PARTS)), [len(part) for part in PARTS.values()])  # parts follow one another

# Points whose movement carries the skin along; lids and inner lips move over it and are painted.
_CARRIERS = np.r_[0:36, 36, 39, 42, 45, 48:60]


@dataclass(frozen=True, eq=False)
class Head:
    """The average head's skin: a mesh of rings about the nose, and how the 68 points carry it."""

    vertices: np.ndarray  # (V, 3) mm; the first rings * spokes are the mesh, then 17 * SLIDE places along the jaw
    carry: np.ndarray  # (V, len(_CARRIERS)): movement of the skin for movements of the points
    plane: np.ndarray  # (rings * spokes, 2): the skin laid flat, where textures are painted; mm
    quads: np.ndarray  # (Q, 4) vertex numbers, in an order that gives those facing the camera a positive area
    spokes: int


@cache
def head() -> Head:
    """Build the average head once a process (some milliseconds)."""
    relief = np.array([[float(v) for v in row.split()] for row in _RELIEF.replace("\n", ";").split(";") if row.strip()])
    hairline = np.array([*_HAIRLINE, *(np.multiply(p, (-1, 1, 1)) for p in _HAIRLINE[-2::-1])])
    known = np.concatenate([NEUTRAL, relief, relief[relief[:, 0] != 0] * (-1, 1, 1), hairline])
    known = known[np.r_[0:37, 39, 42, 43, 45, 48:60, 68 : len(known)]]  # lids and inner lips would only make it bumpy

    def around(points: np.ndarray) -> np.ndarray:  # (angle as arc, y), mm
        return np.column_stack([80 * np.arctan2(points[:, 0], points[:, 2] - _AXIS_Z), points[:, 1]])

    def skin(places: np.ndarray) -> np.ndarray:
        distance = np.hypot(known[:, 0], known[:, 2] - _AXIS_Z)
        distance = interpolation(places, around(known), 20.0) @ distance
        angle = places[:, 0] / 80
        return np.column_stack([distance * np.sin(angle), places[:, 1], _AXIS_Z + distance * np.cos(angle)])

    over = spline(len(hairline) + 2, 1) @ np.concatenate([NEUTRAL[16:17], hairline[::-1], NEUTRAL[:1]])
    outline = np.concatenate([NEUTRAL[:17], over[1:-1]])  # from the right ear over the chin and the forehead
    spokes = len(outline)
    edge = around(outline)
    inner = np.stack([np.array([0, _MIDDLE_Y]) * (1 - f) + edge * f for f in _INNER])  # (rings, spokes, 2)
    surface = skin(inner.reshape(-1, 2)).reshape(len(_INNER), spokes, 3)
    surface[OUTLINE] = outline

    # Behind the hairline over the skull to its back; behind the jaw inwards to the throat.
    start = (outline - _SKULL_CENTRE) / _SKULL_RADII
    down = np.clip((outline[:, 1] + 10) / 50, 0, 1)[:, None]  # 0 at the hairline, 1 along the lower jaw
    rings, flat = [surface], [inner]
    away = edge - (0, _MIDDLE_Y)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    for f in _OUTER:
        way = start * (1 - f) + np.array([0, 0.1, -1]) * f
        way *= (np.linalg.norm(start, axis=1, keepdims=True) * (1 - f) + f) / np.linalg.norm(way, axis=1, keepdims=True)
        throat = (
            outline * (1 - f)
            + np.column_stack([outline[:, 0] * 0.55, outline[:, 1] * 0.25 + 72, 0 * edge[:, 0] - 78]) * f
        )
        rings.append(((_SKULL_CENTRE + way * _SKULL_RADII) * (1 - down) + throat * down)[None])
        flat.append((edge + away * 110 * f)[None])
    mesh, plane = np.concatenate(rings).reshape(-1, 3), np.concatenate(flat).reshape(-1, 2)

    ways = [
        edge[i] * (1 - f, 1) + (0, 8 * f * max(0, 1 - edge[i, 1] / 60))
        for i in range(17)
        for f in np.linspace(0, 0.7, SLIDE)
    ]
    contour = skin(np.array(ways))
    contour[::SLIDE] = NEUTRAL[:17]

    centres = around(NEUTRAL[_CARRIERS])
    still = np.concatenate([around(hairline), [[-100, 40], [100, 40], [0, 160], [-60, 140], [60, 140]]])
    places = np.concatenate([np.minimum(np.maximum(plane, (-140, -110)), (140, 170)), np.array(ways)])
    carry = interpolation(places, np.concatenate([centres, still]), 60.0)[:, : len(_CARRIERS)]
    # Rings behind the outline follow it, ever less.
    by_ring = carry[: len(mesh)].reshape(RINGS, spokes, -1)
    for k, f in enumerate(_OUTER):
        by_ring[OUTLINE + 1 + k] = by_ring[OUTLINE] * (1 - f)

    number = np.arange(RINGS * spokes).reshape(RINGS, spokes)
    a, b = number[:-1], number[1:]
    quads = np.stack([a, np.roll(a, -1, axis=1), np.roll(b, -1, axis=1), b], axis=-1).reshape(-1, 4)
    return Head(np.concatenate([mesh, contour]), carry, plane, quads, spokes)


@dataclass(frozen=True)
class Expression:
    """What a face does. Zeros are a calm face with open eyes and closed lips."""

    eyes_closed: float = 0.0  # 0: as open as this person's eyes are, 1: closed; -0.3: torn open
    mouth_open: float = 0.0  # the jaw's drop; 1: about 34 mm between the inner lips of an average face
    lips_apart: float = 0.0  # lips parted over the teeth; 1: 10 mm
    smile: float = 0.0  # -1: corners 6 mm down, 1: corners 7 mm up and 7 mm outwards
    pucker: float = 0.0  # 0 to 1: corners 9 mm inwards, lips forwards
    brow_raise: float = 0.0  # -1: 5 mm down and together, 1: 9 mm up
    gaze_x: float = 0.0  # -1 to 1: eyes to the image's left or right
    gaze_y: float = 0.0  # -1 to 1: eyes up or down


_SIDE = np.sign(NEUTRAL[:, 0])  # -1 for points of the person's right half, 1 for the left, 0 in the middle


@cache
def _moves() -> np.ndarray:
    """Where each expression at its strongest moves the points, (7, 68, 3) mm: smile, corners down, pucker, lips apart,
    jaw open, brows up, brows down."""
    smile, frown, pucker, apart, jaw, up, down = moves = np.zeros((7, N_POINTS, 3))
    lower, upper, corners = np.r_[55:60, 65:68], np.r_[49:54, 61:64], np.r_[48, 54, 60, 64]
    # A smile pulls the corners; the rest of the lips follows in part.
    follow = np.zeros(N_POINTS)
    follow[48:60], follow[60:68], follow[[49, 53, 55, 59]], follow[corners] = 0.25, 0.3, 0.6, 1
    for move, outwards, downwards, forwards in ((smile, 7, -7, -5), (frown, -1.5, 6, 0), (pucker, -9, 0, 0)):
        move += np.stack([_SIDE * follow * outwards, follow**2 * downwards, follow * forwards], axis=1)
    smile[upper, 1] -= 1.5
    smile[[50, 51, 52], 1] += 1.5
    smile[[56, 57, 58], 1] += 1
    smile[31:36] += np.stack([2 * _SIDE[31:36], np.full(5, -1), np.zeros(5)], axis=1)
    smile[[40, 41, 46, 47], 1] -= 1.5  # cheeks lift the lower lids
    pucker[48:, 2] += 6
    pucker[[50, 51, 52], 1], pucker[[56, 57, 58], 1] = -2, 2
    apart[lower, 1], apart[[55, 59], 1], apart[upper, 1], apart[[49, 53], 1] = 6.5, 3.2, -3.6, -1.3
    # The jaw turns about the ears: what hangs on it goes down, and back a little.
    drop = np.zeros(N_POINTS)
    drop[:17] = np.interp(np.abs(np.arange(17) - 8), [0, 1, 2, 3, 4, 5, 8], [1, 0.98, 0.9, 0.7, 0.4, 0.15, 0])
    drop[lower], drop[[55, 59]], drop[corners], drop[[49, 53]] = 1.0, 0.85, 0.42, 0.05
    jaw += np.outer(drop, (0, 36, -9))
    jaw[corners, 0] -= 3.5 * _SIDE[corners]
    jaw[upper, 1] -= 1.5
    # The inner ends of the brows come together when they fall.
    height, inwards = np.array([0.55, 0.85, 1, 0.95, 0.85]), np.array([0, 0.75, 1.5, 2.5, 3.5])
    up[17:27, 1], down[17:27, 1] = -9 * np.r_[height, height[::-1]], 5 * np.r_[height, height[::-1]]
    down[17:27, 0] = -_SIDE[17:27] * np.r_[inwards, inwards[::-1]]
    return moves


def express(points: np.ndarray, expression: Expression) -> np.ndarray:
    """The points (68, 3) of a neutral person, moved by an expression."""
    e = expression
    strengths = [max(e.smile, 0), max(-e.smile, 0), e.pucker, e.lips_apart, e.mouth_open]
    strengths += [max(e.brow_raise, 0), max(-e.brow_raise, 0)]
    p = points + np.tensordot(strengths, _moves(), axes=1)
    top, bottom = [37, 38, 43, 44], [41, 40, 47, 46]
    meet = 0.8 * p[bottom] + 0.2 * p[top]  # the upper lid comes down farther than the lower one comes up
    closed = min(max(e.eyes_closed, -0.4), 1)
    p[top] += (meet - p[top]) * closed
    p[bottom] += (meet - p[bottom]) * max(closed, 0)
    return p


def random_person(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A neutral person's points (68, 3), mm, and the factors (x, y, z) by which the whole head differs."""
    p = NEUTRAL.copy()
    numbers = iter(rng.standard_normal(64).clip(-2.5, 2.5).tolist())

    def vary(deviation: float) -> float:
        return deviation * next(numbers)

    wide, high, tilt, apart, y, z = vary(0.07), vary(0.2), vary(0.06), vary(1.6), vary(1.5), vary(1.5)
    for name, centre_x, sign in (("right_eye", -29.8, -1), ("left_eye", 29.8, 1)):
        eye = np.array(PARTS[name])
        dx, dy = p[eye, 0] - centre_x, p[eye, 1]
        p[eye, 0] = centre_x + dx * (1 + wide) + sign * apart
        p[eye, 1] = dy * (1 + high) + sign * dx * tilt + y
        p[eye, 2] += z
    # Brows: height, tilt, arch, length, gap.
    height, tilt, arch, length, gap = vary(2.6), vary(0.08), vary(1.3), vary(0.07), vary(1.6)
    for name in ("right_brow", "left_brow"):
        brow = np.array(PARTS[name])
        s = _SIDE[brow[2]]
        dx = s * p[brow, 0] - 37  # outwards from the brow's middle
        p[brow, 0] = s * (37 + dx * (1 + length) + gap)
        p[brow, 1] += height - 0.5 + tilt * dx - arch * (1 - (dx / 18) ** 2)
    # Nose: length, width, projection, bridge, tip.
    length, wide, forward, bridge, tip = vary(2.6), vary(0.13), vary(2.4), vary(2.0), vary(1.5)
    grow = np.array([0, 0.33, 0.66, 1, 1, 1, 1, 1, 1])
    p[27:36, 1] += length * grow
    p[31:36, 0] *= 1 + wide
    p[27:31, 2] += forward * np.array([0.2, 0.6, 0.9, 1]) + bridge * np.array([1, 1, 0.5, 0])
    p[31:36, 2] += 0.4 * forward
    p[30, 1] -= tip
    p[33, 1] -= 0.5 * tip
    p[27, 1] += vary(1.2)
    # Mouth: place, width, lips.
    y, wide, upper, under, bow = vary(2.2) + 0.7 * length, vary(0.10), vary(0.28), vary(0.26), vary(0.8)
    mouth = np.arange(48, 68)
    middle = NEUTRAL[mouth, 1] - 66
    p[mouth, 0] *= 1 + wide
    lips = np.where(middle < 0, middle * upper, middle * under) * (mouth < 60)
    p[mouth, 1] += y + lips
    p[[50, 52], 1] -= 0.4 * bow
    p[51, 1] += 0.4 * bow
    p[48:68, 2] += vary(1.8)
    # Jaw and chin: length, width of jaw and of chin, square or pointed, where the chin stands.
    long, jaw, chin, square, forward = vary(5.0), vary(0.05), vary(0.10), vary(1.0), vary(3.0)
    low = np.clip((p[:17, 1] - 40) / 68, 0, 1)
    p[:17, 1] += low * (long + 0.6 * y)
    p[:17, 0] *= 1 + jaw * np.clip(p[:17, 1] / 60, 0, 1) + chin * low**3
    corner = np.exp(-0.5 * ((np.abs(np.arange(17) - 8) - 3.5) / 1.5) ** 2)
    p[:17, 1] += 2.5 * square * corner
    p[:17, 0] += _SIDE[:17] * 2.5 * square * corner
    p[:17, 2] += forward * low
    p[:5, 2], p[12:17, 2] = p[:5, 2] + vary(3), p[12:17, 2] + vary(3)
    # No face is symmetric: parts are shifted a little each, and points a very little.
    p += rng.normal(0, (0.5, 0.6, 0.3), (len(PARTS), 3))[_PART_OF] + rng.normal(0, 0.25, p.shape)
    factors = np.array([1 + vary(0.045), 1 + vary(0.05), 1 + vary(0.07)])
    return p, factors


def skin_vertices(points: np.ndarray) -> np.ndarray:
    """The head's vertices (V, 3), carried along by the 68 points (68, 3)."""
    base = head()
    return base.vertices + base.carry @ (points - NEUTRAL)[_CARRIERS]
