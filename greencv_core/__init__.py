"""greencv: the energy and the correctness of training image classifiers, metered and compared.

The names that a notebook needs are here; nothing heavy is imported before one is used.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any


def _version() -> str:
    try:
        return metadata.version("greencv")
    except metadata.PackageNotFoundError:  # a checkout that is run as it is, not installed
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


__version__ = _version()

_HOMES = {
    "collect": "greencv_core.run.collect",
    "plan_size": "greencv_core.run.collect",
    "find_study": "greencv_core.records.source",
    "load_study": "greencv_core.records.source",
    "runs_table": "greencv_core.records.tables",
    "epochs_table": "greencv_core.records.tables",
    "power_trace_table": "greencv_core.records.tables",
    "phases_table": "greencv_core.records.tables",
    "StudyResults": "greencv_core.analysis.study_results",
    "analyse": "greencv_core.analysis.study_results",
    "EnergyMeter": "greencv_core.metering",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
