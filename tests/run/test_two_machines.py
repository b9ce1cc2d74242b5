"""One study on two machines: a process that may use one CPU alone is another machine than ours."""

import os
import shutil
import signal
import subprocess

import pytest

from greencv_core import collect, runs_table
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from tests.conftest import GREENCV, ROOT, greencv, greencv_here, until
from tests.support.refusals import one_line
from tests.support.studies import ONE_THREAD, smoke_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
        reason="needs two CPUs, and a system that can keep a process off one of them",
    ),
]

REPRODUCIBLE = [
    "run_id", "architecture", "environment", "repetition", "order", "seed", "status", "threads",
    "epochs", "images_processed", "gflops_per_image", "parameters", "f1_macro", "train_loss",
    "validation_loss", "machine",
]  # fmt: skip
"""Columns that are the same in a training and its repetition with the same seed."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a study file whose one environment both machines have."""
    return smoke_study(
        tmp_path_factory.mktemp("study"), environments=[ONE_THREAD], architectures=["squeezenet1_1"]
    )


def run(study, store, cpus=None):
    """Start the study on this machine, or on one of so many CPUs."""
    restrict = None if cpus is None else (lambda: os.sched_setaffinity(0, range(cpus)))
    return subprocess.Popen(
        [str(GREENCV), "run", str(study), "--store", str(store)],
        cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=restrict, start_new_session=True,
    )  # fmt: skip


def table(study, store):
    return runs_table(collect(study, store=store, train=False))[REPRODUCIBLE]


@pytest.mark.long
def test_an_interrupted_study_on_two_machines_merges_to_the_same_table(
    study, smoke_store, tmp_path
):
    # This machine's half of the whole study has been trained already, as a part of a larger one.
    whole, ours, theirs = tmp_path / "whole", tmp_path / "ours", tmp_path / "theirs"
    shutil.copytree(smoke_store, whole)
    assert run(study, whole, 1).wait() == 0
    theirs.mkdir()
    for path in whole.glob("[!.]*.json"):
        if not (smoke_store / path.name).exists():
            shutil.copy(path, theirs)
    assert len(list(theirs.iterdir())) == 2
    interrupted = run(study, ours)
    until(lambda: list(ours.glob("[!.]*.json")))
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.wait()
    assert 0 < len(list(ours.glob("[!.]*.json"))) < 2

    merged = tmp_path / "merged"
    done = greencv_here("runs", "merge", ours, theirs, "--store", merged)
    assert done.returncode == 0, done.stderr
    assert run(study, ours).wait() == 0  # resumes
    done = greencv_here("runs", "merge", ours, theirs, "--store", merged)
    assert done.returncode == 0, done.stderr
    assert "the same already" in done.stdout

    expected = table(study, whole)
    assert len(expected) == 4
    assert expected["environment"].nunique() == expected["machine"].nunique() == 2
    assert all("cpu-1-thread (" in name for name in expected["environment"])
    found = table(study, merged)
    assert found.drop(columns="order").equals(expected.drop(columns="order"))
    # In a larger study other runs lie between those of this one.
    assert found.groupby("environment")["order"].apply(sorted).tolist() == [[0, 1], [0, 1]]


def test_the_merge_command_names_conflicts_and_refuses_nonsense(smoke_store, tmp_path):
    target, other = tmp_path / "target", tmp_path / "other"
    done = greencv("runs", "merge", smoke_store, "--store", target)
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "8 runs copied")
    record = next(r for r in Store(target).records() if isinstance(r, RunRecord))
    later = record.model_copy(update={"started_at": "2999-01-01T00:00:00+00:00"})
    Store(other).write(later)
    (other / "broken.json").write_text("{")
    done = greencv("runs", "merge", other, "--store", target)
    assert done.returncode == 3
    conflict, damaged = done.stderr.splitlines()
    assert conflict.startswith(f"conflict: run {record.run_id[:8]} ({record.architecture} @ ")
    assert conflict.endswith("is kept")
    assert damaged.startswith(f"left out: {other / 'broken.json'}: ")
    assert Store(target).read(record.run_id) == record
    for source, reason in ((target, "is the store"), (tmp_path / "nowhere", "no store of runs")):
        assert reason in one_line(greencv("runs", "merge", source, "--store", target))
