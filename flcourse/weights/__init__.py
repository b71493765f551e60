"""The trained weights that come with the package; MODEL_CARD.md beside them says what they are and may be used for."""
