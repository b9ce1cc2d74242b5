"""A whole study on a simulated GPU: the real command, interrupted, resumed, and with a lost GPU."""

import contextlib
import json
import shutil
import signal
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from greencv_core import runs_table
from greencv_core.records.store import Store
from tests.conftest import GREENCV, greencv, started, until
from tests.run.conftest import POWER_W, REFRESH_S, waits
from tests.support.simulated_gpu import UUID

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("card")]

RUNS = 4
STUDY = """
name: one-card
dataset: {name: digits, image_size: 32, train_images: 256, validation_images: 100}
architectures: [shufflenet_v2_x0_5]
environments:
  - {name: fp32, device: cuda, threads: 1}
  - {name: tf32, device: cuda, threads: 1, precision: tf32}
  - {name: bf16, device: cuda, threads: 1, precision: bf16, memory_format: channels_last}
  - {name: bf16-batch-64, device: cuda, threads: 1, precision: bf16, batch_size: 64}
protocol: {epochs: 2, batch_size: 32, learning_rate: 0.002, repetitions: 1, idle_s: 0.5,
           quiet_wait_s: 0, again_if_disturbed: 0}
carbon: {country: ESP}
analysis: {correctness_margin: 0.02}
"""
OUTSIDE = 1 << 22
"""Added to processes' ids, it makes ids that this system gives to none."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def pieces(card, study, tmp_path_factory):
    """Return a study that was interrupted, and resumed in a copy of its store."""
    part, whole = (tmp_path_factory.mktemp(name) for name in ("part", "whole"))
    interrupted = out_of_time("run", study, "--store", part, when=lambda: len(files(part)) >= 2)
    shutil.copytree(part, whole, dirs_exist_ok=True)
    finished = files(whole)
    # As in a container, whose processes NVML lists under ids from outside.
    resumed = greencv("run", study, "--store", whole, STAND_IN_OUTSIDE=str(OUTSIDE))
    return SimpleNamespace(
        part=part, whole=whole, finished=finished, interrupted=interrupted, resumed=resumed
    )


@pytest.fixture(scope="module")
def records(pieces):
    assert pieces.resumed.returncode == 0, pieces.resumed.stderr
    return list(Store(pieces.whole).records())


def out_of_time(*arguments, when):
    """Run the command under ``timeout``, whose time is over as soon as ``when()``.

    It interrupts the command and then its whole group, so that the command hears of it twice.
    """
    process = started("timeout", "--signal=INT", "--preserve-status", 600, GREENCV, *arguments)
    until(when)
    process.send_signal(signal.SIGALRM)
    _, errors = process.communicate(timeout=60)
    return SimpleNamespace(returncode=process.returncode, stderr=errors)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.json")}


def waits_of(record, card):
    """Return the waits of the process of a run, and their largest distance from its edges."""
    ends = np.diff([*(phase.end_s for phase in record.phases), record.duration_s])
    found = []
    for logged in waits(card).values():
        if len(logged) == 2 * len(record.phases) + 2:  # both edges of each phase and of the run
            times = [one["time_s"] for one in logged]
            off_s = np.abs(np.diff([*times[2:-1:2], times[-1]]) - ends).max()
            found.append((off_s, logged))
    return min(found, key=lambda pair: pair[0])


def test_doctor_names_the_gpu_and_its_meter():
    done = greencv("doctor", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    [card] = answer["machine"]["accelerators"]
    assert (card["device"], card["name"], card["uuid"]) == ("cuda:0", "Stand-in", UUID)
    assert card["unmetered"] == ""
    [gpu] = [meter for meter in answer["meters"] if meter["component"] == "gpu"]
    assert gpu["provenance"] == "measured"
    assert gpu["source"] == "NVML energy counter (Stand-in)"
    assert gpu["resolution_s"] == pytest.approx(0.1, abs=0.01)
    assert answer["problems"] == []


def test_a_plan_estimates_the_unfinished_runs(pieces, study):
    done = greencv("plan", study, "--store", pieces.part, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer["runs"]) == RUNS
    assert sum(run["finished"] for run in answer["runs"]) == len(pieces.finished)
    assert answer["left_out"] == []
    assert answer["not_timed"] == {}
    assert all(run["expected_energy_j"] > 0 for run in answer["runs"])


def test_an_interrupted_study_keeps_its_finished_runs(pieces):
    assert pieces.interrupted.returncode == 130, pieces.interrupted.stderr
    assert pieces.interrupted.stderr.splitlines()[-1].startswith(
        "Interrupted. Finished runs are kept"
    )
    assert "Traceback" not in pieces.interrupted.stderr
    assert 2 <= len(pieces.finished) < RUNS


def test_an_interrupt_that_comes_twice_is_one(study, tmp_path):
    process = started(GREENCV, "run", study, "--store", tmp_path)
    # The fork server takes seconds to load torch, and the first process is waited for meanwhile.
    until(lambda: serves(process.pid))
    for _ in range(2):  # as of `timeout`, whose second one may come late on a busy computer
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("Interrupted. Finished runs are kept")
    assert "Traceback" not in errors


def serves(pid):
    """Return whether a process has a fork server."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            # A short command, such as git, may end meanwhile, or wait to be waited for (a zombie).
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(" ".join(child.cmdline()))
    return any("forkserver" in command for command in found)


def test_the_same_command_trains_only_what_is_missing(pieces, records):
    after = files(pieces.whole)
    assert {name: after[name] for name in pieces.finished} == pieces.finished
    lines = [line for line in pieces.resumed.stderr.splitlines() if line.startswith("[")]
    assert len(lines) == RUNS - len(pieces.finished)
    assert f"All {RUNS} runs of study one-card are finished." in pieces.resumed.stderr
    assert {record.status for record in records} == {"finished"}
    cells = Counter((r.architecture, r.environment["name"], r.repetition) for r in records)
    assert len(cells) == RUNS
    assert set(cells.values()) == {1}


def test_the_cards_energy_is_measured_and_right_and_its_trace_shows_the_power(records):
    for record in records:
        gpu = record.total.components["gpu"]
        assert gpu.provenance == "measured"
        assert gpu.energy_j == pytest.approx(POWER_W * record.duration_s, rel=0.03)
        assert record.complete
        assert record.idle_power_w["gpu"] == pytest.approx(POWER_W, rel=0.03)
        [compared] = [c for c in record.comparisons if c.component == "gpu"]
        assert (compared.first.provenance, compared.second.provenance) == ("measured", "sampled")
        assert compared.first.energy_j == pytest.approx(compared.second.energy_j, rel=0.03)
        for phase in record.phases:
            part = phase.components["gpu"]
            off_j = part.energy_j - POWER_W * (phase.end_s - phase.start_s)
            assert abs(off_j) < 4 * part.uncertainty_j
        trace = record.trace
        # At most a point for each refresh; a busy machine misses some.
        assert 1 <= len(trace.time_s["gpu"]) <= 1.1 * record.duration_s / REFRESH_S + 1
        assert trace.time_s["gpu"][-1] == pytest.approx(record.duration_s, abs=0.001)
        assert np.mean(trace.power_w["gpu"]) == pytest.approx(POWER_W, rel=0.03)


def test_a_record_and_the_runs_table_describe_the_gpu(records):
    for record in records:
        assert record.environment["device"] == "cuda:0"
        assert record.accelerator == record.device_name == "Stand-in"
        assert record.machine["accelerators"][0]["uuid"] == UUID
        assert record.gpu == {
            "utilization_pct": 80,
            "memory_used_bytes": 4 << 30,
            "temperature_c": 55,
            "sm_clock_mhz": 1500,
            "memory_clock_mhz": 5000,
            "power_limit_w": 350,
        }
    runs = runs_table(records)
    assert set(runs["device_utilization_pct"]) == {80}
    assert set(runs["power_limit_w"]) == {350}
    assert set(runs["gpu_provenance"]) == {"measured"}
    assert set(zip(runs["environment"], runs["batch_size"], strict=True)) == {
        ("fp32", 32), ("tf32", 32), ("bf16", 32), ("bf16-batch-64", 64)
    }  # fmt: skip
    # The processor's energy is known from a model alone, where there is no counter of it.
    weakest = {"measured"} if set(runs["cpu_provenance"]) == {"measured"} else {"estimated"}
    assert set(runs["provenance"]) == weakest


def test_our_own_processes_do_not_count_as_others(pieces, records, card):
    inside = [record for record in records if f"{record.run_id}.json" in pieces.finished]
    assert inside  # listed under their own ids, and the others under ids from outside
    assert len(inside) < len(records)
    assert len(list((card / "contexts").iterdir())) > RUNS
    for record in records:
        assert not any("on the GPU" in problem for problem in record.problems)


def test_each_edge_of_a_phase_waits_for_the_card_in_the_precision_that_is_named(records, card):
    for record in records:
        off_s, logged = waits_of(record, card)
        assert off_s < 0.05
        precision = record.environment["precision"]
        half = "torch.bfloat16" if precision == "bf16" else None
        assert {tuple(one["tf32"]) for one in logged} == {(precision == "tf32",) * 2}
        assert {one["half"] for one in logged} == {half}
