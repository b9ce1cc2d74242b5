"""Fast reading of records that are exactly as this greencv writes them.

pydantic takes three times as long, but it also reads records of earlier versions and says what is
wrong with a file. The types here are made from its models. A file is read here only if writing its
record again gives the same bytes. So nothing is converted or ignored: no value of another type, no
key that occurs twice, no unknown or missing field.
"""

from __future__ import annotations

import functools
import types
from typing import Any, Literal, Union, cast, get_args, get_origin

import msgspec
from pydantic import BaseModel

from greencv_core.records.record import SCHEMA_VERSION, RunRecord


def read_exact(content: bytes) -> RunRecord | None:
    """Return the record of a file as an object with the attributes of :class:`RunRecord`.

    None if the file is not exactly as this version of greencv writes it: it may still be valid.
    """
    try:
        record = _decoder().decode(content)
        if record.schema_version != SCHEMA_VERSION or msgspec.json.encode(record) != content:
            return None
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    return cast(RunRecord, record)


@functools.cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_struct(RunRecord))


@functools.cache
def _struct(model: type[BaseModel]) -> type[msgspec.Struct]:
    """Return a type with the fields, properties and checks of a model."""
    checks = [
        check.func
        for check in model.__pydantic_decorators__.model_validators.values()
        if check.info.mode == "after"  # the others are of earlier versions
    ]

    def check_all(record: Any) -> None:
        for check in checks:
            check(record)

    body: dict[str, Any] = {name: p for name, p in vars(model).items() if isinstance(p, property)}
    if checks:
        body["__post_init__"] = check_all
    fields = []
    for name, field in model.model_fields.items():
        if field.exclude:
            body[name] = _constant(field.get_default(call_default_factory=True))
        else:
            fields.append((name, _type(field.annotation)))
    return msgspec.defstruct(
        model.__name__, fields, namespace=body, frozen=True, forbid_unknown_fields=True, gc=False
    )


def _constant(value: object) -> property:
    return property(lambda _: value)


def _type(annotation: Any) -> Any:
    """Return the type of a field, with models replaced."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    replaced = tuple(_type(part) for part in parts)
    return Union[replaced] if origin in (Union, types.UnionType) else origin[replaced]  # noqa: UP007
