"""What stands behind the features of a drawn face: hair behind, neck, clothes, ears, and the head itself."""

import cv2
import numpy as np

from flcourse.data.drawing import shape, skin
from flcourse.data.drawing.canvas import noise, normals, rasterise, ribbon, spread, tinted
from flcourse.data.drawing.curves import spline
from flcourse.data.drawing.scene import Scene, chance, colour, pick


def back_hair(s: Scene, rng: np.random.Generator) -> None:
    """Long hair, or a scarf, behind neck and shoulders."""
    if s.person.style not in ("long", "scarf"):
        return
    wide, length = 84 + s.person.volume + rng.uniform(0, 14), rng.uniform(60, 190)
    left = [
        (0.8 * wide, -90, -90),
        (wide, -20, -95),
        (1.06 * wide, 50, -80),
        (wide * rng.uniform(0.9, 1.15), length, -70),
    ]
    outline = np.array([*left, *(np.multiply(p, (-1, 1, 1)) for p in left[::-1])])
    outline += rng.normal(0, 4 + 8 * s.person.curl, outline.shape)
    tint = s.person.hair if s.person.style == "long" else s.person.cloth
    s.fill_strands(spline(8, 6, closed=True) @ s.camera.project(outline), 0.75 * tint, rng)


_NECK = np.array([(1.0, 60), (0.98, 90), (1.0, 115), (1.12, 140), (1.6, 170), (3.0, 215)])  # half its width, y in mm


def neck(s: Scene, rng: np.random.Generator) -> None:
    """An upright tube that widens to the shoulders, in the chin's shadow."""
    half = _NECK[:, 0] * (60 if s.person.man else 51) * rng.normal(1, 0.08)
    chin = rng.uniform(0.25, 0.9)  # how much light it leaves on the throat
    tube = np.stack([np.concatenate([-half, half]), np.tile(_NECK[:, 1], 2), np.full(12, -72)], axis=1)
    right, left = s.body.project(tube).reshape(2, 6, 2)
    covered = s.canvas.cover(np.concatenate([spline(6, 4) @ right, (spline(6, 4) @ left)[::-1]]), 0.5)
    if covered is None:
        return
    where, mask = covered
    # Its light changes across it as on a cylinder, and down it as far as the chin's shadow reaches.
    x, y = np.arange(where[1].start, where[1].stop), np.arange(where[0].start, where[0].stop)
    across = np.clip((x - (left[1, 0] + right[1, 0]) / 2) / ((left[1, 0] - right[1, 0]) / 2), -0.95, 0.95)
    falls = s.light.falls(np.stack([across, 0 * across, np.sqrt(1 - across**2)], axis=1))
    shown = falls @ (np.stack([s.light.lamp, s.light.sky]) * s.person.skin)
    below = np.interp(y, (left[[0, 2, 4], 1] + right[[0, 2, 4], 1]) / 2, [chin, chin + 0.05, 0.92])
    shown = np.outer(below.astype(np.float32), shown.astype(np.float32)).reshape(*mask.shape, 3)
    s.canvas.blend(where, mask, shown, lit=False)


def clothes(s: Scene, rng: np.random.Generator) -> None:
    """A shirt up to some height of the neck, plain, in folds or striped; often a jacket or a collar."""
    collar, dip, wide = rng.uniform(95, 145), rng.uniform(0, 60) * rng.random(), rng.uniform(56, 80)
    shoulder = collar + rng.uniform(15, 60)
    outline = [
        (-270, shoulder + 90, -60),
        (-180, shoulder + 12, -70),
        (-wide, collar, -70),
        (-0.7 * wide, collar + 2, -35),
    ]
    outline += [(0, collar + dip, -10), *(np.multiply(p, (-1, 1, 1)) for p in outline[::-1])]
    outline = np.array(outline) + rng.normal(0, 5, 9)[:, None] * (0, 1, 0)
    size, upper = s.canvas.size, spline(9, 5) @ s.body.project(outline)
    covered = s.canvas.cover(np.concatenate([upper, [[2 * size, 2 * size], [-size, 2 * size]]]), 0.7)
    if covered is None:
        return
    where, mask = covered
    folds = rng.uniform(0.05, 0.45) * noise(rng, mask.shape, rng.uniform(0.7, 5))
    shown = tinted(np.clip(1 + folds, 0.2, 2), s.person.cloth * s.light.soft)
    if chance(rng, 0.35):
        y, x = np.arange(mask.shape[0], dtype=np.float32)[:, None], np.arange(mask.shape[1], dtype=np.float32)
        slope = rng.normal(size=2).astype(np.float32) * np.float32(rng.uniform(0.3, 1.0) / s.mm)
        wave = np.sin(x * slope[0] + y * slope[1])
        stripe = rng.normal(0, 0.2, 3) + rng.normal(0, 0.2)
        shown += tinted((wave > rng.uniform(-0.5, 0.8)).astype(np.float32), stripe)
    s.canvas.blend(where, mask, shown, lit=False)
    rim = ribbon(spline(5, 5) @ s.body.project(outline[2:7]), 1.2 * s.mm)
    s.canvas.shade(rim, factor=rng.uniform(0.5, 1.2), blur=0.8)
    kind = ("jacket", "collar", "neither")[pick(rng, (0.3, 0.28, 0.42))]
    if kind == "neither":
        return
    lapel = rng.uniform(5, 45)
    if kind == "jacket":
        tint = colour(rng.random() ** 2, spread=0.05, rng=rng)
        left = [(wide, collar - 12, -75), (wide - 14, collar + 4, -38), (lapel, collar + 95, 0), (30, 420, 0)]
        left += [(300, 420, -60), (210, shoulder + 5, -75), (110, collar + 4, -78)]
    else:
        tint = colour(s.person.cloth, spread=0.15, rng=rng)
        left = [(54, collar - 20, -65), (60, collar + 8, -40), (34, collar + 45, -5), (6, collar + dip + 6, -5)]
        left += [(40, collar - 6, -30)]
    both = np.array(left)[None] * [[[-1, 1, 1]], [[1, 1, 1]]]
    corners = s.body.project(both.reshape(-1, 3)).reshape(2, -1, 2)
    for half in corners:
        s.canvas.fill(half, colour=tint * s.light.soft, blur=0.6, lit=False)
    s.canvas.shade(ribbon(corners[:, 1:4], 1.2 * s.mm), factor=rng.uniform(0.5, 1.3), blur=0.8)


_EAR = np.array([(70, 2, -70), (76, -12, -78), (84, -16, -86), (89, -6, -94), (87, 12, -94), (81, 28, -84),
                 (75, 36, -76), (70, 28, -70)], float)  # fmt: skip
_EAR_OUT = np.array([0, 0, 1, 1, 1, 0, 0, 0.0])


def ears(s: Scene, rng: np.random.Generator) -> None:
    """Both ears, which the head then covers in part, and long hair wholly."""
    if s.person.style == "long":
        return
    for sign in (-1, 1):
        if sign * s.pose[0] > (-8 if abs(s.pose[0]) < 25 else 90):  # the near ear of a turned head is painted later
            _ear(s, sign)


def near_ear(s: Scene, rng: np.random.Generator) -> None:
    """The ear that a turned head shows whole."""
    if abs(s.pose[0]) > 8 and s.person.style != "long":
        _ear(s, -int(np.sign(s.pose[0])))


def _ear(s: Scene, sign: int) -> None:
    if s.person.style == "scarf":
        return
    out, big, low = s.person.ears.tolist()
    outline = _EAR + np.outer(_EAR_OUT, (out, 0, 0))
    outline = np.column_stack([sign * outline[:, 0], 12 + (outline[:, 1] - 12) * big + low, outline[:, 2]])
    curve = spline(8, 4, closed=True) @ s.camera.project(outline)
    light = s.light.on(s.camera.rotation @ (0.5 * sign, -0.1, 0.85))
    s.canvas.fill(curve, colour=s.person.skin * (0.94, 0.87, 0.85) * light, blur=0.6, lit=False)
    middle = curve.mean(axis=0)
    s.canvas.shade(middle + 0.55 * (curve - middle), factor=0.7, blur=1.2 * s.mm + 0.4)


def head(s: Scene, rng: np.random.Generator) -> None:
    """Skin, hair on the skull, a beard: the mesh, with the skin's maps laid on it. Sets the scene's light and cover."""
    person, light, mesh = s.person, s.light, shape.head()
    # Hair lifts the mesh off the skull, more here and less there.
    lift = np.clip((skin.beyond_hairline() - person.hairline) / 35, 0, 1) ** 0.7 * person.volume
    bumps = np.resize(spline(16, 4, closed=True) @ rng.normal(0, 0.2 + 0.3 * person.curl, 16), mesh.spokes)
    lift *= np.tile(np.clip(1 + bumps, 0.2, 2), shape.RINGS)
    vertices = s.vertices[: len(lift)]
    away = vertices - (0, 0, -80)
    vertices = vertices + away * (lift / np.linalg.norm(away, axis=1))[:, None]
    turned = s.camera.turn(vertices)
    attributes = [mesh.plane, light.falls(normals(turned, shape.RINGS, mesh.spokes))]
    attributes += [turned[:, 2:]] if s.turned else []
    attributes = np.concatenate(attributes, axis=1)
    drawn = rasterise(s.canvas.size, s.camera.project(vertices), turned[:, 2], mesh.quads, attributes)
    assert drawn is not None, "the camera is framed on this head"
    where, cover, (x, y, lamp, sky, *depth) = drawn
    maps = skin.read_maps(x, y)
    strengths = zip(light.lamp.tolist(), light.sky.tolist(), strict=True)
    falls = cv2.merge([cv2.addWeighted(lamp, one, sky, other, 0) for one, other in strengths])

    # Skin: hollows are dark, cheeks and nose red; spots, lines of laughing and of age.
    smile = max(s.expression.smile, 0.0)
    tone = 1 - (rng.uniform(0.5, 1.3) + 0.7 * light.hard * max(-light.towards[1], 0.0)) * maps["hollow"]
    tone -= (rng.uniform(0, 0.18) + 0.22 * smile + 0.2 * person.age) * maps["laugh"]
    tone -= person.age**1.5 * rng.uniform(0.1, 0.5) * maps["age"]
    grain, clouds = noise(rng, cover.shape, rng.uniform(0.7, 2), 0), noise(rng, cover.shape, 4, 3)
    tone *= 1 + rng.uniform(0.005, 0.05) * grain + rng.uniform(0.01, 0.06) * clouds
    pale = tone * (1 - rng.uniform(0, 0.16) * (1 - 0.6 * person.darkness) * maps["red"])
    red, green, blue = person.skin.tolist()
    shown = cv2.merge([tone * red, pale * green, pale * blue])
    shine = np.minimum(lamp, 1.2)
    for _ in range(2):
        shine *= shine
    shine *= shine * np.float32(light.gloss)

    bristle, tint = _bristle(s, maps, grain), (0.03 + 0.9 * person.hair)
    if bristle is not None:
        shown += (tinted(1 + 0.25 * grain, tint) - shown) * spread(bristle)
        shine *= 1 - bristle
    beyond = maps["beyond"] - np.float32(person.hairline)
    if person.volume > 4:  # the hair's own shadow
        shown *= spread(1 - 0.35 * np.exp(-0.2 * np.abs(beyond)))
    hair = _hair(s, maps, beyond, x, y, rng)
    strands = (
        person.contrast * (1 - person.curl) * maps["strands"] + (0.12 + 0.8 * person.contrast * person.curl) * grain
    )
    covered = person.style in ("hat", "scarf")
    relief = 0.08 * grain if covered else strands
    shown += (tinted(np.clip(1 + relief, 0.3, 2), person.cloth if covered else person.hair) - shown) * spread(hair)
    shown *= falls
    shown += tinted(shine * (1 - 0.5 * hair), light.lamp)
    s.canvas.blend(where, cover, shown, lit=False)

    part = s.canvas.light[where]
    part += (falls - part) * spread(cover)
    s.cover = np.zeros((s.canvas.size, s.canvas.size), np.float32)
    s.cover[where] = cover
    s.depth = (where, depth[0]) if depth else None


def _bristle(s: Scene, maps: dict[str, np.ndarray], grain: np.ndarray) -> np.ndarray | None:
    """How much of the skin beard and moustache cover, or None."""
    if not (s.person.beard or s.person.moustache):
        return None
    bristle = np.minimum(1.6 * maps["beard"], 1) * s.person.beard
    bristle += np.minimum(1.6 * maps["moustache"], 1) * s.person.moustache
    return np.clip(bristle * (1 + 0.35 * grain), 0, 0.95)


def _hair(
    s: Scene, maps: dict[str, np.ndarray], beyond: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How much of the head hair covers, or a hat; hair thins out at its edge, strand by strand."""
    edge, wild, strands = rng.uniform(1.5, 6), rng.uniform(1, 5), maps["strands"]
    if s.person.style == "hat":
        return np.clip(maps["beyond"] - rng.uniform(-8, 12) + 0.5, 0, 1) * (y < 0)
    if s.person.style == "scarf":
        return np.clip(maps["beyond"] - rng.uniform(-8, 12) + 0.5, 0, 1)
    hair = np.clip((beyond + wild * strands) * (1 / edge) + 0.5, 0, 1)
    if s.person.style == "bald":
        return hair * (0.0, 0.12, 0.5)[rng.integers(3)] * (maps["beyond"] > 12)
    if s.person.fringe:
        fall, slant, middle = rng.uniform(-45, -8), rng.normal(0, 0.35), rng.normal(0, 20)
        bow = 0.012 * (-0.5 if chance(rng, 0.5) else 1)
        low = fall + slant * x - bow * (x - middle) ** 2 + rng.uniform(3, 9) * strands
        hair = np.maximum(hair, np.clip((low - y) * 0.25 + 0.5, 0, 1) * (y < 0) * rng.uniform(0.7, 1))
    return hair
