"""Figures and widgets: the only package code that imports matplotlib and ipywidgets."""
