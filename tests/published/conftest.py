"""The published data, analysed once for all tests of this folder."""

import functools
import json

import pytest

from greencv_core.published import DataUnavailableError, fetch, load_adapter
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


@pytest.fixture(scope="package")
def published_files():
    """Return a function: the files of a data set by their path in the release."""

    @functools.cache
    def files(name):
        try:
            fetched = fetch(load_adapter(name).RELEASE)
        except DataUnavailableError as error:
            pytest.skip(str(error))
        assert fetched.problems == ()
        return fetched.files

    return files


@pytest.fixture(scope="package")
def published_table(published_files):
    """Return a function: the runs table of a data set."""

    @functools.cache
    def table(name):
        return load_adapter(name).published_runs(published_files(name))

    return table
