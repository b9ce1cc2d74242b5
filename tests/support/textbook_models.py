"""Published reference answers of models: two factors and regression."""

import numpy as np
import pandas as pd

from tests.support.textbook import _numbers

# --- Two factors ----------------------------------------------------------------------------------

_KIDNEY = {
    (1, 1): "0 2 1 3 0 2 0 5 6 8",
    (1, 2): "2 4 7 12 15 4 3 1 5 20",
    (1, 3): "15 10 8 5 25 16 7 30 3 27",
    (2, 1): "0 1 1 0 4 2 7 4 0 3",
    (2, 2): "5 3 2 0 1 1 3 6 7 9",
    (2, 3): "10 8 12 3 7 15 4 9 6 1",
}
KIDNEY = pd.DataFrame(
    [
        {"value": np.log(days + 1), "a": str(duration), "b": str(weight)}
        for (duration, weight), values in _KIDNEY.items()
        for days in _numbers(values)
    ]
).drop(index=[0, 1, 2])
"""Logarithm of the days in hospital plus 1 by the duration of treatment (a) and the weight gained
(b), the first three patients left out: statsmodels' tests, test_anova.py."""
# R: car::Anova(model, type = "II"), in the same place, TestAnova2.
KIDNEY_TYPE_II = {
    "C(a)": {"sum_sq": 3.067066, "df": 1, "F": 5.667033, "p": 0.02106078},
    "C(b)": {"sum_sq": 13.27205, "df": 2, "F": 12.26141, "p": 4.487909e-05},
    "C(a):C(b)": {"sum_sq": 0.1905093, "df": 2, "F": 0.1760025, "p": 0.8391231},
    "Residual": {"sum_sq": 27.60181, "df": 51},
}

MIDICHLORIANS = pd.DataFrame(
    {
        "value": _numbers("10 4 12 5 15 4 15 9 15 11 18 12 8 13 8 15 10 17 22 22 20 22 20 25"),
        "a": ["Jedi", "Sith"] * 12,
        "b": np.repeat(["Olympia", "Ventura", "Northampton", "Burlington"], 6),
    }
)
"""Midichlorians by tribe (a) and location (b), balanced: Mangiafico, Summary and Analysis of
Extension Program Evaluation in R, rcompanion.org/handbook/F_14.html and F_16.html."""
# R: anova(ARTool::art(Midichlorians ~ Tribe + Location + Tribe:Location)), Type III: the chapter
# "Aligned Ranks Transformation ANOVA", rcompanion.org/handbook/F_16.html.
MIDICHLORIANS_ALIGNED_RANKS = {
    "a": {"f": 3.0606, "df1": 1, "df2": 16, "p": 0.099364},
    "b": {"f": 34.6201, "df1": 3, "df2": 16, "p": 3.1598e-07},
    "a x b": {"f": 29.9354, "df1": 3, "df2": 16, "p": 8.4929e-07},
}

# --- Regression -----------------------------------------------------------------------------------

ANSCOMBE = (_numbers("10 8 13 9 11 14 6 4 12 7 5"),
            _numbers("8.04 6.95 7.58 8.81 8.33 9.96 7.24 4.26 10.84 4.82 5.68"))  # fmt: skip
"""x and y of the first of Anscombe's (1973) four data sets."""
# R: summary(lm(y1 ~ x1, anscombe)), in the help page of anscombe.
ANSCOMBE_LINE = {"level": 3.0001, "slope": 0.5001, "errors": (1.1247, 0.1179), "p": 0.00217}

# --- Power, outliers, intervals -------------------------------------------------------------------

# R: power.t.test(n = 20, delta = 1), power.t.test(power = .90, delta = 1), and the latter with
# alternative = "one.sided": stats-Ex.Rout.save. n is of each group, sd is 1, the level 5 %.
POWER_OF_20 = 0.8689528
N_FOR_90_PERCENT = 22.02110
N_FOR_90_PERCENT_ONE_SIDED = 17.84713

IGLEWICZ_HOAGLIN = _numbers("2.1 2.6 2.4 2.5 2.3 2.1 2.3 2.6 8.2 8.3")
"""The example of Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers."""
# The absolute modified z of each, by the book's formula, and those that it labels as outliers:
# github.com/richieBao/python-urbanPlanning.
IGLEWICZ_HOAGLIN_MODIFIED_Z = _numbers(
    "1.57383333 0.6745 0.22483333 0.22483333 0.6745 1.57383333 0.6745 0.6745 25.85583333 26.3055"
)
IGLEWICZ_HOAGLIN_OUTLIERS = [8.2, 8.3]

REACTION_CHAMBER = pd.DataFrame(
    {
        "dial": np.arange(0.0, 101.0, 10.0),
        "temperature": _numbers(
            "206.36 225.52 252.18 289.33 318.11 349.49 383.03 410.70 444.40 469.14 501.16"
        ),
    }
)
"""Temperature by the setting of a dial: Graybill and Iyer (1996), Regression Analysis, p. 433."""
# The book, as the tests of R's investr hold calibrate(y0 = 400, mean.response = TRUE, level = 0.99)
# to it: the setting at which the line's mean is 400, with Fieller's interval (by inversion).
REACTION_CHAMBER_FIELLER = {
    "at": 400.0,
    "confidence": 0.99,
    "estimate": 66.5,
    "low": 65.07,
    "high": 68.03,
}
