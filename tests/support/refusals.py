"""Errors as a user meets them: one line that says what is wrong."""

import pytest

from greencv_core.utils.errors import BadInputError


def refusal(call, *arguments, kind=BadInputError, longest=600, **options):
    """Return the error of a call, which is one line."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < longest
    return text


def refusal_of_file(read, path, content):
    """Return the error of reading a file with this content, which names it in one line."""
    path.write_text(content)
    text = refusal(read, path)
    assert str(path) in text
    return text


def one_line(done, code=2, longest=400):
    """Return what a command refused with: one line, and no traceback."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < longest
    return lines[0].removeprefix("error: ")
