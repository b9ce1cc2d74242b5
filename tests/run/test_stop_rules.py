"""The budget of a run."""

import pytest

from greencv_core.metering import MeterError
from greencv_core.run.stop_rules import BudgetLimit
from greencv_core.study.schema import Budget


class Spending:
    """A window whose energy and time grow by one epoch at each reading; stands in for a meter."""

    def __init__(self, *epochs, problems=()):
        self._epochs, self.problems = list(epochs), problems
        self.duration_s = self.energy_j = 0.0

    def read_so_far(self):
        seconds, joules = self._epochs.pop(0)
        self.duration_s += seconds
        self.energy_j += joules
        return self

    @property
    def total(self):
        return self


@pytest.mark.parametrize(
    ("budget", "epochs"),
    [
        (Budget(duration_s=3.0), 3),
        (Budget(duration_s=2.9), 2),
        (Budget(energy_j=50.0), 3),  # 20 + 10 + 10, and the most expensive once more would be 60
        (Budget(energy_j=49.0, duration_s=100.0), 2),
        (Budget(energy_j=1000.0, duration_s=2.5), 2),
    ],
)
def test_no_epoch_begins_that_would_exceed_the_budget(budget, epochs):
    limit = BudgetLimit(budget, Spending((1.0, 20.0), (1.0, 10.0), (1.0, 10.0), (1.0, 10.0)))
    trained = 1
    while limit.allows_another_epoch():
        trained += 1
    assert trained == epochs


def test_an_energy_budget_needs_its_meter():
    limit = BudgetLimit(Budget(energy_j=10.0), Spending((1.0, 1.0), problems=("gone",)))
    with pytest.raises(MeterError, match="budget cannot be kept"):
        limit.allows_another_epoch()
