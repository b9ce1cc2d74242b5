"""Verdicts of several sources and pooled effects as one object."""

import json

import numpy as np
import pytest

from greencv_core.published.evidence_summary import summarise
from tests.published.test_claims_on_evidence import TEN, evidence
from tests.support.known_truth import truth

EXPONENT = -0.15
CLAIM_FIELDS = {
    "claim", "verdict", "figure", "ci_low", "ci_high", "n", "estimates", "explanation",
}  # fmt: skip
EFFECT_FIELDS = {"source", "laboratory", "pair", "architectures", "estimate", "se"}
POOLED_FIELDS = {
    "effects", "mean", "ci_low", "ci_high", "prediction_low", "prediction_high", "q", "i_squared",
    "tau_squared",
}  # fmt: skip


def laboratory(seed, exponent=EXPONENT):
    """Return a table whose environment env1 gains with complexity by an exponent."""
    runs = truth(lambda g, e: g ** (0.5 + exponent * e), n=1, gflops=TEN, seed=seed)
    return evidence(runs, source=f"lab{seed}", hardware=runs["environment"])


@pytest.fixture(scope="module")
def summary():
    tables = {f"table{seed}.csv": laboratory(seed) for seed in range(4)}
    broken = np.where(tables["table0.csv"]["architecture"].eq("net3"), "broken", "")
    tables["table0.csv"] = tables["table0.csv"].assign(left_out=broken)
    return summarise(tables)


def test_the_object_has_every_source_under_its_name(summary):
    assert list(summary) == ["sources", "pooled"]
    assert list(summary["sources"]) == [f"table{seed}.csv" for seed in range(4)]
    first, second = summary["sources"]["table0.csv"], summary["sources"]["table1.csv"]
    assert (first["runs"], first["conditions"], first["left_out"]) == (18, 18, {"broken": 2})
    assert (second["runs"], second["conditions"], second["left_out"]) == (20, 20, {})
    assert all(set(claim) == CLAIM_FIELDS for claim in second["claims"].values())
    assert second["claims"]["energy_gflops"]["verdict"] == "holds"
    assert second["claims"]["largest_saving"]["ci_low"] is None


def test_it_is_json_without_values_that_json_lacks(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_pooled_exponent_is_that_of_the_truth(summary):
    scaling = summary["pooled"]["hardware_scaling"]
    assert set(scaling) == POOLED_FIELDS | {"leave_one_out"}
    assert [effect["source"] for effect in scaling["effects"]] == list(summary["sources"])
    assert all(set(effect) == EFFECT_FIELDS for effect in scaling["effects"])
    assert {effect["pair"] for effect in scaling["effects"]} == {"env1/env0"}
    assert scaling["mean"] == pytest.approx(EXPONENT, abs=0.02)
    assert scaling["ci_low"] < EXPONENT < scaling["ci_high"]
    assert scaling["prediction_low"] <= scaling["ci_low"]
    assert len(scaling["leave_one_out"]) == 4


def test_too_few_sources_have_effects_and_no_mean():
    scaling = summarise({"a": laboratory(1), "b": laboratory(2)})["pooled"]["hardware_scaling"]
    assert len(scaling["effects"]) == 2
    assert scaling["mean"] is None
    assert "at least 3 effects" in scaling["reason"]
    assert summarise({})["pooled"]["hardware_scaling"]["effects"] == []
