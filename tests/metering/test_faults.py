"""Faults of meters: each is named, or bridged within its interval; none gives a wrong figure."""

import dis
import sys
import threading
import time

import pytest

from greencv_core.metering import EnergyMeter, MeterError, meter, poller, window
from greencv_core.metering.base import RefusedReadError
from greencv_core.metering.counter import CheckedCounter, check_power_w
from greencv_core.metering.patience import in_time
from greencv_core.metering.sources import codecarbon
from tests.conftest import until
from tests.support.simulated_gpu import Waveform, constant

pytestmark = pytest.mark.realtime

POWER_W = 250.0
REFRESHED = {"refresh_s": 0.1}
NO_POWER = {"refuses_power": 999, "no_instant": 1, "refresh_s": 0.1}
NO_COUNTER = {"refresh_s": 0.1, "no_counter": 1}


def during(after_s, for_s=None, **settings):
    """Return the changes of the stand-in's settings some time after a window's start."""
    there = {f"STAND_IN_{name.upper()}": str(value) for name, value in settings.items()}
    changes = [(after_s, there)]
    if for_s is not None:
        changes.append((after_s + for_s, dict.fromkeys(there)))
    return changes


BRIDGED, UNTOUCHED, LOST = "bridged", "untouched", "lost"
NVML_UNKNOWN, NVML_NO_PERMISSION = 999, 4
FAULTS = {
    "counter restarts": (REFRESHED, during(0.8, offset_j=-1e9), BRIDGED, "fell by"),
    "counter steps back": (REFRESHED, during(0.8, offset_j=-100), BRIDGED, "fell by"),
    "counter jumps": (REFRESHED, during(0.8, offset_j=1e6), BRIDGED, "rose by 1,000,"),
    "counter restarts, no power": (NO_POWER, during(0.8, offset_j=-1e9), LOST, "was reset"),
    "counter reads 0 once": (REFRESHED, during(0.8, 0.03, offset_j=-1e10), UNTOUCHED, ""),
    "counter stops": (REFRESHED, during(0.8, stuck=1e12), LOST, ""),
    "refused for 0.15 s": (REFRESHED, during(0.8, 0.15, refuses=NVML_UNKNOWN), UNTOUCHED, ""),
    "one power refused": (
        NO_COUNTER, during(0.8, 0.02, refuses_power=NVML_UNKNOWN), UNTOUCHED, ""
    ),
    "power refused for 1 s": (
        NO_COUNTER, during(0.6, 1.0, refuses_power=NVML_UNKNOWN), BRIDGED, "no power was read"
    ),
    "power refused for good": (
        NO_COUNTER, during(0.8, refuses_power=NVML_UNKNOWN), LOST, "cannot be read"
    ),
    "power of 3.7 MW": (NO_COUNTER, during(0.8, 0.1, tells_w=3.7e6), UNTOUCHED, ""),
    "power of 0 W": (NO_COUNTER, during(0.8, 0.1, tells_w=0), UNTOUCHED, ""),
    "power of 0 W for good": (NO_COUNTER, during(0.8, tells_w=0), LOST, "reports 0 W"),
}  # fmt: skip


# High power in the middle of a window, while nothing can be read.
HIDDEN = ((0.0, 60.0), (0.7, 60.0), (0.7, 340.0), (1.5, 340.0), (1.5, 60.0))
SLOW = {"refresh_s": 2.3, "jitter_s": 0.6}
OTHERS = {
    "GIL, counter": {**REFRESHED, "work": "hold the GIL"},
    "GIL, power": {**NO_COUNTER, "work": "hold the GIL"},
    "stopped, counter": {**REFRESHED, "work": "be stopped"},
    "stopped, power": {**NO_COUNTER, "work": "be stopped"},
    "slow 1": {**SLOW, "phase_s": 0.0, "lengths_s": (6.0,)},
    "slow 2": {**SLOW, "phase_s": 0.9, "lengths_s": (4.0,)},
    "slow 3": {**SLOW, "phase_s": 1.7, "lengths_s": (9.0,)},
    "no permission": {**REFRESHED, "refuses": NVML_NO_PERMISSION},
    "hangs": {**REFRESHED, "changes": during(0.5, hangs=1)},
    "bad name": {**REFRESHED, "bad_name": 1},
    "contradiction": {**REFRESHED, "compare": True, "changes": during(0.0, tells_w=143)},
    "agreement": {**REFRESHED, "compare": True},
}


@pytest.fixture(scope="module")
def faulty(metering):
    """Return the window under each fault and its waveform, metered side by side."""
    begun = {}
    for name, (settings, changes, _, _) in FAULTS.items():
        wave = constant(POWER_W)
        begun[name] = wave, metering.begin([wave], (2.0,), changes=changes, **settings)
    for name, settings in OTHERS.items():
        wave = constant(POWER_W)
        if "work" in settings:
            wave = Waveform(HIDDEN, time.monotonic())
        lengths_s = settings.get("lengths_s", (3.0,))
        rest = {key: value for key, value in settings.items() if key != "lengths_s"}
        begun[name] = wave, metering.begin([wave], lengths_s, **rest)
    return {name: (wave, metering.end(answer)[0]) for name, (wave, answer) in begun.items()}


def difference_j(wave, window):
    """Return how far a window's energy is from the truth, half its interval, and the truth."""
    true_j = wave.energy_j(window["start_s"], window["end_s"])
    energy_j = window["gpu"]["energy_j"]
    return abs(energy_j - true_j), 1.96 * window["gpu"]["uncertainty_j"], true_j


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_bridged_within_the_interval_or_lost_with_its_reason(faulty, fault):
    _, _, outcome, words = FAULTS[fault]
    wave, window = faulty[fault]
    if outcome == LOST:
        assert window["gpu"] is None
        assert window["problems"]
        assert words in " ".join(window["problems"])
        return
    assert window["problems"] == []
    off_j, half_j, true_j = difference_j(wave, window)
    assert off_j <= max(half_j, 0.01 * true_j)
    # The value before a fault and the one after it are each up to one refresh old.
    assert off_j <= 0.08 * true_j
    assert words in window["gpu"]["bridged"]
    if outcome == BRIDGED:
        assert window["gpu"]["provenance"] == "sampled"
    elif "no_counter" not in FAULTS[fault][0]:
        assert window["gpu"]["provenance"] == "measured"
        assert half_j < 0.05 * true_j


@pytest.mark.parametrize("work", ["GIL", "stopped"])
@pytest.mark.parametrize("sensor", ["counter", "power"])
def test_a_held_up_sampler_has_an_interval_that_holds(faulty, work, sensor):
    wave, window = faulty[f"{work}, {sensor}"]
    off_j, half_j, true_j = difference_j(wave, window)
    assert off_j <= max(half_j, 0.02 * true_j)
    if sensor == "counter":
        assert half_j < 0.1 * true_j
    else:
        assert "no power was read" in window["gpu"]["bridged"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_slow_and_irregular_counter_has_an_interval_that_holds(faulty, number):
    wave, window = faulty[f"slow {number}"]
    if not window["problems"]:
        off_j, half_j, _ = difference_j(wave, window)
        assert off_j <= half_j


def test_a_counter_that_refuses_falls_to_power_and_says_so(faulty):
    wave, window = faulty["no permission"]
    assert window["gpu"]["provenance"] == "sampled"
    assert "its energy counter cannot be read" in window["gpu"]["source"]
    off_j, _, true_j = difference_j(wave, window)
    assert off_j <= 0.02 * true_j


def test_a_driver_that_hangs_holds_up_nobody(faulty):
    _, window = faulty["hangs"]
    assert window["gpu"] is None
    assert any("does not answer" in problem for problem in window["problems"])
    assert window["closing_s"] < 5
    assert window["others"] > 0  # the CPU is metered until the end


def test_a_driver_that_never_starts_is_a_reason():
    with pytest.raises(MeterError, match=r"NVML does not answer for 0\.1 s"):
        in_time("NVML", lambda: time.sleep(5), limit_s=0.1)
    with pytest.raises(ZeroDivisionError):
        in_time("NVML", lambda: 1 / 0)
    assert in_time("NVML", lambda: [1]) == [1]


def test_a_name_that_is_no_utf8_is_shown(faulty):
    _, window = faulty["bad name"]
    assert "Stand-in \N{REPLACEMENT CHARACTER}" in window["gpu"]["source"]


def test_meters_that_contradict_each_other_are_a_problem(faulty):
    _, window = faulty["contradiction"]
    assert any("two meters of the GPU disagree" in problem for problem in window["problems"])
    assert faulty["agreement"][1]["problems"] == []


class _Counter:
    """A counter that grows by a power, and what disturbs it."""

    def __init__(self, power_w=100.0):
        self.power_w, self.offset_j, self.start_s = power_w, 5000.0, time.monotonic()
        self.reads = 0

    def read_j(self):
        self.reads += 1
        return self.offset_j + self.power_w * (time.monotonic() - self.start_s)


def checked(counter, **options):
    options = {"highest_w": 300.0, "refresh_s": 0.01, "stuck_after_s": 0.1, **options}
    return CheckedCounter("a counter", counter.read_j, **options)


def until_accepted(counter, seconds=2.0):
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        try:
            return counter.read()
        except RefusedReadError:
            time.sleep(0.02)
    pytest.fail("never accepted")


@pytest.mark.parametrize("step_j", [-5000.0, -50.0, 1e6])
def test_a_counter_that_restarts_is_bridged_by_power(step_j):
    raw = _Counter()
    counter = checked(raw, power_w=lambda: 100.0)
    counter.read()
    start_s = time.monotonic()
    time.sleep(0.05)
    counter.read()
    raw.offset_j += step_j
    total_j = until_accepted(counter)
    assert total_j == pytest.approx(100 * (time.monotonic() - start_s), rel=0.1, abs=0.5)
    (gap,) = counter.gaps
    assert 0.2 < gap.end_s - gap.start_s < 1
    assert counter.read() >= total_j


def test_a_counter_that_restarts_is_lost_if_nothing_tells_the_power():
    raw = _Counter()
    counter = checked(raw)
    counter.read()
    raw.offset_j = 0
    with pytest.raises(MeterError, match="was reset: it fell by"):
        until_accepted(counter)


def test_a_counter_that_jumps_about_is_never_believed():
    raw = _Counter()
    counter = checked(raw, power_w=lambda: 100.0)
    counter.read()
    for _ in range(20):
        raw.offset_j = 1e6 * (raw.reads % 3 + 1)
        with pytest.raises(RefusedReadError):
            counter.read()
        time.sleep(0.02)


def test_a_counter_that_stops_later_is_stuck():
    raw = _Counter()
    counter = checked(raw)
    counter.read()
    time.sleep(0.02)
    counter.read()
    raw.power_w, raw.offset_j = 0.0, raw.read_j()
    counter.read()
    time.sleep(0.15)
    with pytest.raises(MeterError, match="does not change"):
        counter.read()


@pytest.mark.parametrize("power_w", [3.7e6, -5.0, 0.0])
def test_an_impossible_power_is_refused(power_w):
    with pytest.raises(RefusedReadError, match="impossible"):
        check_power_w("a card", power_w, 350.0, before_w=200.0)
    assert check_power_w("a card", 600.0, 350.0, before_w=200.0) == 600.0
    assert check_power_w("a rail", 0.0, 350.0, before_w=None) == 0.0


@pytest.mark.usefixtures("no_rapl")
def test_settings_of_other_projects_are_not_read(tmp_path, monkeypatch):
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\nforce_cpu_power = 5000\nbroken")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "4000")
    monkeypatch.chdir(tmp_path)
    with EnergyMeter(()) as window:
        time.sleep(0.3)
    assert window.reading.complete
    assert window.reading.total.energy_j < 500 * window.reading.duration_s
    monkeypatch.delenv("HOME")
    assert codecarbon.find_models(["cpu", "ram"])


def test_windows_of_several_threads_close_their_own(live_powercap):
    live_powercap()
    meter, durations_s, ready = EnergyMeter(()), {}, threading.Barrier(2)

    def work(name, before_s, inside_s):
        ready.wait()
        time.sleep(before_s)
        with meter as window:
            time.sleep(inside_s)
        durations_s[name] = window.reading.duration_s

    threads = [
        threading.Thread(target=work, args=arguments)
        for arguments in (("long", 0.0, 0.8), ("short", 0.2, 0.2))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert durations_s["long"] == pytest.approx(0.8, abs=0.1)
    assert durations_s["short"] == pytest.approx(0.2, abs=0.1)


@pytest.mark.usefixtures("no_rapl")
def test_a_signal_at_any_moment_of_a_window_leaves_no_thread():
    class Interrupted(BaseException):
        pass

    moments = 0

    def interrupt_at(chosen):
        """Raise at the chosen one of the moments at which CPython serves signals: after a call."""
        before = {}

        def trace(frame, event, _argument):
            nonlocal moments
            if frame.f_code.co_filename not in files:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                last = before.get(frame)
                before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
                if last is not None and last.startswith("CALL"):
                    moments += 1
                    if moments == chosen:
                        raise Interrupted
            return trace

        return trace

    files = {module.__file__ for module in (meter, poller, window)}
    meters = EnergyMeter(())
    chosen, last_moment = 0, False
    while not last_moment:
        chosen, moments = chosen + 1, 0
        tracing = sys.gettrace()
        try:
            sys.settrace(interrupt_at(chosen))
            with meters:
                pass
            last_moment = True
        except Interrupted:
            pass
        finally:
            sys.settrace(tracing)
    assert chosen > 50
    until(lambda: not [t for t in threading.enumerate() if t.name == "greencv-meter"], seconds=20)
    assert not meters._open
