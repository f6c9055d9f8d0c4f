"""What the chapters of the book share: parameters, comparisons, figures and sliders. They import, show and explain."""

from ncamlib.chapters.parameters import check_parameters

__all__ = ["check_parameters"]
