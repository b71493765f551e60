"""What stands in for a tracker and for overlays where the live loop itself is tested."""

import time

import numpy as np

from flcourse.face.track import TrackedFace
from flcourse.points import Box


class Finder:
    """Stands in for a tracker: one face wherever it looks, and a list of what it was asked."""

    def __init__(self):
        self.asked, self.resets, self.slow = [], 0, 0.0

    def __call__(self, image, at):
        self.asked.append((image, at))
        time.sleep(self.slow)
        points = np.full((68, 2), 50.0, np.float32)
        return [TrackedFace(points, 0.9, Box(40, 20, 60, 60), 0.8, 1, points)]

    def reset(self):
        self.resets += 1


class Marks:
    """Opens overlays that write a number into the first pixel: how many frames this one has drawn."""

    def __init__(self):
        self.opened = []

    def __call__(self, name):
        self.opened.append(name)
        drawn = 0

        def overlay(image, faces, at):
            nonlocal drawn
            drawn += 1
            image[:8, :8] = 20 * drawn

        return overlay
