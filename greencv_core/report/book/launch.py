"""Where the project is published, and the links from there to its running copies.

Nothing is asked of any of these hosts; a checkout that no one can reach has no links.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

_HOSTS = ("github.com", "gitlab.com")
_PATH = r"(?P<path>[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+)"
_FORMS = (
    # Credentials, which a clone of a private fork may hold, go no further.
    re.compile(rf"(?:https?|ssh|git)://(?:[^/@]*@)?(?P<host>[a-z.]+)(?::\d+)?/{_PATH}"),
    re.compile(rf"(?:[^/@:]+@)?(?P<host>[a-z.]+):{_PATH}"),
)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def repository_url(root: Path) -> str | None:
    """Return the public address of the project that a folder is a checkout of.

    Told by the checkout's ``origin``, else by the environment of GitHub's runners.

    Parameters
    ----------
    root
        The checkout's own folder; a repository around it is none of the project.

    Returns
    -------
    str or None
        ``https://github.com/OWNER/NAME``, or the same on gitlab.com, without credentials; None
        where there is none.
    """
    of_runner = "/".join(
        os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")
    )
    return _public(_origin(root)) or _public(of_runner)


def launch_links(url: str | None, commit: str, notebook: str) -> dict[str, str]:
    """Return where a notebook can be run and read, by the words of the link.

    Parameters
    ----------
    url
        As :func:`repository_url` returns it; of None, there is no link.
    commit
        The commit that the report was made from. Where it is none that others have (unknown, or
        with changes), links lead to the newest.
    notebook
        Its file's name in the project's folder ``notebooks``.
    """
    host, _, path = (url or "").removeprefix("https://").partition("/")
    if host not in _HOSTS:
        return {}
    commit = commit if _COMMIT.fullmatch(commit) else "HEAD"
    file = f"notebooks/{notebook}"
    source = f"{url}/{'blob' if host == 'github.com' else '-/blob'}/{commit}/{quote(file)}"
    lab = f"{commit}?labpath={quote(file, safe='')}"
    if host == "gitlab.com":
        return {
            "Binder": f"https://mybinder.org/v2/gl/{quote(path, safe='')}/{lab}",
            "Source": source,
        }
    return {
        "Binder": f"https://mybinder.org/v2/gh/{path}/{lab}",
        "Codespaces": f"https://codespaces.new/{path}",
        "Source": source,
    }


def _origin(root: Path) -> str:
    try:
        told = subprocess.run(
            ["git", "-C", str(root), "remote", "get-url", "origin"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(root.resolve().parent)},
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told.stdout.strip()


def _public(address: str) -> str | None:
    address = address.removesuffix("/").removesuffix(".git")
    for form in _FORMS:
        found = form.fullmatch(address)
        if found is None or found["host"] not in _HOSTS:
            continue
        if found["host"] == "github.com" and found["path"].count("/") != 1:
            continue
        return f"https://{found['host']}/{found['path']}"
    return None
