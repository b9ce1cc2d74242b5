"""Simulated runs tables."""

import numpy as np
import pandas as pd

PAUSE_H = 24
"""Hours between the starts of two sessions."""


def runs_table(energies, scores=None, *, environment="gpu", gflops=None, session_of=None):
    """Return a runs table of one environment.

    Parameters
    ----------
    energies : mapping
        Architecture to energies per image (J), one a run.
    scores : mapping, optional
        Architecture to macro F1, one a run; 0.9 without.
    gflops : mapping, optional
        Architecture to GFLOPs per image.
    session_of : sequence, optional
        Session of each repetition; one session without.
    """
    parts = []
    for architecture, values in energies.items():
        n = len(values)
        sessions = ["1"] * n if session_of is None else [str(s) for s in session_of[:n]]
        score = 0.9 if scores is None else scores[architecture]
        parts.append(
            pd.DataFrame(
                {
                    "run_id": [f"{environment}-{architecture}-{i}" for i in range(n)],
                    "architecture": architecture,
                    "environment": environment,
                    "repetition": range(n),
                    "seed": range(n),
                    "session": sessions,
                    "energy_j_per_image": values,
                    "duration_s_per_image": values,
                    "power_w": 1.0,
                    "f1_macro": np.broadcast_to(score, n),
                    "gflops_per_image": np.nan if gflops is None else gflops[architecture],
                    "parameters": np.nan,
                    "provenance": "measured",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
