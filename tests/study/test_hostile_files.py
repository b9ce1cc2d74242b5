"""Study files and records are data: they run nothing, take no time, and errors are short lines."""

import copy
import json
import re
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greencv_core.datasets import check_dataset
from greencv_core.machine.environment import missing_environments, resolve
from greencv_core.machine.hardware import Machine
from greencv_core.records.source import load_study
from greencv_core.records.store import Damaged, RecordFile, RowFile, parse_file, parse_row
from greencv_core.records.tables import epochs_table, phases_table, runs_table
from greencv_core.study.loading import (
    LARGEST_FILE_BYTES,
    MOST_ALIASES,
    MOST_LEVELS,
    MOST_PROBLEMS,
    MOST_VALUES,
)
from greencv_core.study.plan import plan
from greencv_core.utils.errors import BadInputError
from tests.conftest import ROOT, greencv_here
from tests.support.refusals import refusal

SMOKE = (ROOT / "studies" / "smoke.yaml").read_text()
MACHINE = Machine("Made up", cpu_count=8, memory_bytes=16 << 30, accelerators=(), system="none")

HOSTILE = {
    "code in a tag": "name: !!python/object/apply:os.system ['touch ran']",
    "value that does not fit its tag": "name: !!timestamp x",
    "number that does not fit its tag": "name: !!int 2026-02-30",
    "aliases of aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "value that contains itself": "&a {name: x, <<: *a}",
    "many aliases": f"a: &a {{}}\nb: [{', '.join(['*a'] * (MOST_ALIASES + 1))}]",
    "aliases of a large value": f"a: &a [{'x, ' * 4000}]\nb: [{', '.join(['*a'] * MOST_ALIASES)}]",
    "deep": "[" * 5_000,
    "many values": f"[{', '.join('x' * (MOST_VALUES + 1))}]",
    "large": "#" * (LARGEST_FILE_BYTES + 1),
    "one long word": "a" * LARGEST_FILE_BYTES,
    "many documents": "---\n" * 20_000,
    "huge number": f"name: 0x{'f' * 50_000}",
    "huge number by minutes": f"name: !!float 1{':59' * 30_000}.5",
    "huge version": f"%YAML 1.{'9' * 5_000}\n---\nname: x",
    "escape sequence": "name: \x1b[31mred",
    "escaped escape sequence": '"\\e[31mred": 1',
    "half a character": 'description: "\\ud800"',
    "no character": 'name: "\\UFFFFFFFF"',
    "key with a line break": '"a\\nerror: all is well": 1',
    "key that is a list": "[a]: 1",
    "key given twice": f"{'a' * 900}: 1\n{'a' * 900}: 2",
    "bidirectional text": "name: \u202eevil",
    "unknown alias": "name: *nobody",
    "nothing": "",
    "a list that does not end": "name: [",
    "a list": "- a\n- b\n",
    "another encoding": b"\xff\xfe" + SMOKE.encode("utf-16-le"),
}


REASONS = {
    "a list": "must be a mapping",
    "a list that does not end": "line 1",
    "code in a tag": "a tag .*os.system",
    "number that does not fit its tag": "2026-02-30 is not a valid int",
    "key given twice": "is given twice",
}


def refused(path):
    """Return the lines of the error: each is short, printable and names the file, at once."""
    started = time.process_time()
    with pytest.raises(BadInputError) as caught:
        load_study(path)
    assert time.process_time() - started < 10, "a fraction of a second, on any machine"
    lines = str(caught.value).split("\n")
    for line in lines:
        assert line.startswith(f"{path}:"), line
        assert line.isprintable(), line
        assert len(line) < len(str(path)) + 500, line
    assert len(lines) <= MOST_PROBLEMS + 1
    return lines


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return the path of a study file in a folder in which nothing else may be written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path / "downloads"))
    yield tmp_path / "study.yaml"
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_in_short_lines(path, what):
    text = HOSTILE[what]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert re.search(REASONS.get(what, ""), refused(path)[0])


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(path):
    path.write_bytes(b"\xef\xbb\xbf" + SMOKE.replace("\n", "\r\n").encode())
    assert load_study(path).model_dump() == load_study("smoke").model_dump()


def test_aliases_and_merges_within_bounds_are_read(path):
    environments = (
        "environments:\n  - &one {name: one, device: cpu, threads: 1}\n"
        "  - {<<: *one, name: two, threads: 2}\nprotocol:"
    )
    path.write_text(re.sub(r"(?s)environments:.*?\nprotocol:", environments, SMOKE))
    one, two = load_study(path).environments
    assert (one.name, two.name, two.device, two.threads) == ("one", "two", "cpu", 2)


def test_bounds_hold_where_they_are_stated(path):
    for levels, problem in ((MOST_LEVELS, "extra"), (MOST_LEVELS + 1, "levels deep")):
        path.write_text(SMOKE + f"extra: {'[' * (levels - 1)}{']' * (levels - 1)}\n")
        assert problem in refused(path)[0], levels
    path.write_text(SMOKE + "".join(f"extra{n}: 1\n" for n in range(200)))
    assert refused(path)[-1].endswith("and 150 more problems")
    names = ", ".join(f"n{n}" for n in range(MOST_VALUES - 200))
    path.write_text(re.sub(r"architectures:.*", f"architectures: [{names}, n1]", SMOKE))
    assert "n1 named twice" in refused(path)[0]


@pytest.mark.parametrize("source", ["x\0y", "x/" * 3_000, "a\nb", "", "/", "~nobody", "\x1b[31m"])
def test_a_name_that_no_study_file_can_have(source):
    assert "no such study file" in refusal(load_study, source)


@pytest.mark.parametrize("name", ["../../escape", "/tmp/x", "..", "a\\b", "a\u2028b", "x" * 81, ""])
def test_names_are_not_paths(path, name):
    for field in ("name: smoke", "name: cpu-1-thread", "[shufflenet_v2_x0_5,"):
        text = SMOKE.replace(field, re.sub(r"[\w-]+(,?)$", lambda m: f"'{name}'{m[1]}", field))
        assert text != SMOKE
        path.write_text(text)
        refused(path)


@pytest.mark.parametrize("name", ["/nowhere/../../etc", "~nobody-here/x", "x" * 900, "/dev/null"])
def test_image_folders_and_weights_are_only_read(path, name):
    path.write_text(SMOKE.replace("name: digits", f"name: 'imagefolder:{name}'"))
    text = refusal(check_dataset, load_study(path).dataset, longest=3000)
    assert text.startswith("dataset.name = imagefolder:")
    path.write_text(SMOKE.replace("protocol:", f"protocol:\n  weights: 'file:{name}'"))
    done = greencv_here("plan", path, "--store", path.parent / "runs")
    assert done.returncode == 2
    assert "protocol.weights = file:" in done.stderr
    assert len(done.stderr.splitlines()) == 2, "one for each architecture"


WORDS = st.sampled_from(
    ["", "~", "../../evil", "\0", "\x1b[31m", "a\nb", "\u202ex", "<b>$x$", "x" * 300, "auto", "all",
     "{architecture}", "file:../x", "imagefolder:~nobody/x", "cuda:99", "nan", "1:59:59", "yes"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.just(10**40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw, contents):
    """Draw one of several structures with some of its values dropped, replaced or added."""
    content = copy.deepcopy(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        parent, depth = content, draw(st.integers(0, 3))
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if depth and isinstance(parent[key], dict | list):
                parent, depth = parent[key], depth - 1
                continue
            change = draw(st.sampled_from(["drop", "replace", "add"]))
            if change == "drop":
                del parent[key]
            elif change == "add" and isinstance(parent, dict):
                parent[draw(WORDS)] = draw(VALUES)
            else:
                parent[key] = draw(VALUES)
            break
    return content


@st.composite
def broken(draw, texts):
    """Draw the bytes of a file with some bytes changed, removed or added."""
    content = bytearray(draw(st.sampled_from(texts)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        inserted = draw(
            st.binary(max_size=6) | st.sampled_from([b"&a ", b"*a", b"!!set ", b"<<: "])
        )
        content[at : at + draw(st.integers(0, 12))] = inserted
    return bytes(content)


FUZZING = settings(
    max_examples=200, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_any_study_file_is_read_or_refused(path):
    texts = [file.read_bytes() for file in sorted((ROOT / "studies").glob("*.yaml"))]
    studies, outcomes = [yaml.safe_load(text) for text in texts], set()

    @FUZZING
    @given(broken(texts) | mutated(studies).map(lambda c: json.dumps(c).encode()))
    def check(content):
        path.write_bytes(content)
        try:
            study = load_study(path)
        except BadInputError:
            outcomes.add("refused")
            refused(path)
            return
        outcomes.add("read")
        levels = resolve(study, MACHINE)
        assert all(line.isprintable() for line in missing_environments(study, MACHINE))
        conditions = len(levels) * len(study.architectures)
        if conditions * study.protocol.repetitions <= 2_000:
            runs = plan(study, levels, MACHINE.fingerprint)
            assert len(runs) == conditions * study.protocol.repetitions

    check()
    assert outcomes == {"read", "refused"}


def test_any_record_is_read_or_refused(smoke_store, tmp_path):
    texts = [file.read_bytes() for file in sorted(smoke_store.glob("*.json"))]
    records, outcomes, store = [json.loads(text) for text in texts], set(), tmp_path / "store"
    store.mkdir()

    @FUZZING
    @given(
        broken(texts)
        | mutated(records).map(lambda c: json.dumps(c).encode())
        | mutated(records).map(lambda c: json.dumps(c, separators=(",", ":")).encode())
    )
    def check(content):
        name = f"{len(list(store.iterdir())):016x}"
        match = re.search(rb'"run_id":\s*"([0-9a-f]{16})"', content)
        content = content.replace(match[1], name.encode()) if match else content
        (store / f"{name}.json").write_bytes(content)
        parsed = parse_file(f"runs/{name}.json", content)
        outcomes.add(type(parsed))
        row = parse_row(f"runs/{name}.json", content)
        if isinstance(parsed, Damaged):
            assert row == parsed
            assert parsed.reason.isprintable()
            assert 0 < len(parsed.reason) <= 700
        else:
            assert repr(row.row) == repr(parsed.row)
            outcomes.add(type(row))
            assert len(runs_table([parsed.record])) == 1
            epochs_table([parsed.record])
            phases_table(parsed.record)

    check()
    assert outcomes == {RowFile, RecordFile, Damaged}
    done = greencv_here("runs", "list", "--store", store)
    assert done.returncode == 0
    assert all(line.startswith("left out: ") for line in done.stderr.splitlines())
