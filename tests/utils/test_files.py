"""Files are written whole or not at all."""

import os
import stat

import pytest

from greencv_core.utils.errors import BadInputError
from greencv_core.utils.files import check_writable, write_atomically


def test_a_file_is_replaced_whole_or_stays(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"first"))
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

    def fail(file):
        file.write(b"sec")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    link, path = tmp_path / "link", tmp_path / "file"
    link.symlink_to(path)
    write_atomically(link, lambda file: file.write(b"text"))
    assert link.is_symlink()
    assert path.read_bytes() == b"text"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_writable(pipe)
    write_atomically(pipe, lambda file: file.write(b"text"))
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert pipe.is_fifo()


def test_what_cannot_be_written_is_found_before_and_nothing_changes(tmp_path):
    check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none" / "file", "No such file or directory"),
    ):
        with pytest.raises(BadInputError, match=f"cannot be written: {reason}"):
            check_writable(path)
