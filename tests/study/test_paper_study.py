"""The original's experiment: planned as it was, and made in small from end to end."""

import pytest
import yaml

from greencv_core.analysis import pareto_front
from greencv_core.analysis.describe import correctness_sentence
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.report import figures
from greencv_core.run.planning import plan_here
from tests.conftest import ROOT, greencv_here

PAPER = load_study("paper")


def test_the_plan_is_the_originals_on_one_machine():
    runs, _ = plan_here(PAPER)
    assert len(runs) == 5 * 30  # the original's three machines lacked some: 369 in all
    assert {run.environment.name for run in runs} == {"machine"}
    assert len({(run.architecture, run.repetition) for run in runs}) == 150
    data = PAPER.dataset
    assert (data.train_images, data.validation_images) == (23807, 10203)
    assert data.train_images // PAPER.protocol.batch_size == 743  # steps an epoch


def test_the_protocol_is_the_originals():
    frozen, main = (stage for _, stage in PAPER.protocol.stages)
    assert (frozen.epochs, frozen.optimizer, frozen.learning_rate) == (10, "adam", 1e-4)
    assert (main.epochs, main.optimizer, main.learning_rate) == (140, "sgd", 1e-5)
    assert (main.momentum, main.nesterov) == (0.9, False)
    assert (main.early_stopping.patience, main.early_stopping.min_delta) == (20, 1e-3)
    assert main.early_stopping.restore_best
    assert (main.plateau.factor, main.plateau.patience) == (0.1, 10)
    assert PAPER.protocol.batch_norm == "fixed"
    assert (PAPER.protocol.warmup_s, PAPER.protocol.cooldown_s) == (600, 300)


def make_small(folder):
    """Make the original's experiment in small; return its store and what was told."""
    content = yaml.safe_load((ROOT / "studies" / "paper.yaml").read_text())
    content["dataset"] |= {
        "name": "synthetic", "classes": 2, "image_size": 48,
        "train_images": 64, "validation_images": 32,
    }  # fmt: skip
    content["environments"][0]["threads"] = 1
    stage = content["protocol"]["frozen_stage"]
    content["protocol"] |= {
        "weights": "none", "epochs": 1, "frozen_stage": stage | {"epochs": 1}, "repetitions": 1,
        "idle_s": 0.5, "warmup_s": 1.0, "cooldown_s": 0.0, "quiet_wait_s": 0.0,
        "again_if_disturbed": 0,
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    done = greencv_here("run", folder / "study.yaml", "--store", folder / "store")
    assert done.returncode == 0, done.stderr
    return Store(folder / "store"), done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_the_originals_experiment_is_made_in_small(tmp_path):
    # One test, so that two processes of tests do not both train for it.
    store, told = make_small(tmp_path)
    records = list(store.records())
    check_that_all_five_are_trained_in_both_stages(records)
    check_that_made_up_images_get_no_correctness(runs_table(records), told)
    check_that_what_it_will_take_is_said_before(told.splitlines())


def check_that_all_five_are_trained_in_both_stages(records):
    assert {r.architecture for r in records} == set(PAPER.architectures)
    for record in records:
        assert record.status == "finished", record.reason
        assert [(e.stage, e.learning_rate) for e in record.epochs] == [
            ("frozen", 1e-4), ("main", 1e-5),
        ]  # fmt: skip
        assert record.total.energy_j > 0


def check_that_made_up_images_get_no_correctness(table, told):
    assert table["f1_macro"].isna().all()
    assert table["energy_j_per_image"].notna().all()
    assert "F1" not in told
    assert figures.trade_off(table, pareto_front(table)) is None
    assert "synthetic" in correctness_sentence(table)
    known = table.assign(f1_macro=0.5)
    assert figures.trade_off(known, pareto_front(known)) is not None


def check_that_what_it_will_take_is_said_before(lines):
    begin = next(i for i, line in enumerate(lines) if "5 of 5 runs to do: about" in line)
    first = next(i for i, line in enumerate(lines) if line.startswith("[1/5]"))
    assert begin < first
    assert "J (" in lines[begin]
    assert any("warming up for 1 s" in line for line in lines[:begin])
