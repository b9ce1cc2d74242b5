"""The command ``greencv``."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence, Set
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from greencv_core.records.backends.bundle import is_bundle
from greencv_core.records.record import RunRecord
from greencv_core.records.source import find_study, load_study
from greencv_core.records.store import Damaged, Store
from greencv_core.run.progress import ProgressBar, describe_cost, file_progress
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.energy import COVERAGE_FACTOR
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interrupts import merge_repeated_interrupts
from greencv_core.utils.paths import PROJECT_ROOT, default_store
from greencv_core.utils.text import clock, joules, joules_between

if TYPE_CHECKING:
    import pandas as pd

    from greencv_core.estimation.run_cost import RunCost
    from greencv_core.run.collect import Outcome
    from greencv_core.run.estimate import EstimateReport, TrainingEstimate

app = typer.Typer(
    name="greencv",
    help="Train image classifiers, meter the energy, and report what architecture and training "
    "environment decide.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
runs_app = typer.Typer(help="List, show, export or merge the run records.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

out = Console()
err = Console(stderr=True)

DOCTOR_S = 1.0
"""How long the doctor meters, to see the meters' refresh."""
MOST_LINES = 10
"""About one thing, where there may be thousands."""
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, as shells know it: 128 and the signal's number."""

StudyArgument = Annotated[
    str, typer.Argument(help="A study file, or the name of one in studies/.", metavar="STUDY")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder of the run records, its URL (s3://bucket/prefix), or a bundle, to read alone. "
        "Default: runs/, or $GREENCV_STORE.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class ExportFormat(StrEnum):
    """File formats of the runs table."""

    csv = "csv"
    parquet = "parquet"
    json = "json"


@app.command(epilog="Example: greencv doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Tell which devices and meters are here and what each energy figure will be.

    A figure is measured (a hardware counter), sampled (power read and summed up) or estimated (a
    model). Where something better is within reach, the way to it is printed.
    """
    from greencv_core.machine.hardware import describe_machine, software_versions
    from greencv_core.metering import EnergyMeter

    machine = describe_machine()
    meter = EnergyMeter([uuid for a in machine.accelerators for uuid in a.metered_uuids])
    with meter as window:  # a meter is what can be read, not what is listed
        time.sleep(DOCTOR_S)
    reading = window.reading
    meters: list[dict[str, Any]] = [
        {
            "component": source.component,
            "provenance": source.provenance,
            "source": source.description,
            "resolution_s": part.resolution_s if part else None,
            "relative_uncertainty": part.relative_uncertainty if part else None,
        }
        for source, part in zip(meter.found.sources, window.by_source, strict=True)
    ]
    absent, problems = dict(meter.found.absent), list(reading.problems)
    if as_json:
        content = {
            "machine": machine.as_dict(),
            "versions": software_versions(),
            "meters": meters,
            "absent": absent,
            "problems": problems,
        }
        _print_json(content)
        return
    out.print(f"[bold]Machine[/] {machine.fingerprint}: {escape(machine.cpu_model)}, ", end="")
    out.print(f"{machine.cpu_count} CPUs, {machine.memory_bytes / 2**30:.0f} GiB")
    for accelerator in machine.accelerators:
        out.print(f"  {accelerator.device}: {escape(accelerator.name)}")
        if accelerator.unmetered:
            out.print(f"  [yellow]cannot be metered:[/] {escape(accelerator.unmetered)}")
    if not machine.accelerators:
        reason = f" ({machine.accelerator_problem})" if machine.accelerator_problem else ""
        out.print(f"  no accelerator that torch can use{escape(reason)}", soft_wrap=True)
    title = f"Meters, and what they told in {DOCTOR_S:g} s"
    table = Table("Energy of", "will be", "from", title=title, title_justify="left")
    table.add_column("refreshed every", justify="right")
    table.add_column("95 % interval", justify="right")
    for row in meters:
        resolution_s, doubt = row["resolution_s"], row["relative_uncertainty"]
        told = doubt is not None  # a model that failed is no constant
        unseen = "constant" if told and row["provenance"] == "estimated" else "not seen"
        table.add_row(
            row["component"].upper(),
            row["provenance"],
            escape(row["source"]),
            unseen if resolution_s is None else f"{1e3 * resolution_s:.0f} ms",
            "unknown" if doubt is None else f"\u00b1{100 * COVERAGE_FACTOR * doubt:.1f} %",
        )
    out.print(table)
    for name, reason in absent.items():
        out.print(f"Not used: {name.upper()}: {escape(reason)}", soft_wrap=True)
    for problem in problems:
        out.print(f"[yellow]Fails:[/] {escape(problem)}", soft_wrap=True)


@app.command(epilog="Example: greencv plan studies/quick.yaml")
def plan(
    study: StudyArgument = "quick", store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Print the runs in order, and the time and energy that they will take; train nothing.

    Both come from finished runs of the same condition, else from a few timed and metered batches.
    """
    from greencv_core.estimation.run_cost import total_cost
    from greencv_core.machine.environment import missing_environments
    from greencv_core.run.collect import check, estimate_run_costs, estimate_startup_s
    from greencv_core.run.planning import plan_here, select_unfinished
    from greencv_core.run.worker import describe_worker

    loaded = load_study(study)
    check(loaded, download=False)
    runs, machine = plan_here(loaded)
    records = Store(store or default_store())
    left = select_unfinished(runs, describe_worker(), records)
    start_s = time.monotonic()
    with err.status("timing a few batches of each condition"):
        expected, untimed = estimate_run_costs(runs, machine, records)
    before_s = estimate_startup_s(left, machine, time.monotonic() - start_s)
    rest = total_cost(left, expected, before_s)
    left_ids = {run.run_id for run in left}
    rows = [_planned_row(run, expected.get(run.condition), left_ids) for run in runs]
    skipped = missing_environments(loaded, machine)
    if as_json:
        content = {
            "study": loaded.name,
            "expected_s": round(rest.duration_s, 1),
            "before_the_first_run_s": round(before_s, 1),
            "expected_energy_j": rest.energy_j,
            "expected_energy_provenance": rest.provenance,
            "at_most": rest.at_most,
            "left_out": skipped,
            "not_timed": untimed,
            "runs": rows,
        }
        _print_json(content)
        return
    title = escape(f"Study {loaded.name}: {_runs(len(runs))}")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("#", "Architecture", "Environment", "Rep.", "Seed", "Time", "Energy"):
        words = heading in ("Architecture", "Environment")
        table.add_column(heading, justify="left" if words else "right", overflow="fold")
    for row in rows:
        time_s, energy_j = row["expected_s"], row["expected_energy_j"]
        table.add_row(
            *(str(row[key]) for key in ("order", "architecture", "environment", "repetition")),
            str(row["seed"]),
            "finished" if row["finished"] else "unknown" if time_s is None else clock(time_s),
            "" if row["finished"] or energy_j is None else joules(energy_j),
        )
    out.print(table)
    done = len(runs) - len(left)
    of_them = "the rest, as far as it could be timed," if untimed else "the rest"
    begun = f"{done} of {len(runs)} finished; {of_them}" if done else f"The {_runs(len(runs))}"
    out.print(f"{begun} will take {describe_cost(rest)}.", soft_wrap=True)
    for line in skipped:
        err.print(f"[yellow]left to another machine:[/] {escape(line)}", soft_wrap=True)
    for condition, reason in untimed.items():
        told = escape(f"{condition}: {reason}")
        err.print(f"[yellow]could not be timed:[/] {told}", soft_wrap=True)


def _planned_row(run: PlannedRun, expected: RunCost | None, left: Set[str]) -> dict[str, Any]:
    return {
        "order": run.order + 1,
        "run_id": run.run_id,
        "architecture": run.architecture,
        "environment": run.environment.name,
        "repetition": run.repetition + 1,
        "seed": run.seed,
        "finished": run.run_id not in left,
        "expected_s": None if expected is None else round(expected.duration_s, 1),
        "expected_energy_j": None if expected is None else expected.energy_j,
    }


@app.command(epilog="Example: greencv estimate resnet18 --probe")
def estimate(
    architecture: Annotated[
        str, typer.Argument(help="Any that a study can name.", metavar="ARCHITECTURE")
    ],
    study: Annotated[str, typer.Option(help="The study whose protocol it is.")] = "quick",
    environment: Annotated[
        str | None, typer.Option(help="One of the study's; all that this machine has if omitted.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Another data set than the study's, and all of its images.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Another number than the study's.", min=1, max=10_000)
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Try a few batches on this machine.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell the energy, time and emissions of one training before it starts, with 95 % intervals.

    They rest on the finished runs of the store and, with --probe, on a few batches, timed and
    metered now, which take seconds.
    """
    from greencv_core.run.estimate import one_training, preview

    asked = one_training(load_study(study), architecture, dataset=dataset, epochs=epochs)
    with err.status("trying a few batches" if probe else "reading the run records"):
        told = preview(asked, Store(store or default_store()), level=environment, probe=probe)
    if as_json:
        _print_json(_previewed(told))
    else:
        _print_preview(told)
    for name, reason in told.untried.items():
        line = escape(f"environment {name}: {reason}")
        err.print(f"[yellow]could not be tried:[/] {line}", soft_wrap=True)


def _previewed(told: EstimateReport) -> dict[str, Any]:
    run = told.promises[0].run
    return {
        "architecture": run.architecture,
        "study": run.study,
        "dataset": run.dataset.model_dump(mode="json"),
        "epochs": run.protocol.most_epochs,
        "may_stop_early": run.protocol.may_stop_early,
        "finished_runs": told.runs,
        "architectures": told.architectures,
        "rests_on": told.rests_on,
        "not_tried": dict(told.untried),
        "estimates": [_promised(promise) for promise in told.promises],
    }


def _promised(promise: TrainingEstimate) -> dict[str, Any]:
    whole = promise.whole
    emissions, emissions_low, emissions_high = promise.emissions_gco2e()
    return {
        "environment": promise.run.environment.name,
        "energy_j": whole.energy_j,
        "energy_low_j": whole.low_j,
        "energy_high_j": whole.high_j,
        "provenance": promise.provenance,
        "duration_s": whole.duration_s,
        "duration_low_s": whole.low_s,
        "duration_high_s": whole.high_s,
        "emissions_gco2e": emissions,
        "emissions_low_gco2e": emissions_low,
        "emissions_high_gco2e": emissions_high,
        "carbon_intensity_gco2e_per_kwh": promise.intensity_gco2e_per_kwh,
        "batches_tried": promise.batches,
    }


def _print_preview(told: EstimateReport) -> None:
    run = told.promises[0].run
    data, most = run.dataset, run.protocol.most_epochs
    epochs = f"{most} {'epoch' if most == 1 else 'epochs'}"
    title = f"{run.architecture}: {epochs} of {data.train_images} images of {data.name}"
    table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("Environment", no_wrap=True)
    for heading in ("Energy", "Time", "gCO2e"):
        table.add_column(heading, justify="right")
    table.add_column("Energy is", no_wrap=True)
    for promise in told.promises:
        whole = promise.whole
        emissions, *ends = promise.emissions_gco2e()
        interval = joules_between(whole.low_j, whole.high_j, like_j=whole.energy_j)
        table.add_row(
            escape(promise.run.environment.name),
            f"{joules(whole.energy_j)}\n({interval})",
            f"{_short(whole.duration_s)}\n({_short(whole.low_s)} to {_short(whole.high_s)})",
            f"{emissions:.2g}\n({ends[0]:.2g} to {ends[1]:.2g})",
            promise.provenance,
        )
    out.print(table)
    out.print(
        f"In brackets: 95 % intervals. From {told.rests_on}.", soft_wrap=True, highlight=False
    )


def _short(seconds: float) -> str:
    return clock(seconds) if seconds >= 60 else f"{seconds:.2g} s"


@app.command(epilog="Example: greencv run studies/smoke.yaml")
def run(
    study: StudyArgument = "quick",
    store: StoreOption = None,
    stop_above: Annotated[
        float | None,
        typer.Option(
            help="Stop each training that is forecast to take more: even the lower end of the 95 % "
            "interval is above it.",
            metavar="JOULES",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler, whose workers make the runs in place of this computer.",
            metavar="tcp://HOST:PORT",
        ),
    ] = None,
) -> None:
    """Make the runs of a study that are not finished yet.

    Interrupt it at any time: finished runs are kept, and the same command goes on from there.
    """
    if stop_above is not None and not 0 < stop_above < math.inf:
        _fail(f"--stop-above {stop_above:g}: must be a number of joules greater than 0", 2)
    outcome = _train(study, store, stop_above_j=stop_above, scheduler=scheduler)
    raise typer.Exit(3 if outcome.failed or outcome.stopped else 0)


@runs_app.command("list", epilog="Example: greencv runs list --json")
def runs_list(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the runs of the store, one line each."""
    frame, damaged = _table(store)
    if as_json:
        content: dict[str, Any] = {
            "runs": json.loads(frame.to_json(orient="records")),
            "damaged": [{"path": d.where, "reason": d.reason} for d in damaged],
        }
        _print_json(content)
        return
    if frame.empty:
        out.print("no runs yet: greencv run makes them")
        return
    title = f"{_runs(len(frame))} of {', '.join(dict.fromkeys(frame['study']))}"
    # Eighty columns hold it: the first half of an id is enough for `runs show`.
    table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("Run", "Architecture", "Environment"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "Run")
    for heading in ("Rep.", "Time", "Energy", "F1"):
        table.add_column(heading, justify="right")
    for row in frame.to_dict("records"):
        finished = row["status"] == "finished"
        metered = row["energy_j"] == row["energy_j"]
        table.add_row(
            row["run_id"][:8],
            escape(row["architecture"]),
            escape(str(row["environment"])),
            str(row["repetition"] + 1),
            f"{row['duration_s']:.1f} s" if finished else row["status"],
            f"{row['energy_j']:.0f} J {row['provenance'][:3]}."
            if metered
            else "incomplete"
            if finished
            else "",
            f"{row['f1_macro']:.3f}" if finished and row["f1_macro"] == row["f1_macro"] else "",
        )
    out.print(table)
    out.print("mea. = measured, sam. = sampled, est. = estimated")


@runs_app.command("show", epilog="Example: greencv runs show 0123456789abcdef")
def runs_show(
    run_id: Annotated[str, typer.Argument(help="A run's id, or the first characters of it.")],
    store: StoreOption = None,
) -> None:
    """Print one run record, whole, as JSON."""
    records = Store(store or default_store())
    matches = [
        record
        for record in records.load_all([i for i in records.run_ids() if i.startswith(run_id)])
        if isinstance(record, RunRecord)
    ]
    if len(matches) != 1:
        what = "no such run" if not matches else f"{len(matches)} runs begin so"
        _fail(f"{run_id}: {what}; greencv runs list names them", 2)
    _print_json(matches[0].model_dump(mode="json"))


@runs_app.command("export", epilog="Example: greencv runs export --format csv --output runs.csv")
def runs_export(
    file_format: Annotated[
        ExportFormat, typer.Option("--format", help="File format.")
    ] = ExportFormat.csv,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output else.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write the runs table: one row a run, the unit in each column's name."""
    frame = _table(store)[0]
    if file_format is ExportFormat.parquet:
        if output is None:
            _fail("parquet is binary: name a file with --output", 2)
        _write(output, frame.to_parquet(index=False))
        return
    text = (
        frame.to_csv(index=False)
        if file_format is ExportFormat.csv
        else frame.to_json(orient="records", indent=2) + "\n"
    )
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        _write(output, text.encode())


@runs_app.command("merge", epilog="Example: greencv runs merge /mnt/lab/runs --store runs")
def runs_merge(
    sources: Annotated[
        list[str],
        typer.Argument(help="Folders or URLs of run records to copy from.", metavar="SOURCE"),
    ],
    store: StoreOption = None,
) -> None:
    """Copy the runs of other machines' stores into this one.

    Of a run that is in several, the finished and complete record is kept, else the one that
    started earlier, which is told; the exit code is then 3, as it is where files are damaged. The
    sources stay as they are, and the same command may be repeated.
    """
    from greencv_core.records.merge import merge

    with err.status("reading the run records"):
        merged = merge(sources, Store(store or default_store()))
    for conflict in merged.conflicts:
        told = escape(conflict.describe())
        err.print(f"[yellow]conflict:[/] {told}", soft_wrap=True, highlight=False)
    for damaged in merged.damaged:
        _tell_left_out(f"{damaged.where}: {damaged.reason}")
    kept = f", {len(merged.kept)} kept over worse ones" if merged.kept else ""
    out.print(
        f"{_runs(len(merged.copied))} copied, {len(merged.same)} the same already, "
        f"{len(merged.replaced)} replaced worse ones{kept}",
        soft_wrap=True,
        highlight=False,
    )
    raise typer.Exit(3 if merged.conflicts or merged.damaged else 0)


@app.command(epilog="Example: greencv bundle quick --output quick.parquet")
def bundle(
    study: StudyArgument = "quick",
    store: StoreOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; its name ends in .parquet. Default: the study's name, here.",
        ),
    ] = None,
) -> None:
    """Pack the runs of a study into one small file, from which the report is built anywhere.

    It holds their records as they are, the study, and the runs table for whoever reads Parquet
    alone. greencv book --runs builds the report from it. Files that are no records are left out;
    the exit code is then 3.
    """
    from greencv_core.records.pack import LICENCE, check_name, pack, write

    loaded = load_study(study)
    path = output or Path(f"{loaded.name}.parquet")
    check_name(path)
    with err.status("reading the run records"):
        packed = pack(loaded, Store(store or default_store()))
    for damaged in packed.damaged:
        _tell_left_out(f"{damaged.where}: {damaged.reason}")
    write(packed, path)
    machines = packed.runs["machine"].nunique()
    known = packed.runs["provenance"].fillna("not metered").value_counts()
    out.print(
        f"{escape(str(path))}: {_runs(len(packed.runs))} of study {escape(loaded.name)} by "
        f"{machines} {'machine' if machines == 1 else 'machines'}; energy "
        + ", ".join(f"{word} in {_runs(n)}" for word, n in sorted(known.items()))
        + f"; {len(packed.content) / 1e3:,.0f} kB, licence {LICENCE}",
        soft_wrap=True,
        highlight=False,
    )
    for line in packed.identifying_texts[:MOST_LINES]:
        err.print(f"[yellow]tells of its maker:[/] {escape(line)}", soft_wrap=True, highlight=False)
    more = len(packed.identifying_texts) - MOST_LINES
    if more > 0:
        err.print(f"[yellow]tells of its maker:[/] and {more} more texts")
    if not packed.identifying_texts:
        out.print("No path in it, and no name of this user or this computer.")
    raise typer.Exit(3 if packed.damaged else 0)


@app.command(epilog="Example: greencv reanalyse --json")
def reanalyse(as_json: JsonOption = False) -> None:
    """Analyse the published measurements of del Rey et al. (SEAA 2023) once more.

    They are downloaded once (139 MB) and checked by hash; $GREENCV_DATA names a folder that holds
    them, or a mirror. Files that are missing or damaged are named, and the rest is analysed; the
    exit code is then 3.
    """
    from greencv_core.published.seaa2023.reanalysis import load_reanalysis
    from greencv_core.published.seaa2023.summary import summary

    with file_progress(err, "published data") as progress:
        reanalysis = load_reanalysis(progress)
    _tell_files_left_out(reanalysis.problems)
    with err.status("comparing every published figure with ours"):
        content = summary(reanalysis)
    if as_json:
        _print_json(content)
    else:
        _print_reanalysis(content)
    raise typer.Exit(3 if reanalysis.problems else 0)


@app.command(epilog="Example: greencv book studies/quick.yaml")
def book(
    study: Annotated[
        str | None,
        typer.Argument(
            help="A study file, or the name of one in studies/. Default: quick, or the bundle's.",
            metavar="STUDY",
        ),
    ] = None,
    store: StoreOption = None,
    train: Annotated[
        bool, typer.Option(help="Train what is missing; else use the finished runs alone.")
    ] = True,
    runs: Annotated[
        str | None,
        typer.Option(
            help="A bundle: the report is of its runs alone, and nothing is trained.",
            metavar="BUNDLE",
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the report as one PDF, too.")] = False,
) -> None:
    """Reproduce the study: train what is missing, execute the notebooks, build the HTML report.

    Only what changed since the last time is done again.
    """
    from greencv_core.report.book.build import build_book

    if runs is not None:
        if store is not None:
            _fail("--runs and --store: a bundle is the store of its runs; give one of them", 2)
        if not is_bundle(runs):
            _fail(f"--runs {runs}: not a bundle: a file whose name ends in .parquet", 2)
        store, train = runs, False
    study = study or runs or "quick"
    outcome = _train(study, store, train=train)
    if not any(record.status == "finished" and record.complete for record in outcome.records):
        _fail(f"{study}: no run is finished with its energy, so there is nothing to report", 1)
    published = _published_data()
    path = build_book(
        PROJECT_ROOT,
        study=find_study(study),
        store=Store(store or default_store()),
        records=outcome.records,
        say=_say,
        published=published,
    )
    err.print(f"[bold]Report:[/] {escape(str(path))}", soft_wrap=True)
    if pdf:
        from greencv_core.report.book.pdf import build_pdf

        printed = build_pdf(PROJECT_ROOT, _say)
        err.print(f"[bold]PDF:[/] {escape(str(printed))}", soft_wrap=True)
    raise typer.Exit(3 if outcome.failed or outcome.stopped else 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is success, 1 a failure with its reason, 2 bad input, 3 a part that is missing (runs that
    failed or were stopped, files left out), 130 an interruption.
    """
    try:
        code = app(args=arguments, standalone_mode=False)
    except GreencvError as error:
        for line in str(error).splitlines():
            err.print(f"[red]error:[/] {escape(line)}", soft_wrap=True, highlight=False)
        return error.exit_code
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # whoever reads our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option or argument, from click
            err.print(f"[red]error:[/] {escape(error.format_message())}", soft_wrap=True)
            return 2
        raise
    if code == INTERRUPTED:  # typer's own answer to Ctrl-C
        err.print("Interrupted. What is finished is kept; the same command goes on from there.")
    return code if isinstance(code, int) else 0


def entry() -> None:
    """Run the command line as the program ``greencv``."""
    merge_repeated_interrupts()
    sys.exit(main())


def _say(text: str) -> None:
    err.print(escape(text), soft_wrap=True)


def _train(
    study: str,
    store: str | None,
    *,
    train: bool = True,
    stop_above_j: float | None = None,
    scheduler: str | None = None,
) -> Outcome:
    from greencv_core.run.collect import run_study

    loaded, opened = load_study(study), Store(store or default_store())
    with ProgressBar(err) as progress:
        outcome = run_study(
            loaded,
            store=opened,
            progress=progress,
            train=train,
            stop_above_j=stop_above_j,
            scheduler=scheduler,
        )
    if outcome.failed:
        retry = "the same command" if train else "greencv run"
        again = "" if opened.is_bundle else f"; {retry} tries again"
        err.print(f"[red]{_runs(outcome.failed)} failed[/]{again}.")
    if outcome.stopped:
        limits_j = [r.forecast.limit_j for r in outcome.records if r.forecast is not None]
        # What exceeds its own limit exceeds the lowest, too.
        limit = f": forecast to exceed {joules(min(limits_j))}" if limits_j else ""
        again = "" if opened.is_bundle else "; greencv run without --stop-above makes them"
        err.print(f"[yellow]{_runs(outcome.stopped)} stopped[/]{limit}{again}.", soft_wrap=True)
    if outcome.missing:
        err.print(f"{_runs(outcome.missing)} of study {loaded.name} not made on this machine yet.")
    elif outcome.trained and not outcome.failed and not outcome.stopped:
        all_of_them = "The only run" if outcome.planned == 1 else f"All {outcome.planned} runs"
        verb = "is" if outcome.planned == 1 else "are"
        err.print(f"{all_of_them} of study {loaded.name} {verb} finished.")
    return outcome


def _published_data() -> str:
    """Download the published data that this machine lacks; return what is at hand, in words."""
    from greencv_core.published import DATA_SETS, DataUnavailableError, fetch, load_adapter

    told = []
    for name in DATA_SETS:
        try:
            with file_progress(err, f"published data {name}") as progress:
                fetched = fetch(load_adapter(name).RELEASE, progress)
        except DataUnavailableError as error:
            problems: tuple[str, ...] = (str(error),)
        else:
            problems = fetched.problems
        _tell_files_left_out(problems)
        told.append("\n".join((name, *problems)))
    return "\n".join(told)


def _tell_files_left_out(problems: Sequence[str]) -> None:
    from greencv_core.utils.downloads import summarise_problems

    for problem in summarise_problems(problems):
        _tell_left_out(problem)


def _tell_left_out(problem: str) -> None:
    err.print(f"[yellow]left out:[/] {escape(problem)}", soft_wrap=True, highlight=False)


def _print_reanalysis(content: dict[str, Any]) -> None:
    data, claims = content["data"], content["claims"]
    printed = claims["by_source"]["printed"]
    for key, which in (
        ("headline", "without the runs removed by hand"),
        ("headline_all_runs", "with all runs"),
    ):
        title = f"Largest saving of energy per image, {which}"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("Energy", "Saving", "95 % interval", "By", "Against"):
            table.add_column(
                heading,
                justify="right" if heading == "Saving" else "left",
                no_wrap=heading not in ("By", "Against"),
            )
        for name, row in content[key].items():
            label = name.replace("_", " ")
            if row["saving"] is None:
                table.add_row(label, "unknown", escape(row["reason"]))
                continue
            ends = (escape(" ".join(row[end].values())) for end in ("to", "from"))
            interval = f"{100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f} %"
            table.add_row(label, f"{100 * row['saving']:.2f} %", interval, *ends)
        out.print(table)
        out.print()
    out.print(
        f"{printed['agreeing']} of {printed['figures']} printed figures come out, and "
        f"{claims['agreeing'] - printed['agreeing']} of "
        f"{claims['figures'] - printed['figures']} that its figures show or its data hold"
        + (f" ({claims['not_known']} need files that were left out)" if claims["not_known"] else "")
        + "; the report's page on the re-analysis has all of them.",
        soft_wrap=True,
    )
    out.print(data["logs"], soft_wrap=True, highlight=False)


def _runs(n: int) -> str:
    return f"{n} {'run' if n == 1 else 'runs'}"


def _table(store: str | None) -> tuple[pd.DataFrame, list[Damaged]]:
    from greencv_core.records.table_cache import cached_runs_table

    frame, damaged = cached_runs_table(Store(store or default_store()))
    for file in damaged:
        _tell_left_out(f"{file.where}: {file.reason}")
    return frame, damaged


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        _fail(f"{path}: cannot be written: {error.strerror}", 1)


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
    sys.stdout.flush()


def _fail(message: str, code: int) -> NoReturn:
    error = GreencvError(message)
    error.exit_code = code
    raise error
