"""Checks of notebook 06's exercises."""

import numpy as np

from flcourse.exercises.verdict import Wrong, ask, exercise, same
from flcourse.points import Box, apply, crop_matrix, invert


@exercise
def back(answer) -> str:
    """Exercise 6.1: points of the crop, back in the image."""
    points = np.random.default_rng(0).uniform(0, 111, (68, 2))
    matrix = crop_matrix(Box(120, 80, 140, 140), 112, rotation=20.0)
    right = apply(points, invert(matrix))
    linear, shift = matrix[:, :2], matrix[:, 2]
    given = ask(answer, points, matrix)
    if tuple(np.shape(given)) != (68, 2):
        raise Wrong(f"the shape is {tuple(np.shape(given))}, expected (68, 2)")
    if same(given, apply(points, matrix), 1e-3):
        raise Wrong("that applies the crop's matrix once more; here it has to be undone")
    if same(given, points @ np.linalg.inv(linear).T - shift, 1e-3):
        raise Wrong("first take the shift away, then undo the linear part: the order matters")
    if same(given, points @ np.linalg.inv(linear).T, 1e-3):
        raise Wrong("the shift is missing: the crop does not begin at the image's corner")
    if same(given, (points - shift) @ linear, 1e-3):
        raise Wrong("the transpose undoes a rotation, but not the scale: take the inverse")
    if same(given, (points - shift) @ np.linalg.inv(linear), 1e-3):
        raise Wrong("points are rows here: multiply by the inverse's transpose (or write (A^-1 @ p.T).T)")
    if not same(given, right, 1e-3):
        raise Wrong("not yet: if q = A p + t, then p = A^-1 (q - t)")
    return "right: the same as flcourse.points.invert"


@exercise
def share(answer) -> str:
    """Exercise 6.2: how far a low-pass filter of a cutoff frequency goes towards a new value."""
    for cutoff, seconds in ((1.0, 1 / 30), (5.0, 1 / 30), (1.0, 0.1)):
        right = 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))
        given = float(ask(answer, cutoff, seconds))
        if same(given, 1 - right):
            raise Wrong("that is what stays of the old value; asked is the new value's share")
        if same(given, 1 / (1 + 1 / (cutoff * seconds))):
            raise Wrong("a frequency in Hz becomes a time constant by 1 / (2 pi cutoff)")
        if same(given, 2 * np.pi * cutoff * seconds):
            raise Wrong("nearly, for fast frames; for slow ones that goes beyond 1: 1 / (1 + tau / seconds)")
        if not same(given, right):
            raise Wrong(f"cutoff {cutoff} Hz, {seconds:.3f} s: got {given:.4f}, expected {right:.4f}")
    return "right: a higher cutoff, or more time between frames, trusts the new value more"


@exercise
def openness(answer) -> str:
    """Exercise 6.3: the eye aspect ratio of six points."""
    eye = np.array([[0, 0], [10, -4.2], [21, -5], [30, 1], [20, 5], [9, 4.0]]) + 50
    width = np.linalg.norm(eye[0] - eye[3])
    lids = [np.linalg.norm(eye[1] - eye[5]), np.linalg.norm(eye[2] - eye[4])]
    right = sum(lids) / (2 * width)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    given = float(ask(answer, eye))
    if same(given, 2 * right):
        raise Wrong("two lid distances are added: divide by two widths, for their mean")
    if same(given, 1 / right):
        raise Wrong("that is width by height; an open eye should give the larger number")
    if same(given, sum(lids) / 2):
        raise Wrong("these are pixels: nearer faces would have wider eyes; divide by the eye's width")
    if same(given, (np.linalg.norm(eye[1] - eye[4]) + np.linalg.norm(eye[2] - eye[5])) / (2 * width)):
        raise Wrong("crossed: above each other stand points 1 and 5, and points 2 and 4")
    if not same(given, right) and same(given, (abs(eye[1] - eye[5])[1] + abs(eye[2] - eye[4])[1]) / (2 * width), 0.02):
        raise Wrong("heights in y are wrong for a tilted head: take distances")
    if not same(given, right):
        raise Wrong(f"got {given:.4f}, expected {right:.4f}: (|p1 - p5| + |p2 - p4|) / (2 |p0 - p3|)")
    if not same(float(ask(answer, 3 * eye @ turn.T)), right):
        raise Wrong("right here, but not for a larger, tilted eye: use distances only")
    return "right: the same for near, far and tilted heads"


@exercise
def blinks(answer) -> str:
    """Exercise 6.4: how often an openness falls below `closed` after it was above `opened`."""

    def ask_with(values: list[float]) -> int:
        return int(ask(answer, np.array(values), 0.1, 0.2))

    plain = [0.3, 0.3, 0.05, 0.3, 0.3, 0.04, 0.05, 0.3]
    given = ask_with(plain)
    if given == 3:
        raise Wrong("that counts frames with closed eyes; a blink of two frames is one blink")
    if given != 2:
        raise Wrong(f"two blinks, the second two frames long: you count {given}")
    trembling = [0.3, 0.11, 0.09, 0.11, 0.09, 0.3]
    if ask_with(trembling) != 1:
        raise Wrong("a value that trembles about one threshold is one blink: only after `opened` may the next begin")
    if ask_with([0.05, 0.05, 0.3]) != 0:
        raise Wrong("a video that begins with closed eyes: no blink was seen to begin")
    if ask_with([0.3, 0.15, 0.3]) != 0:
        raise Wrong("half closed is no blink: it has to fall below `closed`")
    return "right: two thresholds, so that noise at one of them counts nothing twice"
