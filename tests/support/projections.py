"""Helpers for tests of the projection."""

import math

from greencv_core.estimation.bayesian.projection import Projection
from greencv_core.estimation.trajectory import NO_ORACLE


def fitted(trajectories=()):
    method = Projection()
    method.fit(list(trajectories))
    return method


def after(method, trajectory, epochs, oracle=NO_ORACLE):
    return method.predict(trajectory.task, trajectory.observe_epochs(epochs), oracle)


def width(estimate):
    return estimate.high_j - estimate.low_j


def in_order(estimate):
    return (
        0 < estimate.low_j <= estimate.energy_j <= estimate.high_j < math.inf
        and 0 < estimate.low_s <= estimate.duration_s <= estimate.high_s < math.inf
    )


def holds(estimate, energy_j):
    return estimate.low_j <= energy_j <= estimate.high_j
