"""The notebooks that the report offers next to its pages, with the parameters of each page."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import nbformat


def offer_notebooks(notebooks: Path, executed: Iterable[Path], folder: Path) -> None:
    """Copy the notebooks, and let the parameters of executed ones be those of the execution."""
    ignored = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(notebooks, folder, ignore=ignored)
    for page in executed:
        injected = _tagged(page, "injected-parameters")
        offered = folder / page.name
        if injected is None or not offered.is_file():
            continue
        notebook = nbformat.read(offered, as_version=nbformat.NO_CONVERT)
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = replace_parameters(cell.source, injected)
        nbformat.write(notebook, offered)


def replace_parameters(source: str, injected: str) -> str:
    """Return a parameters cell with the values of another one; comments stay."""
    for statement in ast.parse(injected).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, value = statement.targets[0].id, ast.unparse(statement.value)
            line = re.compile(rf"^{name} = .*?(?=  #|$)", re.MULTILINE)
            assignment = f"{name} = {value}".replace("\\", r"\\")
            source = line.sub(assignment, source)
    return source


def _tagged(path: Path, tag: str) -> str | None:
    cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
    return next((str(c.source) for c in cells if tag in c.metadata.get("tags", [])), None)
