"""``greencv doctor``: the devices and meters of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from greencv_core.cli.console import JsonOption, out, print_json
from greencv_core.utils.energy import COVERAGE_FACTOR, J_PER_KWH

if TYPE_CHECKING:
    from greencv_core.machine.hardware import Machine
    from greencv_core.metering.advice import Advice

DOCTOR_S = 1.0  # seconds that the meters are read for, to observe how often they refresh


def doctor(as_json: JsonOption = False) -> None:
    """Show the devices and meters of this machine, and whether energy will be measured.

    Energy is measured (a hardware counter), sampled (power integrated over time) or estimated (a
    model). If a command enables a better meter, it is printed. If the variable GREENCV_WALL_METER
    names a meter at the wall, its reading is shown.
    """
    from greencv_core.machine.hardware import describe_machine, software_versions
    from greencv_core.metering import EnergyMeter
    from greencv_core.metering.advice import find_advice, look_around

    machine = describe_machine()
    meter = EnergyMeter([uuid for a in machine.accelerators for uuid in a.metered_uuids])
    with meter as window:  # some meters are listed and yet cannot be read
        time.sleep(DOCTOR_S)
    meters = [
        {
            "component": source.component,
            "provenance": source.provenance,
            "source": source.description,
            "resolution_s": part.resolution_s if part else None,
            "relative_uncertainty": part.relative_uncertainty if part else None,
        }
        for source, part in zip(meter.discovery.sources, window.by_source, strict=True)
    ]
    advice = find_advice(meter.discovery, look_around(meter.discovery))
    wall = _read_wall_meter()
    absent, problems = dict(meter.discovery.unavailable), list(window.reading.problems)
    if as_json:
        content = {"machine": machine.as_dict(), "versions": software_versions(), "meters": meters}
        content |= {"advice": [vars(one) for one in advice], "wall_meter": wall}
        print_json(content | {"absent": absent, "problems": problems})
        return
    _print_machine(machine)
    out.print(_meters_table(meters))
    for name, reason in absent.items():
        out.print(f"Not used: {name.upper()}: {escape(reason)}", soft_wrap=True)
    for problem in problems:
        out.print(f"[yellow]Fails:[/] {escape(problem)}", soft_wrap=True)
    for one in advice:
        _print_advice(one)
    if wall:
        _print_wall_meter(wall)


def _print_advice(advice: Advice) -> None:
    out.print(f"Missing for {advice.component.upper()}: {escape(advice.missing)}", soft_wrap=True)
    if advice.command:
        out.print(f"  [green]Run:[/] {escape(advice.command)}", soft_wrap=True)
    if advice.lasting_command:
        out.print(f"  After a reboot, too: {escape(advice.lasting_command)}", soft_wrap=True)


def _read_wall_meter() -> dict[str, Any] | None:
    """Return one reading of the wall meter of this computer's environment; None without one."""
    from greencv_core.metering import MeterError, open_wall_meter

    meter = open_wall_meter()
    try:
        return None if meter is None else vars(meter.read())
    except MeterError as error:
        return {"problem": str(error)}


def _print_wall_meter(wall: dict[str, Any]) -> None:
    if "problem" in wall:
        out.print(f"[yellow]Wall meter fails:[/] {escape(wall['problem'])}", soft_wrap=True)
        return
    power_w, energy_j = wall["power_w"], wall["energy_j"]
    shown = [] if power_w is None else [f"{power_w:g} W"]
    shown += [] if energy_j is None else [f"{energy_j / J_PER_KWH:.3f} kWh so far"]
    out.print(f"Wall meter: {wall['kind']}, {', '.join(shown)} (compared, never added)")


def _print_machine(machine: Machine) -> None:
    out.print(f"[bold]Machine[/] {machine.fingerprint}: {escape(machine.cpu_model)}, ", end="")
    out.print(f"{machine.cpu_count} CPUs, {machine.memory_bytes / 2**30:.0f} GiB")
    for accelerator in machine.accelerators:
        out.print(f"  {accelerator.device}: {escape(accelerator.name)}")
        if accelerator.unmetered:
            out.print(f"  [yellow]cannot be metered:[/] {escape(accelerator.unmetered)}")
    if not machine.accelerators:
        reason = f" ({machine.accelerator_problem})" if machine.accelerator_problem else ""
        out.print(f"  no accelerator that torch can use{escape(reason)}", soft_wrap=True)


def _meters_table(meters: list[dict[str, Any]]) -> Table:
    title = f"Meters (sampled for {DOCTOR_S:g} s)"
    table = Table("Energy of", "will be", "from", title=title, title_justify="left")
    table.add_column("refreshed every", justify="right")
    table.add_column("95% interval", justify="right")
    for row in meters:
        resolution_s, uncertainty = row["resolution_s"], row["relative_uncertainty"]
        # A model's figure never refreshes; one without an uncertainty failed.
        constant = row["provenance"] == "estimated" and uncertainty is not None
        never = "constant" if constant else "not observed"
        table.add_row(
            row["component"].upper(),
            row["provenance"],
            escape(row["source"]),
            never if resolution_s is None else f"{1e3 * resolution_s:.0f} ms",
            "unknown" if uncertainty is None else f"±{100 * COVERAGE_FACTOR * uncertainty:.1f}%",
        )
    return table
