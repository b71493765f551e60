"""From a picture to points: detectors, the landmark network in ONNX Runtime, drawing. Never imports torch (using wing)."""
