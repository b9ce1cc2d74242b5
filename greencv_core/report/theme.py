"""One look for every figure: colours that read in grey, markers that read without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# Markers and line styles tell environments apart where colour cannot (print, colour blindness).
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")


def apply_theme() -> None:
    """Set the look of all figures made after the call."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.figsize": (7.5, 4.2),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.grid": True,
            "axes.grid.axis": "both",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "grid.color": "0.9",
            "font.size": 10,
            "axes.labelsize": 10,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "legend.fontsize": 9,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            # Names come from study files and records: a dollar sign in one is no formula.
            "text.parse_math": False,
        },
    )
    mpl.rcParams["svg.hashsalt"] = "greencv"


def subplots(*shape: int, **options: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes, as pyplot's function of this name does."""
    figure, axes = plt.subplots(*shape, **options)
    # Left open, a notebook would show it a second time at the end of the cell.
    plt.close(figure)
    return figure, axes


def by_complexity(runs: pd.DataFrame) -> list[str]:
    """Return the architectures from the fewest GFLOPs to the most."""
    return list(
        runs.groupby("architecture", observed=True)["gflops_per_image"].median().sort_values().index
    )


def architecture_palette(runs: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Return a colour for each architecture: the more GFLOPs, the darker."""
    names = by_complexity(runs)
    colours = sns.color_palette("viridis_r", n_colors=len(names) + 1)[1:]
    return dict(zip(names, colours, strict=True))


def environment_markers(names: Sequence[str]) -> dict[str, str]:
    """Return a marker for each environment, in the order given."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def environment_dashes(names: Sequence[str]) -> dict[str, str]:
    """Return a line style for each environment, in the order given."""
    return {name: DASHES[i % len(DASHES)] for i, name in enumerate(names)}


def environment_palette(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Return a colour for each environment; markers and dashes repeat the distinction."""
    return dict(zip(names, sns.color_palette("colorblind", n_colors=len(names)), strict=True))
