"""What the chapters of the book share: parameters, comparisons, figures and sliders. They import, show and explain."""

import warnings

from ncamlib.chapters.parameters import Several, check_parameters, load_manifold
from ncamlib.errors import SlowRollouts

__all__ = ["Several", "check_parameters", "load_manifold"]

# A page shows the same results with every backend; the chapter on performance says which one was used.
warnings.filterwarnings("ignore", category=SlowRollouts)
