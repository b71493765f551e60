"""Networks, losses, settings, the loop and its session, recipes, checkpoints, calibration, export (needs PyTorch)."""
