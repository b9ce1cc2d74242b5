"""Runs tables made up for tests."""

import re

import numpy as np
import pandas as pd

ENERGY, F1 = "energy_j_per_image", "f1_macro"
UNDEFINED = re.compile(r"\b(nan|NaN|inf|None)\b|\[\]")
TEXTS = ("sentence", "diagnosis", "assumptions", "environment_sentence", "effects_sentence",
         "efficiency_sentence", "summary")  # fmt: skip


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
                        "repetition": r,
                        "seed": 100 + r,
                        "images_processed": 1000.0,
                        "architecture": f"net{a}",
                        "environment": f"env{e}",
                        "status": "finished",
                        "complete": True,
                        "disturbed": False,
                        "gflops_per_image": gflops,
                        "parameters": 1e6 * (1 + a * a),
                        "energy_j": 1000 * energy,
                        "energy_j_per_image": energy,
                        "net_energy_j": 400 * energy,
                        "train_energy_j": 800 * energy,
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


def runs_of(energies, scores=None):
    """Return a runs table with one environment, the architectures' energies being given."""
    rows = []
    for name, values in energies.items():
        f1 = np.full(len(values), 0.9) if scores is None else scores[name]
        rows += [
            {
                "run_id": f"{name}{i}",
                "architecture": name,
                "environment": "env0",
                "energy_j": 1000 * energy,
                ENERGY: energy,
                F1: score,
                "disturbed": False,
                "repetition": i,
            }
            for i, (energy, score) in enumerate(zip(values, f1, strict=True))
        ]
    return pd.DataFrame(rows)


def lognormal(seed, n, centre, sigma=0.1):
    return centre * np.random.default_rng(seed).lognormal(0, sigma, n)


def architecture(name):
    return {"architecture": name}


def check_sentences(answer):
    """Check that an answer, or each of several, tells in words what it tells."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list):
        for one in answer:
            check_sentences(one)
        return
    texts = [answer] if isinstance(answer, str) else [
        getattr(answer, name)() for name in TEXTS if hasattr(answer, name)
    ]  # fmt: skip
    assert texts
    for text in texts:
        assert not UNDEFINED.search(text), text
