"""One tool on one simulated GPU: windows in, joules and truth out. Started by the benchmarks.

Reads a JSON task from the command line, prints "ready", waits for a line, prints a JSON answer.
"""

import search_path  # noqa: F401

# isort: split
import json
import random
import sys
import time

from benchmarks.meters import TOOLS, answering
from tests.support.disturbances import WORK, schedule
from tests.support.simulated_gpu import Waveform


def main():
    task = json.loads(sys.argv[1])
    waveform = Waveform(tuple(map(tuple, task["points"])), task["origin_s"])
    chance = random.Random(task["seed"])
    with answering() as answer:
        tool = TOOLS[task["tool"]]()
        answer("ready")
        sys.stdin.readline()
        windows = [window(tool, task, waveform, length, chance) for length in task["lengths_s"]]
        answer(json.dumps(windows))


def window(tool, task, waveform, length_s, chance):
    time.sleep(chance.uniform(0, 0.3))  # a random phase
    schedule(task["changes"])
    result = {"length_s": length_s}
    start_s = time.monotonic()
    try:
        tool.start()
        start_s = time.monotonic()
        WORK[task["work"]](length_s)
        end_s = time.monotonic()
        tool.stop()
        result["energy_j"] = tool.energy_j()
        if task["tool"] == "greencv":
            reading = tool.reading()
            result["problems"] = reading.problems
            if reading.gpu is not None:
                result |= {
                    "uncertainty_j": reading.gpu.uncertainty_j,
                    "provenance": reading.gpu.provenance,
                    "source": reading.gpu.source,
                }
    except Exception as error:  # how a peer fails is part of the answer
        end_s = start_s + length_s
        result |= {"energy_j": None, "problems": [f"{type(error).__name__}: {error}"[:200]]}
    result |= {"start_s": start_s, "end_s": end_s, "true_j": waveform.energy_j(start_s, end_s)}
    return result


if __name__ == "__main__":
    main()
