"""Training an image classifier by a study's protocol; independent of meters."""

from greencv_core.training.history import EndedBy, Epoch, History, Stop
from greencv_core.training.loop import PhaseHook, train, warm_up
from greencv_core.training.metrics import EVALUATION_BATCH, Correctness, evaluate, predict
from greencv_core.training.precision import memory_format
from greencv_core.training.stage import training_step

__all__ = [
    "EVALUATION_BATCH",
    "Correctness",
    "EndedBy",
    "Epoch",
    "History",
    "PhaseHook",
    "Stop",
    "evaluate",
    "memory_format",
    "predict",
    "train",
    "training_step",
    "warm_up",
]
