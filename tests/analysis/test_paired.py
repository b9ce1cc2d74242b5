"""Paired comparisons against scipy."""

import numpy as np
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError, compare, paired_by_environment
from tests.support.tables import made_up_runs


def test_pairing_sees_what_the_architectures_spread_hides():
    runs = made_up_runs(n=5)
    runs["seed"] = runs["run_id"].str[-1].astype(int)
    better = runs["environment"] == "env1"
    noise = np.random.default_rng(1).normal(0, 0.0005, len(runs))
    runs["f1_macro"] = 0.8 + 0.03 * runs["architecture"].str[-1].astype(int) + noise
    runs.loc[better, "f1_macro"] += 0.002
    result = paired_by_environment(runs.sample(frac=1, random_state=0).sort_index(), "f1_macro")
    wide = runs.pivot(index=["architecture", "seed"], columns="environment", values="f1_macro")
    assert result.combinations == 25
    assert result.p == pytest.approx(stats.wilcoxon(wide["env0"], wide["env1"]).pvalue)
    assert result.p < 0.001 < compare(runs, "f1_macro", "environment").p
    shift = (wide["env1"] - wide["env0"]).median()
    assert result.shifts["shift"].tolist() == pytest.approx([shift])
    assert f"{shift:+.4f} on env1" in result.sentence()
    lost = runs.drop(index=runs.index[better][:22])
    with pytest.raises(NotEnoughDataError, match="at least 6 combinations"):
        paired_by_environment(lost, "f1_macro")
    same = runs.assign(f1_macro=0.9)
    assert "nothing can be tested" in paired_by_environment(same, "f1_macro").sentence()
    half = runs.assign(f1_macro=runs["f1_macro"].where(better))
    with pytest.raises(NotEnoughDataError, match="macro F1: only 1 environment of 2 has runs"):
        paired_by_environment(half, "f1_macro")


def test_three_environments_are_paired_by_friedmans_test():
    runs = made_up_runs(n=5, environments=3)
    runs["seed"] = runs["run_id"].str[-1].astype(int)
    result = paired_by_environment(runs, "f1_macro")
    wide = runs.pivot(index=["architecture", "seed"], columns="environment", values="f1_macro")
    assert result.p == pytest.approx(stats.friedmanchisquare(*(wide[c] for c in wide)).pvalue)
    assert list(result.shifts["environment"]) == ["env1", "env2"]
