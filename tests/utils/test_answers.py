"""Answers are kept on disk, and are found again by what they rest on."""

import inspect
import os
import time

import filelock
import numpy as np
import pandas as pd
import pytest

from greencv_core.utils import answers
from greencv_core.utils.answers import Hashed, ask_each, remembered
from tests.conftest import python

asked = []


@remembered
def total(table, name, *, factor=1.0):
    asked.append(name)
    if name == "bad":
        raise ValueError(name)
    return table.assign(total=table["a"].sum() * factor)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return the folder of the answers: empty, and nobody else's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answers._folder.cache_clear()
    asked.clear()
    yield tmp_path / "cache" / "greencv" / "answers"
    answers._folder.cache_clear()


def test_the_same_question_is_answered_once():
    table = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    first = total(table, "one", factor=2.0)
    again = total(table.copy(), "one", factor=2.0)
    assert asked == ["one"]
    pd.testing.assert_frame_equal(first, again)
    assert again["total"].tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.assign(a=[1.0, np.nextafter(2.0, 3.0)]),
        lambda table: table.assign(b=["x", "z"]),
        lambda table: table[::-1],
        lambda table: table.rename(columns={"b": "c"}),
    ],
    ids=["last digit", "text", "order", "column"],
)
def test_another_content_is_another_question(change):
    table = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    total(table, "one")
    total(change(table), "one")
    assert asked == ["one", "one"]


@remembered
def total_of(hashed, name):
    asked.append(name)
    return hashed.value["a"].sum()


def test_an_argument_that_is_hashed_once_is_found_by_its_content():
    table = pd.DataFrame({"a": [1.0, 2.0]})
    hashed = Hashed(table)
    assert [total_of(hashed, name) for name in ("one", "two")] == [3.0, 3.0]
    assert total_of(Hashed(table.copy()), "two") == 3.0
    assert asked == ["one", "two"]
    assert total_of(Hashed(table + 1), "two") == 5.0
    assert asked == ["one", "two", "two"]


def test_an_argument_without_a_hash_has_no_answer_that_is_kept():
    hashed = Hashed({"a": np.ones(2), "b": lambda: None})
    assert total_of(hashed, "one") == total_of(hashed, "one") == 2.0
    assert asked == ["one", "one"]


def test_other_code_or_another_library_is_asked_again(monkeypatch):
    table = pd.DataFrame({"a": [1.0]})
    total(table, "one")
    for name, value in (("code_parts", lambda package: ["other"]), ("PACKAGES", ("pytest",))):
        monkeypatch.setattr(answers, name, value)
        answers._folder.cache_clear()
        total(table, "one")
    assert len(asked) == 3


def test_a_process_whose_code_is_changed_keeps_nothing_and_finds_nothing(
    tmp_path, folder, monkeypatch
):
    module = tmp_path / "package" / "rooms" / "module.py"
    module.parent.mkdir(parents=True)
    module.write_text("factor = 1\n")
    monkeypatch.setattr(answers, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(answers, "_loaded", answers._file_states())
    table = pd.DataFrame({"a": [1.0]})
    total(table, "one")
    module.write_text("factor = 2\n")
    for name in ("one", "two", "two"):
        total(table, name)
    assert asked == ["one", "one", "two", "two"]
    assert len(list(folder.rglob("*.pickle"))) == 1
    module.unlink()
    total(table, "one")
    assert len(asked) == 5


def test_another_function_has_its_own_answers():
    @remembered
    def half(table, name):
        return "half"

    table = pd.DataFrame({"a": [1.0]})
    total(table, "one")
    assert half(table, "one") == "half"


def test_a_damaged_answer_is_made_again(folder):
    table = pd.DataFrame({"a": [1.0]})
    total(table, "one")
    (file,) = folder.rglob("*.pickle")
    whole = file.read_bytes()
    for content in (b"", whole[:-5], b"cos\nnothing\n."):
        file.write_bytes(content)
        assert total(table, "one")["total"].tolist() == [1.0]
    assert file.read_bytes() == whole
    assert asked == ["one"] * 4


def test_an_error_is_not_kept():
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            total(pd.DataFrame({"a": [1.0]}), "bad")
    assert asked == ["bad", "bad"]


def test_without_a_folder_to_write_to_it_only_takes_longer(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    for _ in range(2):
        assert total(pd.DataFrame({"a": [1.0]}), "one")["total"].tolist() == [1.0]
    assert asked == ["one", "one"]


def test_answers_of_other_code_are_deleted_after_a_while(folder):
    for name, days in (("old", answers.KEPT_DAYS + 1), ("recent", 1)):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.pickle").touch()
        then = time.time() - days * 86400
        os.utime(folder / name, (then, then))
    total(pd.DataFrame({"a": [1.0]}), "one")
    assert not (folder / "old").exists()
    assert (folder / "recent").exists()


def test_an_answer_that_nothing_asks_for_is_deleted_after_a_while(folder):
    table = pd.DataFrame({"a": [1.0]})
    for name in ("used", "unused"):
        total(table, name)
    then = time.time() - (answers.KEPT_DAYS + 1) * 86400
    for path in folder.rglob("*.pickle"):
        os.utime(path, (then, then))
    total(table, "used")
    answers._folder.cache_clear()
    total(table, "used")
    assert asked == ["used", "unused"]
    assert len(list(folder.rglob("*.pickle"))) == 1


def test_questions_that_another_process_is_answering_come_last():
    order = []

    @remembered
    def named(name):
        order.append(name)
        if name == "b":
            lock.release()
        return name.upper()

    path = answers._path(inspect.unwrap(named), ("a",), {})
    path.parent.mkdir(parents=True)
    lock = filelock.FileLock(path.with_suffix(".lock"))
    lock.acquire()  # as another process would, until it has its answer
    assert ask_each(named, [("a",), ("b",), ("c",)]) == ["A", "B", "C"]
    assert order == ["b", "a", "c"]
    assert ask_each(named, [("c",), ("a",)]) == ["C", "A"]
    assert order == ["b", "a", "c"]


def test_another_process_finds_the_answer_and_waits_for_it(tmp_path):
    code = (
        "import sys, time\n"
        "import pandas as pd\n"
        "from greencv_core.utils.answers import remembered\n"
        "@remembered\n"
        "def slow(table):\n"
        "    print('asked', flush=True)\n"
        "    time.sleep(2)\n"
        "    return table\n"
        "import subprocess\n"
        "table = pd.DataFrame({'a': [1.0], 'b': ['x']})\n"
        "other = len(sys.argv) == 1 and subprocess.Popen([sys.executable, __file__, 'other'])\n"
        "slow(table)\n"
        "sys.exit(other.wait() if other else 0)\n"
    )
    script = tmp_path / "slow.py"
    script.write_text(code)
    assert python(script) == "asked\n"
