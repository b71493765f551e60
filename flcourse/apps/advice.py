"""What helps where no face was found: what was tried at once, and found one. Never imports torch."""

import numpy as np

from flcourse.apps.options import DETECTORS
from flcourse.apps.results import Found
from flcourse.face.detect import open_detector
from flcourse.face.detector_files import SSD_NET, SSD_WEIGHTS, YUNET
from flcourse.face.landmarker import FaceLandmarker
from flcourse.files import find_file
from flcourse.images import shrink

TRIED = 640  # px, the longer side of the copy that is tried: a second's fraction, and faces of a thirtieth are found
FILES = {"yunet": (YUNET,), "ssd": (SSD_NET, SSD_WEIGHTS)}  # what is not here is not fetched for it
TURNS = {1: "by 90 degrees to the left", 3: "by 90 degrees to the right", 2: "upside down"}  # quarters to the left


def advice(landmarker: FaceLandmarker, found: Found) -> str:
    """What helps, in words that go on after "no face found"; empty where there are faces.

    Looks at the image turned, then with the other detectors that are here.
    """
    if found.faces or landmarker.detector is None:
        return ""
    small, _, _ = shrink(found.image, TRIED)
    for quarters, how in TURNS.items():
        if faces := landmarker(np.ascontiguousarray(np.rot90(small, quarters))):
            return f", but {_count(len(faces))} in it turned {how}: turn the image"
    tried = []
    for name in DETECTORS:
        here = all(find_file(f"models/{file.name}") for file in FILES.get(name, ()))
        if name in ("auto", landmarker.detector.name) or not here:
            continue
        if faces := FaceLandmarker(landmarker.network, open_detector(name))(small):
            return f"; --detector {name} finds {_count(len(faces))}"
        tried.append(f"with --detector {name}")
    others = ", ".join(["turned", *tried])
    return f", nor {others}: a face has to be upright, seen from the front, and about a thirtieth of the image wide"


def _count(faces: int) -> str:
    return "1 face" if faces == 1 else f"{faces} faces"
