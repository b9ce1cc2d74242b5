"""Reading of the processor's logs."""

from datetime import datetime

import numpy as np
import pytest

from greencv_core.published.seaa2023.processor import read_processor_log
from tests.support.refusals import refusal_of_file

HEADER = "timestamp,cpu usage (%),memory usage (MB),temperature (Celsius)\n"


def line(second, usage="3.587", memory="12231.543", day="2023-03-08"):
    return f"{day}T13:11:{second:02d}.250001,{usage},{memory},32.0\n"


def test_a_log_is_read_to_its_last_whole_line(tmp_path):
    path = tmp_path / "log.csv"
    late = line(2, "100.0", "9.25", day="2023-03-09")
    path.write_text(HEADER + line(1) + line(2, "0.0", "500.0") + late + "2023-03-09T13:1")
    log = read_processor_log(path)
    assert log.utilization_pct.tolist() == [3.587, 0.0, 100.0]
    assert log.memory_mb.tolist() == [12231.543, 500.0, 9.25]
    assert log.time_s[0] == datetime.fromisoformat("2023-03-08T13:11:01.250001+00:00").timestamp()
    assert np.diff(log.time_s).tolist() == pytest.approx([1.0, 86400.0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER + line(1), "too short: 1 lines"),
        (HEADER + line(1, day="2023-02-29"), "conversion error"),
        (HEADER + line(60), "conversion error"),
        (HEADER + line(1) + line(3) + line(2), "line 4: the time is"),
        (HEADER + line(1, "three"), "conversion error"),
        (HEADER + line(1) + "2023-03-08T13:11:02.250001,3.5\n", "Expected 4 columns"),
        (HEADER.replace("cpu", "gpu") + line(1), "cpu usage"),
    ],
)
def test_a_log_that_is_none_is_one_line(tmp_path, content, reason):
    assert reason in refusal_of_file(read_processor_log, tmp_path / "log.csv", content)
