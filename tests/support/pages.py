"""Small pages with the scripts of the book, to look at in a browser without building the book."""

import shutil

from greencv_core.report.book.number_exhibits import RunLinks
from greencv_core.report.book.run_files import write_run_sets, write_vega
from tests.conftest import ROOT

STATIC = ROOT / "book" / "_static"


def write_page(folder, name, body, scripts):
    """Write a page at the depth of the book's pages, with files of the static folder."""
    path = folder / "book" / "notebooks" / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    static = folder / "_static"
    if not static.is_dir():
        shutil.copytree(STATIC, static)
    head = '<link rel="icon" href="data:,"><link rel="stylesheet" href="../../_static/greencv.css">'
    for script in scripts:
        address = f"../../_static/{script}"
        is_style = script.endswith(".css")
        head += (
            f'<link rel="stylesheet" href="{address}">'
            if is_style
            else f'<script src="{address}"></script>'
        )
    path.write_text(
        f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{name}</title>{head}</head><body><main><h1>{name}</h1><h2>Part</h2>{body}</main>"
        "</body></html>",
        encoding="utf-8",
    )
    return f"book/notebooks/{name}.html"


def write_explore(folder, panel, run_sets, run_pages):
    """Write the page Explore, with all its scripts; other pages link ``run_sets``."""
    scripts = ("explore.css", "tables.css", "vega.js", "run_sets.js", "explore_files.js",
               "explore.js")  # fmt: skip
    page = write_page(folder, "explore", panel.data, scripts)
    write_run_sets(folder / "_static", RunLinks(run_sets, list(panel.run_ids)), run_pages)
    write_vega(folder / "_static", folder / "cache")
    for run_id in run_pages:
        (folder / "runs").mkdir(exist_ok=True)
        (folder / "runs" / f"{run_id}.html").write_text("<title>a run</title>")
    return page
