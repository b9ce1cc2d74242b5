"""Tables and figures of the benchmark of the training loop."""

import os
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console
from scipy.stats import quantile_test

from benchmarks.output import new_table
from benchmarks.training_loops import LIMIT, METERED, OURS, PLAIN, RECIPE, STREAMED, TIMM
from greencv_core.machine import environment, hardware
from greencv_core.metering import ComponentReading

BUSY = 0.5  # load per CPU at the start above which the figures are called noisy
console = Console(width=120)


@dataclass
class Measured:
    images: int
    """Trained on in an epoch."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    gpu_energy: dict[str, list[ComponentReading]] = field(default_factory=lambda: defaultdict(list))
    """Of metered epochs, where a GPU is metered."""

    def images_per_s(self, contender):
        return [self.images / seconds for seconds in self.seconds[contender]]

    def images_per_j(self, contender):
        """Return images per joule of the GPU's; None where those are not metered."""
        readings = self.gpu_energy.get(contender, ())
        energy_j = sum(reading.energy_j for reading in readings)
        return len(readings) * self.images / energy_j if energy_j else None

    def ratios(self, contender, other):
        """Return the first's images per second in units of the second's, round by round.

        Empty where one of the two was left out.
        """
        if not {contender, other} <= self.seconds.keys():
            return []
        both = zip(self.seconds[contender], self.seconds[other], strict=True)
        return [theirs / its for its, theirs in both]


def show(setting, found, machine):
    spec = setting.spec
    device = hardware.product_name(environment.device_name(spec, machine))
    metered = any(m.gpu_energy for m in found.values())
    energy = ["Images/J (GPU)"] if metered else []
    table = new_table(
        f"{setting.name}: {device}, {spec.threads} CPU threads, {spec.precision}, "
        f"{setting.side} px, batches of {setting.batch}",
        ["Architecture", "Contender"],
        ["Images/s", "min to max", "Ours / this one", "min to max", *energy],
    )
    for name, measured in found.items():
        for contender in setting.contenders:
            speeds = measured.images_per_s(contender)
            ratios = measured.ratios(OURS, contender)
            figures = (f"{np.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}")
            table.add_row(
                f"{name}, {measured.images} images" if contender == OURS else "", contender,
                f"{np.median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}",
                *(figures if contender != OURS else ("", "")),
                *([per_joule(measured, contender)] if metered else []),
                end_section=contender == setting.contenders[-1],
            )  # fmt: skip
    console.print(table)
    for name, measured in found.items():
        if ratios := measured.ratios(METERED, OURS):
            console.print(f"{name}, metered / ours: {with_interval(ratios)}.")
        for other in (RECIPE, TIMM):
            if ratios := measured.ratios(STREAMED, other):
                console.print(f"{name}, streamed / {other}, both from files: {median(ratios):.3f}.")
    console.print()


def per_joule(measured, contender):
    """Return images per joule, with the meter's word for how it came to know the energy."""
    images_per_j = measured.images_per_j(contender)
    if images_per_j is None:
        return "-"
    return f"{images_per_j:.2f}, {measured.gpu_energy[contender][0].provenance}"


def with_interval(ratios):
    ends = interval(ratios)
    bounds = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "too few for an interval"
    return f"{np.median(ratios):.4f} ({bounds}), {len(ratios)} rounds"


def summary(tables, load, machine):
    def of_all(figure):
        return {
            setting: {name: figure(measured) for name, measured in found.items()}
            for setting, found in tables.items()
        }

    def ratio(contender, other):
        return of_all(lambda m: median(m.ratios(contender, other)))

    def spans(contender, other):
        return of_all(lambda m: span(m.ratios(contender, other)))

    return {
        "vs_plain": ratio(OURS, PLAIN),
        "vs_limit": ratio(OURS, LIMIT),
        "vs_recipe": ratio(OURS, RECIPE),
        "metered_vs_ours": ratio(METERED, OURS),
        "metered_vs_ours_interval": of_all(lambda m: interval(m.ratios(METERED, OURS))),
        "vs_plain_range": spans(OURS, PLAIN),
        "vs_limit_range": spans(OURS, LIMIT),
        "vs_recipe_range": spans(OURS, RECIPE),
        "streamed_vs_recipe": ratio(STREAMED, RECIPE),
        "streamed_vs_timm": ratio(STREAMED, TIMM),
        "images_per_s": of_all(lambda m: {c: median(m.images_per_s(c)) for c in m.seconds}),
        "images_per_j": of_all(lambda m: {c: m.images_per_j(c) for c in m.gpu_energy}),
        "rounds": of_all(lambda m: len(m.seconds[OURS])),
        "images": of_all(lambda m: m.images),
        "devices": [a.name for a in machine.accelerators],
        "torch": torch.__version__,
        "threads": machine.cpu_count,
        "load_average_before": load,
    }


def median(values):
    return round(float(np.median(values)), 4) if values else None


def span(values):
    return [round(min(values), 4), round(max(values), 4)] if values else None


def interval(values):
    """Return the 95 % interval of the median by order statistics; None of too few values."""
    if not values:
        return None
    found = quantile_test(values).confidence_interval(0.95)
    return None if np.isnan(found).any() else [round(float(end), 4) for end in found]


def load_average():
    """Return how many processes wanted a CPU in the last minute; None where that is unknown."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def print_load(when, load, machine):
    if load is None:
        return
    noisy = when == "at the start" and load > BUSY * machine.cpu_count
    console.print(
        f"Load average {when}: {load:.2f} on {machine.cpu_count} CPUs"
        f"{': others are at work, and the figures noisy' if noisy else ''}."
    )
