"""Smooth curves through points, and smooth fields between them, as matrices that the points are multiplied with."""

from functools import cache

import numpy as np


@cache
def spline(n: int, per_segment: int, closed: bool = False) -> np.ndarray:
    """The matrix (m, n) that makes a smooth curve (m, 2 or 3) through n points (Catmull-Rom), open or closed."""
    segments = n if closed else n - 1
    t = np.arange(per_segment) / per_segment
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]) / 2
    rows = np.zeros((segments * per_segment + (not closed), n))
    for segment in range(segments):
        block = rows[segment * per_segment : (segment + 1) * per_segment]
        for k in range(4):
            index = segment + k - 1
            if closed or 0 <= index < n:
                block[:, index % n] += weights[k]
            else:  # beyond an end the curve goes straight on: p[-1] = 2 p[0] - p[1]
                end, next_to = (0, 1) if index < 0 else (n - 1, n - 2)
                block[:, end] += 2 * weights[k]
                block[:, next_to] -= weights[k]
    if not closed:
        rows[-1, -1] = 1
    return rows


def _thin_plate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    return 0.5 * squared * np.log(squared + 1e-9)


def interpolation(places: np.ndarray, centres: np.ndarray, stiffness: float) -> np.ndarray:
    """The matrix (places, centres) of smooth thin-plate interpolation in the plane; `stiffness` 0 is exact."""
    n = len(centres)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _thin_plate(centres, centres) + stiffness * np.eye(n)
    system[:n, n], system[:n, n + 1 :] = 1, centres
    system[n:, :n] = system[:n, n:].T
    basis = np.column_stack([_thin_plate(places, centres), np.ones(len(places)), places])
    return basis @ np.linalg.inv(system)[:, :n]
