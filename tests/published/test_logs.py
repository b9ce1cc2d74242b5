"""Reading of nvidia-smi's logs, and the segments of a log."""

from datetime import datetime

import numpy as np
import pytest

from greencv_core.published.seaa2023.nvidia_smi import read_log
from greencv_core.published.seaa2023.segmentation import estimate_period, find_step
from tests.support.refusals import refusal

OWN = (
    "timestamp, name, utilization.gpu [%], utilization.memory [%], memory.total [MiB], "
    "memory.used [MiB], power.draw [W], power.max_limit [W], temperature.gpu\n"
)


RENAMED = (
    "timestamp,gpu_name,gpu_usage,gpu_memory_usage,gpu_total_memory,gpu_memory_used,"
    "gpu_power_draw,gpu_max_power,gpu_temperature\n"
)


def line(second, power_w, own=True):
    date = "2023/03/08" if own else "2023-03-08"
    text = (
        f"{date} 13:11:{second:02d}.250, A card, 40 %, 7 %, 100 MiB, 90 MiB, {power_w} W, "
        "350.00 W, 65\n"
    )
    return text if own else text.replace(", ", ",")


@pytest.mark.parametrize(("header", "own"), [(OWN, True), (RENAMED, False)])
def test_both_headers_are_read_alike(tmp_path, header, own):
    path = tmp_path / "log.csv"
    path.write_text(header + line(1, "30.98", own) + line(2, "56.01", own))
    log = read_log(path)
    assert log.power_w.tolist() == [30.98, 56.01]
    assert log.utilization_pct.tolist() == [40, 40]
    assert log.temperature_c.tolist() == [65, 65]
    assert log.memory_used_mib.tolist() == [90, 90]
    assert np.diff(log.time_s).tolist() == [1.0]
    assert log.time_s[0] == datetime.fromisoformat("2023-03-08T13:11:01.250+00:00").timestamp()
    assert log.device_name == "A card"
    assert (log.header == "nvidia-smi's own") is own
    assert log.ending == "whole line"


@pytest.mark.parametrize(
    ("rest", "ending"),
    [
        ("2023/03/08 13:11:03.250, A card, 40 %, 7", "half a line"),
        (line(3, "99.00").rstrip("\n"), "line without end"),
    ],
)
def test_the_rest_of_a_cut_line_is_reported_and_not_read(tmp_path, rest, ending):
    path = tmp_path / "log.csv"
    path.write_text(OWN + line(1, "30.98") + line(2, "56.01") + rest)
    log = read_log(path)
    assert log.power_w.tolist() == [30.98, 56.01]
    assert log.ending == ending


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no log of nvidia-smi that is known"),
        ("time,watts\n1,2\n", "no log of nvidia-smi that is known"),
        (OWN, "no line but the header"),
        (OWN + line(1, "30.98") + line(2, "[N/A]"), "Failed to parse string"),
        (OWN + line(1, "30.98") + "yesterday" + line(2, "1")[19:], "Failed to parse string"),
        (OWN + line(1, "30.98") + "2023/03/08 13:11:02.250, A card\n", "Expected 9 columns"),
    ],
)
def test_a_log_that_is_none_is_one_line(tmp_path, content, reason):
    path = tmp_path / "log.csv"
    path.write_text(content)
    text = refusal(read_log, path)
    assert str(path) in text
    assert reason in text


@pytest.mark.parametrize("epoch_s", [14.2, 31.5, 67.8])
def test_the_period_of_epochs_is_found(epoch_s):
    rng = np.random.default_rng(1)
    time_s = np.cumsum(rng.normal(1.0, 0.01, 2400))
    training = (time_s % epoch_s) < 0.7 * epoch_s
    utilization = np.where(training, 80.0, 60.0) + rng.normal(0, 5, len(time_s))
    utilization[rng.integers(0, len(time_s), 20)] = 0  # interruptions
    found_s, rhythm = estimate_period(
        time_s, utilization, 2 * utilization + rng.normal(0, 20, len(time_s))
    )
    assert found_s == pytest.approx(epoch_s, rel=0.002)
    assert rhythm > 0.3


def test_noise_has_no_rhythm():
    rng = np.random.default_rng(1)
    _, rhythm = estimate_period(np.arange(2400.0), rng.normal(0, 1, 2400))
    assert rhythm < 0.15


def test_the_step_between_two_levels_is_found():
    rng = np.random.default_rng(1)
    levels = np.repeat([20.0, 40.0], [300, 1700]) + rng.normal(0, 5, 2000)
    assert find_step(levels) == pytest.approx(300, abs=2)
