"""What benchmarks print, and what they read from processes of their own."""

import json
import subprocess
import sys

from rich.table import Table


def show_progress(text):
    """Replace the line of progress on standard error by a text; an empty text clears it."""
    print(f"\r{text:<70}", end="" if text else "\r", file=sys.stderr, flush=True)


def new_table(title, texts, figures):
    """Return a table with columns of text, and right-aligned ones of figures."""
    table = Table(*texts, title=title, title_justify="left")
    for heading in figures:
        table.add_column(heading, justify="right")
    return table


def answer_of(what, command, **options):
    """Run a program and return the JSON of its last line."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        sys.exit(f"error: {what} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])
