"""``greencv book``: from a study file to the report."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from greencv_core.cli.console import StoreOption, err, print_note
from greencv_core.cli.run import exit_code, train_study
from greencv_core.utils.errors import BadInputError


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
        bool, typer.Option(help="Train the missing runs; else use the finished ones alone.")
    ] = True,
    runs: Annotated[
        str | None,
        typer.Option(
            help="A bundle: report its runs alone, and train nothing.",
            metavar="BUNDLE",
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the report as one PDF, too.")] = False,
) -> None:
    """Reproduce the study: train missing runs, execute the notebooks, build the HTML report.

    Only what changed since the last time is done again.
    """
    from greencv_core.records.backends.bundle import is_bundle
    from greencv_core.report.book.build import build_report
    from greencv_core.run.progress import file_progress

    if runs is not None:
        if store is not None:
            raise BadInputError(
                "--runs and --store: a bundle is the store of its runs; give one of them"
            )
        if not is_bundle(runs):
            raise BadInputError(f"--runs {runs}: not a bundle: a file whose name ends in .parquet")
        store, train = runs, False
    study = study or runs or "quick"
    outcome = train_study(study, store, train=train)
    path = build_report(
        study,
        store=store,
        records=outcome.records,
        log=print_note,
        download_progress=lambda name: file_progress(err, f"published data {name}"),
    )
    err.print(f"[bold]Report:[/] {escape(str(path))}", soft_wrap=True)
    if pdf:
        from greencv_core.report.book.pdf import build_pdf
        from greencv_core.utils.paths import PROJECT_ROOT

        printed = build_pdf(PROJECT_ROOT, print_note)
        err.print(f"[bold]PDF:[/] {escape(str(printed))}", soft_wrap=True)
    raise typer.Exit(exit_code(outcome))
