"""A line at the bottom of a terminal, below all that programs print there."""

from __future__ import annotations

import os
import sys

SAVE, RESTORE = "\x1b7", "\x1b8"  # the cursor's position


class StatusLine:
    """The last row of the terminal of standard error; the rows above it scroll as before.

    Without a terminal it shows nothing. The control sequences are those of the VT100
    (https://vt100.net/docs/vt100-ug/chapter3.html), which apt's progress bar uses in the same way.
    """

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._rows = 0

    def show(self, text: str) -> None:
        """Replace the line, cut to the terminal's width."""
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
        if rows < 3:
            return
        if rows != self._rows:  # at first, or another size
            self._rows = rows
            # Make room below the cursor; then let only the rows above the last one scroll.
            _write(f"\x1bD{SAVE}\x1b[1;{rows - 1}r{RESTORE}\x1b[A")
        _write(f"{SAVE}\x1b[{rows};1H\x1b[2K{text[: columns - 1]}{RESTORE}")

    def close(self) -> None:
        """Remove the line, and let all rows scroll again."""
        if self._rows:
            _write(f"{SAVE}\x1b[r\x1b[{self._rows};1H\x1b[2K{RESTORE}")


def _write(text: str) -> None:
    os.write(sys.stderr.fileno(), text.encode())  # at once, so that nothing comes in between
