"""Check the words and the length of sentences in all that people read; ``make lint`` runs it.

``python -m tests.support.prose`` prints each fault with its file and line. It is our own script:
proselint 0.16 knows neither a list of words of ours nor the length of a sentence, and vale
downloads its program when it first runs.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
MOST_WORDS = 25
"""Longest sentence in words. Numbers in brackets do not count: (95% CI 27 to 31%)."""

INSTEAD = {
    r"told|tells?": "say, show, report, distinguish",
    r"stands?|stood": "be, appear, apply",
    r"lies|lay": "be",
    r"lack(?:s|ing)|for want of": "not have, be missing, for lack of",
    r"besides?": "also, next to, with",
    r"(?:at|to) hand": "available",
    r"of (?:its|their|one's) own": "its own, their own",
    r"taken": "use, choose, need",
    r"begun": "started",
    r"gone": "lost, missing",
    r"whoever": "anyone who, if you",
    r"so (?:many|much)": "number of, this much",
    r"anew": "again",
    r"dear(?:er|est)": "highest-energy, most expensive",
    r"tenfold": "ten times",
    r"hitherto|thereof|therein|whereof|wherein|thereby|amiss": "today's English",
}
"""Expressions to avoid (regular expressions) and what to write."""
_AVOIDED = re.compile(rf"\b(?:{'|'.join(INSTEAD)})\b", re.IGNORECASE)
_SPACED_PERCENT = re.compile(r"[\d}] %")

_STARTS = re.compile(r"\s*(?:[-*+]|\d+\.)\s|#|\s*\||>")

ALLOWED: dict[str, tuple[int, int]] = {
    "CHANGELOG.md": (0, 29),
    "greencv_core/analysis/": (21, 29),
    "greencv_core/architectures/": (0, 8),
    "greencv_core/datasets/": (0, 5),
    "greencv_core/estimation/": (0, 13),
    "greencv_core/metering/": (0, 18),
    "greencv_core/published/": (23, 42),
    "greencv_core/records/": (0, 6),
    "greencv_core/report/": (7, 8),
    "greencv_core/report/pages/": (2, 3),
    "greencv_core/utils/": (1, 3),
    "notebooks/": (0, 0),
}
"""Faults that a file or a folder may still have: words and long sentences. Only ever lower them."""


class Text(NamedTuple):
    """A piece of prose: one paragraph, cell, docstring, comment or string."""

    path: str
    line: int
    text: str
    has_sentences: bool = True


class Fault(NamedTuple):
    """Something to write differently."""

    path: str
    line: int
    kind: str
    message: str


def faults(text: Text) -> Iterator[Fault]:
    """Yield the faults of a text."""
    for found in _AVOIDED.finditer(text.text):
        word = found[0].lower()
        advice = next(a for words, a in INSTEAD.items() if re.fullmatch(words, word))
        line = text.line + text.text.count("\n", 0, found.start())
        yield Fault(text.path, line, "word", f"avoid '{found[0]}': {advice}")
    for found in _SPACED_PERCENT.finditer(text.text):
        line = text.line + text.text.count("\n", 0, found.start())
        yield Fault(text.path, line, "word", "no space before %")
    if text.has_sentences:
        for offset, sentence in sentences(text.text):
            if (words := count_words(sentence)) > MOST_WORDS:
                line = text.line + text.text.count("\n", 0, offset)
                start = " ".join(sentence.split())[:60]
                yield Fault(text.path, line, "sentence", f"{words} words: {start}...")


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield each sentence of a paragraph, with where it starts."""
    start = 0
    for end in re.finditer(
        r"[.!?][)\"'*_”]*(?=\s+(?:[^a-z\s]|greencv\b)|\s*$)|\n\s*\n|:\s*\n|$", text
    ):
        sentence = text[start : end.end()]
        if sentence.strip():
            yield start + len(sentence) - len(sentence.lstrip()), sentence
        start = end.end()


def count_words(sentence: str) -> int:
    """Count the words of a sentence, without brackets that hold numbers."""
    sentence = re.sub(r"\([^()]*\d[^()]*\)", "", sentence)
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def markdown(path: str, source: str, first_line: int = 1) -> Iterator[Text]:
    """Yield the paragraphs, list items and table cells of a Markdown page."""

    def same_height(found: re.Match[str]) -> str:
        return "\n" * found[0].count("\n")

    # Code, formulas and comments keep their lines, so that all line numbers stay right.
    source = re.sub(r"^```\{(?:glossary|warning)\}$(.*?)^```$", r"\1", source, flags=re.S | re.M)
    source = re.sub(r"^\s*(`{3,}|~{3,}).*?^\s*\1`*\s*$", same_height, source, flags=re.S | re.M)
    source = re.sub(r"\$\$.*?\$\$|<!--.*?-->", same_height, source, flags=re.S)
    source = re.sub(r"(?<=\n\n)(?:(?: {4}|\t).*\n)+", same_height, source)
    source = re.sub(r"^\([\w-]+\)=$|^:::.*$|^\.\. .*$|^ {3}:.*$", "", source, flags=re.M)
    source = re.sub(r"\{cite(?::\w)?\}`[^`]*`", "", source)
    source = re.sub(r"\{\w+\}`([^`<]*)(?:<[^`]*>)?`", r"\1", source)
    source = re.sub(r"`[^`]*`|\$[^$\n]+\$", lambda f: "X" + same_height(f), source)
    source = re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", source)
    source = re.sub(r"<[^>\n]*>", "", source)
    block: list[str] = []
    begin = first_line
    for number, line in enumerate([*source.split("\n"), ""], first_line):
        starts = _STARTS.match(line)
        if block and line.startswith("  ") and not block[-1].startswith(" "):
            starts = starts or not _STARTS.match(block[-1])  # what a term of the glossary means
        if block and (starts or not line.strip()):
            yield Text(path, begin, "\n".join(block))
            block = []
        if line.lstrip().startswith("|"):
            for cell in line.split("|"):
                yield Text(path, number, cell)
        elif line.strip():
            begin = begin if block else number
            block.append(line)


def python(path: str, source: str) -> Iterator[Text]:
    """Yield the docstrings, comments and strings of a module."""
    tree = ast.parse(source)
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            values = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            text = "".join(map(str, values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if id(node) in inside:
                continue
            if id(node) in documentation:
                plain = re.sub(r":\w+:`([^`]*)`|`{1,2}[^`]*`{1,2}", "X", text)
                for line, part in _paragraphs(plain):
                    yield Text(path, node.lineno + line, part)
                continue
        else:
            continue
        if _is_prose(text):
            yield Text(path, node.lineno, text)
    for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            yield Text(path, token.start[0], token.string, has_sentences=False)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    line = 0
    for part in re.split(r"(\n\s*\n|\n\s*-+\n|\n\s*(?=\w+(?: :.*)?\n {4}))", text):
        if part.strip():
            yield line, part
        line += part.count("\n")


def _is_prose(text: str) -> bool:
    words = re.findall(r"[A-Za-z]{2,}", text)
    return len(words) >= 4 and not re.search(r"</|[{};]\s*\n|=>|\\[dwsb]|\(\?", text)


def texts(root: Path) -> Iterator[Text]:
    """Yield all that is checked."""
    pages = [root / "README.md", root / "CONTRIBUTING.md", root / "CHANGELOG.md"]
    pages += [p for p in (root / "book").rglob("*.md") if "notebooks" not in p.parts]
    for page in sorted(pages):
        yield from markdown(str(page.relative_to(root)), page.read_text(encoding="utf-8"))
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        name = str(notebook.relative_to(root))
        for place, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"], 1):
            if cell["cell_type"] == "markdown":
                for text in markdown(f"{name}, cell {place}", "".join(cell["source"])):
                    yield text._replace(has_sentences=False)
    for module in sorted((root / "greencv_core").rglob("*.py")):
        yield from python(str(module.relative_to(root)), module.read_text(encoding="utf-8"))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Print the faults of files that have more than is allowed; return 1 if there are any."""
    found: dict[str, list[Fault]] = {}
    for text in texts(ROOT):
        for fault in faults(text):
            place = max((p for p in ALLOWED if fault.path.startswith(p)), key=len, default="")
            found.setdefault(place, []).append(fault)
    failed = False
    for place in sorted({*found, *ALLOWED}):
        kinds = Counter(fault.kind for fault in found.get(place, ()))
        for kind, allowed in zip(("word", "sentence"), ALLOWED.get(place, (0, 0)), strict=True):
            if kinds[kind] > allowed:
                failed = True
                for fault in (f for f in found[place] if f.kind == kind):
                    _say(f"{fault.path}:{fault.line}: {fault.message}")
                if allowed:
                    _say(f"{place}: {kinds[kind]} of these; at most {allowed} may be left")
            elif kinds[kind] < allowed:
                _say(f"{place}: {kinds[kind]} {kind} faults left; lower its {allowed} in ALLOWED")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
