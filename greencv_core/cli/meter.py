"""``greencv meter``: run any program and meter this computer."""

from __future__ import annotations

import csv
import io
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from greencv_core.cli.console import borderless_table, err, print_note, warn
from greencv_core.cli.status_line import StatusLine
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import clock, duration, joules, number, one_line

if TYPE_CHECKING:
    from greencv_core.metering import ComponentReading, EnergyMeter, Reading, Window

SHOW_EVERY_S = 1.0
MOST_LIVE_SHARE = 0.01
"""Highest share of a CPU that the live line takes, which is part of the energy."""


def meter(
    command: Annotated[
        list[str],
        typer.Argument(help="The program and its arguments, after --.", metavar="COMMAND [ARGS]"),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file.", metavar="FILE")
    ] = None,
    trace_file: Annotated[
        Path | None,
        typer.Option("--trace", help="Write the power over time to this file.", metavar="FILE.csv"),
    ] = None,
    country: Annotated[
        str | None,
        typer.Option(help="Compute emissions for this country's electricity.", metavar="ISO"),
    ] = None,
    intensity: Annotated[
        float | None,
        typer.Option(help="Compute emissions for this carbon intensity.", metavar="gCO2e/kWh"),
    ] = None,
) -> None:
    """Run a program and meter the energy of this computer until it ends.

    On a terminal, a line shows power and energy while the program runs. The table at the end goes
    to standard error. Input, output, signals and exit code are the program's. In a parallel job,
    local rank 0 meters its computer, and the other ranks only run their program.
    """
    from greencv_core.metering import EnergyMeter
    from greencv_core.metering.ranks import other_rank
    from greencv_core.run.command import Program
    from greencv_core.utils.files import check_writable

    program = Program()
    if rank := other_rank():
        print_note(f"greencv meter: {rank}: local rank 0 of this computer meters it")
        with program.signals_passed_on():
            raise SystemExit(program.run(command))
    for path in filter(None, (json_file, trace_file)):
        check_writable(path)
    meter = EnergyMeter(carbon_intensity_gco2e_per_kwh=_intensity(country, intensity))
    with program.signals_passed_on():
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        with meter as window, _live_line(window):
            code = program.run(command)
        _print_table(command, code, meter, window)
        result = {"command": command, "exit_code": code, "started_at": started_at}
        written = _write(json_file, lambda: _as_json(result, meter, window))
        written &= _write(trace_file, lambda: _as_csv(window))
    # Not typer.Exit: 130 is the program's interruption, not ours.
    raise SystemExit(code or (0 if written else 1))


def _intensity(country: str | None, stated: float | None) -> float | None:
    from greencv_core.metering import carbon_intensity_gco2e_per_kwh

    if stated is not None and not 0 <= stated < float("inf"):
        raise BadInputError(f"--intensity {stated:g}: must be a number of gCO2e/kWh, 0 or more")
    if stated is not None or country is None:
        return stated
    try:
        return carbon_intensity_gco2e_per_kwh(country)
    except BadInputError as error:
        raise BadInputError(
            f"--country {country}: no carbon intensity known; give an ISO code such as ESP, or "
            "--intensity"
        ) from error


@contextmanager
def _live_line(window: Window) -> Iterator[None]:
    """Show power and energy in a terminal while the block runs."""
    line, ended = StatusLine(), threading.Event()
    if not line.is_shown:
        yield
        return

    def show() -> None:
        before, wait_s = None, SHOW_EVERY_S
        while not ended.wait(wait_s):
            start_s = time.thread_time()
            reading = window.read_so_far()
            line.show(_live_text(reading, before))
            before = reading
            wait_s = max(SHOW_EVERY_S, (time.thread_time() - start_s) / MOST_LIVE_SHARE)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        line.close()


def _live_text(reading: Reading, before: Reading | None) -> str:
    total = reading.total
    if total is None:
        reason = one_line(reading.problems[0]) if reading.problems else "no meter"
        return f"greencv meter  {clock(reading.duration_s)}  no energy: {reason}"
    since = before if before is not None and before.total is not None else None
    energy_j, length_s = total.energy_j, reading.duration_s
    if since is not None and since.total is not None:
        energy_j, length_s = energy_j - since.total.energy_j, length_s - since.duration_s
    parts = [
        f"{number(energy_j / length_s)} W",
        f"{_energy(total.energy_j)} {total.provenance}",
        *([] if reading.emissions_gco2e is None else [f"{number(reading.emissions_gco2e)} gCO2e"]),
        clock(reading.duration_s),
    ]
    return f"greencv meter  {'  '.join(parts)}"


def _energy(energy_j: float) -> str:
    """Return an energy with three digits, also if it is small."""
    return joules(energy_j) if energy_j >= 1000 else f"{number(energy_j)} J"


def _print_table(command: list[str], code: int, meter: EnergyMeter, window: Window) -> None:
    from greencv_core.utils.secrets import command_without_secrets

    reading, total = window.reading, window.reading.total
    table = borderless_table(one_line(shlex.join(command_without_secrets(command))))
    table.add_column("Energy of")
    table.add_column("J", justify="right", no_wrap=True)
    table.add_column("95% interval", justify="right", no_wrap=True)
    table.add_column("is", no_wrap=True)
    table.add_column("from", overflow="fold")
    rows = {name.upper(): part for name, part in reading.components.items()}
    for name, part in rows.items():
        table.add_row(name, *_cells(part), escape(_meter(part)))
    if total is not None and len(rows) > 1:
        table.add_row("total", *_cells(total), "")
    err.print(table)
    facts = [duration(reading.duration_s)]
    if total is not None:
        facts.append(f"{number(total.energy_j / reading.duration_s)} W on average")
    if reading.emissions_gco2e is not None:
        facts.append(f"{number(reading.emissions_gco2e)} gCO2e")
    print_note(", ".join([*facts, f"exit code {code}"]))
    for problem in reading.problems:
        warn("no total", problem)
    for name, reason in meter.discovery.unavailable.items():
        print_note(f"Not used: {name.upper()}: {reason}")


def _meter(part: ComponentReading) -> str:
    return f"{part.source}; bridged {part.bridged}" if part.bridged else part.source


def _cells(part: ComponentReading) -> list[str]:
    interval = "unknown"
    if part.interval_j is not None:
        interval = " to ".join(number(edge_j) for edge_j in part.interval_j)
    return [number(part.energy_j), interval, part.provenance]


def _as_json(result: dict[str, Any], meter: EnergyMeter, window: Window) -> str:
    from greencv_core.machine.hardware import describe_computer, host, software_versions
    from greencv_core.utils.secrets import command_without_secrets, without_secrets

    reading, total = window.reading, window.reading.total
    machine = describe_computer().as_dict()
    content = {
        **result,
        "command": command_without_secrets(result["command"]),
        "duration_s": reading.duration_s,
        **(_energy_fields(total) if total else dict.fromkeys(_ENERGY_FIELDS)),
        "components": {name: _energy_fields(part) for name, part in reading.components.items()},
        "mean_power_w": total.energy_j / reading.duration_s if total else None,
        "emissions_gco2e": reading.emissions_gco2e,
        "carbon_intensity_gco2e_per_kwh": reading.carbon_intensity_gco2e_per_kwh,
        "complete": reading.complete,
        "problems": [without_secrets(problem) for problem in reading.problems],
        "meters": [
            {"component": source.component, "source": source.description}
            | (_energy_fields(part) if part else dict.fromkeys(_ENERGY_FIELDS))
            for source, part in zip(meter.discovery.sources, window.by_source, strict=True)
        ],
        "absent": {k: without_secrets(v) for k, v in meter.discovery.unavailable.items()},
        "machine": {k: v for k, v in machine.items() if not k.startswith("accelerator")},
        "host": host(),
        "versions": software_versions(),
    }
    return json.dumps(content, indent=2) + "\n"


_ENERGY_FIELDS = (
    "energy_j",
    "provenance",
    "interval_j",
    "uncertainty_j",
    "source",
    "resolution_s",
    "bridged",
)


def _energy_fields(part: ComponentReading) -> dict[str, Any]:
    return {name: getattr(part, name) for name in _ENERGY_FIELDS}


def _as_csv(window: Window) -> str:
    parts, text = window.reading.components, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time_s", "component", "power_w", "provenance"])
    for point in window.trace:
        part = parts.get(point.component)
        # A meter that failed has no energy, but powers until then.
        provenance = part.provenance if part else "incomplete"
        writer.writerow([float(point.time_s), point.component, point.power_w, provenance])
    return text.getvalue()


def _write(path: Path | None, content: Callable[[], str]) -> bool:
    """Write a file that was asked for; return whether it was written."""
    from greencv_core.utils.files import write_atomically

    if path is None:
        return True
    text = content().encode()
    try:
        write_atomically(path, lambda file: file.write(text))
    except OSError as error:
        warn("error", f"{path}: cannot be written: {error.strerror}")
        return False
    return True
