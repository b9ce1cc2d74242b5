"""The fast reading of records: what it reads equals what pydantic reads, the rest it leaves."""

import json
import math

import numpy as np
import pytest
from pydantic import BaseModel

from greencv_core.records import store as stores
from greencv_core.records.exact import read_exact
from greencv_core.records.record import (
    SCHEMA_VERSION,
    ForecastRecord,
    RunRecord,
    ValidationRecord,
    WallRecord,
)
from greencv_core.records.store import Damaged, RecordFile, parse_file, parse_row
from tests.support.made_up_gpu import made_up_gpu_records
from tests.support.made_up_records import made_up_records, record


def full():
    """Return a record in which nothing is missing."""
    [whole, *_] = made_up_gpu_records(1, environments=["fp32"], epochs=3)
    answers = ValidationRecord.from_classes(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    energy = next(iter(whole.total.components.values()))
    return whole.model_copy(
        update={
            "forecast": ForecastRecord(
                energy_j=None, low_j=1.0, high_j=None, after_epoch=1, limit_j=2.0
            ),
            "validation": answers,
            "wall": WallRecord(energy=energy, explained_share=0.5),
            "problems": ["ü \U0001f331 \\ \" \n"],
            "gpu": {"power_limit_w": 1e-7, "clock_mhz": 1e15},
            "net_energy_j": -0.0,
        }
    )  # fmt: skip


def written(one):
    return one.model_dump_json().encode()


def same(value, other):
    return type(value) is type(other) and (
        value == other or (isinstance(value, float) and math.isnan(value) and math.isnan(other))
    )


def assert_rows_equal(row, other):
    assert list(row) == list(other)
    assert all(same(row[name], other[name]) for name in row)


def test_every_record_that_greencv_writes_is_read_exactly(smoke_records):
    several = [*smoke_records, *made_up_records(2), *made_up_gpu_records(1), record(), full()]
    for one in several:
        exact = read_exact(written(one))
        assert exact is not None
        assert not isinstance(exact, RunRecord)
        where = f"{one.run_id}.json"
        slow, fast = parse_file(where, written(one)), parse_row(where, written(one))
        assert isinstance(slow, RecordFile)
        assert not isinstance(fast, RecordFile)
        assert_rows_equal(fast.row, slow.row)


def test_its_values_are_those_of_the_record():
    def check(value, other):
        if isinstance(other, BaseModel):
            for name in type(other).model_fields:
                check(getattr(value, name), getattr(other, name))
            for name in (n for n, p in vars(type(other)).items() if isinstance(p, property)):
                check(getattr(value, name), getattr(other, name))
        elif isinstance(other, dict | list):
            assert type(value) is type(other)
            assert len(value) == len(other)
            pairs = other.items() if isinstance(other, dict) else enumerate(other)
            for key, part in pairs:
                check(value[key], part)
        else:
            assert same(value, other)

    content = written(full())
    check(read_exact(content), RunRecord.model_validate_json(content))


CHANGES = {
    "a key twice": ('"seed":', '"seed":1,"seed":'),
    "a blank": ('"seed":', '"seed": '),
    "another order": ('"repetition":0,"order":0', '"order":0,"repetition":0'),
    "an unknown field": ('"seed":', '"sead":1,"seed":'),
    "an excluded field": ('"seed":', '"excluded_components":{},"seed":'),
    "a field less": ('"host":"",', ""),
    "a field of earlier versions": ('"disturbed":false', '"contended":false'),
    "a whole number for a real one": ('"net_energy_j":1.5', '"net_energy_j":15'),
    "a word for a number": ('"net_energy_j":1.5', '"net_energy_j":"1.5"'),
    "no number": ('"net_energy_j":1.5', '"net_energy_j":"NaN"'),
    "not JSON": ('"net_energy_j":1.5', '"net_energy_j":NaN'),
    "more digits": ('"net_energy_j":1.5', '"net_energy_j":1.50'),
    "an exponent": ('"net_energy_j":1.5', '"net_energy_j":1.5e+20'),
    "an escape": ('"host":""', '"host":"\\u0061"'),
    "half of a pair": ('"host":""', '"host":"\\ud800"'),
    "another version": (f'"schema_version":{SCHEMA_VERSION}', '"schema_version":8'),
    "a newer version": (f'"schema_version":{SCHEMA_VERSION}', '"schema_version":99'),
    "an unknown status": ('"status":"finished"', '"status":"lost"'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_everything_else_is_left_to_the_slow_reading(change):
    text = written(record("aa", order=0, repetition=0, net_energy_j=1.5)).decode()
    assert read_exact(text.encode()) is not None
    other = text.replace(*change)
    assert other != text
    assert read_exact(other.encode()) is None
    slow, fast = parse_file("aa.json", other.encode()), parse_row("aa.json", other.encode())
    assert type(fast) is type(slow)
    if isinstance(slow, Damaged):
        assert fast == slow
    else:
        assert_rows_equal(fast.row, slow.row)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b"1"])
def test_no_record_is_no_exact_record(content):
    assert read_exact(content) is None


def test_what_pydantic_refuses_is_not_read():
    content = json.loads(written(full()))
    content["validation"]["hits_by_class"] = [1]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    assert read_exact(text) is None
    content["validation"]["hits_by_class"] = [1, 1]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    assert parse_row(f"{content['run_id']}.json", text).row


def test_another_name_or_a_contradiction_is_found_by_both(monkeypatch):
    content = written(record("aa"))
    assert parse_row("bb.json", content) == parse_file("bb.json", content)
    assert isinstance(parse_row("bb.json", content), Damaged)
    for wrong in ({"final_epoch": 99}, {"order": 2**70}, {"environment": {"name": 1}}):
        contradiction = written(full().model_copy(update={"run_id": "aa", **wrong}))
        assert read_exact(contradiction) is not None
        assert isinstance(parse_row("aa.json", contradiction), Damaged)
        assert parse_row("aa.json", contradiction) == parse_file("aa.json", contradiction)
    monkeypatch.setattr(stores, "read_exact", lambda content: None)
    assert isinstance(parse_row("aa.json", content), RecordFile)


def test_no_model_has_a_check_that_the_fast_reading_leaves_out():
    def models(model):
        yield model
        for other in model.__subclasses__():
            yield from models(other)

    [base] = [one for one in RunRecord.__mro__ if one.__name__ == "_Record"]
    for model in models(base):
        checks = model.__pydantic_decorators__
        assert not checks.field_validators
        assert not checks.validators
        assert not any(field.metadata for field in model.model_fields.values())
        before = [c for c in checks.model_validators.values() if c.info.mode != "after"]
        assert len(before) == (model is RunRecord)
