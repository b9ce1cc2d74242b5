"""Figures of the windows of ``metering_hardware.py``, from a measurement or its file."""

import numpy as np
import scipy.stats

OURS, POWER = "greencv", "greencv, power"
LONG_S, SHORT_S = 10.0, 5.0
"""Length in seconds from which windows show the steady power, and below which they are short."""
AGREED = 0.02  # largest relative difference of integrated power and counter


def mean_power_w(window, of="energy_j"):
    """Return a window's mean power; None where nothing was measured."""
    energy_j = window.get(of)
    return None if energy_j is None else energy_j / (window["ended_s"] - window["started_s"])


def compared(measured):
    """Return a row for each tool's window, with relative differences to what it is held against.

    ``to_counter`` (greencv's reading of the counter in the same window), ``to_steady`` (the steady
    power of the load without a pause) and ``to_truth``; each None where there is none.
    """
    steady = [
        mean_power_w(window)
        for window in measured["windows"]["constant"][OURS]
        if length_s(window) >= LONG_S and "energy_j" in window
    ]
    steady_w = float(np.mean(steady)) if steady else None

    def difference(power_w, reference_w):
        return power_w / reference_w - 1 if power_w is not None and reference_w else None

    rows = []
    for shape, by_tool in measured["windows"].items():
        for tool, windows in by_tool.items():
            for window, ours in zip(windows, by_tool[OURS], strict=True):
                power_w = mean_power_w(window)
                rows.append({
                    "shape": shape, "tool": tool, "length_s": length_s(window),
                    "to_counter": difference(power_w, mean_power_w(ours)),
                    "to_steady": difference(power_w, steady_w) if shape == "constant" else None,
                    "to_truth": difference(power_w, mean_power_w(window, "true_j")),
                    "cpu_s": window.get("cpu_s"), "problem": window.get("problem"),
                })  # fmt: skip
    return rows


def length_s(window):
    start_s, end_s = window["planned_s"]
    return round(end_s - start_s, 3)


def differences(rows, which, **wanted):
    chosen = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    return np.array([abs(r[which]) for r in chosen if r[which] is not None])


def agreement(rows):
    """Return mean integrated power over counter in long windows, and the mean's 95 % interval."""
    long = [r["to_counter"] for r in rows if r["tool"] == POWER and r["length_s"] >= LONG_S]
    ratios = 1 + np.array([value for value in long if value is not None])
    if len(ratios) < 2:
        return {"ratio": float(ratios[0]) if len(ratios) else None, "windows": len(ratios)}
    half = scipy.stats.t.ppf(0.975, len(ratios) - 1) * scipy.stats.sem(ratios)
    low, high = float(ratios.mean() - half), float(ratios.mean() + half)
    within = bool(low >= 1 - AGREED and high <= 1 + AGREED)
    return {
        "ratio": float(ratios.mean()), "interval": [low, high], "within_2_pct": within,
        "windows": len(ratios),
    }  # fmt: skip


def periods(refreshes):
    """Return quantiles of the seconds between changes of the sensor, by quantity."""
    found = {}
    for name, changes in refreshes.get("changes", {}).items():
        gaps_s = np.diff([at_s for at_s, _ in changes])
        if len(gaps_s):
            low, middle, high = np.quantile(gaps_s, [0.05, 0.5, 0.95]).tolist()
            found[name] = {"median": middle, "p05": low, "p95": high, "changes": len(gaps_s) + 1}
    return found


def cpu_ms_per_s(rows, tool):
    """Return the processor time of metering, without what a short window's start costs most."""
    chosen = [r for r in rows if r["tool"] == tool and r["length_s"] >= 2.0 and r["cpu_s"]]
    lasted_s = sum(r["length_s"] for r in chosen)
    return 1e3 * sum(r["cpu_s"] for r in chosen) / lasted_s if chosen else None


def figures(rows, which, tools, lengths_s):
    """Return median and 95th percentile of the differences, by tool and length of window."""
    found = {}
    for tool in tools:
        if which == "to_counter" and tool == OURS:
            continue
        by_length = {f"{x:g}": differences(rows, which, tool=tool, length_s=x) for x in lengths_s}
        found[tool] = {
            name: {"median": float(np.median(some)), "p95": float(np.quantile(some, 0.95))}
            for name, some in by_length.items()
            if len(some)
        }
    return found
