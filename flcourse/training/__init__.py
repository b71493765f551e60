"""Networks, losses, the training loop, recipes, checkpoints, calibration and export (training wing, PyTorch)."""
