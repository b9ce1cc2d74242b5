"""Training an image classifier by a study's protocol; independent of meters."""

from greencv_core.training.history import Epoch, History, Stop
from greencv_core.training.loop import train, warm_up
from greencv_core.training.metrics import EVALUATION_BATCH, evaluate, predict
from greencv_core.training.precision import memory_format
from greencv_core.training.stage import training_step

__all__ = [
    "EVALUATION_BATCH",
    "Epoch",
    "History",
    "Stop",
    "evaluate",
    "memory_format",
    "predict",
    "train",
    "training_step",
    "warm_up",
]
