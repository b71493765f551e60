"""What hangs, sits or is held before a drawn face: long hair, a scarf, a hat's brim, glasses, a hand, other things."""

import numpy as np

from flcourse.data.drawing.canvas import ellipse, ribbon
from flcourse.data.drawing.curves import spline
from flcourse.data.drawing.scene import Scene, chance, colour, pick


def front_hair(s: Scene, rng: np.random.Generator) -> None:
    """Long hair on both sides of the face, parted on top; or a scarf, also under the chin."""
    if s.person.style not in ("long", "scarf"):
        return
    scarf, thick = s.person.style == "scarf", s.person.volume
    tint = s.person.cloth if scarf else s.person.hair
    length, part = rng.uniform(60, 190), rng.normal(0, 14)  # where it ends; where it is parted
    for sign in (-1, 1):
        over, end = max(rng.normal(3, 9), -3.0), rng.normal(0, 7)  # how far it falls into the face; how far out it ends
        x = 75 - (0 if scarf or s.plain else over)
        way = [(sign * part, -114 - thick, -78), (52, -96 - thick, -80), (84 + thick, -45, -85), (90 + thick, 30, -75)]
        way += [(92 + thick + end, length, -60), (x - 4 + end, length + 4, -38), (x + 4, 55, -48), (x + 2, 8, -50)]
        way += [(x - 10, -42, -42), (x - 42, -72, -18), (sign * part, -84, -16)]
        way = np.array(way) * (sign, 1, 1) + rng.normal(0, 1.5 + 3 * s.person.curl, (11, 3))
        seen = s.camera.project(way)
        s.fill_strands(spline(11, 4, closed=True) @ seen, tint, rng)
        inwards = (-2 * sign * s.mm, 0)
        s.canvas.shade(ribbon(spline(5, 4) @ seen[5:10] + inwards, 2 * s.mm), factor=0.75, blur=1.8 * s.mm)
    if scarf:
        way = [
            (-80, 20, -55),
            (-64, 84, -40),
            (-30, 122, -10),
            (0, 130, 0),
            (30, 122, -10),
            (64, 84, -40),
            (80, 20, -55),
        ]
        s.fill_strands(ribbon(spline(7, 5) @ s.at(*way), 14 * s.mm), tint, rng)


def brim(s: Scene, rng: np.random.Generator) -> None:
    """The brim or peak of a hat, and its shadow; woollen caps have none."""
    y, out, drop = rng.uniform(-62, -42), rng.uniform(10, 60), rng.uniform(-6, 14)
    shadow, dark = rng.uniform(0.45, 0.9), rng.uniform(0.5, 1.1)
    if s.person.style != "hat" or chance(rng, 0.4):
        return
    angle = np.linspace(-1.25, 1.25, 11)
    near = np.column_stack([72 * np.sin(angle), np.full(11, y), 84 * np.cos(angle) - 72])
    far = near + np.column_stack([6 * np.sin(angle), np.full(11, drop), out * np.cos(angle)])
    outline = np.concatenate([s.camera.project(near), s.camera.project(far)[::-1]])
    s.canvas.shade(outline + s.down * 9 * s.mm, factor=shadow, blur=4 * s.mm, within=s.cover)
    s.canvas.fill(outline, colour=s.person.cloth * dark, blur=0.6)


def glasses(s: Scene, rng: np.random.Generator) -> None:
    """Glasses or sunglasses: two lenses, which may reflect, a bridge, and the side pieces that can be seen."""
    mm, canvas, p = s.mm, s.canvas, s.points
    wide, high, power, droop, thick = rng.uniform((20, 12, 2, -2, 0.5), (29, 23, 4.5, 5, 2.6)).tolist()
    frame = np.full(3, 0.05) if chance(rng, 0.6) else rng.uniform(0, 0.8, 3)
    dark = rng.uniform(0.5, 0.97) if chance(rng, 0.25) else rng.uniform(0, 0.12)
    tint, reflect, sheen = rng.uniform(0.02, 0.25, 3), rng.uniform(0, 0.5) * chance(rng, 0.5), rng.normal(0, 6, 2)
    flat = ellipse(np.zeros(2), wide, high, 0, power)
    noseward = []
    for eye, sign in ((p[36:42], -1), (p[42:48], 1)):
        centre = np.add(eye.mean(axis=0), (1.5 * sign, droop, 0))
        # Lenses stand before the eyes and bend back to the temples.
        outline = np.column_stack(
            [centre[0] + flat[:, 0], centre[1] + flat[:, 1], 11 - 0.006 * (sign * flat[:, 0] + 24) ** 2]
        )
        seen = s.camera.project(outline)
        canvas.fill(seen, colour=tint, opacity=dark, blur=0.4)
        covered = canvas.cover(seen, 0.3)
        if reflect and covered is not None:
            lens = np.zeros_like(s.cover)
            lens[covered[0]] = covered[1]
            left, right = (-8 + sheen[0], -12 + sheen[1]), (2 + sheen[0], -4 + sheen[1])
            bar = centre + np.array(
                [(left[0], -high, 10), (right[0], -high, 10), (right[1], high, 10), (left[1], high, 10)]
            )
            canvas.fill(s.camera.project(bar), colour=np.ones(3), opacity=reflect, blur=1.0, lit=False, within=lens)
        ring = np.concatenate([seen, seen[:1]])
        if s.light.hard > 0.4:
            shadow = ribbon(ring - 3 * mm * s.light.towards[:2], 0.8 * mm)
            canvas.shade(shadow, factor=0.75, blur=0.8 * mm, within=s.cover)
        canvas.fill(ribbon(ring, 0.5 * thick * mm + 0.15), colour=frame, blur=0.35)
        noseward.append(np.add(centre, (-sign * wide, -4, 9)))
        if s.camera.turn(np.array([[78.0 * sign, 0, -60]]))[0, 0] * sign > 66:  # else behind the turned head
            side = s.at(np.add(centre, (sign * wide, -6, 2)), (78 * sign, -4, -85))
            canvas.fill(ribbon(side, 0.7 * thick * mm + 0.1), colour=frame, blur=0.35)
    bridge = spline(3, 4) @ s.at(noseward[0], (noseward[0] + noseward[1]) / 2 + (0, -2.5, 4), noseward[1])
    canvas.fill(ribbon(bridge, 0.5 * thick * mm + 0.15), colour=frame, blur=0.35)


def something_before(s: Scene, rng: np.random.Generator) -> None:
    """A hand, a microphone, strands of hair, or any plain thing."""
    (_hand, _microphone, _strands, _thing)[pick(rng, (0.5, 0.15, 0.2, 0.15))](s, rng)


def _hand(s: Scene, rng: np.random.Generator) -> None:
    """Four fingers that reach for some point of the face, mostly from below, and the hand they belong to."""
    mm, target = s.mm, s.seen[rng.integers(68)] + rng.normal(0, 10, 2) * s.mm
    angle = rng.uniform(0, 2 * np.pi) if chance(rng, 0.3) else rng.normal(np.pi / 2, 0.8)
    along = np.array([np.cos(angle), np.sin(angle)]) * mm
    across = np.array([-along[1], along[0]])
    tint = s.person.skin * s.light.on((0, -0.2, 0.98)) * rng.uniform(0.8, 1.15)
    for k in rng.permutation(4) - 1.5:
        tip = target + across * 17 * k + along * rng.uniform(-6, 10)
        knuckle = target + along * 62 + across * 19 * k
        curve = spline(3, 5) @ np.array([tip, (tip + knuckle) / 2 + across * rng.normal(0, 3), knuckle])
        width = np.interp(np.arange(11), [0, 1, 3, 10], [3, 6.5, 8, 9.5]) * mm
        s.canvas.shade(ribbon(curve, 1.25 * width), factor=0.7, blur=1.5 * mm)
        s.canvas.fill(ribbon(curve, width), colour=tint, blur=0.8, lit=False)
        nail = ellipse((curve[1] + curve[2]) / 2, 4 * mm, 5 * mm, angle + np.pi / 2)
        s.canvas.fill(nail, colour=tint * (1.1, 1, 1), opacity=0.4, blur=0.6, lit=False)
    palm = ellipse(target + along * 105, 55 * mm, 42 * mm, angle)
    s.canvas.fill(palm, colour=0.95 * tint, blur=1.2, lit=False)


def _microphone(s: Scene, rng: np.random.Generator) -> None:
    mm, at = s.mm, s.seen[57] + np.array([rng.normal(0, 14), rng.uniform(0, 22)]) * s.mm
    stick = at + np.array([(0, 0), (rng.normal(0, 60), 130)]) * mm
    s.canvas.fill(ribbon(stick, 9 * mm), colour=np.full(3, rng.uniform(0.02, 0.3)), blur=0.7)
    ball = ellipse(at, 17 * mm, 19 * mm)
    s.canvas.fill(ball, colour=np.full(3, rng.uniform(0.03, 0.5)), blur=0.8, texture=0.3, rng=rng)


def _strands(s: Scene, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 7)):
        x, (bend, more) = rng.uniform(-60, 60), rng.normal(0, 25, 2)
        way = [(0.5 * x, -85, 0), (x, -40, 14), (x + bend, 10, 14), (x + bend + more, rng.uniform(30, 100), 12)]
        strand = ribbon(spline(4, 6) @ s.at(*way), rng.uniform(0.4, 2.5) * s.mm)
        s.canvas.fill(strand, colour=s.person.hair, opacity=rng.uniform(0.5, 1), blur=0.4)


def _thing(s: Scene, rng: np.random.Generator) -> None:
    target = s.seen[rng.integers(68)] + rng.normal(0, 10, 2) * s.mm
    wide, high, angle, power, blur = rng.uniform((12, 10, 0, 2, 0.4), (45, 35, 3, 8, 2)).tolist()
    outline = ellipse(target, wide * s.mm, high * s.mm, angle, power)
    s.canvas.fill(outline, colour=colour(rng.random(), spread=0.2, rng=rng), blur=blur, lit=False)
