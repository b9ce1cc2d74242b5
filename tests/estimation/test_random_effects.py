"""Levels of conditions: the line, the effects, and how sure one may be of a new condition."""

import numpy as np
import pytest

from greencv_core.estimation.bayesian.random_effects import (
    DRAWS,
    Design,
    LevelModel,
    fit_level_model,
)

GFLOPS = {f"a{i}": 0.25 * 2.0**i for i in range(6)}
CELLS = [
    (name, environment, "s", stage, float(np.log(gflops)))
    for name, gflops in GFLOPS.items()
    for environment in ("x", "y")
    for stage in ("frozen", "main")
]
KNOWN = Design.from_cells(CELLS)


def on_the_line(where):
    """Return levels that follow a line, but for an environment and a stage."""
    return 5 + 0.4 * where.log_gflops + 0.3 * (where.environment == "y") + (where.stage == "main")


def learnt(where, levels=None, variance=1e-4):
    levels = on_the_line(where) if levels is None else levels
    return fit_level_model(where, levels, np.full(len(where), variance))


def nothing_learnt():
    return fit_level_model(Design.from_cells([]), np.empty(0), np.empty(0))


def at(model, *rows):
    """Return mean and standard deviation of each place, over all draws, few of which are wild."""
    means, covariances = model.predict(Design.from_cells(rows))
    within = np.diagonal(covariances, axis1=1, axis2=2)
    return means.mean(axis=0), np.sqrt(np.median(within, axis=0) + means.var(axis=0))


@pytest.fixture(scope="module")
def model():
    return learnt(KNOWN)


def test_without_levels_the_prior_is_the_line_and_the_effects_that_were_drawn():
    model = nothing_learnt()
    x = np.log(4.0)
    means, covariances = model.predict(
        Design.from_cells([("a", "e", "s", "one", x), ("a", "e", "s", "two", x)])
    )
    assert model.scales.shape == (DRAWS, 1, 1)
    assert means.shape == (DRAWS, 2)
    assert covariances.shape == (DRAWS, 2, 2)
    assert (means == 0).all()
    environment, on_slope, architecture, condition, *on_step, products = np.exp(2 * model.log_sds).T
    shared = 10**2 + 1**2 * x**2 + environment + on_slope * x**2 + architecture + condition
    own = 1**2 + sum(on_step) + products * x**2
    covariances = covariances / model.scales
    assert covariances[:, 0, 1] == pytest.approx(shared)
    assert covariances[:, 1, 0] == pytest.approx(shared)
    assert covariances[:, 0, 0] == pytest.approx(shared + own)
    assert covariances[:, 1, 1] == pytest.approx(shared + own)


@pytest.mark.parametrize(
    ("changed", "in_common"),
    [
        ({"architecture": "b"}, ("environment", "environment slope", "environment step", "step")),
        ({"environment": "f"}, ("architecture", "architecture step", "step")),
        ({"setting": "t"}, ("environment", "environment slope", "architecture", "environment step",
                            "architecture step", "step")),
    ],
)  # fmt: skip
def test_two_conditions_have_in_common_what_their_names_have(changed, in_common):
    names = (
        "environment", "environment slope", "architecture", "condition",
        "environment step", "architecture step", "condition step", "step",
    )  # fmt: skip
    model = nothing_learnt()
    one = {"architecture": "a", "environment": "e", "setting": "s", "stage": "main"}
    x = np.log(3.0)
    rows = [(*each.values(), x) for each in (one, one | changed)]
    variances = dict(zip(names, np.exp(2 * model.log_sds).T, strict=True))
    variances["environment slope"] *= x**2
    variances["step"] *= x**2
    expected = 101 + x**2 + sum(variances[name] for name in in_common)
    covariances = model.predict(Design.from_cells(rows))[1] / model.scales
    assert covariances[:, 0, 1] == pytest.approx(expected)


def test_a_condition_may_be_unlike_all_others(model):
    """Student's t in place of Gaussian: variances as the inverse of a chi-square, of 4 degrees."""
    for some in model, nothing_learnt():
        scales = some.scales.ravel()
        assert np.median(scales) == pytest.approx(4 / 3.357, rel=0.25)
        assert scales.max() > 5
        assert scales.min() < 0.6
    rows = [("new", "x", "s", "main", 0.5), ("new", "x", "s", "frozen", 0.5)]
    covariances = model.predict(Design.from_cells(rows))[1]
    assert np.corrcoef(np.log(covariances[:, 0, 0]), np.log(model.scales.ravel()))[0, 1] > 0.4


def test_the_effects_drawn_before_anything_is_known_are_wide():
    log_sds = nothing_learnt().log_sds
    assert log_sds.shape == (DRAWS, 8)
    medians = np.exp(np.median(log_sds, axis=0))
    assert medians == pytest.approx([0.5, 0.2, 0.3, 0.15, 0.2, 0.2, 0.1, 0.1], rel=0.35)
    assert log_sds.std(axis=0) == pytest.approx(np.ones(8), abs=0.2)


def test_a_new_architecture_is_expected_near_the_line_and_far_narrower_than_before(model):
    x = float(np.log(3.0))
    row = ("new", "y", "s", "main", x)
    mean, sd = at(model, row)
    assert mean[0] == pytest.approx(5 + 0.4 * x + 0.3 + 1, abs=0.05)
    assert sd[0] < 0.15
    assert sd[0] < at(nothing_learnt(), row)[1][0] / 50


def test_a_condition_that_is_known_is_expected_at_its_own_level():
    levels = on_the_line(KNOWN)
    odd = (KNOWN.architecture == "a2") & (KNOWN.environment == "x")
    levels[odd] += 0.8
    model = learnt(KNOWN, levels)
    rows = [("a2", "x", "s", stage, float(np.log(GFLOPS["a2"]))) for stage in ("frozen", "main")]
    mean, sd = at(model, *rows)
    assert mean == pytest.approx(levels[odd], abs=0.05)
    assert (sd < 0.05).all()


def test_a_level_that_was_measured_badly_counts_little():
    levels = on_the_line(KNOWN)
    odd = (KNOWN.architecture == "a2") & (KNOWN.environment == "x")
    levels[odd] += 0.8
    variances = np.where(odd, 100.0, 1e-4)
    row = ("a2", "x", "s", "main", float(np.log(GFLOPS["a2"])))
    mean, _ = at(fit_level_model(KNOWN, levels, variances), row)
    assert mean[0] == pytest.approx(5 + 0.4 * row[-1] + 1, abs=0.1)


def test_a_stage_that_was_seen_tells_of_the_other(model):
    rows = [("new", "x", "s", stage, 0.0) for stage in ("frozen", "main")]
    _, covariances = model.predict(Design.from_cells(rows))
    mean = covariances.mean(axis=0)
    assert mean[0, 1] / np.sqrt(mean[0, 0] * mean[1, 1]) > 0.3


def test_an_unknown_environment_is_wider_than_a_known_one(model):
    x = float(np.log(GFLOPS["a2"]))
    for architecture in ("a2", "new"):
        _, sd = at(model, *((architecture, e, "s", "main", x) for e in ("x", "unknown")))
        assert sd[1] > 3 * sd[0]


def test_an_unknown_architecture_and_setting_are_wider_than_known_ones(model):
    x = float(np.log(GFLOPS["a2"]))
    _, sd = at(
        model, ("a2", "x", "s", "main", x), ("a2", "x", "t", "main", x), ("b", "x", "t", "main", x)
    )
    assert sd[0] < sd[1] < sd[2]


def test_the_more_conditions_the_narrower():
    designs = [Design.from_cells(CELLS[:n]) for n in (4, 12, 24)]
    widths = [at(learnt(design), ("new", "x", "s", "main", 0.0))[1][0] for design in designs]
    assert widths[0] > 1.5 * widths[1] > 1.5 * widths[2]


def test_effects_are_as_wide_as_architectures_differ():
    rng = np.random.default_rng(1)
    off = dict(zip(GFLOPS, rng.normal(0, 1.0, len(GFLOPS)), strict=True))
    levels = on_the_line(KNOWN) + np.array([off[name] for name in KNOWN.architecture])
    row = ("new", "x", "s", "main", 0.0)
    assert at(learnt(KNOWN, levels), row)[1][0] > 5 * at(learnt(KNOWN), row)[1][0]


def test_the_draws_are_of_the_posterior():
    """So says a plain importance sampling from the prior, which few levels leave possible."""
    where = Design.from_cells(CELLS[:16])
    rng = np.random.default_rng(0)
    off = dict(zip(GFLOPS, rng.normal(0, 0.5, len(GFLOPS)), strict=True))
    levels = on_the_line(where) + np.array([off[name] for name in where.architecture])
    model = learnt(where, levels, variance=0.02)

    medians = np.log([0.5, 0.2, 0.3, 0.15, 0.2, 0.2, 0.1, 0.1])
    prior = np.random.default_rng(1).normal(medians, 1.0, (8000, 8))
    nothing, one_scale = np.empty(0), np.ones((len(prior), 1, 1))
    unlearnt = LevelModel(Design.from_cells([]), nothing, 0.0, nothing, prior, one_scale)
    covariances = unlearnt.predict(where)[1] + 0.02 * np.eye(len(where))
    centred = levels - levels.mean()
    fits = np.einsum("i,dij,j->d", centred, np.linalg.inv(covariances), centred)
    log_weights = -0.5 * (fits + np.linalg.slogdet(covariances)[1])
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = weights @ prior
    sd = np.sqrt(weights @ (prior - mean) ** 2)

    assert (model.log_sds.mean(axis=0) - mean) / sd == pytest.approx(np.zeros(8), abs=0.35)
    assert (model.log_sds.std(axis=0) / sd).mean() == pytest.approx(1, abs=0.2)


def test_a_constant_in_all_levels_moves_what_is_expected_and_nothing_else(model):
    rows = [("new", "x", "s", "main", 0.5), ("a1", "y", "s", "frozen", -0.7)]
    moved = learnt(KNOWN, on_the_line(KNOWN) + 100)
    (mean, sd), (after, same) = at(model, *rows), at(moved, *rows)
    assert after - 100 == pytest.approx(mean, abs=0.01)
    assert same == pytest.approx(sd, rel=0.25)


def test_the_same_levels_give_the_same_draws(model):
    assert (model.log_sds.std(axis=0) > 0.1).all()  # and differ from each other
    assert np.array_equal(model.log_sds, learnt(KNOWN).log_sds)
    assert np.array_equal(nothing_learnt().log_sds, nothing_learnt().log_sds)


def test_every_draw_has_a_mean_and_a_covariance_of_the_places_wanted(model):
    rows = [
        ("new", "x", "s", "frozen", 0.0),
        ("a1", "z", "s", "main", 1.0),
        ("b", "y", "t", "q", 2),
    ]
    means, covariances = model.predict(Design.from_cells(rows))
    assert model.log_sds.shape == (DRAWS, 8)
    assert means.shape == (DRAWS, 3)
    assert covariances.shape == (DRAWS, 3, 3)
    assert covariances == pytest.approx(covariances.transpose(0, 2, 1))
    assert (np.linalg.eigvalsh(covariances) > -1e-6).all()


def test_a_single_level_is_enough():
    model = fit_level_model(
        Design.from_cells([("a", "e", "s", "main", 0.0)]), np.array([7.0]), np.array([0.01])
    )
    mean, sd = at(model, ("a", "e", "s", "main", 0.0), ("b", "f", "s", "main", 2.0))
    assert mean[0] == pytest.approx(7.0, abs=0.01)
    assert sd[0] == pytest.approx(0.1, rel=0.25)
    assert sd[1] > 1
