"""``greencv book``: from a study file to the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from greencv_core.cli.console import StoreOption, err, open_store, print_note, warn
from greencv_core.cli.run import exit_code, train_study
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.interpreters import collect_garbage_rarely

if TYPE_CHECKING:
    from greencv_core.run.collect import Outcome


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
        bool, typer.Option(help="Train the missing runs, or only use the finished ones.")
    ] = True,
    runs: Annotated[
        str | None,
        typer.Option(
            help="A bundle: use only its runs, and train nothing.",
            metavar="BUNDLE",
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print the report as one PDF.")] = False,
    try_pdf: Annotated[
        bool, typer.Option("--try-pdf", help="As --pdf; without a browser, build the HTML only.")
    ] = False,
) -> None:
    """Reproduce the study: train missing runs, execute the notebooks, build the HTML report.

    Only what changed since the last time is repeated.
    """
    collect_garbage_rarely()
    from greencv_core.records.backends.bundle import is_bundle

    if runs is not None:
        if store is not None:
            raise BadInputError(
                "--runs and --store: a bundle contains its runs; use only one of the options"
            )
        if not is_bundle(runs):
            raise BadInputError(f"--runs {runs}: not a bundle; its name must end in .parquet")
        store, train = runs, False
    no_pdf = _why_no_pdf() if pdf or try_pdf else ""
    if no_pdf and pdf:
        raise GreencvError(no_pdf)
    if no_pdf:
        warn("no PDF", f"building the HTML only: {no_pdf}")
    path, outcome = _build(study or runs or "quick", store, train=train)
    err.print(f"[bold]Report:[/] {escape(str(path))}", soft_wrap=True)
    if no_pdf:
        warn("no PDF", no_pdf)
    elif pdf or try_pdf:
        from greencv_core.report.book.pdf import build_pdf
        from greencv_core.utils.paths import PROJECT_ROOT

        printed = build_pdf(PROJECT_ROOT, print_note)
        err.print(f"[bold]PDF:[/] {escape(str(printed))}", soft_wrap=True)
    raise typer.Exit(exit_code(outcome))


def _why_no_pdf() -> str:
    """Return what is missing to print a PDF; empty if nothing is. It is checked before training."""
    from greencv_core.report.book.pdf import load_browser

    try:
        load_browser()
    except GreencvError as error:
        return str(error)
    return ""


def build_report(
    study: str | Path = "quick", *, store: str | Path | None = None, train: bool = True
) -> Path:
    """Train a study's missing runs and build its HTML report, as ``greencv book`` does.

    Parameters
    ----------
    study
        The study's file, or the name of one in ``studies/``.
    store
        Holds the run records; the default store when omitted.
    train
        Whether missing runs are trained.

    Returns
    -------
    Path
        ``_build/html/index.html`` in the project's folder.
    """
    return _build(str(study), None if store is None else str(store), train=train)[0]


def _build(study: str, store: str | None, *, train: bool) -> tuple[Path, Outcome]:
    from greencv_core.records.source import find_study
    from greencv_core.report.book.build import build_book, download_published
    from greencv_core.run.progress import file_progress
    from greencv_core.utils.paths import PROJECT_ROOT

    outcome = train_study(study, store, train=train)
    if not any(record.status == "finished" and record.complete for record in outcome.records):
        raise GreencvError(f"{study}: no finished run has an energy, so there is nothing to report")
    published = download_published(
        print_note, lambda name: file_progress(err, f"published data {name}")
    )
    path = build_book(
        PROJECT_ROOT,
        study=find_study(study),
        store=open_store(store),
        records=outcome.records,
        log=print_note,
        published=published,
    )
    return path, outcome
