"""Metering of the simulated GPU in processes of their own."""

import json
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, until
from tests.support import simulated_gpu
from tests.support.powercap import LivePowercap
from tests.support.simulated_gpu import constant


class Metering:
    """Meters windows on the simulated GPU, each task in a process of its own."""

    def __init__(self, library, folder):
        self._library, self._folder, self._tasks = library, folder, 0
        command = [sys.executable, "-m", "tests.support.metering_process"]
        environment = simulated_gpu.environment(library, constant())
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def begin(self, waveforms, lengths_s, extra=None, **settings):
        """Begin a task; return the file that will hold its answer."""
        task = {"works_on_gpu": False, "compare": False, "changes": [], "work": "sleep"}
        task = {name: settings.pop(name, usual) for name, usual in task.items()}
        environment = simulated_gpu.environment(self._library, waveforms[0], **settings)
        self._tasks += 1
        answer = self._folder / f"{self._tasks}.json"
        task |= {
            "answer": str(answer), "environment": {**environment, **(extra or {})},
            "waveforms": [w.settings() for w in waveforms], "lengths_s": lengths_s,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return answer

    def end(self, answer):
        """Wait for a task's answer and return its windows."""
        until(lambda: answer.exists() or self._process.poll() is not None)
        told = json.loads(answer.read_text())
        assert "error" not in told, told["error"]
        return told["windows"]

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def metering(library, tmp_path_factory):
    started = Metering(library, tmp_path_factory.mktemp("metering"))
    started.end(started.begin([constant()], (0.1,)))
    yield started
    started.close()


@pytest.fixture
def nvml(metering):
    """Return a function that meters windows on the simulated GPU and returns their readings."""

    def meter(waveform=None, lengths_s=(1.0,), **settings):
        return metering.end(metering.begin([waveform or constant()], lengths_s, **settings))

    return meter


@pytest.fixture
def no_rapl(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))


@pytest.fixture
def live_powercap(tmp_path, monkeypatch):
    opened = []

    def open_tree(**settings):
        opened.append(LivePowercap(tmp_path / "powercap", **settings))
        monkeypatch.setenv("GREENCV_POWERCAP", str(opened[-1].root))
        return opened[-1]

    yield open_tree
    for tree in opened:
        tree.close()


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)
