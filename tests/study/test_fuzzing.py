"""Whatever is in a study file or a record: an answer or a line, and no file elsewhere."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import greencv_here
from tests.support import fuzzed

settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """Return a folder for output in a folder that must stay as it is, which is home and here."""
    outside, inside = tmp_path / "outside", tmp_path / "outside" / "project"
    inside.mkdir(parents=True)
    (outside / "evil.json").write_text("{}")
    for name in ("HOME", "GREENCV_DATASETS", "GREENCV_WEIGHTS"):
        monkeypatch.setenv(name, str(outside))
    monkeypatch.setenv("XDG_CACHE_HOME", str(inside / "out" / "cache"))
    here = inside / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = fuzzed.everything_below(tmp_path)
    yield inside
    changed = fuzzed.changed(before, fuzzed.everything_below(tmp_path))
    assert {path for path in changed if not path.startswith(f"{inside}/out")} == set()


def test_a_study_file_is_a_study_or_is_told_in_lines(surroundings):
    folder = surroundings / "out"
    folder.mkdir()
    path, watch, read = folder / "study.yaml", fuzzed.Watch(), []

    @settings(settings.get_profile("suite"), max_examples=400)
    @given(fuzzed.study_files())
    def check(written):
        path.write_bytes(written)
        with watch():
            read.append(fuzzed.check_study(path))

    check()
    assert True in read
    assert False in read
    assert watch.hangs == 0, watch.slowest_s


def test_a_record_is_one_or_is_told_in_a_line(surroundings, smoke_store):
    records = [path.read_bytes() for path in sorted(smoke_store.glob("*.json"))]
    watch, read = fuzzed.Watch(), []

    @settings(settings.get_profile("suite"), max_examples=400)
    @given(fuzzed.record_files(records))
    def check(written):
        with watch():
            read.append(fuzzed.check_record(f"runs/{fuzzed.run_id_of(written)}.json", written))

    check()
    assert True in read
    assert False in read
    assert watch.hangs == 0, watch.slowest_s


def test_a_folder_of_such_records_is_listed(surroundings, smoke_store):
    store = surroundings / "out"
    store.mkdir()
    records = [path.read_bytes() for path in sorted(smoke_store.glob("*.json"))]
    written = []

    @settings(settings.get_profile("suite"), max_examples=60)
    @given(fuzzed.record_files(records))
    def collect(content):
        written.append(content)

    collect()
    for number, content in enumerate(written):
        (store / f"{number:016x}.json").write_bytes(
            content.replace(fuzzed.run_id_of(content).encode(), f"{number:016x}".encode())
        )
    shutil.copy(next(smoke_store.glob("*.json")), store)
    for command in (["runs", "list"], ["runs", "list", "--json"]):
        done = greencv_here(*command, "--store", store)
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)


@settings(settings.get_profile("suite"), max_examples=60)
@given(st.lists(fuzzed.WORDS, min_size=1, max_size=3))
def test_words_of_any_kind_as_the_name_of_a_study(words):
    done = greencv_here("plan", "".join(words))
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
