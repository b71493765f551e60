"""What live widgets share: an image that changes often, the last frame, and how images travel to the browser."""

import math
import time

import anywidget
import cv2
import numpy as np
import traitlets

from flcourse.face.live import LiveLoop
from flcourse.face.track import TrackedFace
from flcourse.images import shrink
from flcourse.show.assets import script, style
from flcourse.show.notes import Noted

SHOWN = 640  # px, the longer side of what is sent to the browser: a frame is 30 to 50 KB
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 75]
SECOND = 1.0  # s


def to_jpeg(image: np.ndarray) -> bytes:
    """An (H, W, 3) uint8 RGB image as JPEG for the browser, its longer side at most 640 px."""
    image, _, _ = shrink(image, SHOWN)
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), JPEG)
    if not done:
        raise ValueError(f"image: {image.dtype} {image.shape}, not encoded as JPEG")
    return jpeg.tobytes()


class LiveImage(Noted, anywidget.AnyWidget):
    """An image that changes often: the next is sent when the last was shown, so that a slow connection lags by one."""

    _esm = script("live_image.js")
    _css = style("kernel_note.css")

    jpeg = traitlets.Bytes(b"").tag(sync=True)
    label = traitlets.Unicode("", help="for those who do not see it").tag(sync=True)

    def __init__(self, label: str) -> None:
        super().__init__(label=label)
        self._sent = -math.inf  # when the one was sent that no browser has shown yet
        self.on_msg(self._seen)

    def _seen(self, *_) -> None:
        self._sent = -math.inf

    @property
    def free(self) -> bool:
        """Whether an image would be shown now; after a second without an answer, whether anyone looks at all."""
        return time.monotonic() - self._sent > SECOND

    def show(self, image: np.ndarray) -> None:
        """Send an (H, W, 3) uint8 RGB image."""
        self._sent = time.monotonic()
        self.jpeg = to_jpeg(image)


class LastFrame:
    """What widgets that look at frames keep of the last one."""

    _loop: LiveLoop

    @property
    def frame(self) -> np.ndarray | None:
        """The last frame as it was looked at, (H, W, 3) uint8 RGB; None before the first."""
        return self._loop.frame

    @property
    def image(self) -> np.ndarray | None:
        """The last frame with what was drawn on it, (H, W, 3) uint8 RGB; None before the first."""
        return self._loop.image

    @property
    def faces(self) -> list[TrackedFace]:
        """What was found in the last frame."""
        return self._loop.faces
