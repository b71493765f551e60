"""Points smoothed over time: the One-Euro filter, and its use on a face, motion apart from shape (NumPy only)."""

import numpy as np

Value = np.ndarray | np.number  # what is smoothed: one number or an array of them, real or complex


class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) for a number or an array, real or complex.

    A first-order low-pass whose cutoff rises with speed: `least` Hz at rest, `beta` Hz more for each unit a second. The
    speed is that of the low-passed derivative (at `speed_cutoff` Hz), for a complex number its modulus.

    One thread at a time; can be pickled and copied, state and all.
    """

    def __init__(self, least: float, beta: float, speed_cutoff: float) -> None:
        self.least, self.beta, self.speed_cutoff = least, beta, speed_cutoff
        self.value: Value | None = None
        self._last: Value | None = None
        self._speed = 0.0

    def __call__(self, value: Value, seconds: float, unit: float = 1.0) -> Value:
        """The smoothed value, `seconds` after the last; speeds count in `unit`s a second."""
        smooth, last, self._last = self.value, self._last, value
        if smooth is None or last is None:
            self.value = value
            return value
        change = (value - last) / (seconds * unit)
        self._speed = self._speed + _share(self.speed_cutoff, seconds) * (change - self._speed)
        cutoff = self.least + self.beta * np.abs(self._speed)
        self.value = smooth = smooth + _share(cutoff, seconds) * (value - smooth)
        return smooth


def _share(cutoff: np.ndarray | float, seconds: float) -> np.ndarray | float:
    """How far a first-order low-pass of `cutoff` Hz goes towards its input in one step of `seconds`."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))


class FaceSmoother:
    """Smooths 68 points: where the face is, how large and how turned, apart from its shape.

    68 points together tell the face's motion far better than each its own place. So the motion is let through almost
    as it comes, without lag, and the shape, which trembles more and moves less, is smoothed strongly even while the
    head moves. Both in the face's own scale, so that a near face is smoothed like a far one. A point is the complex
    number x + iy: a similarity transform is then a factor (size and turn) and a sum (place).

    One thread at a time; can be pickled and copied, state and all.
    """

    # Least cutoff (Hz), its rise (Hz for each face size a second, where a size is the points' root-mean-square distance
    # from their middle, about 0.7 eye distances), the speed's own cutoff (Hz). Chosen on `data/videos.py`: noise of
    # sigma 4 then moves the points of a still face by 0.04 % of the eye distance from frame to frame instead of 0.20 %,
    # the lag is 0.06 frames, and 0.84 of a blink three frames short is left; 0.93 of it would cost a third more jitter.
    PLACE, TURN, SHAPE = (1.0, 25.0, 5.0), (1.0, 20.0, 4.0), (1.0, 12.0, 4.0)

    def __init__(self) -> None:
        self._place, self._turn, self._shape = OneEuro(*self.PLACE), OneEuro(*self.TURN), OneEuro(*self.SHAPE)

    def __call__(self, points: np.ndarray, seconds: float) -> np.ndarray:
        """The points (68, 2) of the next frame, `seconds` after the last, smoothed."""
        flat = np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]  # (68,)
        place = flat.mean()
        centred = flat - place
        shape = self._shape.value
        if shape is None:
            shape = centred / np.sqrt(np.mean(np.abs(centred) ** 2))
        turn = np.vdot(shape, centred) / np.vdot(shape, shape).real  # least squares: size and turn
        size = float(np.abs(turn))
        shape = self._shape(centred / turn, seconds)
        smooth = np.asarray(self._place(place, seconds, size) + self._turn(turn, seconds, size) * shape)
        return smooth[:, None].view(np.float64).astype(np.float32)
