"""What one tool costs, on one simulated GPU. Started by ``metering_overhead.py``.

Reads a JSON task from the command line, prints a JSON answer.
"""

import search_path  # noqa: F401

# isort: split
import json
import sys
import time

import numpy as np
import psutil

from benchmarks.meters import TOOLS, answering

WINDOWS = 12
IDLE_S = 8.0
EPOCH_S = 2.0
BETWEEN_EPOCHS_S = 0.25
ENOUGH = 100  # pairs before the interval is computed
BATCH, PIXELS = 16, 64
BETWEEN_S = 0.3  # between windows: what a meter still reads after one must not fall into the next


def main():
    task = json.loads(sys.argv[1])
    with answering() as answer:
        started_s = time.perf_counter()
        tool = TOOLS[task["tool"]]()
        result = {"construction_ms": 1e3 * (time.perf_counter() - started_s)}
        try:
            result |= {"cpu_ms_per_s": cpu(tool), **latency(tool)}
            if task["pairs"]:
                result["ratios"] = slowdown(tool, task["pairs"], task["interval"])
        except Exception as error:
            result["problem"] = f"{type(error).__name__}: {error}"[:200]
        answer(json.dumps(result))


def cpu_s():
    """Return the processor time of this process and of all that it started."""
    this = psutil.Process()
    times = [p.cpu_times() for p in [this, *this.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def cpu(tool):
    """Return the processor time that a second of metering costs, in ms, its reading included."""
    tool.start()
    tool.stop()
    tool.energy_j()  # what is loaded once is no cost of a second
    time.sleep(BETWEEN_S)
    tool.start()
    started_s = cpu_s()
    time.sleep(IDLE_S)
    tool.stop()
    tool.energy_j()
    spent_s = cpu_s() - started_s
    return 1e3 * spent_s / IDLE_S


def latency(tool):
    """Return the time to open and close a window, without its reading."""
    starts_s, stops_s = [], []
    for _ in range(WINDOWS):
        time.sleep(BETWEEN_S)
        started_s = time.perf_counter()
        tool.start()
        starts_s.append(time.perf_counter() - started_s)
        time.sleep(0.2)
        started_s = time.perf_counter()
        tool.stop()
        stops_s.append(time.perf_counter() - started_s)
    both = 1e3 * (np.array(starts_s) + np.array(stops_s))
    return {
        "start_ms": 1e3 * float(np.median(starts_s)),
        "stop_ms": 1e3 * float(np.median(stops_s)),
        "start_stop_ms": float(np.median(both)),
        "start_stop_ms_max": float(both.max()),
    }


def slowdown(tool, pairs, wanted):
    """Return metered over unmetered throughput of pairs of epochs, one right after the other.

    The speed of a shared machine drifts by a tenth within seconds: the two of a pair must be close.
    What a meter still reads after its window falls into training that is not timed and keeps the
    processors as they are. Goes on until the median's 95 % interval is as narrow as wanted, or the
    pairs are made.
    """
    epoch, between = training()
    ratios = []
    while len(ratios) < pairs:
        between()
        started_s = time.perf_counter()
        epoch()
        unmetered_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        tool.start()
        epoch()
        tool.stop()
        ratios.append(unmetered_s / (time.perf_counter() - started_s))
        if len(ratios) >= ENOUGH:
            low, high = median_interval(ratios)
            if high - low <= wanted:
                break
    return ratios


def training():
    """Return an epoch of training resnet18, of about :data:`EPOCH_S`, and a shorter one."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.randn(BATCH, 3, PIXELS, PIXELS), torch.randint(10, (BATCH,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    for _ in range(3):
        step()
    started_s = time.perf_counter()
    for _ in range(5):
        step()
    step_s = (time.perf_counter() - started_s) / 5

    def of(seconds):
        steps = max(1, round(seconds / step_s))
        return lambda: [step() for _ in range(steps)]

    return of(EPOCH_S), of(BETWEEN_EPOCHS_S)


def median_interval(values):
    """Return the 95 % interval of a median, by order statistics (binomial)."""
    from scipy.stats import binom

    ordered = sorted(values)
    lowest = int(binom.ppf(0.025, len(ordered), 0.5))
    return ordered[max(0, lowest - 1)], ordered[min(len(ordered) - 1, len(ordered) - lowest)]


if __name__ == "__main__":
    main()
