"""Runs tables of a known truth, for tests of conclusions."""

import numpy as np
import pandas as pd


def truth(
    energy=lambda gflops, e: gflops**0.5 * (1 + e),
    utilisation=lambda gflops, e: 50 + 10 * np.log10(gflops) + 20 * e,
    f1=lambda gflops, e: 0.95,
    duration=lambda gflops, e: gflops**0.5 / (1 + e),
    gflops=(0.01, 0.03, 0.1, 0.3, 1.0),
    environments=2,
    n=8,
    seed=0,
):
    """Return a runs table of known truth: each figure by GFLOPs and environment, and noise."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "run_id": f"{a}{e}{r}",
            "architecture": f"net{a}",
            "environment": f"env{e}",
            "gflops_per_image": g,
            "energy_j_per_image": energy(g, e) * rng.lognormal(0, 0.02),
            "device_utilization_pct": utilisation(g, e) + rng.normal(0, 0.5),
            "f1_macro": f1(g, e) + rng.normal(0, 0.002),
            "duration_s_per_image": duration(g, e) * rng.lognormal(0, 0.02),
            "device_name": "a GPU",
            "provenance": "measured",
        }
        for a, g in enumerate(gflops)
        for e in range(environments)
        for r in range(n)
    ]
    return pd.DataFrame(rows)


def crossing(at):
    """Return an energy by which env1, the more powerful, takes less above so many GFLOPs."""
    return lambda g, e: g ** (0.5 - 0.2 * e) * at ** (0.2 * e)
