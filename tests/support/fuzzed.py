"""Study files and records as no one should write them, and what must come of each."""

import contextlib
import copy
import io
import json
import os
import re
import time
import unicodedata
from pathlib import Path

import yaml
from hypothesis import strategies as st

from greencv_core.machine.environment import missing_environments, resolve
from greencv_core.machine.hardware import Machine
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Damaged, parse_record
from greencv_core.records.tables import epochs_table, phases_table, power_trace_table, runs_table
from greencv_core.study.plan import plan
from greencv_core.study.schema import Study
from greencv_core.utils.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
HANGING_S = 1.0
MACHINE = Machine(
    cpu_model="Made up", cpu_count=8, memory_bytes=16 << 30, accelerators=(), system="none"
)
LONGEST_LINE = 700

WORDS = st.sampled_from(
    [
        "", "~", "..", "../../evil", "/tmp/evil", "a/b", "\0", "\x1b[31m", "a\nb", "\u202ex",
        "<script>", "$x$", "{architecture}", "x" * 300, "auto", "all", "none", "file:../x",
        "imagefolder:../x", "imagefolder:~nobody/x", "synthetic", "digits", "cuda:99", "inf", "nan",
        "1e400", "0x" + "f" * 60, "1:59:59", "2026-02-30", "yes", "é" * 50, "\U0001f600",
    ]
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(
        [0, -1, 1, 2**31, 2**63, 2**64, 10**40, 1e308, -1e308, 5e-324, float("nan"), float("inf")]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=20))
KEYS = st.one_of(st.text(max_size=8), WORDS, st.integers(-3, 3))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


def places(content, path=()):
    """Return the path of every value within a value."""
    found = [path]
    items = (
        content.items() if isinstance(content, dict)
        else enumerate(content) if isinstance(content, list) else ()
    )  # fmt: skip
    for key, value in items:
        found += places(value, (*path, key))
    return found


CHANGES = ["drop", "replace", "scalar", "rename", "add", "list", *["tweak"] * 5]


def tweaked(draw, old):
    """Draw a value of the same type, which may well be allowed."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return old + draw(st.integers(-3, 3)) if draw(st.booleans()) else draw(st.integers(0, 9999))
    if isinstance(old, float):
        return old * draw(st.sampled_from([0.0, -1.0, 0.5, 1e-300, 1e300, 1.0 + 1e-16]))
    if isinstance(old, str):
        return old + draw(st.sampled_from(["", "x", " ", ":", "-1", ".", "<b>"]))
    return copy.deepcopy(old)


@st.composite
def mutated(draw, contents, most=4):
    """Draw one of several structures, with some of its values dropped, doubled or replaced."""
    content = copy.deepcopy(draw(contents))
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(places(content)))
        if not path:
            if draw(st.integers(0, 20)) == 0:
                return draw(VALUES)
            continue
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        kind = draw(
            st.sampled_from(["drop", "replace", "replace", "scalar", "rename", "add", "list"])
        )
        old = parent[path[-1]]
        if kind == "drop":
            del parent[path[-1]]
        elif kind == "replace":
            parent[path[-1]] = draw(VALUES)
        elif kind == "tweak":
            parent[path[-1]] = tweaked(draw, old)
        elif kind == "scalar":
            parent[path[-1]] = draw(SCALARS)
        elif kind == "list":
            parent[path[-1]] = [old] * draw(st.integers(0, 3))
        elif kind == "rename" and isinstance(parent, dict):
            parent[draw(KEYS)] = parent.pop(path[-1])
        elif isinstance(old, dict):
            old[draw(KEYS)] = draw(VALUES)
        elif isinstance(old, list):
            old.append(draw(VALUES))
    return content


@st.composite
def broken(draw, texts):
    """Draw bytes of one of several files, some of them changed, lost, doubled or added."""
    written = bytearray(draw(texts))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(written)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "double", "cut"]))
        if kind == "set" and at < len(written):
            written[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            written[at:at] = draw(st.one_of(st.binary(max_size=6), SIGNS))
        elif kind == "delete":
            del written[at : at + draw(st.integers(1, 12))]
        elif kind == "double":
            written[at:at] = written[at : at + draw(st.integers(1, 40))]
        elif kind == "cut" and draw(st.integers(0, 3)) == 0:
            del written[at:]
    return bytes(written)


SIGNS = st.sampled_from(
    [b"&a ", b"*a", b"<<: ", b"!!set ", b"!!python/object:os.system ", b"!!int ", b"!!binary ",
     b"? ", b"- ", b": ", b"{", b"}", b"[", b"]", b"|\n", b">\n", b'"', b"'", b"\t", b"\n",
     b"---\n", b"%", b"\xff", b"\0", b"\xef\xbb\xbf", b"\\", b"null", b"NaN", b"1e999", b"-",
     b"9" * 400]
)  # fmt: skip


def _dumped(content):
    try:
        return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError):
        return repr(content).encode("utf-8", "surrogatepass")


def study_files():
    """Return a strategy of the bytes of study files."""
    whole = [yaml.safe_load(path.read_text()) for path in STUDIES]
    texts = st.lists(
        st.one_of(SIGNS, st.binary(max_size=4), st.sampled_from(
            [b"name", b"dataset", b"protocol", b"environments", b"a", b"1", b" ", b"\n  "]
        )), max_size=40,
    ).map(b"".join)  # fmt: skip
    return st.one_of(
        mutated(st.sampled_from(whole)).map(_dumped),
        mutated(st.sampled_from(whole)).map(
            lambda c: json.dumps(c, allow_nan=True).encode()  # which is YAML, too
        ),
        broken(st.sampled_from([path.read_bytes() for path in STUDIES])),
        texts,
    )


def record_files(records):
    """Return a strategy of the bytes of records, made from those of real ones."""
    whole = [json.loads(record) for record in records]
    return st.one_of(
        mutated(st.sampled_from(whole)).map(
            lambda c: json.dumps(c).encode("utf-8", "surrogatepass")
        ),
        mutated(st.sampled_from(whole), most=12).map(
            lambda c: json.dumps(c, ensure_ascii=False).encode("utf-8", "surrogatepass")
        ),
        broken(st.sampled_from(records)),
    )


def check_study(path):
    """Read and plan the study of a file; fail unless it is a study or is told in lines.

    Plan what is small enough: a study may ask for millions of runs.
    """
    try:
        study = load_study(path)
    except BadInputError as error:
        for line in str(error).split("\n"):
            assert line.startswith(f"{path}:"), line
            assert line.isprintable(), line
            assert len(line) <= LONGEST_LINE, line
        return False
    assert isinstance(study, Study)
    levels = resolve(study, MACHINE)
    assert all(line.isprintable() for line in missing_environments(study, MACHINE))
    runs = len(levels) * len(study.architectures) * study.protocol.repetitions
    if runs <= 2_000:
        planned = plan(study, levels, MACHINE.fingerprint)
        assert len(planned) == runs
        for run in planned[:3]:
            assert re.fullmatch(r"[0-9a-f]{16}", run.run_id)
    return True


def check_record(where, written):
    """Read a record and make its tables; fail unless it is one or is told in a line."""
    record = parse_record(where, written)
    if isinstance(record, Damaged):
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in record.reason)
        assert len(record.reason.splitlines()) == 1
        assert 0 < len(record.reason) <= LONGEST_LINE
        return False
    assert isinstance(record, RunRecord)
    table = runs_table([record])
    assert len(table) == 1
    table.to_csv(io.StringIO())
    epochs_table([record])
    power_trace_table(record)
    phases_table(record)
    return True


def everything_below(folder):
    """Return each file below a folder, with what tells whether it was written to."""
    found = {}
    for directory, _, files in os.walk(folder):
        for name in files:
            path = Path(directory, name)
            with contextlib.suppress(OSError):
                status = path.stat()
                found[str(path)] = (status.st_size, status.st_mtime_ns)
        found[directory] = None
    return found


def run_id_of(written):
    """Return the run that a record is of, for the name of its file."""
    found = re.search(rb'"run_id":\s*"([0-9a-f]{16})"', written)
    return found[1].decode() if found else "0" * 16


def changed(before, after):
    """Return the paths that are not what they were."""
    paths = before.keys() | after.keys()
    return {p for p in paths if before.get(p, "absent") != after.get(p, "absent")}


class Watch:
    """Holds times against the longest that a check may take."""

    def __init__(self):
        self.slowest_s = 0.0
        self.hangs = 0

    @contextlib.contextmanager
    def __call__(self):
        started = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - started
            self.slowest_s = max(self.slowest_s, took_s)
            self.hangs += took_s > HANGING_S
