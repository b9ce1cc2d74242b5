"""Read and check a study file: every problem is one line with file, field and value."""

from __future__ import annotations

import contextlib
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from greencv_core.study import schema
from greencv_core.study.schema import Study
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import PROJECT_ROOT
from greencv_core.utils.text import one_line

LARGEST_FILE_BYTES = 128 << 10  # largest study file; those that come with greencv have 1 to 3 kB
MOST_VALUES = 5000
MOST_ALIASES = 100  # none may be inside an anchored value, so they cannot multiply
MOST_LEVELS = 20
LONGEST_NUMBER = 64
"""Most characters of a number; Python refuses, or takes long, to print longer ones."""
MOST_PROBLEMS = 50  # most error lines about one study file


def find_study(source: str | Path) -> Path:
    """Return the study file of a path or of the name of a file in ``studies/``."""
    path = Path(source)
    named = PROJECT_ROOT / "studies" / path.name
    candidates = [path, named, named.with_suffix(".yaml")] if path.name == str(path) else [path]
    for candidate in candidates:
        # The file system raises for a name that is too long and a folder without permission.
        with contextlib.suppress(OSError, ValueError):
            if candidate.is_file():
                return candidate
    known = ", ".join(sorted(p.stem for p in (PROJECT_ROOT / "studies").glob("*.yaml")))
    name = _shortened(str(source))
    raise BadInputError(f"{name}: no such study file; give a path, or one of: {known}")


def load_study_file(source: str | Path) -> Study:
    """Read and check a study file: a path, or the name of one in ``studies/`` (``quick``)."""
    path = find_study(source)
    where = one_line(path)
    study = parse_study(_text_of(path, where), where)
    study.dataset._study_folder = path.absolute().parent
    return study


def parse_study(text: str, where: str) -> Study:
    """Parse and check the YAML text of a study.

    :class:`BadInputError` has one line a problem: its origin ``where``, field, value and what is
    allowed.
    """
    if len(text) > LARGEST_FILE_BYTES:
        raise _too_large(where)
    try:
        loader = _StudyLoader(text)
        root = loader.get_single_node()
        content = None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if isinstance(error, yaml.reader.ReaderError):
            line = text.count("\n", 0, error.position) + 1
            problem = f"line {line}: a control character (U+{error.character:04X})"
        elif mark is not None:
            problem = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"  # type: ignore[attr-defined]
        else:
            problem = f"not valid YAML: {error}"
        raise BadInputError(f"{where}: {_shortened(problem)}") from error
    except RecursionError as error:
        raise BadInputError(f"{where}: {_TOO_DEEP}") from error
    except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # The library's scanner checks neither the code after a backslash nor a version.
        raise BadInputError(f"{where}: {_shortened(f'not valid YAML: {error}')}") from error
    if not isinstance(content, dict):
        raise BadInputError(
            f"{where}: must be a mapping with the fields of a study, e.g. name: mine"
        )
    return validate_study(content, where, root)


def dump_study(study: Study) -> str:
    """Return a study as YAML text that :func:`parse_study` reads as the same study."""
    content = study.model_dump(mode="json")
    return str(
        yaml.dump(content, Dumper=_StudyDumper, sort_keys=False, allow_unicode=True, width=100)
    )


_TOO_DEEP = f"nested more than {MOST_LEVELS} levels deep; a study needs at most 5"


def _text_of(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
        if len(content) <= LARGEST_FILE_BYTES:
            return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise BadInputError(f"{where}: cannot be read: {reason}") from error
    raise _too_large(where)


def _too_large(where: str) -> BadInputError:
    return BadInputError(f"{where}: larger than {LARGEST_FILE_BYTES >> 10} KiB: not a study file")


def validate_study(content: Mapping[str, Any], where: str, root: yaml.Node | None = None) -> Study:
    """Check the fields of a study; errors as of :func:`parse_study`.

    ``root`` is the node that the content was read from: problems then have its lines.
    """
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        problems = error.errors()
        described = (
            f"{where}: {_line_of(root, p['loc'])}{_shortened(_describe(p))}"
            for p in problems[:MOST_PROBLEMS]
        )
        lines = list(dict.fromkeys(described))
        if len(problems) > MOST_PROBLEMS:
            lines.append(f"{where}: and {len(problems) - MOST_PROBLEMS} more problems")
        raise BadInputError("\n".join(lines)) from error
    study._where = where
    return study


class _StudyLoader(yaml.SafeLoader):
    """Safe loader for untrusted files: it runs no code, and its work is bounded.

    It reads plain values, lists and mappings, and no other tags. It refuses a key given twice,
    where YAML would keep the last one. A number or a truth value is one of YAML 1.2's core schema
    (https://yaml.org/spec/1.2.2/#103-core-schema): 010 is ten and ``no`` is a word. In YAML 1.1,
    which this library follows, 010 is eight, 1:30 is ninety and ``no`` is false.
    """

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - of the class, as in the library

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._values = self._levels = self._aliases = self._anchored = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._values += 1
        self._levels += 1
        if self._levels > MOST_LEVELS:
            raise _problem(_TOO_DEEP, event.start_mark)
        if self._values > MOST_VALUES:
            raise _problem(f"more than {MOST_VALUES} values: too many", event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > MOST_ALIASES:
                raise _problem(f"more than {MOST_ALIASES} aliases: too many", event.start_mark)
            if self._anchored:
                raise _problem("an alias inside an anchored value", event.start_mark)
        anchored = event.anchor is not None
        self._anchored += anchored
        node: yaml.Node | None = super().compose_node(parent, index)
        self._anchored -= anchored
        self._levels -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _TAGS:
            raise _problem(f"a tag ({node.tag}) that studies do not use", node.start_mark)
        try:
            return super().construct_object(node, deep)
        # The library raises these for a value that does not fit its tag: !!int x, 2026-13-45.
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _problem(
                f"{_short(node.value)} is not a valid {kind}", node.start_mark
            ) from error

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if node.tag in _NUMBERS and len(value) > LONGEST_NUMBER:
            raise _problem(f"{_short(value)} is too long for a number", node.start_mark)
        if _CONTROL.search(value):
            raise _problem("a control character in a value", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _problem("must be a mapping", node.start_mark)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem("a key must be a word", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _problem(f"{_short(key)} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_TAG = "tag:yaml.org,2002:"
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
_TAGS = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map"))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _problem(text: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, mark)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


class _StudyDumper(yaml.SafeDumper):
    """Dumper that quotes a word which is a number in YAML 1.1 or 1.2."""


_StudyLoader.add_constructor(f"{_TAG}int", _construct_int)
for _kind, _pattern, _first in (
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", "null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("merge", "<<", "<"),  # of YAML 1.1: a mapping that begins as another
):
    for _class in (_StudyLoader, _StudyDumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), list(_first))


def _line_of(root: yaml.Node | None, location: Sequence[int | str]) -> str:
    """Return the line of a field, or of the innermost value around it, to begin a message with."""
    node, mark = root, None
    for part in location:
        found: Any = None  # a location also names the branch of a union
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part], node.value[part])
        if found is not None:
            mark, node = found[0].start_mark, found[1]
    return "" if mark is None else f"line {mark.line + 1}: "


def _describe(problem: Any) -> str:
    """Describe one of pydantic's problems: field, value, what is allowed."""
    kind, context, message = problem["type"], problem.get("ctx", {}), problem["msg"]
    # The location also names the branch of a union, which means nothing to a user.
    parts = [p for p in problem["loc"] if p not in ("list", "word", "number", "mapping")]
    field = ".".join(str(p) for p in parts)
    if kind == "value_error":
        return f"{field}.{context['error']}".removeprefix(".")
    if kind == "missing":
        return f"{field}: missing: must be given"
    value = _short(problem["input"])
    if kind == "extra_forbidden":
        model = _model_at(problem["loc"][:-1])
        known = ", ".join(model.model_fields) if model else "see studies/quick.yaml"
        return f"{field} = {value}: unknown field; allowed here: {known}"
    if parts and parts[-1] == "environments":
        message = "must be auto or a list of environments"
    elif parts and parts[-1] == "threads":
        message = "must be a whole number of at least 1, or all"
    elif parts and parts[-1] == "classes":
        message = "must be a number of classes, or a mapping from class to a list of names"
    elif parts == ["dataset", "name"] and kind == "string_pattern_mismatch":
        message = "must be digits, a torchvision data set, imagefolder:PATH or synthetic"
    elif kind in _KINDS:
        message = _KINDS[kind]
    elif kind == "string_pattern_mismatch":
        message = f"must match {_PATTERNS.get(str(parts[-1]), context['pattern'])}"
    else:
        message = message.replace("Input should be", "must be").replace("Value error, ", "")
    return f"{field} = {value}: {message}"


_KINDS = {
    "int_type": "must be a whole number, in digits only, e.g. 1000",
    "float_type": "must be a number, e.g. 0.5",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes",
}
_PATTERNS = {
    "device": "auto, cpu, cuda, cuda:NUMBER or mps",
    "weights": "none, imagenet or file:PATH",
    "country": "a country code of three capital letters, e.g. ESP",
    "name": "at most 80 letters, digits and . _ : + -",
}


def _short(value: Any) -> str:
    """Return a value in at most 60 characters, without building a long text first."""
    try:
        text = value[:200] if isinstance(value, str) else _BRIEFLY.repr(value)
    except ValueError:  # Python refuses to print such a number
        text = "a number of thousands of digits"
    return _shortened(text, 60)


_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxlevel = 3
_BRIEFLY.maxlist = _BRIEFLY.maxdict = 20


def _shortened(text: str, most: int = 400) -> str:
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _model_at(location: Sequence[int | str]) -> type[BaseModel] | None:
    models: dict[str, type[BaseModel]] = {
        "dataset": schema.Dataset,
        "protocol": schema.Protocol,
        "augmentation": schema.Augmentation,
        "frozen_stage": schema.Stage,
        "early_stopping": schema.EarlyStopping,
        "plateau": schema.Plateau,
        "target": schema.Target,
        "budget": schema.Budget,
        "carbon": schema.Carbon,
        "analysis": schema.Analysis,
        "environments": schema.EnvironmentSpec,
    }
    names = [part for part in location if isinstance(part, str) and part in models]
    return models[names[-1]] if names else Study
