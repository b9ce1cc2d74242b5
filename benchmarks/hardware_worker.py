"""One part of ``metering_hardware.py`` in a process of its own, which starts it.

Reads its part from the command line, prints "ready" with what it has to say of itself, then answers
each line of JSON, a task, by a line of JSON. All times are of the monotonic clock, which processes
share. Ends with its input.
"""

import search_path  # noqa: F401

# isort: split
import contextlib
import itertools
import json
import os
import sys
import time

import psutil
import pynvml

from benchmarks.meters import ON_HARDWARE, answering, leave

BATCH, SIDE, CLASSES = 256, 128, 10
AHEAD = 2  # steps that are queued on the GPU at most
SHAPES = {
    "constant": ((3.0, "training"),),
    "epochs": ((2.17, "training"), (0.73, "validation"), (0.13, "pause")),
    "bursts": ((0.365, "training"), (0.365, "pause")),
}
"""Seconds and what is done in them, over and over."""
LOOK_S = 0.001  # seconds between polls of the sensor


class Tool:
    """Meters the windows given in advance."""

    def __init__(self, name):
        self._tool = ON_HARDWARE[name]()
        self._latency_s = 0.0
        for _ in range(2):  # what is loaded once is no part of a window
            started_s = time.monotonic()
            self._tool.start()
            self._latency_s = time.monotonic() - started_s
            self._tool.stop()
            self._tool.energy_j()

    def __call__(self, task):
        return [self._window(*planned) for planned in task["windows"]]

    def _window(self, start_s, end_s):
        result = {"planned_s": [start_s, end_s]}
        # It starts earlier by as much as a start takes.
        if time.monotonic() > start_s - self._latency_s:
            return result | {"problem": "not ready for the window: the one before took too long"}
        sleep_until(start_s - self._latency_s)
        # Reading the children's time is not part of the cost.
        cpu_before_s = children_cpu_s() + time.process_time()
        try:
            self._tool.start()
            started_s = time.monotonic()
            sleep_until(end_s)
            ended_s = time.monotonic()
            self._tool.stop()
            result |= {
                "started_s": started_s,
                "ended_s": ended_s,
                "energy_j": self._tool.energy_j(),
            }
            if hasattr(self._tool, "reading") and (gpu := self._tool.reading().gpu) is not None:
                result |= vars(gpu)
        except Exception as error:  # how a tool fails is part of the answer
            result |= {"problem": f"{type(error).__name__}: {error}"[:200]}
        return result | {"cpu_s": time.process_time() + children_cpu_s() - cpu_before_s}


class Sensor:
    """Polls the counter and the instantaneous power, and records their changes."""

    def __init__(self, _):
        self._gpu = first_gpu()

    def __call__(self, task):
        reads = {"instant": self._gpu.instant_power_w}
        if self._gpu.uses_counter:
            reads["counter"] = self._gpu.read
        changes = {name: [] for name in reads}
        values = {name: read() for name, read in reads.items()}
        looks = 0
        while time.monotonic() < task["until_s"]:
            for name, read in reads.items():
                value = read()
                if value != values[name]:
                    changes[name].append([time.monotonic(), value])
                    values[name] = value
            looks += 1
            time.sleep(LOOK_S)
        return {"changes": changes, "looks": looks}


class Card:
    """Describes the card."""

    def __init__(self, _):
        self._gpu = first_gpu()
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(self._gpu.uuid)

    def __call__(self, task):
        fields = [pynvml.NVML_FI_DEV_POWER_AVERAGE]
        [average] = pynvml.nvmlDeviceGetFieldValues(self._handle, fields)
        return {
            "name": self._gpu.name,
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "power_limit_w": self._gpu.state().power_limit_w,
            "counter": self._gpu.uses_counter,
            "power_instant": self._gpu.has_instant_power,
            "power_average_field": average.nvmlReturn == pynvml.NVML_SUCCESS,
        }


class Load:
    """Trains a network on the GPU, in one of the shapes."""

    def __init__(self, _):
        import torch
        import torchvision

        self._torch = torch
        torch.backends.cudnn.benchmark = True
        # Until its first task it holds a context and does nothing.
        self._context = torch.zeros(1, device="cuda")
        torch.cuda.synchronize()
        self._new = lambda: torchvision.models.resnet50(num_classes=CLASSES)
        self._model = None

    def __call__(self, task):
        if self._model is None:
            self._set_up()
        images, steps = 0, {"training": self._train, "validation": self._validate}
        for lasts_s, what in itertools.cycle(SHAPES[task["shape"]]):
            until_s = min(time.monotonic() + lasts_s, task["until_s"])
            if until_s >= task["until_s"] and time.monotonic() >= until_s:
                return {"images": images}
            if what == "pause":
                sleep_until(until_s)
            else:
                images += self._busy(steps[what], until_s)

    def _set_up(self):
        torch = self._torch
        layout = {"device": "cuda", "memory_format": torch.channels_last}
        self._model = self._new().to(**layout)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9)
        self._images = torch.rand(BATCH, 3, SIDE, SIDE).to(**layout)
        self._labels = torch.arange(BATCH, device="cuda") % CLASSES
        for _ in range(5):
            self._train()
            self._validate()
        torch.cuda.synchronize()

    def _busy(self, step, until_s):
        """Keep some steps queued until a time, and wait for the last."""
        queued, steps = [], 0
        while time.monotonic() < until_s:
            step()
            steps += 1
            event = self._torch.cuda.Event()
            event.record()
            queued.append(event)
            if len(queued) > AHEAD:
                queued.pop(0).synchronize()
        self._torch.cuda.synchronize()
        return steps * BATCH

    def _train(self):
        torch = self._torch
        self._model.train()
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(self._model(self._images), self._labels)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _validate(self):
        torch = self._torch
        self._model.eval()
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            self._model(self._images)


def first_gpu():
    from greencv_core.metering.sources.nvml import NvmlSource, visible_gpu_uuids

    return NvmlSource(visible_gpu_uuids()[0])


def sleep_until(time_s):
    time.sleep(max(0.0, time_s - time.monotonic()))


def children_cpu_s():
    """Return the processor time of all processes that this one started and that still run."""
    total_s = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s


PARTS = {"tool": Tool, "sensor": Sensor, "card": Card, "load": Load}


def main():
    kind, name = sys.argv[1:]
    with answering() as answer:
        try:
            part = PARTS[kind](name)
        except Exception as error:
            answer(" ".join(f"{error!s:.300}".split()) or repr(error))
            leave()
        answer("ready")
        for line in sys.stdin:
            task = json.loads(line)
            os.environ.update(task.get("environment", {}))
            try:
                result = part(task)
            except Exception as error:
                result = {"problem": f"{type(error).__name__}: {error}"[:300]}
            answer(json.dumps(result))


if __name__ == "__main__":
    main()
