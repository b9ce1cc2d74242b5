"""The built smoke report, and the runs of a made-up GPU."""

import matplotlib as mpl
import pytest

from greencv_core.report.exhibits.theme import apply_theme
from tests.support.browser import served
from tests.support.made_up_gpu import made_up_gpu_records, made_up_gpu_runs


@pytest.fixture(scope="session")
def html(smoke_report):
    return smoke_report / "_build" / "html"


@pytest.fixture(scope="session")
def address(html):
    with served(html) as where:
        yield where


@pytest.fixture
def theme():
    with mpl.rc_context():
        apply_theme()
        yield


@pytest.fixture(scope="session")
def gpu_records():
    return made_up_gpu_records(repetitions=3, epochs=2)


@pytest.fixture(scope="session")
def gpu_alone(gpu_records):
    """Return the runs of a study whose outcome is the GPU's energy."""
    return made_up_gpu_runs(gpu_records)


@pytest.fixture(scope="session")
def with_host(gpu_records):
    """Return the runs of a study whose outcome is the sum: GPU measured, CPU and RAM estimated."""
    return made_up_gpu_runs(gpu_records, components=None)
