"""What the fork server loads once, so that the process of each run starts at once.

CodeCarbon examines the hardware for seconds when it first meters; its findings stay valid in the
process and its children.
"""

import contextlib

import greencv_core.run.probe  # noqa: F401
from greencv_core.metering.sources.codecarbon import find_hardware

# An error occurs again, and is reported, when a run meters; here it would end the fork server.
with contextlib.suppress(Exception):
    find_hardware()
