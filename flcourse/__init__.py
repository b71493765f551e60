"""flcourse: from a NumPy network on MNIST to your own 68-point face-landmark network, live on your webcam.

This is the public door: what a program that finds landmarks needs. Below it, `points`, `images`, `metrics`, `files` and
`download` carry two wings: `data` and `training` (PyTorch), and `face` (OpenCV and ONNX Runtime, no PyTorch). `show`
draws figures and widgets, `exercises` checks the notebooks' answers, `apps` is the command line and the programs.
"""

import importlib
import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# ONNX Runtime's wheels (1.32 on Linux, too) report their use to Microsoft and keep a device ID in the home folder. What
# this package does with images is nobody else's business. Read when onnxruntime is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# GNU OpenMP (PyTorch's threads on Linux) waits by spinning, by its own choice so long that with anything else on the
# CPUs a thread spins away the time of the one it waits for: `DigitCNN`, batches of 128, two threads beside two busy
# programs 280 ms a step, and 75 with this number; idle 12 and 14, where 1,000 spins leave 20. Read when torch is first
# imported; workers and torchrun's processes inherit it. See `training.threads` for what a short spin cannot mend.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "20000"

if TYPE_CHECKING:
    from flcourse.face.draw import draw_faces
    from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
    from flcourse.face.track import FaceTracker
    from flcourse.images import read_image, write_image

_HOMES = {  # public name -> the module that has it, imported at the first use: `import flcourse` stays instant
    "FaceLandmarker": "flcourse.face.landmarker",
    "FaceLandmarks": "flcourse.face.landmarker",
    "FaceTracker": "flcourse.face.track",
    "draw_faces": "flcourse.face.draw",
    "read_image": "flcourse.images",
    "write_image": "flcourse.images",
}
__all__ = ["FaceLandmarker", "FaceLandmarks", "FaceTracker", "__version__", "draw_faces", "read_image", "write_image"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
