"""Records and a bundle of runs on a made-up GPU, for tests; nothing of it was measured.

Times and powers come from a simple model (:class:`Cost`), so the report on GPU runs can be tested
without a GPU. Every record names its devices as made up.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from greencv_core import __version__
from greencv_core.machine.environment import resolve
from greencv_core.machine.hardware import Accelerator, Machine
from greencv_core.records.components import restrict_to_components
from greencv_core.records.pack import pack, write
from greencv_core.records.record import RunRecord
from greencv_core.records.select import sort_records
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run.unfinished import build_identity
from greencv_core.study.loading import validate_study
from greencv_core.study.plan import plan
from greencv_core.utils.energy import emissions_gco2e

GPU = "a GPU that is made up"
CPU = "a CPU that is made up"
LIMIT_W, IDLE_W = 700.0, 70.0
CPU_IDLE_W, RAM_W = 12.0, 40.0
INTENSITY_GCO2E_PER_KWH = 174.05

STUDY = """
name: made-up-gpu
description: >-
  Made up, for tests: nine architectures in six ways to use one GPU. No figure of it was measured.
dataset: {name: digits, image_size: 128, train_images: 1280, validation_images: 512}
environments:
  - {name: fp32, device: cuda}
  - {name: tf32, device: cuda, precision: tf32}
  - {name: bf16, device: cuda, precision: bf16}
  - {name: bf16-compiled, device: cuda, precision: bf16, compile: true}
  - {name: bf16-batch-64, device: cuda, precision: bf16, batch_size: 64}
  - {name: fp32-batch-64, device: cuda, batch_size: 64}
protocol:
  {epochs: 30, batch_size: 256, optimizer: adamw, learning_rate: 0.0005, weight_decay: 0.05,
   schedule: one_cycle, repetitions: 5, seed: 2022, idle_s: 10.0, warmup_s: 30.0}
carbon: {country: ESP}
"""

NETS = {
    # GFLOPs an image at 128 px, parameters, activations an image, layers, F1, reached share of peak
    "squeezenet1_1": (0.1607, 727_626, 1_647_262, 57, 0.948, 0.45),
    "shufflenet_v2_x1_0": (0.0940, 1_263_854, 1_784_074, 164, 0.957, 0.25),
    "mobilenet_v3_large": (0.1443, 4_214_842, 4_141_138, 168, 0.966, 0.25),
    "resnet18": (1.1844, 11_181_642, 2_441_738, 52, 0.981, 0.60),
    "efficientnet_b0": (0.2520, 4_020_358, 6_509_570, 230, 0.974, 0.25),
    "resnet50": (2.6692, 23_528_522, 10_463_242, 126, 0.984, 0.60),
    "vgg16": (10.2614, 134_301_514, 9_396_746, 39, 0.979, 0.75),
    "convnext_tiny": (2.9092, 27_827_818, 10_262_794, 156, 0.962, 0.50),
    "vit_b_16": (11.2728, 85_704_970, 10_332_682, 112, 0.941, 0.65),
}
METERS = {
    # Provenance, source, relative uncertainty, seconds between refreshes
    "gpu": ("measured", f"NVML energy counter ({GPU})", 0.002, 0.1),
    "cpu": ("estimated", "CodeCarbon: design power 200 W, by load", 0.2, 0.1),
    "ram": ("estimated", "CodeCarbon: constant 40 W, by memory size", 0.2, None),
}
PEAK_FLOPS = {"fp32": 60e12, "tf32": 400e12, "bf16": 800e12}
BYTES_PER_S = 3.0e12
LAUNCH_S = 5e-6
MADE = {
    "status": "finished",
    "host": "0fa4e0fa",
    "versions": {"python": "3.12.0", "greencv": __version__, "torch": "2.11.0"},
    "git_commit": "0123456789ab",
    "device_name": GPU,
    "data_sha256": "0" * 64,
    "setup_s": 3.0,
}
"""Fields that are the same in each record."""


@dataclass(frozen=True)
class Cost:
    """Cost of a step by a roofline model: the longest of computing, moving bytes and launching."""

    compute_s: float
    memory_s: float
    launch_s: float

    @classmethod
    def of(cls, net, environment, images, *, training):
        """Return the cost of a step with so many images; a validation step is a forward pass."""
        gflops, parameters, activations, layers, _, reached = NETS[net]
        passes, kernels = (3, 12) if training else (1, 3)
        width = 2 if environment.precision == "bf16" else 4
        flops_per_s = reached * PEAK_FLOPS[environment.precision]
        fused, saved = (0.6, 0.4) if environment.compile else (1.0, 1.0)
        weights = (16 if training else width) * parameters
        moved = 3 * passes * fused * activations * width * images + weights
        return cls(
            compute_s=passes * gflops * 1e9 * images / flops_per_s,
            memory_s=moved / BYTES_PER_S,
            launch_s=saved * kernels * layers * LAUNCH_S,
        )

    @property
    def duration_s(self):
        return max(self.compute_s, self.memory_s, self.launch_s) + 0.1 * self.memory_s

    @property
    def power_w(self):
        """Power rises from idle to the limit with how busy units and memory are."""
        computes, moves = self.compute_s / self.duration_s, self.memory_s / self.duration_s
        busy = 0.12 + 0.75 * computes + 0.45 * moves
        return IDLE_W + (LIMIT_W - IDLE_W) * min(1.0, busy)

    @property
    def utilization_pct(self):
        """Share of the time in which a kernel runs."""
        return min(99.0, 30 + 70 * max(self.compute_s, self.memory_s) / self.duration_s)


def made_up_gpu_study(components=("gpu",), **protocol):
    """Return the study of the records, some fields of its protocol changed.

    The energy of the components is the outcome; None for all.
    """
    content = yaml.safe_load(STUDY) | {"architectures": list(NETS)}
    content["protocol"] = {**content["protocol"], **protocol}
    content["analysis"] = {"components": components and list(components)}
    return validate_study(content, "study made-up-gpu")


def made_up_gpu_records(
    repetitions=5, *, architectures=None, environments=None, epochs=30, host=True, seed=0
):
    """Return the records in the order of the runs, of some architectures and environments if named.

    With a host, CPU and RAM are estimated, as on a machine without their counters; else absent.
    """
    study = made_up_gpu_study(repetitions=repetitions, epochs=epochs)
    specs = resolve(study, _machine())
    runs = plan(
        study,
        [spec for spec in specs if environments is None or spec.name in environments],
        _machine().fingerprint,
        accelerators={spec.name: GPU for spec in specs},
        architectures=architectures,
    )
    return [_record(run, host, seed) for run in runs]


def made_up_gpu_runs(records=None, components=("gpu",), **how):
    """Return the runs table of some records, or of those made so, as a study's report takes it."""
    records = made_up_gpu_records(**how) if records is None else records
    study = made_up_gpu_study(components)
    return runs_table([restrict_to_components(r, components) for r in sort_records(records, study)])


def begun(records, blocks=2.5):
    """Return the first repetitions of all records, so that conditions have two or three runs."""
    conditions = {(r.architecture, r.environment["name"]) for r in records}
    return sorted(records, key=lambda r: r.order)[: round(blocks * len(conditions))]


def with_a_hole(records, environment="fp32-batch-64"):
    """Return the records without one environment for every second architecture."""
    without = list(NETS)[1::2]
    return [
        r for r in records if r.environment["name"] != environment or r.architecture not in without
    ]


def made_up_gpu_bundle(path, records=None, components=("gpu",), **how):
    """Write a bundle of records, of :func:`made_up_gpu_records` by default; return its path."""
    records = made_up_gpu_records(**how) if records is None else records
    planned = {name: records[0].protocol[name] for name in ("repetitions", "epochs")}
    study = made_up_gpu_study(components, **planned)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for record in records:
            store.write(record)
        write(pack(study, store), Path(path))
    return Path(path)


def _machine():
    accelerator = Accelerator("cuda:0", GPU, "GPU-made-up", 80 << 30, bf16=True)
    return Machine(
        cpu_model=CPU, cpu_count=16, memory_bytes=128 << 30, accelerators=(accelerator,),
        system="a system that is made up",
    )  # fmt: skip


def _record(run, host, seed):
    study = made_up_gpu_study()
    nets, spec, protocol = list(NETS), run.environment, run.protocol
    index = [e.name for e in study.environments].index(spec.name)
    rng = np.random.default_rng([seed, nets.index(run.architecture), index, run.repetition])
    gflops, parameters, activations, _, best, _ = NETS[run.architecture]
    images, held_out = run.dataset.train_images, run.dataset.validation_images
    batch = protocol.batch_size
    steps = {"training": images // batch, "validation": -(-held_out // batch)}
    costs = {
        phase: Cost.of(run.architecture, spec, batch, training=phase == "training")
        for phase in steps
    }
    slower, hotter = rng.lognormal(0, 0.012), rng.lognormal(0, 0.008)
    sample = Sample(hotter, host)
    phases, duration_s = _phases(protocol.epochs, steps, costs, slower, sample, rng)
    parts = {c: sum(p["components"][c]["energy_j"] for p in phases) for c in sample.components}
    total = _window("run", 0.0, duration_s, parts)
    gpu = total["components"]["gpu"]
    idle_w = {"gpu": IDLE_W, "cpu": CPU_IDLE_W, "ram": RAM_W} if host else {"gpu": IDLE_W}
    energy_j = sum(part["energy_j"] for part in total["components"].values())
    # More steps an epoch: a little closer to the best.
    f1 = min(0.999, best + (0.004 if batch < 256 else 0.0) + rng.normal(0, 0.005))
    others = rng.random() < 0.02
    cost = costs["training"]
    return RunRecord(
        **{**build_identity(run, _machine()), **MADE},
        gflops_per_image=gflops,
        parameters=parameters,
        started_at=f"2026-01-01T{run.order // 60 % 24:02d}:{run.order % 60:02d}:00+00:00",
        epochs=[_epoch(k, protocol.epochs, f1, phases) for k in range(1, protocol.epochs + 1)],
        final_epoch=protocol.epochs,
        images_processed=protocol.epochs * (steps["training"] * batch + held_out),
        duration_s=duration_s,
        total=total,
        phases=phases,
        idle_power_w=idle_w,
        net_energy_j=energy_j - sum(idle_w.values()) * duration_s,
        emissions_gco2e=emissions_gco2e(energy_j, INTENSITY_GCO2E_PER_KWH),
        carbon_intensity_gco2e_per_kwh=INTENSITY_GCO2E_PER_KWH,
        device_utilization_pct=cost.utilization_pct + rng.normal(0, 0.5),
        gpu=_gpu_state(cost, parameters, activations * batch),
        gpu_slowed_share={"power limit": 0.4} if cost.power_w > 0.95 * LIMIT_W else {},
        comparisons=[_comparison(gpu, rng)],
        disturbed=bool(others),
        problems=["other processes used 14% of the CPUs"] if others else [],
        trace=sample.trace(phases, duration_s),
    )


def _phases(epochs, steps, costs, slower, sample, rng):
    """Return the windows of all epochs' phases, and the duration of the run."""
    phases, clock_s = [], 0.002
    for k in range(1, epochs + 1):
        for phase, count in steps.items():
            busy_s = count * costs[phase].duration_s * slower * rng.lognormal(0, 0.01) + 0.008
            phases.append(
                sample.window(f"epoch {k} {phase}", clock_s, clock_s + busy_s, costs[phase].power_w)
            )
            clock_s += busy_s + 3e-4
    return phases, clock_s + 0.002


def _gpu_state(cost, parameters, activations):
    return {
        "utilization_pct": cost.utilization_pct,
        "memory_used_bytes": float((1 << 30) + 16 * parameters + 8 * activations),
        "temperature_c": round(38 + 0.045 * cost.power_w),
        "sm_clock_mhz": 1755.0 - 0.3 * max(0.0, cost.power_w - 500),
        "memory_clock_mhz": 2619.0,
        "power_limit_w": LIMIT_W,
    }


def _comparison(gpu, rng):
    second = gpu | {
        "energy_j": gpu["energy_j"] * rng.normal(1.01, 0.003),
        "provenance": "sampled",
        "source": f"NVML power, integrated ({GPU})",
        "uncertainty_j": 0.004 * gpu["energy_j"],
    }
    return {"component": "gpu", "first": gpu, "second": second}


@dataclass(frozen=True)
class Sample:
    """Meters of one run: the GPU's counter, and estimates if it has a host."""

    hotter: float
    host: bool

    @property
    def components(self):
        return ("gpu", "cpu", "ram") if self.host else ("gpu",)

    def window(self, name, start_s, end_s, power_w):
        lasts_s = end_s - start_s
        gpu_j = min(LIMIT_W, power_w * self.hotter) * lasts_s
        joules = {"gpu": gpu_j, "cpu": (CPU_IDLE_W + 9.0) * lasts_s, "ram": RAM_W * lasts_s}
        return _window(name, start_s, end_s, {c: joules[c] for c in self.components})

    def trace(self, phases, duration_s):
        count = max(1, int(duration_s / 0.5))
        times = np.linspace(0.0, duration_s, count + 1)
        edges = [0.0, *(p["end_s"] for p in phases)]
        time_s, power_w = {}, {}
        for component in self.components:
            sums = np.cumsum([0.0, *(p["components"][component]["energy_j"] for p in phases)])
            powers = np.diff(np.interp(times, edges, sums)) / np.diff(times)
            time_s[component] = [round(float(t), 3) for t in times[1:]]
            power_w[component] = [round(float(p), 3) for p in powers]
        return {"time_s": time_s, "power_w": power_w}


def _reading(component, energy_j):
    provenance, source, relative_uncertainty, resolution_s = METERS[component]
    return {
        "energy_j": energy_j,
        "provenance": provenance,
        "source": source,
        "uncertainty_j": relative_uncertainty * energy_j,
        "resolution_s": resolution_s,
    }


def _window(name, start_s, end_s, joules):
    components = {component: _reading(component, joules[component]) for component in joules}
    return {"name": name, "start_s": start_s, "end_s": end_s, "components": components}


def _epoch(k, epochs, f1, phases):
    parts = [p for p in phases if p["name"].startswith(f"epoch {k} ")]
    score = f1 * (1 - 0.9 * np.exp(-6 * k / epochs))
    return {
        "epoch": k,
        "learning_rate": 5e-4,
        "train_loss": 2.3 * float(np.exp(-5 * k / epochs)) + 0.02,
        "validation_loss": 2.3 * float(np.exp(-4 * k / epochs)) + 0.05,
        **dict.fromkeys(("accuracy", "precision_macro", "recall_macro", "f1_macro"), score),
        "auroc_macro": min(1.0, score + 0.01),
        "duration_s": sum(p["end_s"] - p["start_s"] for p in parts),
        "energy_j": sum(part["energy_j"] for p in parts for part in p["components"].values()),
    }
