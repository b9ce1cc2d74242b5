"""What must not be written down: secrets of the environment, and credentials in URLs.

Error messages of libraries quote URLs, headers and settings; a record, a log and the report keep
such messages for good and are passed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

from greencv_core.utils.text import one_line

SHORTEST_SECRET = 6
"""Characters; anything shorter is in too many words to be told from them."""
SHORTEST_LINE = 16
"""Characters of a line of a secret of several lines that are a secret by themselves."""

_SECRET_WORD = re.compile(
    r"(KEYS?|KEY_?IDS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|COOKIE"
    r"|SIGNATURE|(?<![A-Z])(PASS|PAT|SAS)|_PWD)$",
    re.IGNORECASE,
)
"""A word of a variable's name, ``_PWD`` because PWD alone is a folder."""
# All lengths have a bound: the time that a search takes else grows with the square of a text's.
_USERINFO = re.compile(
    r"(?<=://)"
    r"(?:[^\s/?#@]{0,200}@"
    # A password may hold a slash that nobody escaped; what only looks like one follows a port.
    r"|[^\s/?#@:]{0,200}:(?!\d{1,5}(?:[/?#]|\s|$))[^\s@]{0,200}@)"
    r"(?:[^\s/?#@]{0,200}@)*"
)
_PARAMETER = re.compile(
    r"([?&;][\w.%-]{0,40}?(?:signature|credential|token|secret|password|passwd|passphrase|key|keyid"
    r"|access_?key_?id|auth|authorization|sig|pwd)=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token|digest)\s+)?)[^\s\"',;]+",
    re.IGNORECASE,
)


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text in which no secret is left.

    The value of each environment variable whose name is that of a secret (``..._TOKEN``,
    ``..._PASSWORD`` and the like) is replaced by ``[$NAME]``, also where it is percent-encoded, and
    so is a password in the URL that a variable holds, such as a proxy's. Of every URL, the user and
    the password are left out (``https://[…]@host``), and the values of parameters that sign or
    authorise (``token=[…]``).

    Call it before a text is shortened: half a secret is not recognised.

    Parameters
    ----------
    environment
        Names and values; this process' environment if omitted.
    """
    for value, name in _by_length(_secrets(os.environ if environment is None else environment)):
        text = text.replace(value, f"[${name}]")
    text = _USERINFO.sub("[…]@", text)
    text = _PARAMETER.sub(r"\1[…]", text)
    return _HEADER.sub(r"\1[…]", text)


def is_secret_name(name: str) -> bool:
    """Return whether a variable of this name holds a secret, by what people call such variables."""
    return any(_SECRET_WORD.search(part) for part in _parts(name))


def _parts(name: str) -> Iterator[str]:
    """Yield a name up to the end of each of its words: A, A_B and A_B_C of ``A_B_C``."""
    for end in re.finditer(r"_|$", name):
        yield name[: end.start()]


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each form of each secret, with the name of its variable."""
    for name, value in environment.items():
        if is_secret_name(name) and not _is_place(value):
            found = [value.strip(), *_lines(value)]
        else:
            found = list(_passwords(value))
        for secret in found:
            for form in _forms(secret):
                if len(form) >= SHORTEST_SECRET:
                    yield form, name


def _by_length(secrets: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    # Longest first: one secret may be a part of another, whose rest would stay.
    return sorted(dict(secrets).items(), key=lambda pair: -len(pair[0]))


def _is_place(value: str) -> bool:
    """Return whether a value names where something is: the file of a key is not the key."""
    try:
        return os.path.isabs(os.path.expanduser(value)) and os.path.exists(
            os.path.expanduser(value)
        )
    except ValueError:
        return False


def _lines(value: str) -> list[str]:
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) < 2:
        return []
    # Messages are told in one line, in which the line breaks of a key are blanks.
    kept = [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
    return [" ".join(value.split()), *kept]


def _passwords(value: str) -> Iterator[str]:
    for found in re.finditer(r"://[^\s:@/]{0,200}:(\S{1,200})@", value):
        yield found[1]
        yield unquote(found[1])


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it stands in texts, in URLs and in what Python prints of it."""
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield repr(secret)[1:-1]


MESSAGE_CHARACTERS = 240


def safe_line(text: object) -> str:
    """Return a message as one short line without control characters or credentials."""
    line = one_line(text)
    line = re.sub(r"://[^/@\s]*@", "://", line)
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"
