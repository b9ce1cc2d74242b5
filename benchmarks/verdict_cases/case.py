"""What a simulated study asks of a verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Rng = np.random.Generator

FALSE_YES = "false yes"
COVERAGE = "coverage"
AT_LEAST = "coverage at least"
DOMINATED = "dominated"
CHANGED = "changed"
ONE_OF_MANY = "one of eleven"
BANDS = {
    FALSE_YES: (0.0, 0.06), COVERAGE: (0.92, 0.98), AT_LEAST: (0.92, 1.0),
    DOMINATED: (0.0, 0.0), CHANGED: (0.0, 0.0), ONE_OF_MANY: (0.0, 1 - 0.95**11),
}  # fmt: skip
"""Lowest and highest rate that a sound verdict has, by kind."""


@dataclass(frozen=True)
class Case:
    """One setting of simulated studies, and what is counted in them."""

    topic: str
    """What the verdict is about: ``largest saving``."""
    kind: str
    """``false yes``: a wrong claim; ``coverage``: the 95 % interval holds the truth;
    ``coverage at least``: the same of an interval that is wide rather than narrow by design;
    ``dominated``: a recommendation that another condition beats; ``changed``: an answer that
    depends on what it should not depend on; ``one of eleven``: any of eleven verdicts, each at 5 %,
    is a wrong yes."""
    setting: str
    """The truth and the sizes: ``50 equal conditions, n = 5``."""
    simulate: Callable[..., bool | None]
    """Takes a generator and :attr:`given`, and says whether what is counted happened; None where
    the study gave no answer, which is counted apart."""
    given: Mapping[str, object] = field(default_factory=dict)
    simulations: int = 1000
