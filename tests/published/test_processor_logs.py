"""Reading of the processor's logs."""

from datetime import datetime

import numpy as np
import pytest

from greencv_core.published.seaa2023.processor import read_processor_log, read_processor_logs
from greencv_core.utils.errors import BadInputError
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


@pytest.mark.parametrize(
    "odd",
    [
        HEADER + line(1) + line(2) + line(3),  # nothing odd
        HEADER + line(1),
        HEADER + line(2) + line(1),
        HEADER + line(1) + "\n" + line(2),
        HEADER + line(1, "three") + line(2),
        HEADER + line(1, '"3.5') + line(2, '3.5"'),
        HEADER.replace("timestamp,", "timestamp, ") + line(1) + line(2),
        "timestamp,memory usage (MB),cpu usage (%)\n2023-03-08T13:11:01,9.5,3.5\n"
        "2023-03-08T13:11:02,9.5,3.5\n",
        "",
        None,
    ],
)
def test_logs_that_are_read_together_are_as_each_by_itself(tmp_path, odd):
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for path, content in zip(paths, [HEADER + line(4) + line(5) + "cut", odd, None], strict=True):
        if content is not None:
            path.write_text(content)
    paths[2].write_text(HEADER + line(6, "1.5") + line(7) + line(8))
    together = read_processor_logs(paths)
    assert len(together) == 3
    for path, log in zip(paths, together, strict=True):
        if isinstance(log, BadInputError | OSError):
            with pytest.raises(type(log)) as alone:
                read_processor_log(path)
            assert str(alone.value) == str(log)
        else:
            alone = read_processor_log(path)
            for name, values in vars(alone).items():
                assert getattr(log, name).tolist() == values.tolist()
    assert [len(log.time_s) for log in (together[0], together[2])] == [2, 3]
