"""The book is built from a bundle."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import time

import nbformat
import pytest
import yaml

from greencv_core import collect, load_study
from greencv_core.machine import hardware
from greencv_core.report.export import files
from greencv_core.report.export.files import write_results
from tests.conftest import GREENCV, NOBODY, ROOT, copy_project, greencv_here
from tests.records.conftest import another_machine
from tests.support.hostile_settings import hostile_settings, shadow_modules
from tests.support.refusals import one_line


def test_the_book_needs_one_source_of_runs(smoke_store, smoke_bundle, tmp_path):
    line = one_line(greencv_here("book", "--runs", smoke_bundle, "--store", smoke_store))
    assert line == "--runs and --store: a bundle contains its runs; use only one of the options"
    for other in (smoke_store, tmp_path / "nowhere"):
        line = one_line(greencv_here("book", "--runs", other))
        assert line == f"--runs {other}: not a bundle; its name must end in .parquet"
    assert one_line(greencv_here("book", "--runs", tmp_path / "a.parquet")).endswith(
        "this bundle does not exist"
    )
    line = one_line(greencv_here("book", "quick", "--runs", smoke_bundle))
    assert line.endswith("it is of study smoke")


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ([], ["quick", "--no-train"]),
        (["RUNS=bundles/a.parquet"], ["--runs", "bundles/a.parquet"]),
        (["RUNS=bundles/a.parquet", "STUDY=smoke"], ["smoke", "--runs", "bundles/a.parquet"]),
        (["STUDY=it's a; b.yaml"], ["it's a; b.yaml", "--no-train"]),
        (["RUNS=$$a b.parquet"], ["--runs", "$a b.parquet"]),
    ],
    ids=["no bundle", "a bundle", "a bundle and a study", "a name with spaces", "and with others"],
)
def test_make_html_takes_a_bundle(given, arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("RUNS", "STUDY")}
    done = subprocess.run(
        ["make", "--dry-run", "-C", ROOT, "-o", ".venv/.ready", "html", *given],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if ".venv/bin/greencv" in line)
    assert shlex.split(line)[1:] == ["book", *arguments]


def kill_first_kernel(folder):
    """Let the first kernel to start die, as one of two does that draw the same port.

    A kernel leads a session of its own, and begins with the file that names its ports.
    """
    dead = folder / "dead"
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def die(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('.json'):\n"
        f"        if os.getsid(0) == os.getpid() and not os.path.exists({str(dead)!r}):\n"
        f"            os.close(os.open({str(dead)!r}, os.O_CREAT))\n"
        "            os._exit(1)\n"
        "sys.addaudithook(die)\n"
    )
    return dead


def build_from_bundle(root, folder, cwd=None, **settings):
    """Build the book of a copied project, with ``folder`` on Python's path, and return its log."""
    done = run_build(root, folder, cwd, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def run_build(root, folder, cwd=None, **settings):
    started = start_build(root, folder, cwd, **settings)
    output, errors = started.communicate()
    return subprocess.CompletedProcess(started.args, started.returncode, output, errors)


def start_build(root, folder, cwd=None, **settings):
    return subprocess.Popen(
        [GREENCV, "book", "--runs", root / "bundles" / "smoke.parquet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd or root,
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(folder)]),
            "GREENCV_DATA": NOBODY, "GREENCV_STORE": str(folder / "nowhere"), **settings,
        },
    )  # fmt: skip


def keep_two_pages(root):
    """Make a copied project's book one of two notebooks and of what they lead to."""
    pages = ("notebooks/rq2_environment", "method", "api/analysis", "references")
    chapters = [{"file": f"book/{page}"} for page in pages]
    parts = [{"caption": "Results", "chapters": chapters}]
    toc = {"format": "jb-book", "root": "book/notebooks/provenance", "parts": parts}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc))
    (root / "book" / "method.md").write_text("# Method\n")  # its own links would lead nowhere
    # Neither do the notebooks lead to those that are left out.
    for name, left_out in (("provenance", "metering"), ("rq2_environment", "rq2_diagnostics")):
        notebook = root / "notebooks" / f"{name}.ipynb"
        source = notebook.read_text(encoding="utf-8")
        assert f"({left_out}.ipynb)" in source
        notebook.write_text(
            source.replace(f"({left_out}.ipynb)", "(../method.md)"), encoding="utf-8"
        )


def read_pages(html):
    """Return the content of a built report by file, without the minute in which it was built."""
    built = re.compile(rb"This report was computed at [\d: -]+")
    files = [path for path in html.rglob("*") if path.is_file() and path.name != "searchindex.js"]
    return {path.relative_to(html): built.sub(b"", path.read_bytes()) for path in files}


def change_one_page(root, folder):
    """Build a copied project's book with a warning, with another sentence, and as it was."""
    html, method = root / "_build" / "html", root / "book" / "method.md"
    # A page with a warning is no report, however often it is built.
    told = method.read_text()
    method.write_text(f"{told}\n[](nowhere.md)\n")
    for _ in range(2):
        failed = run_build(root, folder)
        assert failed.returncode == 1
        assert re.search(r"WARNING: .*nowhere\.md", failed.stderr)
    # A title is shown on other pages, too.
    method.write_text("# Our method\n")
    build_from_bundle(root, folder)
    others = ("book/notebooks/provenance.html", "book/api/analysis.html")
    assert all("Our method" in (html / page).read_text() for page in others)
    assert all("Our method" in page.read_text() for page in (html / "runs").glob("*.html"))
    method.write_text(told)
    build_from_bundle(root, folder)
    # Only what changed is rendered again, and nothing else of the last build stays.
    (html / "runs" / "gone.html").write_text("")
    method.write_text(f"{told}\nAnother sentence.\n")
    before = {path: path.stat().st_mtime_ns for path in html.rglob("*.html")}
    build_from_bundle(root, folder)
    rendered = {
        path.name for path in html.rglob("*.html") if before[path] != path.stat().st_mtime_ns
    }
    written_each_time = {"genindex.html", "py-modindex.html", "search.html", "webpack-macros.html"}
    assert rendered - written_each_time == {"method.html", "provenance.html"}  # the front page
    method.write_text(told)
    build_from_bundle(root, folder)
    # Files are copied although no page is rendered.
    pages = read_pages(html)
    (root / "book" / "notes.txt").touch()
    build_from_bundle(root, folder)
    assert read_pages(html) == pages


def change_prose_and_code_during_execution(root, folder):
    """Change a page and a docstring after Jupyter Book loaded them, while a notebook waits."""
    html = root / "_build" / "html" / "book"
    copy = root / "_build" / "source.new" / "book" / "method.md"
    method, module, notebook = before = (
        root / "book" / "method.md",
        root / "greencv_core" / "analysis" / "result.py",
        root / "notebooks" / "rq2_environment.ipynb",
    )
    texts = [path.read_text() for path in before]
    slow = nbformat.read(notebook, as_version=4)
    slow.cells.append(nbformat.v4.new_code_cell("import time; time.sleep(15)"))
    nbformat.write(slow, notebook)
    shutil.rmtree(root / "_build")  # for the whole reference to be made
    started = start_build(root, folder)
    while not copy.is_file():
        assert started.poll() is None
        time.sleep(0.01)
    method.write_text(f"{texts[0]}\nJust written.\n")
    time.sleep(10)
    docstring = "Return the result of an analysis, or why"
    assert texts[1].count(docstring) == 1
    module.write_text(texts[1].replace(docstring, "Just renamed: the result, or why"))
    _, errors = started.communicate()
    assert started.returncode == 0, errors
    assert "Just renamed" in (html / "api" / "analysis.html").read_text()
    for path, text in zip(before[1:], texts[1:], strict=True):
        path.write_text(text)
    build_from_bundle(root, folder)
    assert "Just written." in (html / "method.html").read_text()
    method.write_text(texts[0])
    build_from_bundle(root, folder)


@pytest.mark.slow
@pytest.mark.long
def test_the_book_is_built_from_a_bundle_once_and_then_only_what_changed(
    smoke_bundle, tmp_path, monkeypatch
):
    # All pages are built from a bundle for the report, and looked at by tests of their own.
    root = tmp_path / "greencv"
    copy_project(root)
    keep_two_pages(root)
    (root / "bundles").mkdir(exist_ok=True)
    shutil.copy(smoke_bundle, root / "bundles" / "smoke.parquet")
    dead = kill_first_kernel(tmp_path)

    printed = build_from_bundle(root, tmp_path)
    assert "executing 2 of 2 notebooks: provenance, rq2_environment" in printed
    assert "not made on this machine" not in printed
    assert dead.exists()
    assert not (root / "runs").exists()
    html = root / "_build" / "html"
    assert '"gcv-exhibit gcv-' in (html / "book/notebooks/rq2_environment.html").read_text()
    executed = nbformat.read(root / "book" / "notebooks" / "provenance.ipynb", as_version=4)
    source = "\n".join(cell.source for cell in executed.cells)
    assert 'study = "../bundles/smoke.parquet"' in source
    assert 'store = "../bundles/smoke.parquet"' in source
    page = (html / "book" / "notebooks" / "provenance.html").read_text()
    assert "File: smoke.parquet" in page
    assert "8 of 8 planned runs are analysed" in page

    # Another machine makes the same figures of it.
    there = another_machine()
    monkeypatch.setattr(hardware, "describe_machine", lambda: there)
    monkeypatch.setattr(files, "study_answers", inspect.unwrap(files.study_answers))
    (tmp_path / "again").mkdir()
    write_results(
        tmp_path / "again",
        study=load_study(smoke_bundle),
        records=collect(smoke_bundle, store=smoke_bundle),
        commit="unknown",
    )
    again = (tmp_path / "again" / "results.json").read_bytes()
    assert again == (html / "results.json").read_bytes()

    assert "nothing changed" in build_from_bundle(root, tmp_path)
    (root / "notebooks" / "rq2_environment.ipynb").touch()
    printed = build_from_bundle(root, tmp_path)
    assert "executing 1 of 2 notebooks: rq2_environment" in printed

    change_one_page(root, tmp_path)
    change_prose_and_code_during_execution(root, tmp_path)

    # A user's own settings and files change nothing in it.
    pages = read_pages(html)
    shutil.rmtree(root / "_build")
    shutil.rmtree(root / "book" / "notebooks")
    executed = shadow_modules(tmp_path / "hostile")
    build_from_bundle(root, tmp_path, tmp_path / "hostile", **hostile_settings(tmp_path))
    assert not executed.exists()
    assert read_pages(html) == pages
