"""Errors of the follow-up study's methods, beside the same on the public logs.

The follow-up is the dl-training-energy-estimation package of the same group (commit 44113e6). It
knows each training's true end, and scores on 1,225 trainings. Its measurements are not public, but
the public logs are about a quarter of them. Errors in kJ are dominated by the longest trainings, so
they can only agree roughly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from greencv_core.estimation.step import fixed_step
from greencv_core.estimation.trajectory import Trajectory

PUBLISHED_RMSE_KJ: Mapping[str, float] = MappingProxyType(
    {
        "TDP x time": 187.331,
        "TDP x utilisation x time": 176.572,
        "STEP, power": 7.3417,
        "STEP, epoch energy": 7.8480,
    }
)
"""Printed in its notebook, for ML CO2 Impact, Green Algorithms and both kinds of STEP."""
PUBLISHED_PRE_RMSE_KJ: Mapping[str, float] = MappingProxyType(
    {"PRE, power": 27.625, "PRE, epoch energy": 49.674}
)
"""On 30% of its trainings, held out at random."""

_WHOLE: Mapping[str, Callable[[Trajectory], float]] = MappingProxyType(
    {
        "TDP x time": lambda trajectory: trajectory.task.power_limit_w * trajectory.duration_s,
        "TDP x utilisation x time": lambda trajectory: (
            trajectory.task.power_limit_w
            * (trajectory.utilization_so_far_pct[-1] / 100)
            * trajectory.duration_s
        ),
        "STEP, power": lambda trajectory: fixed_step(trajectory)[0],
        "STEP, epoch energy": lambda trajectory: fixed_step(trajectory)[1],
    }
)


def follow_up_errors(trajectories: Sequence[Trajectory]) -> pd.DataFrame:
    """Score the follow-up's methods as it does, with the true end and utilization known.

    Returns
    -------
    pandas.DataFrame
        method, published_rmse_kj, rmse_kj, mape (a share), bias (mean signed error, a share).
    """
    actual_j = np.array([trajectory.energy_j for trajectory in trajectories])
    rows = []
    for method, published in PUBLISHED_RMSE_KJ.items():
        estimate_j = np.array([_WHOLE[method](trajectory) for trajectory in trajectories])
        relative = estimate_j / actual_j - 1
        rows.append(
            {
                "method": method,
                "published_rmse_kj": published,
                "rmse_kj": float(np.sqrt(((estimate_j - actual_j) ** 2).mean())) / 1e3,
                "mape": float(np.abs(relative).mean()),
                "bias": float(relative.mean()),
            }
        )
    return pd.DataFrame(rows)
