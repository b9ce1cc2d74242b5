"""Reading of nvidia-smi's logs, and the segments of a log."""

from datetime import datetime

import numpy as np
import pytest

from greencv_core.published.seaa2023 import nvidia_smi
from greencv_core.published.seaa2023.digits import IrregularError
from greencv_core.published.seaa2023.nvidia_smi import read_log
from greencv_core.published.seaa2023.segmentation import estimate_period, find_step
from greencv_core.utils.errors import BadInputError
from tests.support.refusals import refusal_of_file

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
    assert reason in refusal_of_file(read_log, tmp_path / "log.csv", content)


@pytest.mark.parametrize("empty", ["", "\n"])
@pytest.mark.parametrize("header", [OWN, RENAMED])
@pytest.mark.parametrize(
    ("changes", "number", "reason"),
    [
        ([0, 0], 3, "a second reading after 0 s, perhaps of another GPU of this name"),
        ([0, 3, 1], 4, "s before that of the line before (a clock set back"),
        ([*range(4), 2, 3, 4], 6, "a clock set back, or two logs in one"),
        ([0, 2, 4, 6, 6, 8, 8], 6, "perhaps of another GPU"),
        ([0, 1, 2, "2500.00"], 5, "a power of 2500 W cannot be"),
        ([0, 1, "-3.00"], 4, "a power of -3 W cannot be"),
    ],
)
def test_what_the_import_refuses_is_refused(tmp_path, header, empty, changes, number, reason):
    own = header is OWN
    lines = [line(*((c, "30.98") if isinstance(c, int) else (n, c)), own)
             for n, c in enumerate(changes)]  # fmt: skip
    text = refusal_of_file(read_log, tmp_path / "log.csv", header + empty + "".join(lines))
    assert f"log.csv, line {number + len(empty)}: " in text
    assert reason in text


def test_another_device_and_a_pause_are_refused(tmp_path):
    other = line(2, "30.98").replace("A card", "Another")
    late = line(5, "30.98") + line(6, "30.98").replace("13:11", "14:11")
    path = tmp_path / "log.csv"
    for rest, reason in ((other, "another device (Another)"), (late, "minutes before this line")):
        text = refusal_of_file(read_log, path, OWN + line(0, "30.98") + line(1, "30.98") + rest)
        assert reason in text


def test_the_fast_way_and_the_general_parser_agree_on_any_bytes(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    powers = ["30.98", "119.17", "9.10", "7", "1.5", "007.25", "12345.67", "123456.78", "[N/A]"]
    odd = b"07 ,.\n\r%MW/-:\0\xff'+T"
    path = tmp_path / "log.csv"
    regular = nvidia_smi._regular_columns

    def read():
        try:
            log = vars(read_log(path))
        except BadInputError as error:
            return str(error)
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in log.items()}

    def irregular(*_, **__):
        raise IrregularError

    for damaged in (False, True) * 200:
        own = bool(rng.integers(2))
        seconds = rng.integers(50) + np.arange(rng.integers(1, 4))
        body = bytearray("".join(line(s, rng.choice(powers), own) for s in seconds), "ascii")
        if damaged:
            place = rng.integers(len(body))
            body[place : place + rng.integers(2)] = bytes([rng.choice(list(odd))])
        path.write_bytes((OWN if own else RENAMED).encode() + body)
        monkeypatch.setattr(nvidia_smi, "_regular_columns", regular)
        fast = read()
        monkeypatch.setattr(nvidia_smi, "_regular_columns", irregular)
        assert fast == read(), bytes(body)


def test_empty_lines_are_skipped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(OWN + "\n" + line(1, "30.98") + "\n" + line(2, "56.01"))
    log = read_log(path)
    assert log.device_name == "A card"
    assert log.power_w.tolist() == [30.98, 56.01]


def test_lines_as_nvidia_smi_writes_them_are_read_fast(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    monkeypatch.setattr(nvidia_smi, "_columns", None)
    for header, own in ((OWN, True), (RENAMED, False)):
        path.write_text(header + line(1, "9.98", own) + line(2, "156.01", own))
        assert read_log(path).power_w.tolist() == [9.98, 156.01]


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
