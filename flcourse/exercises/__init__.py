"""Checks of the notebooks' exercises, a module a notebook: each knows the right answer and the usual wrong ones."""
