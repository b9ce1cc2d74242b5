"""greencv: measure and compare the energy and correctness of training image classifiers.

The public names are here. Each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any


def _version() -> str:
    try:
        return metadata.version("greencv")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


__version__ = _version()

_MODULES = {
    "load_study": "records.source",
    "plan_runs": "run.planning",
    "collect": "run.collect",
    "Store": "records.store",
    "RunRecord": "records.record",
    "runs_table": "records.tables",
    "epochs_table": "records.tables",
    "phases_table": "records.tables",
    "power_trace_table": "records.tables",
    "analyse": "analysis.study_results",
    "StudyResults": "analysis.study_results",
    "estimate_training": "run.estimate",
    "EnergyMeter": "metering",
    "load_published": "published",
    "build_report": "cli.book",
    "GreencvError": "utils.errors",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
