"""The page of a run, the files beside it, and the links that lead there."""

import json

import nbformat
import pandas as pd
import pytest

from greencv_core.published.evidence_bundle import shipped_evidence
from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.records.record import TraceRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.report.book import run_files
from greencv_core.report.book.number_exhibits import RunLinks, write_pages
from greencv_core.report.exhibits.tables import show_table
from greencv_core.report.pages.run import run_page
from tests.report.reader import Reader
from tests.support.made_up_records import made_up_records

HOSTILE = '</section><img src=x onerror="alert(1)">'


def test_a_run_page_has_results_settings_epochs_trace_and_the_record():
    (record,) = made_up_records(n=1, architectures=1, environments=1)
    times = {"cpu": [1.0, 2.0, 3.0], "ram": []}
    record = record.model_copy(
        update={"trace": TraceRecord(time_s=times, power_w={"cpu": [5.0, 7.0, 6.0], "ram": []})}
    )
    shown = Reader(run_page(record))
    links = {a["href"] for tag, a in shown.elements if tag == "a"}
    assert {f"{record.run_id}.json", "../bundle.parquet"} <= links
    assert f"../book/notebooks/explore.html#run={record.run_id}" in links
    for words in (record.run_id, "net0", "env0", "estimated", "Epochs", "batch_size", "Power trace",
                  f"greencv runs show {record.run_id} --store bundle.parquet"):  # fmt: skip
        assert words in shown.text, words
    assert [tag for tag, _ in shown.elements].count("polyline") == 1


def test_a_long_trace_is_thinned_without_losing_energy():
    from greencv_core.report.pages.run import _thinned

    times_s = [float(i + 1) for i in range(10_007)]
    powers_w = [float(i % 90) for i in range(10_007)]
    ends_s, means_w = _thinned(times_s, powers_w)
    assert 300 < len(ends_s) < 500
    widths_s = [b - a for a, b in zip([0.0, *ends_s], ends_s, strict=False)]
    assert sum(w * s for w, s in zip(means_w, widths_s, strict=True)) == pytest.approx(
        sum(powers_w)
    )


def test_a_failed_run_and_hostile_names_are_plain_text():
    (record,) = made_up_records(
        n=1, architectures=1, environments=1, study=HOSTILE, status="failed", reason=HOSTILE,
        problems=[HOSTILE], disturbed=True, total=None, epochs=[],
    )  # fmt: skip
    shown = Reader(run_page(record))
    assert not {"img", "script"} & shown.tags
    assert f"failed: {HOSTILE}." in shown.text
    assert "disturbed this run" in shown.text
    assert "was not metered" in shown.text


@pytest.fixture(params=["folder", "bundle"])
def stored(request):
    """Return a study and the store of its runs."""
    if request.param == "bundle":
        path = shipped_bundles()["reference"]
        return load_study(path), Store(path)
    return load_study("smoke"), Store(request.getfixturevalue("smoke_store"))


def test_records_and_bundle_lie_beside_the_pages(stored, tmp_path):
    study, store = stored
    records = list(store.records())
    source, files = tmp_path / "source", tmp_path / "files"
    source.mkdir()
    ids = run_files.write_run_files(
        source, files, study=study, store=store, records=records, log=print
    )
    assert ids == [record.run_id for record in records]
    assert set(json.loads((source / run_files.PAGES).read_text())) == set(ids)
    bundle = Store(files / "bundle.parquet")
    for run_id in ids:
        written = (files / "runs" / f"{run_id}.json").read_bytes()
        assert written == store.load_file(run_id).content == bundle.load_file(run_id).content
    assert (files / "published.parquet").read_bytes() == shipped_evidence().read_bytes()


def test_of_many_runs_the_first_have_pages(monkeypatch, tmp_path):
    monkeypatch.setattr(run_files, "MOST_PAGES", 3)
    path = shipped_bundles()["reference"]
    records = list(Store(path).records())
    ids = run_files.write_run_files(
        tmp_path, tmp_path / "files", study=load_study(path), store=Store(path), records=records,
        log=print,
    )  # fmt: skip
    assert ids == [record.run_id for record in records[:3]]
    assert len(list((tmp_path / "files" / "runs").iterdir())) == 3


def test_run_ids_in_tables_and_counts_of_runs_are_links(tmp_path):
    frame = pd.DataFrame({"run_id": ["aa", "bb", "lab/<1>"]})
    runs = pd.DataFrame({"run_id": ["aa", "bb"]})
    output = nbformat.v4.new_output(
        "display_data", data=show_table(frame, "Runs", runs=runs)._repr_mimebundle_()
    )
    cell = nbformat.v4.new_code_cell("show()", outputs=[output])
    path = tmp_path / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    (tmp_path / "pages").mkdir()
    sets = write_pages([path], tmp_path / "pages", tmp_path / "files", {}, ["aa"]).sets
    shown = nbformat.read(tmp_path / "pages" / "one.ipynb", as_version=4)
    links = [a["href"] for tag, a in Reader(shown.cells[0].outputs[0]["data"]["text/html"]).elements
             if tag == "a"]  # fmt: skip
    (digest,) = sets
    assert sets[digest] == ["aa", "bb"]
    assert "../../runs/aa.html" in links
    assert "../../runs/bb.html" not in links  # it has no page
    assert "explore.html#run=lab/%3C1%3E" in links
    assert f"explore.html#runs={digest}" in links


def test_a_script_has_the_places_of_the_runs_of_each_set(tmp_path):
    links = RunLinks({"x": ["c", "a", "b"], "y": ["b", "not drawn", "d"]}, ["a", "b", "c", "d"])
    run_files.write_run_sets(tmp_path, links, ["a</script>"])
    text = (tmp_path / run_files.RUN_SETS).read_text()
    assert "</script>" not in text
    assert json.loads(text.removeprefix("window.greencvRuns = ").removesuffix(";\n")) == {
        "sets": {
            "x": {"size": 3, "drawn": [[0, 3]]},
            "y": {"size": 3, "drawn": [[1, 2], [3, 4]]},
        },
        "pages": ["a</script>"],
    }
