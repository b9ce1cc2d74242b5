"""The page of one run: its results, settings, epochs and power trace."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from greencv_core.records.record import EpochRecord, RunRecord, TraceRecord
from greencv_core.report.exhibits.labels import people_name
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.tables import table_html
from greencv_core.report.pages.provenance import uncertainty_table
from greencv_core.utils.energy import weakest
from greencv_core.utils.text import duration, joules, listed, number

BUNDLE = "bundle.parquet"
"""File beside the pages that holds the records of the report's runs."""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 240, 52, 34, 24
"""Of the power trace, in px: the drawing, its margins."""
_MOST_INTERVALS = 400
_SECTIONS = ("environment", "dataset", "protocol")

Floats = npt.NDArray[np.float64]


def run_title(record: RunRecord) -> str:
    """Return a run's name for a reader: architecture, environment, number of the repetition."""
    name = people_name(f"{record.architecture} @ {record.environment['name']}")
    return f"{name}, repetition {record.repetition + 1}"


def run_page(record: RunRecord) -> str:
    """Return the HTML of a run's page, in the folder ``runs`` of the report."""
    run_id = html.escape(record.run_id)
    explore = "../book/notebooks/explore.html"
    parts = [
        f"<h1>{html.escape(run_title(record))}</h1>",
        f"<p>{html.escape(outcome_sentence(record))}</p>",
        *(f'<p class="gcv-problem">{html.escape(line)}</p>' for line in _problems(record)),
        f'<p><a href="{run_id}.json" download>Download the record (JSON)</a> · '
        f'<a href="{explore}#run={run_id}">Compare with other runs</a> · '
        f'<a href="../{BUNDLE}" download>All runs ({BUNDLE})</a></p>',
        "<h2>Energy</h2>",
        _energy(record),
        *_trace(record.trace),
        *_epochs(record.epochs),
        "<h2>Settings</h2>",
        _table(settings_table(record)),
        "<h2>The same on the command line</h2>",
        f"<pre>greencv runs show {run_id}\ngreencv runs show {run_id} --store {BUNDLE}</pre>",
        "<p>The first command finds runs of this computer and of the bundles in the project; "
        f"the second reads {BUNDLE}, downloaded from this report.</p>",
    ]
    return f'<section class="gcv-run-page {NO_FORMULAS}">{"".join(parts)}</section>'


def outcome_sentence(record: RunRecord) -> str:
    """State how a run ended, how long it took, its energy with provenance, and its correctness."""
    name = f"Run {record.run_id} of the study {record.study}"
    if record.status != "finished":
        return f"{name} {record.status}: {record.reason or 'no reason is recorded'}."
    facts = [duration(record.duration_s)] if record.duration_s is not None else []
    if record.total is not None and record.total.energy_j is not None:
        provenance = weakest(part.provenance for part in record.total.components.values())
        facts.append(f"{joules(record.total.energy_j)} ({provenance})")
    if record.final is not None and record.correctness_is_meaningful:
        facts.append(f"macro F1 {record.final.f1_macro:.3f}")
    return f"{name} finished: {listed(facts)}." if facts else f"{name} finished."


def _problems(record: RunRecord) -> list[str]:
    marked = ["Other work, or clocks held back, disturbed this run."] if record.disturbed else []
    return [*marked, *record.problems]


def _energy(record: RunRecord) -> str:
    table = uncertainty_table(record)
    if table.empty:
        return "<p>The energy of this run was not metered.</p>"
    return _table(table)


def settings_table(record: RunRecord) -> pd.DataFrame:
    """Return the settings of a run, the machine and the software, one row each."""
    rows = {
        "architecture": record.architecture,
        "parameters": record.parameters,
        "GFLOPs per image": record.gflops_per_image,
        "repetition": record.repetition + 1,
        "seed": record.seed,
        "started": record.started_at,
        "session": record.session,
        "ended by": record.ended_by,
        "times tried": record.tries,
        "hardware": record.device_name,
        **{
            f"{section}: {name}": value
            for section in _SECTIONS
            for name, value in _flat(getattr(record, section)).items()
        },
        **{f"machine: {name}": value for name, value in _flat(record.machine).items()},
        **{f"version: {name}": version for name, version in record.versions.items()},
        "commit": record.git_commit,
    }
    shown = {name: _text(value) for name, value in rows.items() if value not in (None, "", [])}
    return pd.DataFrame({"Setting": list(shown), "Value": list(shown.values())})


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        inside = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if inside else {f"{prefix}{name}": value}
    return flat


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _epochs(epochs: Sequence[EpochRecord]) -> list[str]:
    if not epochs:
        return []
    shown = ("epoch", "stage", "train_loss", "validation_loss", "accuracy", "f1_macro",
             "duration_s", "energy_j")  # fmt: skip
    frame = pd.DataFrame([epoch.model_dump(include=set(shown)) for epoch in epochs])
    columns = [name for name in shown if name != "stage" or frame[name].nunique() > 1]
    return ["<h2>Epochs</h2>", _table(frame[columns])]


def _table(frame: pd.DataFrame) -> str:
    return f'<div class="gcv-table" tabindex="0">{table_html(frame)}</div>'


def _thinned(times_s: Sequence[float], powers_w: Sequence[float]) -> tuple[Floats, Floats]:
    """Return at most some 400 intervals of a trace; longer ones have the mean power of theirs."""
    ends_s = np.concatenate([[0.0], times_s])
    energy_j = np.concatenate([[0.0], np.cumsum(np.diff(ends_s) * np.asarray(powers_w))])
    step = -(-len(times_s) // _MOST_INTERVALS)
    kept = np.unique([*range(0, len(times_s), step), len(times_s)])
    return ends_s[kept][1:], np.diff(energy_j[kept]) / np.diff(ends_s[kept])


def _trace(trace: TraceRecord | None) -> list[str]:
    """Return the power trace as SVG, a line for each component with its name at its end."""
    if trace is None or not any(trace.time_s.values()):
        return []
    end_s = max(max(times) for times in trace.time_s.values() if times)
    top_w = 1.08 * max(max(powers) for powers in trace.power_w.values() if powers) or 1.0
    width, height = _WIDTH - _LEFT - 60, _HEIGHT - _BOTTOM - _TOP

    def place(time_s: float, power_w: float) -> str:
        x, y = _LEFT + width * time_s / end_s, _TOP + height * (1 - power_w / top_w)
        return f"{x:.1f},{y:.1f}"

    drawn = []
    for component, all_times in trace.time_s.items():
        if not all_times:
            continue
        times, powers = _thinned(all_times, trace.power_w[component])
        points = [place(0.0, powers[0])]  # each value is the mean until its time
        for i, (time_s, power_w) in enumerate(zip(times, powers, strict=True)):
            points += [place(times[i - 1] if i else 0.0, power_w), place(time_s, power_w)]
        x, y = points[-1].split(",")
        drawn.append(
            f'<polyline points="{" ".join(points)}"/>'
            f'<text x="{float(x) + 6:.1f}" y="{float(y) + 4:.1f}">{component.upper()}</text>'
        )
    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{_TOP + height * (1 - share) + 4:.1f}" text-anchor="end">'
        f"{number(share * top_w)}</text>"
        f'<text x="{_LEFT + width * share:.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
        f'text-anchor="middle">{number(share * end_s)} s</text>'
        for share in (0.0, 0.5, 1.0)
    )
    axes = f"M{_LEFT},{_TOP}V{_TOP + height}H{_LEFT + width}"
    return [
        "<h2>Power trace</h2>",
        f'<svg class="gcv-trace" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-label="Power of each component during the run">'
        f'<text x="{_LEFT - 6}" y="12" text-anchor="end">W</text>'
        f'<path d="{axes}"/>{ticks}{"".join(drawn)}</svg>',
        "<p>Mean power (W) of each interval, from the start of the metered window.</p>",
    ]
