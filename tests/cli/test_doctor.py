"""The doctor: what is missing, the command that helps, and the meter at the wall."""

import json
import sys

import pytest

from tests.conftest import greencv_here
from tests.support.powercap import Powercap
from tests.support.wall_meter_server import WallMeterServer

pytestmark = pytest.mark.realtime


@pytest.fixture(autouse=True)
def powercap(tmp_path, monkeypatch):
    """Counters that tell no energy, as without root."""
    tree = Powercap(tmp_path / "powercap")
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    monkeypatch.delenv("GREENCV_WALL_METER", raising=False)
    return tree


def test_counters_of_root_alone_come_with_a_command_and_a_rule(monkeypatch):
    def refuse(zone):
        raise PermissionError

    monkeypatch.setattr("greencv_core.metering.sources.rapl.int", refuse, raising=False)
    monkeypatch.setattr(
        "greencv_core.metering.sources.rapl.read_range_j", lambda path: 1e5, raising=True
    )
    text = greencv_here("doctor").stdout
    assert "Run: sudo chmod a+r /sys/class/powercap/*/energy_uj" in text
    assert "After a reboot, too: echo 'ACTION" in text
    assert "sudo tee /etc/udev/rules.d/70-greencv-rapl.rules" in text


def test_what_is_measured_needs_no_advice():
    told = json.loads(greencv_here("doctor", "--json").stdout)
    assert [one for one in told["advice"] if one["component"] == "cpu"] == []
    assert told["wall_meter"] is None


def test_the_wall_meter_is_read_once(monkeypatch):
    server = WallMeterServer(lambda _: 123.4)
    monkeypatch.setenv("GREENCV_WALL_METER", server.address + "/rpc/Switch.GetStatus?id=0")
    told = json.loads(greencv_here("doctor", "--json").stdout)["wall_meter"]
    text = greencv_here("doctor").stdout
    server.stop()
    assert (told["kind"], told["power_w"]) == ("Shelly", 123.4)
    assert "Wall meter: Shelly, 123.4 W, 1.235 kWh so far (compared, never added)" in text


def test_a_wall_meter_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("GREENCV_WALL_METER", f"{sys.executable} -c 'print(\"[b]\")'")
    done = greencv_here("doctor")
    assert done.returncode == 0
    assert "Wall meter fails: the wall meter answered [b]; expected watts" in done.stdout
