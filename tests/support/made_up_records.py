"""Run records made up for tests: whole enough for every page of the report."""

import numpy as np

from greencv_core.machine.hardware import describe_machine
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.run.unfinished import build_identity

EPOCHS = 2
IMAGES = 456
RUN = "0123abcd0123abcd"
STARTED = "2026-01-01T08:00:00+00:00"


def made_up_study():
    """Return the smoke study, which the records are said to be of."""
    return load_study("smoke")


def made_up_records(n=6, architectures=5, environments=3, seed=0, **changed):
    """Return records, in a study's order: energy grows as GFLOPs to the power 0.5, F1 with them.

    What is ``changed`` is the same in each.
    """
    rng = np.random.default_rng(seed)
    return [
        one(a, e, repetition, rng, **changed)
        for a in range(architectures)
        for e in range(environments)
        for repetition in range(n)
    ]


def one(a, e, repetition, rng, **changed):
    """Return the record of one run of the condition of these numbers."""
    gflops = 0.002 * 2.5**a
    odd = 1.1 if a % 2 else 1.0  # an architecture is more than its GFLOPs
    by_environment = (1 + 0.4 * e) * (1 + 0.05 * a * e)
    energy_j = 1000 * gflops**0.5 * odd * by_environment * rng.lognormal(0, 0.02)
    duration_s = energy_j / 10 * rng.lognormal(0, 0.01)
    f1 = min(0.999, 0.85 + 0.03 * a + rng.normal(0, 0.004))
    fields = {
        "run_id": f"{a:02x}{e:02x}{repetition:02x}".ljust(16, "0"),
        "architecture": f"net{a}",
        "environment": {"name": f"env{e}", "device": "cpu", "threads": e + 1, "precision": "fp32"},
        "dataset": {"name": "digits", "image_size": 32},
        "protocol": {"batch_size": 32},
        "repetition": repetition,
        "order": repetition * 100 + 10 * a + e,
        "seed": 2022 + repetition,
        "started_at": "2026-01-01T00:00:00+00:00",
        "machine": {"fingerprint": "0123abcd", "cpu_model": "a CPU"},
        "host": "89abcdef",
        "versions": {"greencv": "0.1.0", "torch": "2.11.0"},
        "git_commit": "0123456789ab",
        "device_name": "a CPU",
        "gflops_per_image": gflops,
        "parameters": 1_000_000 * (1 + a * a),
        "epochs": [epoch(k, f1, energy_j, duration_s) for k in range(1, EPOCHS + 1)],
        "images_processed": IMAGES,
        "duration_s": duration_s,
        "total": window("run", 0.0, duration_s, energy_j),
        "phases": [
            window("epoch 1 training", 0.0, 0.7 * duration_s, 0.75 * energy_j),
            window("epoch 1 validation", 0.7 * duration_s, duration_s, 0.2 * energy_j),
        ],
        "net_energy_j": 0.6 * energy_j - 1.0,
        "emissions_gco2e": energy_j * 174.05 / 3.6e6,
        "carbon_intensity_gco2e_per_kwh": 174.05,
        "device_utilization_pct": 50.0 + 10 * e,
        "disturbed": repetition == 1,
        "problems": ["other processes used 66% of the CPUs"] if repetition == 1 else [],
    }
    return record(**{**fields, **changed})


ESTIMATED = {"provenance": "estimated", "source": "CodeCarbon"}
SHARES = {"cpu": 2 / 3, "ram": 1 / 3}


def window(name, start_s, end_s, energy_j, shares=SHARES, uncertainty=0.2, **meters):
    """Return a window; its components' energies are estimated, unless ``meters`` say otherwise."""
    parts = {
        component: {
            "energy_j": share * energy_j,
            "uncertainty_j": uncertainty * share * energy_j,
            **meters.get(component, ESTIMATED),
        }
        for component, share in shares.items()
    }
    return {"name": name, "start_s": start_s, "end_s": end_s, "components": parts}


def epoch(k, f1, energy_j, duration_s):
    """Return an epoch: correctness approaches its last value."""
    scores = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro")
    return {
        "epoch": k,
        "train_loss": 1 / k,
        "validation_loss": 1.1 / k,
        **dict.fromkeys(scores, f1 * k / EPOCHS),
        "duration_s": duration_s / EPOCHS,
        "energy_j": energy_j / EPOCHS,
    }


def planned_record(run, **changed):
    """Return the record of a planned run, its machine known by the fingerprint alone."""
    planned = build_identity(run, describe_machine())
    return record(**{**planned, "machine": {"fingerprint": run.machine}, **changed})


def record(run_id=RUN, **changed):
    """Return a record with the required fields alone, and those that are ``changed``."""
    fields = {
        "run_id": run_id,
        "status": "finished",
        "study": "smoke",
        "architecture": "resnet18",
        "environment": {"name": "cpu-1-thread"},
        "dataset": {},
        "protocol": {},
        "carbon": {},
        "repetition": 1,
        "order": 0,
        "seed": 1,
        "started_at": STARTED,
        "machine": {},
        "versions": {},
        "git_commit": "",
    }
    return RunRecord(**{**fields, **changed})
