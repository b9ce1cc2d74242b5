"""The published data, analysed once for all tests of this folder."""

import json

import pytest

from greencv_core.published import DataUnavailableError
from greencv_core.published.seaa2023.reanalysis import load_reanalysis
from tests.conftest import greencv


@pytest.fixture(scope="package")
def reanalysis():
    try:
        loaded = load_reanalysis()
    except DataUnavailableError as error:
        pytest.skip(str(error))
    assert loaded.problems == ()
    return loaded


def link(files, folder):
    """Link files into a folder of data, by their paths in it."""
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(source)


@pytest.fixture(scope="package")
def summary(reanalysis):
    done = greencv("reanalyse", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
