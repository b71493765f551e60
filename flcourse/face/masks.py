"""A tiger's face, painted in code, and put on a face so that it moves with it (OpenCV and NumPy).

It is a painting on the average face, warped to the points triangle by triangle and shaded by the skin under it, as face
paint is. What every thing that is worn asks for (is the face large enough, where is it) stands first.
"""

from functools import cache

import cv2
import numpy as np

from flcourse.face.measure import HEAD, head_pose
from flcourse.images import FIXED, fixed_point
from flcourse.points import N_POINTS, PARTS, apply, similarity

LEAST = 12.0  # px between the outer eye corners: smaller faces are left as they are
MOST = 4.0  # times the image's longer side: of a larger face nothing can be told


def region(points: np.ndarray, margin: float, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """The part of an image of `shape` that holds points (N, 2) and a margin in pixels; None where they are outside."""
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, (shape[1], shape[0])).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin + 1), 0, (shape[1], shape[0])).astype(int)
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def wearable(points: np.ndarray, image: np.ndarray) -> bool:
    """Whether the face with these points (68, 2) is neither too small nor too large in this image."""
    return LEAST <= float(np.hypot(*(points[45] - points[36]))) <= MOST * max(image.shape[:2])


def on_head(points: np.ndarray, size: tuple[int, int], places: np.ndarray, anchors: list[int]) -> np.ndarray | None:
    """Where places (N, 3) of the average head, mm, are on the head with these points (68, 2): (N, 2) px.

    The head's pose says how they are turned; then all are moved so that the `anchors` among the points fit.
    """
    pose = head_pose(points, size)
    if pose is None:
        return None
    fit = similarity(pose.project(HEAD[anchors]), points[anchors])
    return apply(pose.project(places), fit)


# Above the brows the mesh goes on to the hairline; mm, as in HEAD: the right half, and the middle.
_FOREHEAD = np.array([[-71, -20, -60], [-64, -42, -42], [-46, -59, -19], [-23, -68, -7], [0, -71, -4]], float)
FOREHEAD = np.concatenate([_FOREHEAD, _FOREHEAD[3::-1] * (-1, 1, 1)])
_STEADY = [*range(17, 31), 36, 39, 42, 45, 0, 1, 15, 16]  # what carries the forehead along
_LOW, _SPAN = np.array([-80.0, -80.0]), np.array([160.0, 196.0])  # mm: the painting's corner and its size
_FINE = 3  # px for a millimetre in the finest copy of it


@cache
def _mesh() -> tuple[np.ndarray, np.ndarray]:
    """The vertices (77, 2), mm on the average face, and Delaunay's triangles between them, (T, 3)."""
    vertices = np.concatenate([HEAD, FOREHEAD])[:, :2]
    plane = cv2.Subdiv2D((-200, -200, 400, 400))
    # The two lips meet on the calm face: parted here, so that no triangle joins across wrongly.
    spread = vertices.copy()
    spread[[61, 62, 63], 1] -= 1
    spread[[65, 66, 67], 1] += 1
    for x, y in spread.tolist():
        plane.insert((x, y))
    corners = np.reshape(plane.getTriangleList(), (-1, 3, 2))
    corners = corners[(np.abs(corners) < 190).all(axis=(1, 2))]  # without the frame that Subdiv2D puts around
    triangles = np.linalg.norm(corners[:, :, None] - spread, axis=-1).argmin(axis=-1)
    return vertices, triangles


def _stroke(path: list, width: float, ends: tuple[float, float] = (0.0, 0.0), n: int = 24) -> np.ndarray:
    """A brush stroke (2 n, 2) along a curve bent by three points; `width` mm in the middle, parts of it at the ends."""
    t = np.linspace(0, 1, n)[:, None]
    a, b, c = np.array(path, float)
    line = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    along = np.gradient(line, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]]) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    profile = np.sin(np.pi * t) ** 0.8 + ends[0] * (1 - t) ** 2 + ends[1] * t**2
    return np.concatenate([line + across * width / 2 * profile, (line - across * width / 2 * profile)[::-1]])


_ORANGE, _PALE, _WHITE, _INK, _NOSE = (226, 112, 18), (250, 178, 84), (255, 247, 232), (26, 18, 16), (196, 96, 92)
# Strokes of the right half: three points of the curve, mm, and the width; they are mirrored.
_STRIPES = [
    ([(-73, 12), (-58, 10), (-47, 17)], 7), ([(-72, 30), (-58, 28), (-44, 33)], 7.5),
    ([(-68, 48), (-56, 44), (-43, 46)], 7), ([(-61, 66), (-50, 60), (-39, 58)], 6.5),
    ([(-51, 83), (-42, 76), (-33, 71)], 6), ([(-37, 97), (-31, 90), (-24, 85)], 5),
    ([(-72, -8), (-64, -8), (-56, -3)], 5.5), ([(-69, -28), (-60, -34), (-48, -31)], 6.5),
    ([(-60, -46), (-49, -48), (-37, -41)], 6), ([(-44, -60), (-34, -58), (-25, -49)], 5.5),
    ([(-29, -35), (-19, -40), (-8, -36)], 5), ([(-26, -47), (-14, -52), (-3.5, -48)], 4.5),
    ([(-20, -62), (-11, -63), (-3, -59)], 4), ([(-15, -27), (-9, -30), (-4.5, -25)], 3.5),
]  # fmt: skip


@cache
def _painting() -> list[np.ndarray]:
    """The tiger on the average face: RGBA, (H, W, 4) uint8, ever half as large as the one before."""
    size = tuple(int(side) for side in _SPAN * _FINE)  # width, height
    paint = np.zeros((size[1], size[0], 3), np.float32)

    def blend(mask: np.ndarray, colour: tuple) -> None:
        paint[:] += mask[..., None] * (np.array(colour, np.float32) - paint)

    def soft(shapes: list[np.ndarray], blur: float) -> np.ndarray:
        mask = np.zeros(paint.shape[:2], np.uint8)
        for shape in shapes:
            for side in (1, -1):
                cv2.fillPoly(mask, [fixed_point((shape * (side, 1) - _LOW) * _FINE - 0.5)], 255, cv2.LINE_AA, FIXED)
        return cv2.GaussianBlur(mask, (0, 0), blur * _FINE).astype(np.float32) / 255

    def spot(cx: float, cy: float, rx: float, ry: float, tilt: float = 0.0) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, 40)
        round_ = np.column_stack([rx * np.cos(angle), ry * np.sin(angle)])
        cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        return round_ @ np.array([[cos, sin], [-sin, cos]]) + (cx, cy)

    paint[:] = _ORANGE
    blend(soft([spot(0, 5, 13, 48), spot(0, -45, 30, 22)], 6), _PALE)
    white = [spot(-17, 62, 21, 17, -12), spot(0, 94, 24, 18), spot(-33, -21, 16, 7.5, -14), spot(-31, 14, 15, 5.5, 12)]
    blend(soft(white, 2.6), _WHITE)
    blend(soft([spot(-62, 58, 12, 34, 14)], 6) * 0.75, _WHITE)
    # Fur: thousands of fine hairs away from the nose, some lighter, some darker.
    rng = np.random.default_rng(7)
    fur = np.zeros(paint.shape[:2], np.float32)
    roots = rng.uniform(_LOW, _LOW + _SPAN, (9000, 2))
    turns = np.arctan2(roots[:, 1] - 28, roots[:, 0]) + rng.normal(0, 0.22, 9000)
    tips = roots + rng.uniform(2.5, 6, (9000, 1)) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    hairs = fixed_point((np.stack([roots, tips], axis=1) - _LOW) * _FINE)
    for hair, tone in zip(hairs, rng.uniform(-1, 1, 9000).tolist(), strict=True):
        cv2.line(fur, hair[0], hair[1], tone, 1, cv2.LINE_8, FIXED)
    paint *= 1 + 0.13 * cv2.GaussianBlur(fur, (0, 0), 0.8)[..., None]

    # Stripes end in hairs: a fine noise moves their edges.
    strokes = soft([_stroke(path, width, (0.55, 0.0)) for path, width in _STRIPES], 0.3)
    frayed = np.clip(strokes + 0.35 * cv2.GaussianBlur(fur, (0, 0), 0.9) * (strokes > 0.02), 0, 1)
    blend(np.clip(2.2 * frayed - 0.6, 0, 1), _INK)
    # Around the eyes, down to the nose, the nose, the lips, and the whiskers' roots.
    lids = HEAD[list(PARTS["right_eye"]), :2]
    middle = lids.mean(axis=0)
    blend(soft([middle + (lids - middle) * (1.22, 1.7)], 0.8), _INK)
    blend(
        soft(
            [
                _stroke([(-20, 3), (-12, 9), (-11, 20)], 4, (0.8, 0)),
                _stroke([(-40, 0), (-50, -4), (-57, -13)], 4.5, (0.9, 0)),
            ],
            0.4,
        ),
        _INK,
    )
    nose = np.array([[0, 29], [-8, 31.5], [-14, 37], [-12, 42], [-6, 44.5], [0, 47.5]], float)
    blend(soft([nose], 0.9), _NOSE)
    wing, cleft = _stroke([(-14.5, 35), (-12, 44), (-5, 46)], 2.6), _stroke([(0, 45), (0, 50), (0, 58)], 2.2, (1, 1))
    blend(soft([wing, cleft], 0.4), _INK)
    lips = HEAD[[48, 49, 50, 51, 57, 58, 59], :2]
    blend(soft([lips], 0.8) * 0.88, _INK)
    blend(soft([_stroke([(-24, 66), (-30, 65), (-36, 59)], 3, (0.9, 0))], 0.4), _INK)
    whiskers = [spot(cx, cy, 1.15, 1.15) for cx, cy in ((-16, 51), (-23, 52), (-30, 55), (-19, 56.5), (-26, 58.5))]
    blend(soft(whiskers, 0.25), _INK)

    rim = np.concatenate([HEAD[:17], FOREHEAD[::-1]])[:, :2]  # round the face
    alpha = soft([rim * (0.955, 0.965) + (0, 1)], 1.9) * 0.93
    finest = np.dstack([np.clip(paint, 0, 255), 255 * alpha]).round().astype(np.uint8)
    copies: list[np.ndarray] = [finest]
    while len(copies) < 5:
        copies.append(cv2.resize(copies[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return copies


_DARK = 8.0  # grey levels, so that noise in the dark is no light and shade
_COARSE = 120  # px: the map from image to painting is made at about this width, then enlarged


def put_tiger(image: np.ndarray, points: np.ndarray) -> None:
    """Paint a tiger on the face with these points (68, 2), in place; `image` is (H, W, 3) uint8 RGB.

    Eyes and the open mouth stay free. Faces too small, or outside the image, are left alone.
    """
    if not wearable(points, image):
        return
    height, width = image.shape[:2]
    forehead = on_head(points, (width, height), FOREHEAD, _STEADY)
    if forehead is None:
        return
    seen = np.concatenate([points, forehead])  # (77, 2)
    where = region(seen, 2, image.shape)
    if where is None:
        return
    origin = np.array([where[1].start, where[0].start])
    vertices, triangles = _mesh()
    mm = float(np.sqrt(cv2.contourArea(cv2.convexHull(seen.astype(np.float32))) / 19_500))  # px for a millimetre
    copies = _painting()
    level = int(np.clip(np.floor(np.log2(_FINE / max(mm, 1e-3))), 0, len(copies) - 1))
    fine = _FINE / 2**level
    texture = (vertices - _LOW) * fine - 0.5  # the vertices on this copy of the painting
    under = image[where]
    rows, columns = under.shape[:2]

    step = max(1.0, columns / _COARSE, rows / (1.4 * _COARSE))
    coarse = max(2, round(columns / step)), max(2, round(rows / step))  # width, height
    small = (seen - origin + 0.5) * (coarse[0] / columns, coarse[1] / rows) - 0.5
    corners = small[triangles]  # (T, 3, 2)
    wide = np.dstack([corners, np.ones(corners.shape[:2])])
    full = np.abs(np.linalg.det(wide)) > 1e-2  # the others are so thin that they hold no pixel
    affine = np.linalg.solve(wide[full], texture[triangles[full]]).transpose(0, 2, 1)  # (T, 2, 3), image to painting
    labels = np.zeros(coarse[::-1], np.uint8)
    for number, triangle in enumerate(fixed_point(corners[full]), start=1):
        cv2.fillConvexPoly(labels, triangle, number, cv2.LINE_8, FIXED)
    # What lies outside goes on with the whole face's map, so that nothing leaps at the mesh's edge when enlarged.
    outside = similarity(small[:N_POINTS], texture[:N_POINTS])
    maps = np.concatenate([outside[None], affine]).astype(np.float32)[labels]  # (h, w, 2, 3)
    grid = np.stack([*np.meshgrid(*(np.arange(side, dtype=np.float32) for side in coarse))], axis=-1)
    maps = (maps[..., :2] * grid[:, :, None]).sum(axis=-1) + maps[..., 2]
    maps = cv2.resize(maps, (columns, rows), interpolation=cv2.INTER_LINEAR)
    paint = cv2.remap(copies[level], maps, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    cover = np.zeros((rows, columns), np.uint8)
    outline = np.concatenate([points[:17], forehead[::-1]]) - origin
    cv2.fillPoly(cover, [fixed_point(outline)], 255, cv2.LINE_AA, FIXED)
    for part in ("right_eye", "left_eye", "inner_lips"):
        cv2.fillPoly(cover, [fixed_point(points[list(PARTS[part])] - origin)], 0, cv2.LINE_AA, FIXED)
    cover = cv2.GaussianBlur(cover, (0, 0), max(0.4 * mm, 0.3))
    alpha = paint[..., 3].astype(np.float32) * cover * np.float32(1 / 255**2)
    # The paint takes the skin's light and shade: its brightness against the face's own.
    light = cv2.GaussianBlur(cv2.cvtColor(under, cv2.COLOR_RGB2GRAY), (0, 0), max(0.7 * mm, 0.3)).astype(np.float32)
    usual = float((light * alpha).sum() / max(float(alpha.sum()), 1e-3))
    shade = np.clip(0.25 + 0.75 * (light + _DARK) / (usual + _DARK), 0.35, 1.3)
    colour = np.minimum(paint[..., :3] * shade[..., None], 255)
    image[where] = (under + alpha[..., None] * (colour - under) + 0.5).astype(np.uint8)
