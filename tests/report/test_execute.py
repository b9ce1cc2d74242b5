"""Notebooks are executed side by side, in processes that share what they load."""

import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from greencv_core.report.book import execute
from greencv_core.report.book.execute import Job, execute_notebooks, made_by
from greencv_core.utils.errors import GreencvError

ABOUT = {"key": "a key", "commit": "a commit"}
WITHOUT_FORKS = """
import sys
from greencv_core.report.book import executor

executor.FORKS = False
if __name__ == "__main__":
    sys.exit(executor.main())
"""


def job(folder, name, *cells):
    """Return a notebook of code cells; the first one has its parameters."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": ""}
    notebook.cells[0].metadata["tags"] = ["parameters", "hide-input"]
    (folder / "notebooks").mkdir(exist_ok=True)
    path = folder / "notebooks" / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return Job(path, folder / "executed" / path.name, **ABOUT)


def outputs(job):
    cells = nbformat.read(job.executed, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def below():
    """Return the processes below this one."""
    return set(psutil.Process().children(recursive=True))


def test_notebooks_get_the_parameters_that_they_declare(tmp_path):
    first = job(tmp_path, "first", "a = 1", "print(a, __name__)")
    second = job(tmp_path, "second", "b = 1", "print(b)", "import os; print(os.getcwd())")
    before = below()
    execute_notebooks(tmp_path, [first, second], {"a": "x", "c": 3})
    assert below() == before
    assert [output.text for output in outputs(first)] == ["x __main__\n"]
    assert [output.text for output in outputs(second)] == ["1\n", f"{tmp_path / 'notebooks'}\n"]
    assert made_by(first.executed) == made_by(second.executed) == ABOUT
    # The injected parameters are hidden as those of the notebook are.
    tags = nbformat.read(first.executed, as_version=4).cells[1].metadata["tags"]
    assert tags == ["injected-parameters", "hide-input"]


def test_a_figure_of_a_readers_own_is_shown(tmp_path):
    drawn = job(tmp_path, "drawn", "", "import matplotlib.pyplot as plt; plt.plot([1, 2]);")
    execute_notebooks(tmp_path, [drawn], {})
    assert [list(output.data) for output in outputs(drawn)] == [["image/png", "text/plain"]]


def test_kernels_do_not_share_what_their_notebooks_change(tmp_path):
    changes = "import greencv_core.report.pages as p; p.changed = hasattr(p, 'changed')"
    jobs = [
        job(tmp_path, name, changes, "import random; print(p.changed, random.random())")
        for name in ("first", "second", "third")
    ]
    execute_notebooks(tmp_path, jobs, {})
    printed = [outputs(each)[0].text.split() for each in jobs]
    assert {text for text, _ in printed} == {"False"}
    assert len({number for _, number in printed}) == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "a cell failed: ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", "Kernel died; see "),
    ],
)
def test_a_notebook_that_fails_is_named_and_the_finished_ones_are_kept(tmp_path, code, reason):
    good = job(tmp_path, "good", "print('good')")
    bad = job(tmp_path, "bad", "import time; time.sleep(3)", code)
    before = below()
    with pytest.raises(GreencvError) as raised:
        execute_notebooks(tmp_path, [good, bad], {})
    assert str(raised.value).startswith(f"{bad.notebook}: {reason}")
    assert below() == before
    assert made_by(good.executed) == ABOUT
    assert not bad.executed.exists()


def test_an_executor_that_cannot_begin_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "EXECUTOR", ["-c", "raise SystemExit('no memory')"])
    plain = job(tmp_path, "plain", "a = 1")
    with pytest.raises(GreencvError, match=r"^no memory$"):
        execute_notebooks(tmp_path, [plain], {"a": "x" * 2**20})  # more than a pipe holds


def test_this_process_works_while_notebooks_are_executed(tmp_path):
    waiting = job(
        tmp_path, "waits", "",
        "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('went')",
    )  # fmt: skip
    execute_notebooks(tmp_path, [waiting], {}, meanwhile=(tmp_path / "notebooks" / "go").touch)
    assert outputs(waiting)[0].text == "went\n"
    with pytest.raises(ZeroDivisionError):
        execute_notebooks(tmp_path, [waiting], {}, meanwhile=lambda: 1 / 0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes(tmp_path, sent):
    waiting = job(tmp_path, "waits", "open('begun', 'w').close(); import time; time.sleep(600)")
    code = (
        "import pathlib, sys\n"
        "from greencv_core.report.book.execute import Job, execute_notebooks\n"
        "paths = [pathlib.Path(each) for each in sys.argv[1:]]\n"
        "execute_notebooks(paths[0], [Job(paths[1], paths[2], 'key', 'commit')], {})\n"
    )
    command = [sys.executable, "-c", code, tmp_path, waiting.notebook, waiting.executed]
    before = below()
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (tmp_path / "notebooks" / "begun").exists():
        assert started.poll() is None
        time.sleep(0.05)
    others = below() - before - {psutil.Process(started.pid)}
    assert len(others) == 3  # the executor, the notebook's process, the kernel
    if sent == signal.SIGINT:
        started.send_signal(sent)
    else:
        next(p for p in others if p.ppid() == started.pid).send_signal(sent)
    assert started.wait(20) != 0
    _, alive = psutil.wait_procs(others, timeout=20)
    assert not alive


def test_where_a_fork_is_not_safe_each_process_loads_everything(tmp_path, monkeypatch):
    script = tmp_path / "without_forks.py"
    script.write_text(WITHOUT_FORKS)
    monkeypatch.setattr(execute, "EXECUTOR", [str(script)])
    plain = job(tmp_path, "plain", "a = 1", "import os; print(a, os.getpid() == os.getsid(0))")
    execute_notebooks(tmp_path, [plain], {"a": 2})
    assert outputs(plain)[0].text == "2 True\n"
