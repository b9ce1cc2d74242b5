"""Processes and files of a study that is executed under kills."""

import contextlib
import json
import sys
import time
from pathlib import Path

import psutil

DRIVER, WORKER, TRAINING = "driver", "worker", "training"
TICK_S = 0.1
READY_S, GRACE_S = 60.0, 20.0  # for a cluster to be there, and for processes to be gone


def processes_in(folder):
    """Return the living processes that were started with their temporary folder in this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            own = process.environ().get("TMPDIR", "")
            if Path(own).is_relative_to(folder) and alive(process):
                found.append(process)
    return found


def children(pid, recursive=False):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=recursive)
    return []


def command_of(process):
    with contextlib.suppress(psutil.Error, AttributeError):
        return " ".join(process.cmdline())
    return ""


def kind_of(process):
    """Return what a process of greencv is there for."""
    if "multiprocessing.forkserver" in command_of(process):
        with contextlib.suppress(psutil.Error):
            forked = "multiprocessing.forkserver" in command_of(process.parent())
            return TRAINING if forked else "fork server"
    return "other"


def describe(process):
    with contextlib.suppress(psutil.Error):
        return f"{process.pid}, child of {process.ppid()}: {command_of(process)}"
    return f"{process.pid}, gone meanwhile"


def alive(process):
    """Return whether a process runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def run_id_in(path):
    try:
        return json.loads(path.read_bytes())["run_id"]
    except (ValueError, LookupError, TypeError):
        return None


def address_in(file):
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(file.read_text())["address"]
    return None


def until(there, what):
    """Wait for what a function returns, until that is something."""
    end_s = time.monotonic() + READY_S
    while not (found := there()):
        if time.monotonic() > end_s:
            sys.exit(f"error: {what}: not there after {READY_S:g} s")
        time.sleep(TICK_S)
    return found
