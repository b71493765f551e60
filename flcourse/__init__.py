"""flcourse: from a NumPy network on MNIST to your own 68-point face-landmark network, live on your webcam.

`points`, `metrics`, `pictures` and `files` carry everything. To train: `data`, `nets`, `train`, `recipes` (PyTorch). To
use: `face` (OpenCV and ONNX Runtime, no PyTorch). `show` draws figures and widgets, `apps` is the command line and the
programs.
"""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheels (1.32 on Linux, too) report their use to Microsoft and keep a device ID in the home folder. What
# this package does with pictures is nobody else's business. Read when onnxruntime is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
