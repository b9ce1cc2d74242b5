"""What happens in a window: settings of the simulated GPU change, or the process is held up."""

import ctypes
import os
import subprocess
import threading
import time


def schedule(changes):
    """Change environment variables some seconds from now; those that become None go."""
    for after_s, settings in changes:
        timer = threading.Timer(after_s, _change, [settings])
        timer.daemon = True
        timer.start()


def _change(settings):
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _hold_the_gil(length_s):
    """Sleep with the interpreter's lock held in the middle of the time, as a bad extension does."""
    time.sleep(length_s / 4)
    ctypes.PyDLL(None).usleep(int(1e6 * length_s / 2))
    time.sleep(length_s / 4)


def _be_stopped(length_s):
    """Have this process stopped for half of the time."""
    script = f"sleep {length_s / 4}; kill -STOP $0; sleep {length_s / 2}; kill -CONT $0"
    stopper = subprocess.Popen(["sh", "-c", script, str(os.getpid())])
    time.sleep(length_s)
    stopper.wait()


WORK = {"sleep": time.sleep, "hold the GIL": _hold_the_gil, "be stopped": _be_stopped}
