"""What the chapters of the book share: parameters, comparisons, figures and sliders. They import, show and explain."""

import warnings

from ncamlib.chapters.parameters import Several, check_parameters, load_manifold
from ncamlib.errors import SlowRollouts

__all__ = ["Several", "check_parameters", "load_manifold"]

# A page shows the same whoever computed it; the chapter on performance says by which backend.
warnings.filterwarnings("ignore", category=SlowRollouts)
