"""How long the claims take on a large table: a tidy CSV file of a million made-up runs.

    .venv/bin/python benchmarks/evidence_speed.py

Seeds are fixed. The last line is JSON, with the peak memory of the process that tests the claims.
"""

import search_path  # noqa: F401

# isort: split
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.output import answer_of, show_progress

ARCHITECTURES, ENVIRONMENTS, REPETITIONS = 50, 20, 1000
IMAGES = 50_000


def main():
    show_progress("claims on a million runs")
    print(json.dumps(measure_claims()))


def measure_claims():
    """Return the seconds and the peak memory of reading a million runs and testing the claims."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.csv"
        made_up_runs().to_csv(path, index=False)
        return answer_of("the claims", [sys.executable, __file__, str(path)])


def made_up_runs():
    """Return an evidence table in which energy rises with GFLOPs and environments differ."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(ARCHITECTURES), range(ENVIRONMENTS), range(REPETITIONS)],
        names=["architecture", "environment", "repetition"],
    )
    runs = index.to_frame(index=False)
    n, speed = len(runs), 1 + runs["environment"] / ENVIRONMENTS
    gflops = 10 ** (3 * runs["architecture"] / ARCHITECTURES - 2)
    return runs.assign(
        source="made up",
        architecture="net" + runs["architecture"].astype(str),
        environment="gpu" + runs["environment"].astype(str),
        energy_j=500 * gflops**0.5 * speed * rng.lognormal(0, 0.05, n),
        provenance="measured",
        images_processed=IMAGES,
        duration_s=100 * gflops**0.5 / speed * rng.lognormal(0, 0.05, n),
        gflops_per_image=gflops,
        correctness=0.9 + 0.01 * rng.uniform(-1, 1, n),
        correctness_name="accuracy",
        device_utilization_pct=50 + 10 * np.log10(gflops) + rng.normal(0, 1, n),
    )


def run_claims(path):
    """Test the claims on a file, as ``greencv claims`` does."""
    from greencv_core.published.evidence_sources import load_tables
    from greencv_core.published.evidence_summary import summarise

    begin = time.perf_counter()
    content = summarise(load_tables([path]))
    seconds = time.perf_counter() - begin
    [source] = content["sources"].values()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    answer = {
        "claims_million_rows_s": round(seconds, 1),
        "claims_million_rows_peak_gb": round(peak_gb, 2),
        "claims_million_rows": source["runs"],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    run_claims(sys.argv[1]) if sys.argv[1:] else main()
