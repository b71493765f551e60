"""`open_detector`, the door to the face detectors: the course's own, which is the default, and OpenCV's by name."""

from flcourse.errors import CourseError
from flcourse.face.course_detector import CourseDetector
from flcourse.face.detections import Detector
from flcourse.face.detector_files import YUNET, read_model
from flcourse.face.opencv_detectors import HaarDetector, SsdDetector, YuNetDetector

DETECTORS = ("course", "drawn", "yunet", "ssd", "haar")


def open_detector(name: str = "auto", threshold: float | None = None) -> Detector:
    """A detector by name, one of `DETECTORS`; "auto" is "course".

    "course" and "drawn", which was trained on drawn faces alone, come with the package. The model files of "yunet" and
    "ssd" are found in the data folders' `models/`, else fetched. `threshold` is the least score kept, 0..1, by default
    the detector's own. Raises `CourseError` for an unknown name, a threshold out of bounds, and files that cannot be
    had or are damaged.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise CourseError(f"threshold={threshold}: expected a number from 0 to 1")
    if name in ("auto", "course"):
        return CourseDetector(threshold)
    if name == "drawn":
        return CourseDetector(threshold, weights="detector_drawn")
    if name == "yunet":
        return YuNetDetector(read_model(YUNET), threshold)
    if name == "ssd":
        return SsdDetector(threshold)
    if name == "haar":
        return HaarDetector(threshold)
    raise CourseError(f"{name}: unknown face detector, expected auto, {', '.join(DETECTORS)}")
