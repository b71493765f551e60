"""From an image to points (using wing): detectors, the network in ONNX Runtime, drawing. Never imports torch."""
