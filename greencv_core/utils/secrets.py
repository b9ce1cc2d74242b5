"""Redact secrets of the environment, and credentials in URLs, from messages.

Libraries quote URLs, headers and settings in error messages, which records and reports publish.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus, unquote

from greencv_core.utils.text import one_line

SHORTEST_SECRET = 6  # least characters of a secret; shorter ones are part of too many words
SHORTEST_LINE = 16  # least characters of a line of a longer secret that is redacted by itself

_SECRET_WORD = re.compile(
    r"(KEYS?|KEY_?IDS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|COOKIE"
    r"|SIGNATURE|(?<![A-Z])(PASS|PAT|SAS)|_PWD)$",
    re.IGNORECASE,
)
"""Last word of the name of a secret variable; ``_PWD``, because PWD itself is a folder."""
# Lengths are bounded: otherwise the time of a search grows with the square of the text's length.
_USERINFO = re.compile(
    r"(?<=://)"
    r"(?:[^\s/?#@]{0,200}@"
    # A password may have an unescaped slash, unlike a host with a port.
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
    """Return a text without secrets.

    The value of each environment variable with the name of a secret (``..._TOKEN``,
    ``..._PASSWORD`` and so on) is replaced by ``[$NAME]``, even if it is percent-encoded, and so is
    the password in a variable's URL, such as a proxy's. The user and password of every URL are
    replaced (``https://[…]@host``), and the values of parameters that sign or authorise
    (``token=[…]``).

    Call it before a text is shortened: half a secret is not recognised. The variables are those of
    this process if ``environment`` is omitted.
    """
    secrets = dict(_secrets(os.environ if environment is None else environment))
    # Longest first: of a secret that contains another one, the rest would stay.
    for value, name in sorted(secrets.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(value, f"[${name}]")
    text = _USERINFO.sub("[…]@", text)
    text = _PARAMETER.sub(r"\1[…]", text)
    return _HEADER.sub(r"\1[…]", text)


def command_without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command without the secrets of :func:`without_secrets` and of its options.

    The value of an option or a variable with the name of a secret is replaced: ``--api-key […]``,
    ``--token=[…]``, ``DB_PASSWORD=[…]``.
    """
    found, hidden = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = is_secret_name(name.lstrip("-").replace("-", "_"))
        if hidden and not argument.startswith("-"):
            argument = "[…]"
        elif secret and equals:
            argument = f"{name}=[…]"
        found.append(without_secrets(argument))
        hidden = secret and not equals and argument.startswith("--")
    return found


def is_secret_name(name: str) -> bool:
    """Return whether a variable of this name usually is a secret."""
    return any(_SECRET_WORD.search(part) for part in _parts(name))


def _parts(name: str) -> Iterator[str]:
    """Yield a name up to the end of each word: A, A_B and A_B_C for ``A_B_C``."""
    for end in re.finditer(r"_|$", name):
        yield name[: end.start()]


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each form of each secret, with the name of its variable."""
    for name, value in environment.items():
        secret = is_secret_name(name) and not _is_path(value)
        found = [value.strip(), *_lines(value)] if secret else _passwords(value)
        forms = (form for each in found for form in _forms(each))
        yield from ((form, name) for form in forms if len(form) >= SHORTEST_SECRET)


def _is_path(value: str) -> bool:
    """Return whether a value is the path of a file: the file of a key is not the key."""
    try:
        path = os.path.expanduser(value)
        return os.path.isabs(path) and os.path.exists(path)
    except ValueError:
        return False


def _lines(value: str) -> list[str]:
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) < 2:
        return []
    # Messages are on one line, in which the line breaks of a key are blanks.
    long = [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
    return [" ".join(value.split()), *long]


def _passwords(value: str) -> list[str]:
    found = re.findall(r"://[^\s:@/]{0,200}:(\S{1,200})@", value)
    return [*found, *map(unquote, found)]


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it appears in texts, in URLs and in Python's repr."""
    quoted = quote(secret, safe=""), quote(secret), quote_plus(secret)
    return secret, *quoted, repr(secret)[1:-1]


MESSAGE_CHARACTERS = 240


def safe_line(text: object) -> str:
    """Return a message as one short line without control characters or credentials."""
    line = one_line(text)
    line = re.sub(r"://[^/@\s]*@", "://", line)
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"
