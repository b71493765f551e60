"""The features of a drawn face, painted as smooth shapes through the 68 points: eyes, brows, nose, mouth."""

import numpy as np

from flcourse.data.drawing.canvas import ellipse, ribbon
from flcourse.data.drawing.curves import spline
from flcourse.data.drawing.scene import Scene, chance
from flcourse.points import MIRROR, PARTS

# Both eyes and brows from the outer end to the inner one, so that one stroke paints the pair.
_EYES, _BROWS = (np.array([half, MIRROR[list(half)]]) for half in (PARTS["right_eye"], PARTS["right_brow"]))
_FOLD = np.interp(np.arange(19), [0, 4, 14, 18], [0.5, 1, 1, 0.6])[:, None]  # how far the lid's fold lies above the lid
_LASHES = np.interp(np.arange(20), [0, 1, 8, 19], [0.4, 0.9, 1, 0.5])  # thickest outside the middle
_EYE_WHITE, _TEETH = np.array([1.0, 0.95, 0.93]), np.array([1.0, 0.97, 0.9])
_MOUTH, _TONGUE = np.array([0.72, 0.26, 0.22]), np.array([0.7, 0.35, 0.33])
_EYE_WIDTH = 27.0  # mm: an eye seen narrower than this is turned away


def eyes(s: Scene, rng: np.random.Generator) -> None:
    """Both eyes, made alike: fold, lids, white, iris after the gaze, pupil, a glint, lashes."""
    look = {
        "fold": (rng.uniform(2, 5), rng.uniform(0, 0.55) * (1 if chance(rng, 0.8) else 0.25)),
        "paint": (rng.uniform(0.1, 0.5, 3), rng.uniform(0, 0.55) * (s.person.makeup > 0.6)),
        "bag": (rng.uniform(3, 6), rng.uniform(0, 0.25) * (0.4 + s.person.age)),
        "white": rng.uniform(0.45, 0.88),
        "iris": max(rng.normal(5.9, 0.3), 5),
        "pupil": rng.uniform(1.4, 2.8),
        "glint": (rng.normal(0, 1.2, 2), rng.uniform(0.3, 1)),
        "shade": rng.uniform(0.35, 0.8),
        "lashes": (rng.uniform(0.35, 0.9) + 0.5 * s.person.makeup, rng.uniform(0.2, 0.9), rng.uniform(0.5, 1)),
        "tail": rng.uniform(0.1, 0.45),
        "rim": rng.uniform(0.2, 0.8),
    }
    mm, canvas, lids = s.mm, s.canvas, s.seen[_EYES]
    within = s.facing(s.points[_EYES[0]], s.points[_EYES[1]])
    upper, lower = spline(4, 6) @ lids[:, :4], spline(4, 6) @ lids[:, [3, 4, 5, 0]]

    height, dark = look["fold"]
    fold = upper - s.down * (height * mm * _FOLD)
    tint, opacity = look["paint"]
    lid = np.concatenate([upper, fold[:, ::-1]], axis=1)
    canvas.fill(lid, colour=tint, opacity=opacity, blur=mm, within=within)
    canvas.shade(ribbon(fold, 0.8 * mm), factor=1 - dark, blur=0.8 * mm, within=within)
    low, dark = look["bag"]
    canvas.shade(ribbon((lower + s.down * low * mm)[:, 3:-3], 0.9 * mm), factor=1 - dark, blur=1.2 * mm, within=within)

    opened = float(np.hypot(*(lids[:, 1:3] - lids[:, [5, 4]]).mean(axis=(0, 1)))) / mm
    covered = canvas.cover(np.concatenate([upper, lower], axis=1), 0.3) if opened > 0.6 else None
    if covered is not None:  # the balls behind the lids
        where, mask = covered
        hole = np.zeros_like(within)
        hole[where] = mask = mask * within[where]
        canvas.blend(where, mask, _EYE_WHITE * look["white"])
        pink = s.person.skin * (0.95, 0.7, 0.7)
        inner = ellipse(0.94 * lids[:, 3] + 0.06 * lids[:, 0], 1.6 * mm, 1.4 * mm)
        canvas.fill(inner, colour=pink, opacity=0.8, blur=0.5, within=hole)
        across = (lids[:, 3] - lids[:, 0]) * ((1,), (-1,))  # to the image's right
        wide = np.sqrt((across**2).sum(axis=1, keepdims=True))
        narrow = np.minimum(np.maximum(wide / (mm * _EYE_WIDTH), 0.5), 1)
        gaze = s.down * (s.expression.gaze_y * 3.5 * mm)
        middle = lids.mean(axis=1) + across * (s.expression.gaze_x * 6 * mm * narrow / wide) + gaze
        for radius, tint, blur in (
            (look["iris"], 0.55 * s.person.iris, 0.35),
            (0.82 * look["iris"], 1.15 * s.person.iris, 0.5),
            (look["pupil"], np.full(3, 0.02), 0.4),
        ):
            disc = ellipse(middle, radius * mm * narrow, radius * mm, s.tilt)
            canvas.fill(disc, colour=tint, blur=blur, within=hole)
        canvas.shade(ribbon(upper, 2.2 * mm), factor=look["shade"], blur=0.9 * mm, within=hole)
        at, bright = look["glint"]
        spot = ellipse(middle + (at + 2.2 * s.light.towards[:2]) * mm, 0.9 * mm, 0.9 * mm)
        canvas.fill(spot, colour=np.ones(3), opacity=bright, blur=0.35, lit=False, within=hole)
    thick, dark, opacity = look["lashes"]
    tail = upper[:, :1] + look["tail"] * (upper[:, :1] - upper[:, 5:6])  # beyond the outer corner
    lashes = ribbon(np.concatenate([tail, upper], axis=1) + s.down * 0.1 * mm, thick * mm * _LASHES)
    canvas.fill(lashes, colour=np.minimum(s.person.hair, 0.25) * dark, opacity=opacity, blur=0.45, within=within)
    tint = s.person.skin * (0.62, 0.45, 0.42)
    canvas.fill(ribbon(lower, 0.4 * mm), colour=tint, opacity=look["rim"], blur=0.5, within=within)


_BROW = np.interp(np.linspace(0, 1, 21), [0, 0.3, 0.75, 1], [0.3, 0.8, 1.0, 0.75])  # thickness, from the outer end


def brows(s: Scene, rng: np.random.Generator) -> None:
    """Two brows of one kind, thin or thick, sparse or dense; the points run along them, a little above the middle."""
    thick = rng.uniform(1.6, 4.2) * (1.15 if s.person.man else 0.85)
    dense, soft, lower = rng.uniform(0.2, 1.0), rng.uniform(0.5, 1.3), rng.uniform(0.5, 2.3)
    tint = np.minimum(0.8 * s.person.hair, 0.5 if s.person.age < 0.8 else 0.8)
    lines = spline(5, 5) @ s.seen[_BROWS] + s.down * lower * s.mm
    outlines, blur = ribbon(lines, thick * s.mm * _BROW), soft * s.mm + 0.2
    within = s.facing(s.points[_BROWS[0]], s.points[_BROWS[1]])
    s.canvas.fill(outlines, colour=tint, opacity=dense, blur=blur, within=within, texture=0.45, rng=rng)


_NOSTRIL = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)
_NOSTRIL_Z = -np.abs(_NOSTRIL[:, 0])
_WING = np.array([(2.5, -11, -2), (4.8, -6, -2.5), (4.0, -1.5, -3), (0.5, 0.8, -1)])
_WINGS = ((31, 32, np.array([-1, 1, 1])), (35, 34, np.ones(3)))


def nose(s: Scene, rng: np.random.Generator) -> None:
    """Nostrils, wings, the nose's own shadow; its ridge is the mesh's shape."""
    mm, canvas, p, lamp = s.mm, s.canvas, s.points, s.light.towards
    strength, hole_dark, hole_high = rng.uniform(0.3, 1.1), rng.uniform(0.1, 0.4), rng.uniform(1.2, 2.2)
    side, sideways, above = -np.sign(lamp[0]), abs(lamp[0]), max(-lamp[1], 0.0)
    if s.light.hard > 0.3 and sideways > 0.25:  # cast away from the lamp
        wing = p[31 if side < 0 else 35] + (9 * side, -3, -6)
        cast = [p[30] + (0, 2, -2), p[33] + (0, 1, 0), p[33] + ((8 + 14 * sideways) * side, 8 + 6 * above, -8), wing]
        cast = spline(5, 3, closed=True) @ s.at(*cast, p[28] + (7 * side, 6, -6))
        canvas.shade(cast, factor=1 - 0.5 * s.light.hard * min(1, 1.6 * sideways), blur=2.2 * mm, within=s.cover)
    base, lip = spline(5, 4) @ s.seen[31:36], spline(5, 4) @ s.camera.project(np.add(p[31:36], (0, 4.5, -2)))
    under = np.concatenate([base, lip[::-1]])
    canvas.shade(under, factor=1 - 0.3 * strength * max(0.15, above), blur=1.6 * mm, within=s.cover)
    canvas.shade(ribbon(base, 0.9 * mm), factor=1 - 0.25 * strength, blur=0.9 * mm, within=s.cover)
    hole_high *= float(np.clip(1 + s.pose[1] / 25, 0.35, 2))  # a lifted head shows its nostrils
    facing = s.facing(p[31:36])
    hole = np.stack([3.6 * _NOSTRIL[:, 0], hole_high * _NOSTRIL[:, 1] + 0.9 * _NOSTRIL[:, 0], _NOSTRIL_Z], axis=1)
    holes = [0.45 * p[o] + 0.55 * p[i] + (0, -1.6, 0.5) + np.add(hole, (0.3, 0, 0)) * sides for o, i, sides in _WINGS]
    tint, opacity = s.person.skin * hole_dark, min(0.75 * strength, 1)
    holes = s.camera.project(np.array(holes).reshape(-1, 3)).reshape(2, -1, 2)
    canvas.fill(holes, colour=tint, opacity=opacity, blur=0.6 * mm + 0.2, within=s.cover)
    wings = s.camera.project(np.concatenate([p[o] + _WING * sides for o, _, sides in _WINGS])).reshape(2, -1, 2)
    wings = ribbon(spline(4, 4) @ wings, 0.7 * mm)
    canvas.shade(wings, factor=1 - 0.42 * strength, blur=0.8 * mm, within=facing)


_LIPS_LINE = np.interp(np.arange(21), [0, 10, 20], [0.9, 0.7, 0.9])
_LIP_BELOW, _INNER_BELOW = np.array([0, 0, 0, 0, 0, 0, 0, 0.4, 0.7, 0.8, 0.7, 0.4]), np.array([0, 0.5, 0.6, 0.5, 0])
_TEETH_ARCH = (1 - 0.15 * np.linspace(-1, 1, 21) ** 2)[:, None]


def mouth(s: Scene, rng: np.random.Generator) -> None:
    """Lips, natural or painted; between them a line, or teeth, tongue and the dark."""
    mm, canvas, seen, within = s.mm, s.canvas, s.seen, s.cover
    natural = np.array([0.95, *rng.uniform(0.55, 0.85, 2)]) * rng.uniform(0.72, 1.02) * s.person.skin
    painted = np.array([rng.uniform(0.45, 0.85), *rng.uniform(0.08, 0.38, 2)]) * (0.6 + 0.4 * s.person.skin)
    lips, opacity, soft = natural, rng.uniform(0.2, 0.95), rng.uniform(0.5, 1.2)
    if s.person.makeup > 0.55:
        lips, opacity, soft = painted, 0.9, 0.5
    below, darker, bright, rim, corners = rng.uniform((0.65, 0.7, 1, 0.85, 0.55), (0.95, 0.98, 1.25, 1.1, 0.9)).tolist()
    crease = ribbon(seen[[59, 58, 57, 56, 55]] + 0.25 * (seen[57] - seen[66]), 1.8 * mm)
    canvas.shade(crease, factor=below, blur=1.8 * mm, within=within)
    below_by = np.outer(_LIP_BELOW, s.down * mm)  # the lower lip's red ends a little below its points
    outline = spline(12, 4, closed=True) @ (seen[48:60] + below_by)
    canvas.fill(outline, colour=lips, opacity=opacity, blur=soft * mm, within=within)
    bow, top = spline(7, 4) @ seen[48:55], spline(5, 5) @ seen[60:65]
    canvas.shade(np.concatenate([bow, top[::-1]]), factor=darker, blur=0.6 * mm, within=within)
    shine = ellipse(0.45 * seen[66] + 0.55 * seen[57], 8 * mm, 1.8 * mm, s.tilt)
    canvas.shade(shine, factor=bright, blur=1.2 * mm, within=within)
    canvas.shade(ribbon(bow, 0.6 * mm), factor=rim, blur=0.7 * mm, within=within)
    low = spline(5, 5) @ (seen[[60, 67, 66, 65, 64]] + np.outer(_INNER_BELOW, s.down * mm))
    if np.hypot(*(seen[62] - seen[66])) > 1.2 * mm:
        _inside(s, top, low, rng)
    else:
        line = ribbon((top + low) / 2 + 0.3 * mm * s.down, _LIPS_LINE * rng.uniform(0.5, 0.9) * mm)
        dark, opacity = lips * rng.uniform(0.1, 0.45), rng.uniform(0.6, 1)
        canvas.fill(line, colour=dark, opacity=opacity, blur=0.45 * mm, within=within)
    canvas.shade(ellipse(seen[[48, 54]], 1.8 * mm, 1.6 * mm), factor=corners, blur=mm, within=within)


def _inside(s: Scene, top: np.ndarray, low: np.ndarray, rng: np.random.Generator) -> None:
    """What an open mouth shows, between the inner edges of the lips, (21, 2) each from the image's left."""
    mm, canvas, seen = s.mm, s.canvas, s.seen
    dark, height, white, tongue = rng.uniform((0.05, 5.5, 0.65, 0.2), (0.4, 9, 0.98, 0.8)).tolist()
    upper_teeth, lower_teeth = chance(rng, 0.93), chance(rng, 0.5)
    covered = canvas.cover(np.concatenate([top, low[-2:0:-1]]), 0.3)
    if covered is None:
        return
    where, mask = covered
    hole = np.zeros_like(s.cover)
    hole[where] = mask = mask * s.cover[where]
    canvas.blend(where, mask, _MOUTH * dark)
    down = seen[66] - seen[62]
    gap = float(np.hypot(*down)) / mm
    down = down / gap  # a millimetre along the face
    if gap > 7:
        shape = ellipse(seen[66] - 1.5 * down, 13 * mm, min(0.45 * gap, 9) * mm, s.tilt)
        canvas.fill(shape, colour=_TONGUE * tongue, blur=1.2 * mm, within=hole)
    if upper_teeth:
        reach = height if gap > 1.25 * height else 1.1 * gap  # a narrow gap shows teeth only
        teeth = np.concatenate([top - 2 * down, (top + down * (reach * _TEETH_ARCH))[::-1]])
        canvas.fill(seen[62] + 0.94 * (teeth - seen[62]), colour=_TEETH * white, blur=0.5, within=hole)
        canvas.shade(ribbon(top, mm), factor=0.6, blur=0.6 * mm, within=hole)
    if lower_teeth and gap > 15:
        canvas.fill(ribbon(low[3:-3] - 1.5 * down, 1.8 * mm), colour=_TEETH * 0.9 * white, blur=0.6, within=hole)
    shape = ellipse(0.9 * seen[[60, 64]] + 0.1 * seen[62], 2.2 * mm, 2 * mm)
    canvas.shade(shape, factor=0.5, blur=1.2 * mm, within=hole)
