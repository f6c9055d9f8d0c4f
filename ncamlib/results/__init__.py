"""What is measured and recorded: errors, their yardstick, the records, and the tables made of them.

`reproduce` trains and measures whole experiments, `trials` single settings.
"""

from ncamlib.results import pca
from ncamlib.results.measurement import TEST_MUTATION, Measurement, measure, reconstruct
from ncamlib.results.store import BEST, TABLE, Result, load, measure_all

__all__ = [
    "BEST",
    "TABLE",
    "TEST_MUTATION",
    "Measurement",
    "Result",
    "load",
    "measure",
    "measure_all",
    "pca",
    "reconstruct",
]
