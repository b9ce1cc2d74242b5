"""Turn executed notebooks into pages of the book: number exhibits and write their files.

Each exhibit links its files, the code that made it and the runs behind it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from greencv_core.report.exhibits.exhibit import MIME, caption_with_notes, n_runs, render_exhibit
from greencv_core.report.exhibits.markdown import BASIS_MIME
from greencv_core.report.pages.explore import MIME as EXPLORE_MIME
from greencv_core.utils.text import count

PREFIXES = {
    "index": "S",
    "evidence": "E",
    "decision": "D",
    "claims": "C",
    "rq1_architecture": "RQ1",
    "rq1_diagnostics": "D1",
    "rq2_environment": "RQ2",
    "rq2_diagnostics": "D2",
    "rq3_estimation": "RQ3",
    "rq3_diagnostics": "D3",
    "reanalysis": "A",
    "reanalysis_figures": "AF",
    "reanalysis_problems": "AP",
    "reanalysis_strict": "AS",
    "reanalysis_diagnostics": "AD",
    "metering": "M",
    "provenance": "P",
    "checklist": "L",
    "explore": "X",
}
"""Prefix of exhibit numbers by page; other pages use their own name."""
FOLDER = "exhibits"
"""Folder of the exhibits' files in the built HTML."""
_UP = "../../"
_NOTEBOOK = re.compile(r'href="(\w+)\.ipynb(#[^"]*)?"')
_RUN = re.compile(r'<code class="gcv-run">([^<]*)</code>')
_PAGE_RUNS = "explore.html#runs"
"""Link that notebooks write for the runs behind their page."""


@dataclass
class RunLinks:
    """What the page Explore must know of the runs that other pages link."""

    sets: dict[str, Sequence[str]]
    """Run ids of each linked set, by its digest."""
    drawn: list[str]
    """Run ids that the page Explore draws, in the order of its data."""


@dataclass
class _Page:
    """State of a page while its exhibits are numbered."""

    name: str
    basis: list[str] = field(default_factory=list)
    """Ids of the runs behind exhibits that have none of their own."""
    numbers: Counter[str] = field(default_factory=Counter)
    run_pages: Collection[str] = ()
    """Ids of the runs that have a page."""
    links: RunLinks = field(default_factory=lambda: RunLinks({}, []))

    def next_number(self, kind: str) -> str:
        self.numbers[kind] += 1
        return f"{PREFIXES.get(self.name, self.name)}.{self.numbers[kind]}"


def write_pages(
    executed: Sequence[Path],
    pages: Path,
    files: Path,
    links: Mapping[str, Mapping[str, str]],
    run_pages: Collection[str] = (),
) -> RunLinks:
    """Write the pages of executed notebooks to one folder, the files of their exhibits to another.

    ``links`` are those at the end of each page, label to address, keyed by the notebook's name.
    ``run_pages`` are the ids of the runs that have a page.
    """
    folder = files / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    run_links = RunLinks({}, [])
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        page = _Page(path.stem, run_pages=run_pages, links=run_links)
        commit = notebook.metadata.get("greencv", {}).get("commit", "unknown")
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exhibits = _number_cell(cell, page, folder)
                found += ({**exhibit, "commit": commit} for exhibit in exhibits)
        notebook.cells = _without_empty_sections(notebook.cells)
        notebook.cells.append(_ending(path.stem, links.get(path.stem, {})))
        _forget_execution(notebook)
        nbformat.write(notebook, pages / path.name)
    # Each set of runs is in the index once.
    sets = {_digest_of(about["run_ids"]): about["run_ids"] for about in found}
    numbered = [{**about, "run_ids": _digest_of(about["run_ids"])} for about in found]
    index = json.dumps({"exhibits": numbered, "run_ids": sets}, indent=1, sort_keys=True)
    (folder / "index.json").write_text(index + "\n", encoding="utf-8")
    return run_links


def _forget_execution(notebook: Any) -> None:
    """Remove what differs each time, so that a page is rendered only if it shows something else."""
    notebook.metadata.pop("greencv", None)
    for number, cell in enumerate(notebook.cells, 1):
        cell.metadata.pop("execution", None)  # when each cell began and ended
        cell.id = f"cell-{number}"  # that of the injected parameters is random


def _without_empty_sections(cells: Sequence[Any]) -> list[Any]:
    """Return the cells without sections whose code shows nothing; text alone is no such section."""
    levels = [_level(cell) for cell in cells]
    kept: list[Any] = []
    for place, cell in enumerate(cells):
        section = place
        while section > 0 and levels[section] == 0:
            section -= 1
        level = levels[section]
        ends = (end for end in range(section + 1, len(cells)) if 0 < levels[end] <= level)
        code = [c for c in cells[section : next(ends, len(cells))] if c.cell_type == "code"]
        if level < 2 or not code or any(c.outputs for c in code):
            kept.append(cell)
    return kept


def _level(cell: Any) -> int:
    """Return the level of the heading that a cell begins with, 0 if it begins with none."""
    found = re.match(r"(#+) ", cell.source) if cell.cell_type == "markdown" else None
    return len(found[1]) if found else 0


def _digest_of(run_ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:16]


def _number_cell(cell: Any, page: _Page, folder: Path) -> list[dict[str, Any]]:
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        basis = data.pop(BASIS_MIME, None)
        if basis is not None:
            page.basis = basis["run_ids"]
        page.links.drawn += data.pop(EXPLORE_MIME, [])
        for kind in data.keys() & {"text/html", "text/markdown"}:
            data[kind] = _linked("".join(data[kind]), page)
        about = data.pop(MIME, None)
        if about is None:
            continue
        number = page.next_number(about["kind"])
        anchor = f"{about['kind']}-{number}".lower().replace(".", "-")
        names = _write_files(about["files"], folder, anchor)
        about["body"] = _linked(about["body"], page)
        run_ids = about["run_ids"] or page.basis
        if page.basis and not about["notes"]:
            about["notes"] = [n_runs(run_ids)]
        data["text/html"] = _numbered_html(about, number, anchor, names, run_ids, page, cell.source)
        found.append(
            {
                "number": number,
                "kind": about["kind"],
                "page": f"book/notebooks/{page.name}.html#{anchor}",
                "caption": caption_with_notes(about["caption"], about["notes"]),
                "files": names,
                "code_sha256": hashlib.sha256(cell.source.encode()).hexdigest(),
                "run_ids": run_ids,
            }
        )
    if found:
        # Its code opens below the exhibit.
        tags = {tag for tag in cell.metadata.get("tags", []) if not tag.endswith("-input")}
        cell.metadata["tags"] = sorted(tags | {"remove-input"})
    return found


def _write_files(files: Mapping[str, str], folder: Path, anchor: str) -> dict[str, str]:
    names = {}
    for suffix, encoded in files.items():
        content = base64.b64decode(encoded)
        name = f"{anchor}.{suffix}"
        (folder / name).write_bytes(content)
        names[name] = hashlib.sha256(content).hexdigest()
    return names


def _numbered_html(
    about: Mapping[str, Any], number: str, anchor: str, names: Iterable[str],
    run_ids: Sequence[str], page: _Page, code: str,
) -> str:  # fmt: skip
    kind = about["kind"]
    name = f"{kind.capitalize()} {number}"
    caption = (
        f'<a class="gcv-itself" href="#{anchor}"><b>{name}.</b></a> '
        f"{html.escape(caption_with_notes(about['caption'], about['notes']))}."
    )
    links = []
    for file in names:
        form = file.rsplit(".", 1)[1].upper()
        links.append(
            f'<a href="{_UP}{FOLDER}/{file}" download="{file}" '
            f'aria-label="{name} as {form}">{form}</a>'
        )
    links += _runs_link(run_ids, page, of=name)
    highlighted = highlight(code, PythonLexer(), HtmlFormatter(nowrap=True))
    more = (
        f'<div class="gcv-more"><span>{" ".join(links)}</span>'
        f'<details><summary>Code<span class="gcv-unseen"> of {name}</span></summary>'
        f'<div class="highlight"><pre tabindex="0">{highlighted}</pre></div></details></div>'
    )
    return render_exhibit(kind, about["body"], caption=caption, anchor=anchor, more=more)


def _linked(text: str, page: _Page) -> str:
    """Return HTML whose links to notebooks lead to their pages, and whose run ids are links."""
    text = _NOTEBOOK.sub(r'href="\1.html\2"', text)
    if page.basis:
        text = text.replace(f'"{_PAGE_RUNS}"', f'"{_explore(page.basis, page)}"')
    return _RUN.sub(lambda found: _run_link(found, page), text)


def _run_link(found: re.Match[str], page: _Page) -> str:
    run_id = html.unescape(found[1])
    if run_id in page.run_pages:
        return f'<a href="{_UP}runs/{run_id}.html">{found[0]}</a>'
    # Published runs are named after their source.
    published = "/" in run_id
    return f'<a href="explore.html#run={quote(run_id)}">{found[0]}</a>' if published else found[0]


def _explore(run_ids: Sequence[str], page: _Page) -> str:
    """Return the address at which the page Explore shows some runs."""
    digest = _digest_of(run_ids)
    page.links.sets[digest] = run_ids
    return f"{_PAGE_RUNS}={digest}"


def _runs_link(run_ids: Sequence[str], page: _Page, of: str) -> list[str]:
    if not run_ids:
        return []
    # Published runs are named after their source.
    published = all("/" in run_id for run_id in run_ids)
    words = count(len(run_ids), "published run" if published else "run")
    return [f'<a href="{_explore(run_ids, page)}" aria-label="{words} behind {of}">{words}</a>']


def _ending(name: str, links: Mapping[str, str]) -> Any:
    parts = [f'<a href="{html.escape(address)}">{label}</a>' for label, address in links.items()]
    file = f"{name}.ipynb"
    source = (
        f'This page is the notebook <a href="{_UP}notebooks/{file}" download="{file}">{file}</a>.'
    )
    return nbformat.v4.new_markdown_cell(f'<p class="gcv-source">{" ".join([source, *parts])}</p>')
