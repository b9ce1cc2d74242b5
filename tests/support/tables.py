"""Runs tables made up for tests."""

import numpy as np
import pandas as pd


def made_up_runs(n=5, architectures=5, environments=2, seed=0):
    """Return a runs table: energy grows as GFLOPs to the power 0.5, F1 with GFLOPs."""
    rng = np.random.default_rng(seed)
    rows = []
    for a in range(architectures):
        gflops = 0.002 * 2.5**a
        for e in range(environments):
            for r in range(n):
                energy = gflops**0.5 * (1 + 0.4 * e) * rng.lognormal(0, 0.02)
                rows.append(
                    {
                        "run_id": f"{a}{e}{r}",
                        "study": "made-up",
                        "architecture": f"net{a}",
                        "environment": f"env{e}",
                        "status": "finished",
                        "complete": True,
                        "contended": False,
                        "gflops_per_image": gflops,
                        "parameters": 1e6 * (1 + a * a),
                        "energy_j": 1000 * energy,
                        "energy_j_per_image": energy,
                        "net_energy_j": 400 * energy,
                        "duration_s": 100 * energy,
                        "duration_s_per_image": energy / 10,
                        "power_w": 10.0,
                        "device_utilization_pct": 50.0 + 40 * e,
                        "f1_macro": min(0.999, 0.85 + 0.03 * a + rng.normal(0, 0.004)),
                        "provenance": "estimated",
                        "cpu_provenance": "estimated",
                        "ram_provenance": "estimated",
                        "gpu_provenance": None,
                        "emissions_gco2e": energy / 10,
                        "device_name": "a CPU",
                    }
                )
    return pd.DataFrame(rows)
