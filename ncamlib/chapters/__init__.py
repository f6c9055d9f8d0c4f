"""What the chapters of the book share: parameters, comparisons, figures and sliders. They import, show and explain."""

import warnings

from ncamlib.chapters.parameters import check_parameters
from ncamlib.errors import SlowRollouts

__all__ = ["check_parameters"]

# A page shows the same whoever computed it; the chapter on performance says by which backend.
warnings.filterwarnings("ignore", category=SlowRollouts)
