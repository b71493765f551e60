"""Where images come from: real sets, drawn stand-ins, and the augmentation that varies them (training wing)."""
