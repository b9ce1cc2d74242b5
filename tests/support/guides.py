"""Run a page's code blocks, in order, as its reader would: in a folder, from a shell."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
FILE = re.compile(r"\A# (?P<name>[\w/-]+\.(?:py|yaml))\n")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
PROVENANCE = re.compile(r"\b(?:measured|sampled|estimated)\b")
UNDELAYED = {
    "protocol:\n": "protocol:\n  quiet_wait_s: 0\n  again_if_disturbed: 0\n",
    "protocol: {": "protocol: {quiet_wait_s: 0, again_if_disturbed: 0, ",
}
"""What makes a study's runs neither wait nor be made again on a busy machine."""
PROGRAMS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}


@dataclass(frozen=True)
class Block:
    """A fenced block: what language it is in, its text, and the file that its first line names."""

    language: str
    text: str
    file: str | None


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks, in order."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        file = FILE.match(match["text"])
        found.append(Block(match["language"], match["text"], file["name"] if file else None))
    return found


def run_page(
    page: Path, folder: Path, smaller: Mapping[str, str] | None = None, **variables: str
) -> list[str]:
    """Run a page in a folder, and return what is not as the page has it.

    A block whose first line is a comment with a file's name is written to that file. Commands are
    run by a shell, Python by itself, and end with 0. A text block is what the commands before it
    print: the same words, whatever the numbers; a GPU more or less, and which provenance a figure
    has, is the machine's affair. ``smaller`` replaces a part of a study by less of the same, so
    that it takes less long; each part is in one of the page's files, once. No study waits for a
    quiet machine.
    """
    problems: list[str] = []
    left = dict(smaller or {})
    printed = ""
    for block in blocks(page):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            text = block.text
            for part in [part for part in left if text.count(part) == 1]:
                text = text.replace(part, left.pop(part))
            if block.file.endswith(".yaml"):
                for start, undelayed in UNDELAYED.items():
                    text = text.replace(start, undelayed)
            (folder / block.file).write_text(text, encoding="utf-8")
        elif block.language == "diff":
            problems += apply_diff(block.text, folder)
        elif block.language in PROGRAMS:
            done = _run([*PROGRAMS[block.language], block.text], folder, variables)
            printed = done.stdout
            if done.returncode != 0:
                problems.append(f"{block.text}ended with {done.returncode}: {done.stderr}")
        elif block.language == "text":
            if in_kind(printed) != in_kind(block.text):
                problems.append(f"shown:\n{block.text}printed:\n{printed}")
        else:
            problems.append(f"no test runs a block in {block.language or 'no language'}")
    return problems + [f"not in a file: {part}" for part in left]


def apply_diff(text: str, folder: Path) -> list[str]:
    """Apply a diff without line numbers; return the hunks that do not fit exactly one place."""
    problems = []
    for part in re.split(r"^\+\+\+ ", text, flags=re.M)[1:]:
        name, *hunks = re.split(r"^@@\n", part, flags=re.M)
        path = folder / name.strip()
        content = path.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            if content.count(old) != 1:
                problems.append(f"{name.strip()}: {content.count(old)} places for:\n{old}")
            content = content.replace(old, new)
        path.write_text(content, encoding="utf-8")
    return problems


def in_kind(text: str) -> list[str]:
    """Return the words of a text's lines: no numbers, no provenances, no spaces, no GPUs."""
    plain = PROVENANCE.sub("P", NUMBER.sub("#", text))
    lines = [" ".join(line.split()) for line in plain.splitlines()]
    return [line for line in lines if line and not line.startswith("gpu")]


def _run(
    command: list[str], folder: Path, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, os.environ["PATH"]])
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", **variables, "PATH": path},
        timeout=600,
    )
