"""``greencv runs show``, of runs in the default store, in a bundle, and of published runs."""

import json

import pandas as pd
import pytest

from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.records.store import Store
from tests.conftest import ROOT, greencv_here

PUBLISHED = ROOT / "bundles" / "published.parquet"


def test_a_bundled_run_is_shown_without_naming_the_bundle(tmp_path):
    bundle = Store(shipped_bundles()["reference"])
    run_id = bundle.run_ids()[7]
    done = greencv_here("runs", "show", run_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == bundle.read(run_id).model_dump(mode="json")
    # A store that is named is the only one searched.
    assert greencv_here("runs", "show", run_id, "--store", tmp_path).returncode == 2


@pytest.mark.parametrize("options", [(), ("--store", PUBLISHED)])
def test_a_published_run_is_shown_by_its_whole_id(options):
    row = pd.read_parquet(PUBLISHED).iloc[0]
    shown = json.loads(greencv_here("runs", "show", row["run_id"], *options).stdout)
    assert shown["run_id"] == row["run_id"]
    assert shown["energy_j"] == pytest.approx(row["energy_j"])
    assert None not in shown.values()


@pytest.mark.parametrize(
    ("run_id", "reason"),
    [
        ("seaa2023/", "369 runs begin so; the page Explore lists the runs"),
        ("seaa2023/no", "no such run; the page Explore lists the runs"),
        ("nobody/1", "has no data set nobody"),
        ("zzzz", "no such run; greencv runs list lists the runs"),
    ],
)
def test_a_run_that_is_not_one_is_refused_in_a_line(run_id, reason):
    done = greencv_here("runs", "show", run_id)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
