"""One line of progress on standard error."""

import sys


def show_progress(text):
    """Replace the line of progress by a text; an empty text clears it."""
    print(f"\r{text:<70}", end="" if text else "\r", file=sys.stderr, flush=True)
