"""Links of the report to the project's repository and to services that run its notebooks."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

from greencv_core.utils.paths import git_environment

_CLONE_URL = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]*@)?|(?:[^/@:]+@)?)(?P<host>github\.com|gitlab\.com)(?::\d+)?"
    r"[/:](?P<path>[\w-][\w.-]*(?:/[\w-][\w.-]*)+)",
    re.ASCII,
)


def repository_url(root: Path) -> str | None:
    """Return the public address of a checkout, without credentials; None if there is none.

    It is the address of the remote ``origin`` (not of a repository around the checkout), or else
    of the repository of a GitHub runner.
    """
    remote = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
        env=git_environment(root),
    )
    variables = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")
    runner = "/".join(os.environ.get(name, "") for name in variables)
    for address in (remote.stdout.strip(), runner):
        found = _CLONE_URL.fullmatch(address.removesuffix("/").removesuffix(".git"))
        if found and (found["host"] == "gitlab.com" or found["path"].count("/") == 1):
            return f"https://{found['host']}/{found['path']}"
    return None


def launch_links(url: str | None, commit: str, notebook: str) -> dict[str, str]:
    """Return the links to run and to read a notebook file, keyed by their text.

    Links lead to the newest commit if ``commit`` is unknown or has local changes.
    """
    if url is None:
        return {}
    host, _, path = url.removeprefix("https://").partition("/")
    commit = commit if re.fullmatch(r"[0-9a-f]{7,64}", commit) else "HEAD"
    file = f"notebooks/{notebook}"
    lab = f"{commit}?labpath={quote(file, safe='')}"
    if host == "gitlab.com":
        return {
            "Binder": f"https://mybinder.org/v2/gl/{quote(path, safe='')}/{lab}",
            "Source": f"{url}/-/blob/{commit}/{quote(file)}",
        }
    return {
        "Binder": f"https://mybinder.org/v2/gh/{path}/{lab}",
        "Codespaces": f"https://codespaces.new/{path}",
        "Source": f"{url}/blob/{commit}/{quote(file)}",
    }
