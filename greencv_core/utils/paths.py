"""Where the project's files are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The checkout that this package was installed from."""


def default_store() -> str | Path:
    """Return where the run records are: ``$GREENCV_STORE``, else ``runs/`` in the project.

    The variable names a folder or a URL.
    """
    return os.environ.get("GREENCV_STORE") or PROJECT_ROOT / "runs"


def git_commit(root: Path = PROJECT_ROOT) -> str:
    """Return the commit that is checked out, with ``+changes`` where files differ from it.

    Returns ``"unknown"`` outside a git checkout.
    """
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()
