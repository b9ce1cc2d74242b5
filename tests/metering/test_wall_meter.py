"""A meter at the wall: known energy over HTTP and by a command, and its faults."""

import sys
import time

import pytest

from greencv_core.metering import MeterError, WallMeter, open_wall_meter
from greencv_core.metering.wall_formats import WallSample
from greencv_core.utils.energy import COVERAGE_FACTOR
from tests.support.wall_meter_server import WallMeterServer

pytestmark = pytest.mark.realtime


@pytest.fixture
def server():
    made = WallMeterServer()
    yield made
    made.stop()


def meter_window(place, duration_s=2.0, during=lambda: None):
    with WallMeter(place) as meter:
        start_s = time.monotonic()
        during()
        time.sleep(duration_s)
        end_s = time.monotonic()
    return meter, start_s, end_s


def test_sampled_power_over_http(server):
    meter, *edges = meter_window(server.address + "/watts")
    plug = meter.energy_between(*edges)
    assert plug.energy_j == pytest.approx(server.energy_j(*edges), rel=0.005)
    assert (plug.provenance, plug.resolution_s) == ("sampled", 1.0)
    assert plug.source == "wall meter (a power reading, power)"


def test_a_load_that_rises_within_a_window_is_inside_the_interval():
    server = WallMeterServer(lambda t: 60.0 if t < 1.7 else 300.0)
    meter, *edges = meter_window(server.address + "/watts", 4.0)
    server.stop()
    plug = meter.energy_between(*edges)
    error_j = abs(plug.energy_j - server.energy_j(*edges))
    assert 1 < error_j < COVERAGE_FACTOR * plug.uncertainty_j < 0.5 * plug.energy_j


def test_a_fine_counter_is_used_where_power_is_known_less_well():
    server = WallMeterServer(lambda t: 60.0 if t % 1.4 < 0.7 else 300.0, step_wh=1e-6)
    meter, *edges = meter_window(server.address + "/rpc/Switch.GetStatus?id=0", 4.0)
    server.stop()
    plug = meter.energy_between(*edges)
    assert (plug.provenance, plug.source) == ("measured", "wall meter (Shelly, counter)")
    error_j = abs(plug.energy_j - server.energy_j(*edges))
    assert error_j < COVERAGE_FACTOR * plug.uncertainty_j


def test_a_coarse_counter_falls_to_power():
    server = WallMeterServer(step_wh=1.0)
    meter, *edges = meter_window(server.address + "/cm?cmnd=Status%208")
    server.stop()
    assert meter.energy_between(*edges).source == "wall meter (Tasmota, power)"


def test_a_counter_alone_that_does_not_move_is_no_energy(tmp_path):
    meter, *edges = meter_window("echo 12.345 kWh", 1.2)
    with pytest.raises(MeterError, match="did not move: its steps are too coarse"):
        meter.energy_between(*edges)


def test_a_command_prints_watts():
    meter, *edges = meter_window(f"{sys.executable} -c 'print(150)'")
    plug = meter.energy_between(*edges)
    assert plug.energy_j == pytest.approx(150 * (edges[1] - edges[0]), rel=0.001)
    assert 0 < plug.uncertainty_j < 2  # it prints whole watts


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "answered with HTTP status 500"),
        ("no meter", "answered <html>Log in</html>; expected watts"),
        ("away", "cannot be reached"),
    ],
)
def test_a_fault_is_a_reason_without_credentials(server, fault, reason):
    server.fault = fault
    address = server.address.replace("://", "://admin:letmein@")
    meter, *edges = meter_window(address + "/watts", 0.1)
    with pytest.raises(MeterError, match=reason) as failed:
        meter.energy_between(*edges)
    assert "letmein" not in str(failed.value)
    assert "admin" not in str(failed.value)


def test_a_meter_that_hangs_neither_holds_up_nor_ends_the_work(server):
    server.fault = "hang"
    begin_s = time.monotonic()
    meter, *edges = meter_window(server.address + "/watts", 0.1)
    assert time.monotonic() - begin_s < 10
    assert edges[1] - edges[0] < 0.2
    with pytest.raises(MeterError, match="did not answer within 3 s"):
        meter.energy_between(*edges)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program --watts", "cannot be run: .*no-such-program"),
        ("false", "the command false failed with 1"),
        ("sleep 20", "the command sleep took longer than 3 s"),
        ("echo 'watts", "cannot be run: No closing quotation"),
        ("echo secret", "answered secret; expected"),
    ],
)
def test_a_command_that_fails_is_a_reason(command, reason):
    with pytest.raises(MeterError, match=reason):
        WallMeter(command).read()


def test_credentials_are_sent_and_not_shown(server):
    WallMeter(server.address.replace("://", "://admin:let%20me@") + "/watts").read()
    assert server.authorization == "Basic YWRtaW46bGV0IG1l"


def filled(samples):
    """Return a meter with some readings: time, watts, joules."""
    meter = WallMeter("none")
    for time_s, power_w, energy_j in samples:
        meter._add(WallSample("made up", power_w, energy_j), time_s)
    return meter


def test_a_gap_makes_power_unknown_but_not_a_counter():
    times = [0, 1, 2, 9, 10, 11]
    with pytest.raises(MeterError, match="did not answer for 7 s"):
        filled([(t, 100.0, None) for t in times]).energy_between(0.5, 10.5)
    plug = filled([(t, 100.0, 100.0 * t) for t in times]).energy_between(0.5, 10.5)
    assert (plug.energy_j, plug.provenance) == (pytest.approx(1000), "measured")


def test_a_counter_that_restarts_falls_to_power_or_is_refused():
    rows = [(t, 100.0, 100.0 * t if t < 5 else 0.0) for t in range(12)]
    assert filled(rows).energy_between(0.5, 10.5).provenance == "sampled"
    with pytest.raises(MeterError, match="was reset"):
        filled([(t, None, energy_j) for t, _, energy_j in rows]).energy_between(0.5, 10.5)


def test_readings_that_do_not_reach_the_edges_are_no_energy():
    for edges in ((-1, 2), (1, 4)):
        with pytest.raises(MeterError):
            filled([(t, 100.0, 100.0 * t) for t in range(4)]).energy_between(*edges)


def test_the_variable_replaces_the_address_of_the_study(monkeypatch):
    monkeypatch.delenv("GREENCV_WALL_METER", raising=False)
    assert open_wall_meter(None) is None
    assert open_wall_meter("http://a/")._place == "http://a/"
    monkeypatch.setenv("GREENCV_WALL_METER", "echo 5")
    assert open_wall_meter("http://a/").read().power_w == 5


def test_after_an_exception_nothing_is_waited_for(server):
    meter = WallMeter(server.address + "/watts")
    meter.__enter__()
    server.fault, begin_s = "hang", time.monotonic()
    meter.__exit__(RuntimeError, RuntimeError(), None)
    assert time.monotonic() - begin_s < 1
