"""The program ``greencv``: its commands, error messages and exit codes.

Each command imports what it needs when it is called, so that ``greencv --help`` starts fast.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape

from greencv_core import __version__
from greencv_core.cli.book import book
from greencv_core.cli.claims import claims
from greencv_core.cli.console import err
from greencv_core.cli.doctor import doctor
from greencv_core.cli.evidence import evidence_app
from greencv_core.cli.imports import import_app
from greencv_core.cli.meter import meter
from greencv_core.cli.plan import estimate, plan
from greencv_core.cli.reanalyse import reanalyse
from greencv_core.cli.run import run
from greencv_core.cli.runs import bundle, export_runs, list_runs, merge_runs, show_run
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interrupts import clean_up_when_terminated, merge_repeated_interrupts

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended, as shells have it: 128 and the signal's number."""

app = typer.Typer(
    name="greencv",
    help="Train image classifiers, meter their energy, and report the effects of architecture and "
    "training environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
runs_app = typer.Typer(help="List, show, export or merge the run records.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
app.add_typer(evidence_app, name="evidence")
app.add_typer(import_app, name="import")

_COMMANDS: tuple[tuple[Callable[..., Any], str], ...] = (
    (doctor, "doctor"),
    (plan, "plan studies/quick.yaml"),
    (estimate, "estimate resnet18 --probe"),
    (run, "run studies/smoke.yaml"),
    (bundle, "bundle quick --output quick.parquet"),
    (claims, "claims --json"),
    (reanalyse, "reanalyse --json"),
    (book, "book studies/quick.yaml"),
    (meter, "meter -- python train.py"),
    (list_runs, "runs list --json"),
    (show_run, "runs show 0123456789abcdef"),
    (export_runs, "runs export --format csv --output runs.csv"),
    (merge_runs, "runs merge /mnt/lab/runs --store runs"),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"greencv {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    pass


for _command, _example in _COMMANDS:
    _first, *_rest = _example.split()
    _group, _name = (runs_app, _rest[0]) if _first == "runs" else (app, _first)
    # What follows the program that greencv meter runs are its own options.
    _settings = {"allow_interspersed_args": _command is not meter}
    _epilog = f"Example: greencv {_example}"
    _group.command(_name, epilog=_epilog, context_settings=_settings)(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is success, 1 a failure, 2 bad input, 3 an incomplete result (runs that failed or were
    stopped, files left out), 130 an interruption.
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
    except BrokenPipeError:  # the reader of our output, `head` say, has finished
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        err.print(f"[red]error:[/] the output cannot be written: {error.strerror}")
        return 1
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option or argument, from click
            if message := error.format_message():  # none where help has just been shown
                err.print(f"[red]error:[/] {escape(message)}", soft_wrap=True)
            return 2
        raise
    if code == INTERRUPTED:  # typer may also return it
        err.print("Interrupted. Finished runs are kept; run the same command to continue.")
    return code if isinstance(code, int) else 0


def entry() -> None:
    """Run the command line as the program ``greencv``."""
    merge_repeated_interrupts()
    clean_up_when_terminated()
    if not os.environ.get("SOURCE_DATE_EPOCH", "0").isdecimal():
        del os.environ["SOURCE_DATE_EPOCH"]  # with an empty one, numpy.f2py cannot be imported
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error, in ASCII say
    sys.exit(main())
