"""What is measured and recorded: errors, their linear baseline, the records, and the tables made from them.

`reproduce` trains and measures whole experiments, `trials` single settings.
"""

from ncamlib.results import pca
from ncamlib.results.measurement import (
    BEST,
    TABLE,
    TEST_MUTATION,
    Measurement,
    Result,
    felt_far_away,
    measure,
    measure_all,
    reconstruct,
)
from ncamlib.results.store import load

__all__ = [
    "BEST",
    "TABLE",
    "TEST_MUTATION",
    "Measurement",
    "Result",
    "felt_far_away",
    "load",
    "measure",
    "measure_all",
    "pca",
    "reconstruct",
]
