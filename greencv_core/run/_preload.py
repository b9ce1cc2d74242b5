"""What the fork server loads once, so that each run's fresh process starts in a moment.

CodeCarbon looks at the hardware for some seconds when it first meters; it keeps what it found for
the process and its children.
"""

import contextlib

import greencv_core.run.probe  # noqa: F401
from greencv_core.metering.codecarbon import new_tracker

# Whatever goes wrong here goes wrong again, and is told, where a run meters; here it would end the
# fork server without a word.
with contextlib.suppress(Exception):
    new_tracker().get_detected_hardware()
