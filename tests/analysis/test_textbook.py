"""The statistical tests give the answers that textbooks, papers and R give for the same data."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.power import TTestIndPower

from greencv_core.analysis import (
    compare,
    find_outliers,
    non_inferiority,
    paired_by_environment,
)
from greencv_core.analysis.regression import breakeven, data
from greencv_core.analysis.regression.data import Fit
from greencv_core.analysis.regression.interaction import aligned_ranks_anova
from tests.support import textbook, textbook_models


def compared(groups):
    return compare(textbook.runs_of(groups), "value", "group")


def by_pair(comparison, column):
    return {
        tuple(sorted((row.a, row.b))): getattr(row, column) for row in comparison.pairs.itertuples()
    }


def in_order(answers):
    return {tuple(sorted(pair)): p for pair, p in answers.items()}


def only_pair(comparison):
    (row,) = comparison.pairs.to_dict("records")
    return row


def test_shapiro_wilk_of_roystons_data():
    groups = compared({"royston": textbook.ROYSTON, "other": [1.0, 2.0, 3.0]}).groups
    royston = groups.iloc[0]
    assert royston["shapiro_w"] == pytest.approx(textbook.ROYSTON_SHAPIRO["w"], abs=5e-6)
    # The paper's program differs by one in the last digit that it prints.
    assert royston["shapiro_p"] == pytest.approx(textbook.ROYSTON_SHAPIRO["p"], abs=1e-6)


def test_brown_forsythe_of_three_groups_by_lawstat():
    comparison = compared(textbook.THREE_GROUPS)
    answer = textbook.THREE_GROUPS_BROWN_FORSYTHE
    assert comparison.levene_w == pytest.approx(answer["w"], rel=1e-12)
    assert comparison.levene_p == pytest.approx(answer["p"], rel=1e-12)


def test_omnibus_tests_of_insect_sprays():
    comparison = compared(textbook.INSECT_SPRAYS)
    answer = textbook.INSECT_SPRAYS_WELCH
    assert comparison.welch_f == pytest.approx(answer["f"], abs=5e-4)
    assert comparison.welch_df1 == answer["df1"]
    assert comparison.welch_df2 == pytest.approx(answer["df2"], abs=5e-4)
    assert comparison.welch_p == pytest.approx(answer["p"], abs=5e-16)
    assert comparison.levene_p == pytest.approx(textbook.INSECT_SPRAYS_BROWN_FORSYTHE_P, abs=5e-7)
    assert comparison.kruskal_h == pytest.approx(textbook.INSECT_SPRAYS_KRUSKAL["h"], abs=5e-4)
    assert comparison.kruskal_p == pytest.approx(textbook.INSECT_SPRAYS_KRUSKAL["p"], abs=5e-14)


def test_welch_of_hair_colours():
    comparison = compared(textbook.HAIR_COLOURS)
    answer = textbook.HAIR_COLOURS_WELCH
    assert comparison.welch_f == pytest.approx(answer["f"], abs=5e-5)
    assert comparison.welch_df1 == pytest.approx(answer["df1"])
    assert comparison.welch_df2 == pytest.approx(answer["df2"], abs=5e-5)
    assert comparison.welch_p == pytest.approx(answer["p"], abs=5e-5)


def test_kruskal_wallis_of_mucociliary_efficiency():
    comparison = compared(textbook.MUCOCILIARY)
    assert comparison.kruskal_h == pytest.approx(textbook.MUCOCILIARY_KRUSKAL["h"], abs=5e-6)
    assert comparison.kruskal_p == pytest.approx(textbook.MUCOCILIARY_KRUSKAL["p"], abs=5e-5)


def test_dunn_with_holm_of_pulses():
    found = by_pair(compared(textbook.PULSES), "dunn_p_holm")
    assert found == pytest.approx(in_order(textbook.PULSES_DUNN_HOLM), rel=1e-6)


def test_games_howell_of_groups_of_unequal_sizes():
    found = by_pair(compared(textbook.UNEQUAL_SIZES), "games_howell_p")
    assert found == pytest.approx(in_order(textbook.UNEQUAL_SIZES_GAMES_HOWELL), abs=1e-7)


def test_cliffs_delta_of_hogarty_and_kromrey():
    pair = only_pair(compared(textbook.HOGARTY_KROMREY))
    assert pair["cliffs_delta"] == textbook.HOGARTY_KROMREY_DELTA


def test_cliffs_delta_and_brunner_munzel_of_pain_scores():
    # The estimate is of P(a < b) and delta of P(a > b) - P(a < b): the bounds change places.
    answer = textbook.PAIN_SCORES_BRUNNER_MUNZEL
    pair = only_pair(compared(textbook.PAIN_SCORES))
    assert pair["cliffs_delta"] == pytest.approx(1 - 2 * answer["estimate"], abs=1e-6)
    assert pair["cliffs_delta_low"] == pytest.approx(1 - 2 * answer["high"], abs=1e-7)
    assert pair["cliffs_delta_high"] == pytest.approx(1 - 2 * answer["low"], abs=1e-7)
    a, b = textbook.PAIN_SCORES.values()
    found = stats.brunnermunzel(a, b)
    assert found.statistic == pytest.approx(answer["statistic"], rel=1e-12)
    assert found.pvalue == pytest.approx(answer["p"], rel=1e-10)
    higher = stats.brunnermunzel(b, a, alternative="greater")
    assert higher.pvalue == pytest.approx(answer["p_greater"], rel=1e-10)


def test_hodges_lehmann_shift_of_permeability():
    pair = only_pair(compared(textbook.PERMEABILITY))
    answer = textbook.PERMEABILITY_SHIFT
    assert pair["hodges_lehmann_shift"] == pytest.approx(answer["shift"], abs=1e-12)
    assert pair["hodges_lehmann_shift_low"] == pytest.approx(answer["low"], abs=1e-12)
    assert pair["hodges_lehmann_shift_high"] == pytest.approx(answer["high"], abs=1e-12)


def test_signed_rank_test_of_depression():
    found = paired_by_environment(textbook.paired_runs_of(textbook.DEPRESSION), "value")
    assert found.test == "Wilcoxon's signed-rank test"
    assert found.combinations == 9
    assert found.statistic == textbook.DEPRESSION_SIGNED_RANK["statistic"]
    assert found.p == pytest.approx(textbook.DEPRESSION_SIGNED_RANK["p"], abs=5e-5)


def test_friedman_test_of_rounding_times():
    found = paired_by_environment(textbook.paired_runs_of(textbook.ROUNDING_TIMES), "value")
    assert found.test == "Friedman's test"
    assert found.combinations == 22
    assert found.statistic == pytest.approx(textbook.ROUNDING_TIMES_FRIEDMAN["statistic"], abs=5e-5)
    assert found.p == pytest.approx(textbook.ROUNDING_TIMES_FRIEDMAN["p"], abs=5e-7)


def test_type_ii_analysis_of_variance_of_kidney():
    table = anova_lm(smf.ols("value ~ C(a) * C(b)", textbook_models.KIDNEY).fit(), typ=2)
    for term, row in textbook_models.KIDNEY_TYPE_II.items():
        assert table.loc[term, "df"] == row["df"]
        assert table.loc[term, "sum_sq"] == pytest.approx(row["sum_sq"], rel=1e-6)
        if term != "Residual":
            assert table.loc[term, "F"] == pytest.approx(row["F"], rel=1e-6)
            assert table.loc[term, "PR(>F)"] == pytest.approx(row["p"], rel=1e-6)


def test_the_line_of_anscombe():
    x, y = (np.array(values) for values in textbook_models.ANSCOMBE)
    answer = textbook_models.ANSCOMBE_LINE
    fit = Fit(np.column_stack([np.ones(len(x)), x]), y)
    assert fit.estimates == pytest.approx([answer["level"], answer["slope"]], abs=5e-5)
    assert np.sqrt(np.diag(fit.covariance)) == pytest.approx(answer["errors"], abs=5e-5)
    assert fit.estimate(1).p == pytest.approx(answer["p"], abs=5e-6)


def test_power_of_the_t_test_by_power_t_test():
    power = TTestIndPower()
    # R leaves out, unless told otherwise, that the wrong direction may be found significant.
    assert power.power(1, 20, 0.05) == pytest.approx(textbook_models.POWER_OF_20, abs=5e-7)
    n = power.solve_power(1, alpha=0.05, power=0.9)
    assert np.ravel(n)[0] == pytest.approx(textbook_models.N_FOR_90_PERCENT, abs=5e-5)
    one_sided = power.solve_power(1, alpha=0.05, power=0.9, alternative="larger")
    assert np.ravel(one_sided)[0] == pytest.approx(
        textbook_models.N_FOR_90_PERCENT_ONE_SIDED, abs=5e-5
    )


def test_modified_z_of_iglewicz_and_hoaglin():
    runs = pd.DataFrame({"group": "one", "value": textbook_models.IGLEWICZ_HOAGLIN})
    found = find_outliers(runs, "value", by=["group"])
    assert found.left_out["value"].tolist() == textbook_models.IGLEWICZ_HOAGLIN_OUTLIERS
    every = find_outliers(runs, "value", by=["group"], limit=0.0).left_out["modified_z"].abs()
    known = textbook_models.IGLEWICZ_HOAGLIN_MODIFIED_Z
    assert every.tolist() == pytest.approx(known, abs=1e-8)


def test_equivalence_and_non_inferiority_of_the_clinic():
    first, second = (pd.Series(values) for values in textbook.CLINIC)
    answer = textbook.CLINIC_TOST
    result = non_inferiority(first, second, answer["margin"])
    assert result.loss == pytest.approx(answer["difference"], rel=1e-9)
    assert result.loss_low == pytest.approx(answer["low"], rel=1e-9)
    assert result.loss_high == pytest.approx(answer["high"], rel=1e-9)
    other = non_inferiority(second, first, answer["margin"])
    assert max(result.p, other.p) == pytest.approx(answer["p"], rel=1e-9)
    answer = textbook.CLINIC_NON_INFERIORITY
    result = non_inferiority(first, second, answer["margin"])
    assert result.p == pytest.approx(answer["p"], rel=1e-9)
    assert result.passes


def test_aligned_ranks_of_midichlorians():
    table = aligned_ranks_anova(textbook_models.MIDICHLORIANS).set_index("term")
    for term, answer in textbook_models.MIDICHLORIANS_ALIGNED_RANKS.items():
        row = table.loc[term]
        assert row["f"] == pytest.approx(answer["f"], abs=5e-5)
        assert (row["df1"], row["df2"]) == (answer["df1"], answer["df2"])
        assert row["p"] == pytest.approx(answer["p"], rel=1e-4)


def test_fiellers_interval_of_the_reaction_chamber(monkeypatch):
    answer = textbook_models.REACTION_CHAMBER_FIELLER
    monkeypatch.setattr(data, "CONFIDENCE", answer["confidence"])
    chamber = textbook_models.REACTION_CHAMBER
    line = breakeven._Line.through(
        chamber["dial"].to_numpy(), chamber["temperature"].to_numpy() - answer["at"]
    )
    low, high, _ = line.where_zero(0, 100)
    assert line.centre - line.level / line.slope == pytest.approx(answer["estimate"], abs=0.05)
    assert (low, high) == pytest.approx((answer["low"], answer["high"]), abs=5e-3)
