"""Data of textbooks and papers, with the answers published for them.

Each answer is copied from the source that its comment names, none is computed here. Most of them
were printed by R. ``Rout.save`` files and R's own tests are those of its public sources
(github.com/wch/r-source and github.com/cran); tests of scipy, statsmodels, pingouin and
scikit-posthocs say in their comments which program made their reference.
"""

import pandas as pd


def _numbers(text):
    return [float(word) for word in text.split()]


def runs_of(groups):
    """Return a table of runs, one row each, from a mapping of groups to values."""
    return pd.DataFrame(
        [{"group": name, "value": value} for name, values in groups.items() for value in values]
    )


def paired_runs_of(conditions):
    """Return a table of runs in which the i-th values of all conditions share a seed."""
    return pd.DataFrame(
        [
            {"architecture": "one", "environment": name, "seed": seed, "value": value}
            for name, values in conditions.items()
            for seed, value in enumerate(values)
        ]
    )


# --- Several groups -------------------------------------------------------------------------------

INSECT_SPRAYS = {
    "A": _numbers("10 7 20 14 14 12 10 23 17 20 14 13"),
    "B": _numbers("11 17 21 11 16 14 17 17 19 21 7 13"),
    "C": _numbers("0 1 7 2 3 1 2 1 3 0 1 4"),
    "D": _numbers("3 5 12 6 4 3 5 5 5 5 2 4"),
    "E": _numbers("3 5 3 5 3 6 1 1 3 2 6 4"),
    "F": _numbers("11 9 15 22 15 16 13 10 26 26 24 13"),
}
"""Insects left after six sprays: Beall (1942), Biometrika 32, 243-262; R's ``InsectSprays``."""
# R: oneway.test(count ~ spray, InsectSprays), as printed in many tutorials of R.
INSECT_SPRAYS_WELCH = {"f": 36.065, "df1": 5, "df2": 30.043, "p": 7.999e-12}
# R: kruskal.test(count ~ spray, InsectSprays).
INSECT_SPRAYS_KRUSKAL = {"h": 54.691, "p": 1.511e-10}
# R: car::leveneTest(count ~ spray, InsectSprays), which centres at the medians.
INSECT_SPRAYS_BROWN_FORSYTHE_P = 0.004223

HAIR_COLOURS = {
    "light blond": _numbers("62 60 71 55 48"),
    "dark blond": _numbers("63 57 52 41 43"),
    "light brunette": _numbers("42 50 41 37"),
    "dark brunette": _numbers("32 39 51 30 35"),
}
"""Pain thresholds by hair colour: McClave and Dietrich (1991), Statistics; pingouin's "anova"."""
# JASP, in pingouin's tests: test_parametric.py, test_welch_anova.
HAIR_COLOURS_WELCH = {"f": 5.8901, "df1": 3, "df2": 8.3298, "p": 0.0188}

UNEQUAL_SIZES = {
    "0": _numbers("30 23 51"),
    "1": _numbers("-81 71 -27 63"),
    "2": _numbers("42 11 29 19 50"),
    "3": _numbers("23 22 20 18 9"),
}
"""Groups of unequal sizes and variances: scipy's tests, test_hypotests.py, TestGamesHowell."""
# R: PMCMRplus::gamesHowellTest, in the same place (r_diff_size). SPSS gives the same to 7 decimals.
UNEQUAL_SIZES_GAMES_HOWELL = {
    ("0", "1"): 0.87275427357438,
    ("0", "2"): 0.97526284087419,
    ("0", "3"): 0.42625067714691,
    ("1", "2"): 0.91489506061850,
    ("1", "3"): 0.98614322544695,
    ("2", "3"): 0.47553444364614,
}

THREE_GROUPS = {
    "0": _numbers("452 874 554 447 356 754 558 574 664 682 547 435 245"),
    "1": _numbers("546 547 774 465 459 665 467 365 589 534 456 651 654 665 546 537"),
    "2": _numbers("785 458 886 536 669 857 821 772 732 689 654 597 830 827"),
}
"""Three groups: statsmodels' tests, test_oneway.py, TestOnewayScale."""
# R: lawstat::levene.test about the medians, in the same place (test_levene).
THREE_GROUPS_BROWN_FORSYTHE = {"w": 1.0866123063642, "p": 0.3471072204516}

MUCOCILIARY = {
    "normal": _numbers("2.9 3.0 2.5 2.6 3.2"),
    "obstructed": _numbers("3.8 2.7 4.0 2.4"),
    "asbestosis": _numbers("2.8 3.4 3.7 2.2 2.0"),
}
"""Removal of dust: Hollander and Wolfe (1973), p. 116; the example of R's ``kruskal.test``."""
# R: kruskal.test(list(x, y, z)).
MUCOCILIARY_KRUSKAL = {"h": 0.77143, "p": 0.68}

PULSES = {
    "rest": _numbers(
        "85 85 88 90 92 93 97 97 94 80 82 83 91 92 91 83 83 84 87 88 90 92 94 95 97 99 96 100 97"
        " 100"
    ),
    "walking": _numbers(
        "86 86 84 93 103 104 90 92 93 95 96 100 89 96 95 84 86 89 103 109 90 92 96 101 97 98 100"
        " 102 104 103"
    ),
    "running": _numbers(
        "93 98 110 98 104 112 98 105 99 87 132 120 94 110 116 95 126 143 100 126 140 103 124 140"
        " 94 135 130 99 111 150"
    ),
}
"""Pulses at rest, walking and running: UCLA's repeated measures example; seaborn's "exercise"."""
# R (r_results), Holm's correction: scikit-posthocs' tests, test_posthocs.py, test_posthoc_dunn.
PULSES_DUNN_HOLM = {
    ("rest", "walking"): 4.390066e-02,
    ("rest", "running"): 9.570998e-09,
    ("walking", "running"): 1.873208e-04,
}

# --- Normality ------------------------------------------------------------------------------------

ROYSTON = _numbers(
    "0.139 0.157 0.175 0.256 0.344 0.413 0.503 0.577 0.614 0.655 0.954 1.392 1.557 1.648 1.690"
    " 1.994 2.174 2.206 3.245 3.510 3.571 4.354 4.980 6.084 8.351"
)
"""The test data of Royston (1995), Applied Statistics 44, 547-551 (remark AS R94)."""
# The same paper; scipy's tests, test_morestats.py, TestShapiro ("Extracted from original paper").
ROYSTON_SHAPIRO = {"w": 0.83467, "p": 0.000914}

# --- Two groups -----------------------------------------------------------------------------------

PAIN_SCORES = {
    "Y": _numbers("1 2 1 1 1 1 1 1 1 1 2 4 1 1"),
    "N": _numbers("3 3 4 3 1 2 3 1 1 5 4"),
}
"""Pain after surgery under two treatments: Brunner and Munzel (2000), Biometrical Journal 42."""
# R: lawstat::brunner.munzel.test(Y, N) and brunnermunzel::brunnermunzel.test(Y, N), help pages;
# p to more digits: scipy's tests, test_stats.py, TestBrunnerMunzel (from lawstat). The estimate is
# P(Y < N) + P(Y = N) / 2, with its 95 % interval.
PAIN_SCORES_BRUNNER_MUNZEL = {
    "statistic": 3.1374674823029505,
    "df": 17.683,
    "p": 0.0057862086661515377,
    "p_greater": 0.0028931043330757342,
    "estimate": 0.788961,
    "low": 0.5952169,
    "high": 0.9827052,
}

HOGARTY_KROMREY = {
    "treatment": _numbers("10 10 20 20 20 30 30 30 40 50"),
    "control": _numbers("10 20 30 40 40 50"),
}
"""The example of Hogarty and Kromrey (1999), as the help page of R's effsize has it."""
# R: effsize::cliff.delta(treatment, control), effsize's own tests. Its interval is Cliff's, from
# another variance than that of Brunner and Munzel, and no answer here.
HOGARTY_KROMREY_DELTA = -0.25

PERMEABILITY = {
    "at term": _numbers("0.80 0.83 1.89 1.04 1.45 1.38 1.91 1.64 0.73 1.46"),
    "12-26 weeks": _numbers("1.15 0.88 0.90 0.74 1.21"),
}
"""Permeability of a membrane: Hollander and Wolfe (1999), table 4.1, p. 110."""
# Hollander and Wolfe (1999), pp. 111 and 126, as R's tests/reg-tests-1.R (PR 1150) holds
# wilcox.test(y, x, conf.int = TRUE) to it; coin::wilcox_test, coin-Ex.Rout.save, has the same. The
# shift is of the second group against the first.
PERMEABILITY_SHIFT = {"shift": -0.305, "low": -0.76, "high": 0.15}

CLINIC = (
    _numbers("2.84 2.51 2.41 2.95 3.14 3.79 4.14 3.85 3.02 3.45 5.37 3.81 4.19 3.16 3.84"),
    _numbers("2.60 2.82 2.18 3.46 4.01 3.04 3.47 4.06 2.91 3.59 4.51 3.16 3.86 3.31 3.02"),
)
"""Two groups of patients: ``clinic`` in statsmodels' tests, test_tost.py, "var1"."""
# R: equivalence::tost(group 1, group 2, eps = 0.6), Welch: in the same place, tost_clinic_indep_1.
# The interval of the difference of means is of 90 %.
CLINIC_TOST = {
    "margin": 0.6,
    "difference": 0.1646666666666667,
    "low": -0.2666862980722534,
    "high": 0.596019631405587,
    "p": 0.04853083976236974,
}
# R: t.test(group 1, group 2, mu = 1, alternative = "less"), Welch: in the same place,
# ttest_clinic_indep_1_l_mu. It is the test of non-inferiority of group 2 with a margin of 1.
CLINIC_NON_INFERIORITY = {"margin": 1.0, "high": 0.596019631405587, "p": 0.001372434925571605}

# --- Paired ---------------------------------------------------------------------------------------

DEPRESSION = {
    "first visit": _numbers("1.83 0.50 1.62 2.48 1.68 1.88 1.55 3.06 1.30"),
    "second visit": _numbers("0.878 0.647 0.598 2.05 1.06 1.29 1.06 3.14 1.29"),
}
"""Hamilton's depression scale before and after: Hollander and Wolfe (1973), p. 29."""
# R: wilcox.test(y - x), stats-Ex.Rout.save: V = 5; two-sided p: Hollander and Wolfe (1999), p. 40,
# as R's tests/reg-tests-1.R (PR 1150) holds wilcox.test(y, x, paired = TRUE) to it.
DEPRESSION_SIGNED_RANK = {"statistic": 5, "p": 0.0391}

ROUNDING_TIMES = {
    "round out": _numbers(
        "5.40 5.85 5.20 5.55 5.90 5.45 5.40 5.45 5.25 5.85 5.25 5.65 5.60 5.05 5.50 5.45 5.55 5.45"
        " 5.50 5.65 5.70 6.30"
    ),
    "narrow angle": _numbers(
        "5.50 5.70 5.60 5.50 5.85 5.55 5.40 5.50 5.15 5.80 5.20 5.55 5.35 5.00 5.50 5.55 5.55 5.50"
        " 5.45 5.60 5.65 6.30"
    ),
    "wide angle": _numbers(
        "5.55 5.75 5.50 5.40 5.70 5.60 5.35 5.35 5.00 5.70 5.10 5.45 5.45 4.95 5.40 5.50 5.35 5.55"
        " 5.25 5.40 5.55 6.25"
    ),
}
"""Times of 22 players to round first base in three ways: Hollander and Wolfe (1973), p. 140."""
# R: friedman.test(RoundingTimes), stats-Ex.Rout.save.
ROUNDING_TIMES_FRIEDMAN = {"statistic": 11.1429, "p": 0.003805}
