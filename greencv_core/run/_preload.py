"""What the fork server loads once, so that the process of each run starts at once.

CodeCarbon examines the hardware for seconds when it first meters; its findings stay valid in the
process and its children.
"""

import contextlib
import pickle
import sys
from types import TracebackType

import greencv_core.run.probe  # noqa: F401
from greencv_core.metering.sources.codecarbon import find_hardware

DRIVER_IS_GONE = (EOFError, ConnectionError, pickle.UnpicklingError)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # A driver that was ended while it asked for a process has its reason; there is none to add.
    if not issubclass(kind, DRIVER_IS_GONE):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report

# An error occurs again, and is reported, when a run meters; here it would end the fork server.
with contextlib.suppress(Exception):
    find_hardware()
