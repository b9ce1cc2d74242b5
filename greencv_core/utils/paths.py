"""Locations of the project's files, and the commit of its code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import platformdirs

_SOURCE = Path(__file__).resolve().parents[2]
_IS_CHECKOUT = (_SOURCE / "pyproject.toml").is_file()
PROJECT_ROOT = _SOURCE if _IS_CHECKOUT else Path.cwd()
"""The checkout of this package; the current folder where it is installed from a wheel."""


def default_store() -> str | Path:
    """Return ``$GREENCV_STORE`` (a folder or a URL), else ``runs/`` in the project."""
    return os.environ.get("GREENCV_STORE") or PROJECT_ROOT / "runs"


def user_cache() -> Path:
    """Return this user's cache folder; all in it may be deleted."""
    return Path(platformdirs.user_cache_dir("greencv"))


def git_environment(root: Path) -> dict[str, str]:
    """Return the variables for a git that reads the checkout ``root`` and no other repository."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_CEILING_DIRECTORIES": str(root.resolve().parent)}


def git_commit(root: Path = _SOURCE) -> str:
    """Return the commit of a checkout, with ``+changes`` if files differ; else ``unknown``."""
    if not (root / ".git").exists():  # an installed package may be inside another repository
        return "unknown"
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True, text=True, check=True, env=git_environment(root),
    ).stdout.strip()  # fmt: skip
