"""How a model is trained: the schedule, the processes, what makes up a run, and the loop."""

from ncamlib.training.loop import Diverged, train
from ncamlib.training.processes import InUse
from ncamlib.training.run import MODEL_FILE, TRAINING_FILE, Run, prepare

__all__ = ["MODEL_FILE", "TRAINING_FILE", "Diverged", "InUse", "Run", "prepare", "train"]
