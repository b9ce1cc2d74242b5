"""What wall meters answer: watts and joules of each maker's format."""

import json

import pytest

from greencv_core.metering import MeterError
from greencv_core.metering.wall_formats import parse_answer

IPMITOOL = """
    Instantaneous power reading:                   220 Watts
    Minimum during sampling period:                  9 Watts
    Maximum during sampling period:                487 Watts
    Average power reading over sample period:      214 Watts
    IPMI timestamp:                           Thu Jan  1 00:00:00 2026
    Sampling period:                          00000001 Seconds.
    Power reading state is:                   activated
"""
SHELLY_2 = {"id": 0, "output": True, "apower": 61.4, "aenergy": {"total": 1000.5}}
TASMOTA = {"StatusSNS": {"ENERGY": {"Total": 1.5, "Yesterday": 0.1, "Power": 87}}}


@pytest.mark.parametrize(
    ("answer", "power_w", "energy_j"),
    [
        (json.dumps(SHELLY_2), 61.4, 3_601_800),
        (json.dumps({"meters": [{"power": 61.4, "total": 5}]}), 61.4, None),
        (json.dumps({"emeters": [{"power": 61.4, "total": 5.3}]}), 61.4, None),
        (json.dumps({"power": 61.4, "is_valid": True, "total": 5}), 61.4, None),
        (json.dumps(TASMOTA), 87, 5_400_000),
        (json.dumps({"PowerControl": [{"PowerConsumedWatts": 344}]}), 344, None),
        (json.dumps({"PowerWatts": {"Reading": 374.5}}), 374.5, None),
        (IPMITOOL, 220, None),
        ("220\n", 220, None),
        ("220.5 W", 220.5, None),
        ("12.5 kWh\n", None, 45_000_000),
    ],
)
def test_formats(answer, power_w, energy_j):
    sample = parse_answer(answer)
    assert sample.power_w == power_w
    assert sample.energy_j == (None if energy_j is None else pytest.approx(energy_j))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "answered nothing; expected watts"),
        ("<html>Log in</html>", "answered <html>"),
        ("nan", "answered nan"),
        ("1\n2\n", "answered 1 2"),
        ("[220]", "answered"),
        ('{"apower": true}', "answered"),
        ('{"apower": NaN}', "answered"),
        ('{"StatusSNS": {"ENERGY": {"Power": [1, 2]}}}', "answered"),
        ('{"meters": [{"power": 1}, {"power": 2}]}', "has 2 outlets; name the computer's"),
        ("0", "reports 0 W, which this computer cannot draw"),
        ("1e9", "cannot draw"),
        ('{"error": "token=abcdefgh", "url": "http://a:secret@b/"}', "answered"),
    ],
)
def test_what_is_no_reading_is_refused_in_one_line(answer, reason):
    with pytest.raises(MeterError) as refused:
        parse_answer(answer)
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
