"""A study file is data, whoever wrote it: it runs nothing, takes no time, and is told in lines."""

import re
import time

import pytest

from greencv_core.datasets import check_dataset
from greencv_core.records.source import load_study
from greencv_core.study.loading import LARGEST_FILE_BYTES, MOST_LEVELS, MOST_PROBLEMS, MOST_VALUES
from greencv_core.utils.errors import BadInputError
from tests.conftest import ROOT, greencv_here

SMOKE = (ROOT / "studies" / "smoke.yaml").read_text()
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
LAUGHS_BY_MERGE = "a0: &a0 {k0: 1, l0: 2}\n" + "".join(
    f"a{n}: &a{n} {{k{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
)

HOSTILE = {
    "python object": "name: !!python/object/apply:os.system ['touch ran']",
    "python name": "name: !!python/name:os.system",
    "python module": "!!python/module:os {}",
    "python tuple": "name: !!python/tuple [1]",
    "tag": "name: !mine x",
    "tag with a line break": "name: !a%0Ab%1B x",
    "set": "name: !!set {a, b}",
    "set as a key": "? !!set {a}\n: 1",
    "ordered map": "name: !!omap [a: 1]",
    "pairs": "name: !!pairs [a: 1]",
    "binary": "name: !!binary aGVsbG8=",
    "empty whole number": "name: !!int ''",
    "empty number": "name: !!float ''",
    "number that is none": "name: !!int x",
    "truth that is none": "name: !!bool maybe",
    "date that is none": "name: !!timestamp x",
    "date without such a day": "name: 2026-02-30",
    "date after the last one": "name: 9999-12-31T23:59:59-23:59",
    "date": "name: 2026-01-01",
    "list tagged as text": "name: !!str [1]",
    "text tagged as a mapping": "!!map x",
    "aliases of aliases": LAUGHS,
    "merges of merges": LAUGHS_BY_MERGE,
    "aliases of a long text": f"a: &a {'x' * 60_000}\nb: [*a, *a, *a, *a, *a, *a]",
    "list in itself": "name: &a [*a]",
    "mapping in itself": "&a {name: *a}",
    "mapping merged into itself": "&a {name: x, <<: *a}",
    "merge of a word": "name: {<<: x}",
    "deep lists": "[" * 5_000,
    "deep mappings": "{a: " * 5_000,
    "deep lists by lines": "- " * 5_000,
    "deep by indentation": "".join(f"{' ' * n}a:\n" for n in range(400)),
    "deep by aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 400)),
    "many values": f"[{', '.join('x' * (MOST_VALUES + 1))}]",
    "large": "#" * (LARGEST_FILE_BYTES + 1),
    "comments": "#" * LARGEST_FILE_BYTES,
    "one long word": "a" * LARGEST_FILE_BYTES,
    "one long text": '"' + "a" * (LARGEST_FILE_BYTES - 2) + '"',
    "many lines": "\n" * LARGEST_FILE_BYTES,
    "many commas": "[" + "," * (LARGEST_FILE_BYTES - 1),
    "many keys": "".join(f"{n}:\n" for n in range(15_000)),
    "many questions": "? " * 50_000,
    "many anchors": "".join(f"- &a{n}\n" for n in range(12_000)),
    "many documents": "---\n" * 20_000,
    "huge number": f"name: {'9' * 50_000}",
    "huge hexadecimal number": f"name: 0x{'f' * 50_000}",
    "huge number by minutes": f"name: 1{':59' * 30_000}",
    "huge fraction by minutes": f"name: 1{':59' * 30_000}.5",
    "huge number as a key": f"{'9' * 50_000}: 1",
    "NUL": "name: a\0b",
    "escape sequence": "name: \x1b[31mred",
    "escaped NUL": 'name: "a\\0b"',
    "escaped escape sequence": '"\\e[31mred": 1',
    "half a character": 'description: "\\ud800"',
    "no character": 'name: "\\UFFFFFFFF"',
    "huge version": f"%YAML 1.{'9' * 5_000}\n---\nname: x",
    "key with a line break": '"a\\nerror: all is well": 1',
    "key that is a list": "[a]: 1",
    "key that is a mapping": "{a: 1}: 1",
    "key that is nothing": "~: 1",
    "key that is a number": "1: 2\n1.5: 3",
    "key given twice": "name: a\nname: b",
    "key given twice, long": f"{'a' * 900}: 1\n{'a' * 900}: 2",
    "two documents": "name: a\n---\nname: b",
    "nothing": "",
    "a list": "- 1",
    "a word": "word",
    "a tab": "name:\n\t- x",
    "unknown alias": "name: *nobody",
    "bidirectional text": "name: \u202eevil",
}


def refused(path):
    """Return the lines of the error, which says where, shortly, and in no time."""
    started = time.perf_counter()
    with pytest.raises(BadInputError) as caught:
        load_study(path)
    assert time.perf_counter() - started < 2, "1 s, and some for a busy machine"
    lines = str(caught.value).split("\n")
    for line in lines:
        assert line.startswith(f"{path}:"), line
        assert line.isprintable(), line
        assert len(line) < len(str(path)) + 500, line
    assert len(lines) <= MOST_PROBLEMS + 1
    return lines


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_told_in_short_lines(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_bytes(text.encode())
    refused(path)
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    "written",
    [b"\xff\xfe" + SMOKE.encode("utf-16-le"), SMOKE.encode("utf-32"), b"name: \xff", b"\x80",
     b"\0"],
)  # fmt: skip
def test_another_encoding_is_told(tmp_path, written):
    path = tmp_path / "study.yaml"
    path.write_bytes(written)
    assert len(refused(path)) == 1


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_matter(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMOKE.replace("\n", "\r\n").encode())
    assert load_study(path).model_dump() == load_study("smoke").model_dump()


def test_aliases_and_merges_within_bounds_are_read(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        re.sub(
            r"(?s)environments:.*?\nprotocol:",
            "environments:\n  - &one {name: one, device: cpu, threads: 1}\n"
            "  - {<<: *one, name: two, threads: 2}\nprotocol:",
            SMOKE,
        )
    )
    one, two = load_study(path).environments
    assert (one.name, two.name, two.device, two.threads) == ("one", "two", "cpu", 2)


def test_problems_beyond_fifty_are_counted(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMOKE + "".join(f"extra{n}: 1\n" for n in range(200)))
    lines = refused(path)
    assert lines[-1].endswith("and 150 more problems")


def test_thousands_of_names_are_compared_in_no_time(tmp_path):
    path = tmp_path / "study.yaml"
    names = ", ".join(f"n{n}" for n in range(MOST_VALUES - 200))
    path.write_text(re.sub(r"architectures:.*", f"architectures: [{names}, n1]", SMOKE))
    assert "n1 named twice" in refused(path)[0]


@pytest.mark.parametrize("source", ["x\0y", "x" * 5_000, "x/" * 3_000, "a\nb", "", "/", "~nobody"])
def test_a_name_that_no_file_can_have(source):
    with pytest.raises(BadInputError, match="no such study file") as caught:
        load_study(source)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "name",
    ["../../escape", "/tmp/escape", "..", "a/b", "a\\b", ".hidden", "a\u2028b", "x" * 81, "",
     "C:/x", "nul\\0", "a b", "-rf"],
)  # fmt: skip
def test_names_are_no_paths(tmp_path, name):
    path = tmp_path / "study.yaml"
    for text in (
        SMOKE.replace("name: smoke", f"name: '{name}'"),
        SMOKE.replace("name: cpu-1-thread", f"name: '{name}'"),
        SMOKE.replace("[shufflenet_v2_x0_5,", f"['{name}',"),
    ):
        assert text != SMOKE
        path.write_text(text)
        refused(path)


@pytest.mark.parametrize(
    "name",
    ["imagefolder:/nowhere/../../etc", "imagefolder:~nobody-here/x", f"imagefolder:{'x' * 900}",
     "imagefolder:/proc/self/mem", "imagefolder:/dev/null", "imagefolder:/etc/passwd"],
)  # fmt: skip
def test_a_folder_of_images_is_read_alone(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path / "downloads"))
    path = tmp_path / "study.yaml"
    path.write_text(SMOKE.replace("name: digits", f"name: '{name}'"))
    study = load_study(path)
    with pytest.raises(BadInputError, match=r"^dataset.name = imagefolder:") as caught:
        check_dataset(study.dataset)
    assert str(caught.value).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    "weights",
    ["file:~nobody-here/x", f"file:{'x' * 900}", "file:/dev/null", "file:/nowhere", "file:/tmp"],
)
def test_a_file_of_weights_is_read_alone(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(SMOKE.replace("protocol:", f"protocol:\n  weights: '{weights}'"))
    done = greencv_here("plan", path, "--store", tmp_path / "runs")
    assert done.returncode == 2
    assert "protocol.weights = file:" in done.stderr
    assert len(done.stderr.splitlines()) == 2, "one for each architecture"
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


def test_depth_has_its_bound_where_it_is_stated(tmp_path):
    path = tmp_path / "study.yaml"
    for levels, told in ((MOST_LEVELS, "extra"), (MOST_LEVELS + 1, "levels deep")):
        path.write_text(SMOKE + f"extra: {'[' * (levels - 1)}{']' * (levels - 1)}\n")
        assert told in refused(path)[0], levels
