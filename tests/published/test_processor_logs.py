"""Reading of the processor's logs."""

from datetime import datetime

import numpy as np
import pytest

from greencv_core.published.seaa2023 import processor
from greencv_core.published.seaa2023.digits import IrregularError
from greencv_core.published.seaa2023.processor import read_processor_log
from greencv_core.utils.errors import BadInputError
from tests.support.refusals import refusal

HEADER = "timestamp,cpu usage (%),memory usage (MB),temperature (Celsius)\n"


def line(second, usage="3.587", memory="12231.543", day="2023-03-08"):
    return f"{day}T13:11:{second:02d}.250001,{usage},{memory},32.0\n"


def read(path, monkeypatch, regular):
    monkeypatch.setattr(processor, "_regular_log", regular)
    try:
        log = vars(read_processor_log(path))
    except BadInputError as error:
        return str(error)
    return {name: values.tolist() for name, values in log.items()}


def irregular(_):
    raise IrregularError


def test_lines_as_the_script_writes_them_are_read_fast(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    monkeypatch.setattr(processor, "csv", None)
    late = line(2, "100.0", "9.25", day="2023-03-09")
    path.write_text(HEADER + line(1) + line(2, "0.0", "500.0") + late)
    log = read_processor_log(path)
    assert log.utilization_pct.tolist() == [3.587, 0.0, 100.0]
    assert log.memory_mb.tolist() == [12231.543, 500.0, 9.25]
    assert log.time_s[0] == datetime.fromisoformat("2023-03-08T13:11:01.250001+00:00").timestamp()
    assert np.diff(log.time_s).tolist() == pytest.approx([1.0, 86400.0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER + line(1, day="2023-02-29"), "conversion error"),
        (HEADER + line(60), "conversion error"),
        (HEADER + line(1, "three"), "conversion error"),
        (HEADER + line(1) + "2023-03-08T13:11:02.250001,3.5\n", "Expected 4 columns"),
        (HEADER.replace("cpu", "gpu") + line(1), "cpu usage"),
    ],
)
def test_a_log_that_is_none_is_one_line(tmp_path, content, reason):
    path = tmp_path / "log.csv"
    path.write_text(content)
    text = refusal(read_processor_log, path)
    assert str(path) in text
    assert reason in text


def test_the_fast_way_and_the_general_parser_agree_on_any_bytes(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    usages = ["0.0", "3.587", "100.0", "7", ".5", "5.", "-1.0", "nan", "", "1e3", '"3.5"', "3.5871"]
    memories = ["12231.543", "12000.0", "9.5", "123456.789", "12231", "1223154.123"]
    days = ["2023-03-08"] * 4 + ["2024-02-29", "2023-02-29", "1969-12-31"]
    odd = b'07 ,.\n\r-:T\0\xff"Z+'
    path = tmp_path / "log.csv"
    fast = processor._regular_log
    for damaged in (False, True) * 200:
        body = bytearray(
            "".join(
                line(s, rng.choice(usages), rng.choice(memories), rng.choice(days))
                for s in rng.integers(62, size=rng.integers(0, 4))
            ),
            "ascii",
        )
        if damaged and body:
            place = rng.integers(len(body))
            body[place : place + rng.integers(2)] = bytes([rng.choice(list(odd))])
        path.write_bytes(HEADER.encode() + body)
        assert str(read(path, monkeypatch, fast)) == str(read(path, monkeypatch, irregular)), body
