"""flcourse: from a NumPy network on MNIST to your own 68-point face-landmark network, live on your webcam.

`points`, `metrics`, `pictures` and `files` carry everything. To train: `data`, `nets`, `train`, `recipes` (PyTorch). To
use: `face` (OpenCV and ONNX Runtime, no PyTorch). `show` draws figures and widgets, `apps` is the command line and the
programs.
"""

__version__ = "0.1.0"
