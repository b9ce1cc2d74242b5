"""Figures and tables as pages show them: numbered, captioned, to take along, traced to runs."""

import base64
import csv
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from functools import partial

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
from PIL import Image

from greencv_core import runs_table
from greencv_core.analysis import pareto_front, select_runs
from greencv_core.report import figures
from greencv_core.report.book import number_exhibits
from greencv_core.report.exhibits import exhibit, markdown, tables, theme
from greencv_core.report.exhibits.svg import dark_mode_css, inline_svg, to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs(smoke_records):
    theme.apply_theme()
    return select_runs(runs_table(smoke_records)).runs


@pytest.fixture(scope="module")
def drawn(runs):
    return figures.by_architecture(runs, "energy_j_per_image")


def test_a_figure_is_drawn_again_only_if_what_it_shows_or_its_style_changed(runs, monkeypatch):
    drawn, draw = [], exhibit._drawn
    monkeypatch.setattr(exhibit, "_drawn", lambda *one: drawn.append(one) or draw(*one))
    runs = runs.assign(energy_j_per_image=runs["energy_j_per_image"] * 1.25)  # of no other test
    first = figures.by_architecture(runs, "energy_j_per_image")
    again = figures.by_architecture(runs, "energy_j_per_image")
    assert (first.body, first.files) == (again.body, again.files)
    assert len(drawn) == 1
    changed = runs.assign(energy_j_per_image=runs["energy_j_per_image"] * 2)
    assert figures.by_architecture(changed, "energy_j_per_image").body != first.body
    with mpl.rc_context({"axes.labelcolor": "#123456"}):
        assert "#123456" in figures.by_architecture(runs, "energy_j_per_image").body
    assert len(drawn) == 3


def test_a_figure_by_a_function_of_a_reader_is_drawn_each_time():
    drawn = []

    def draw(width):
        drawn.append(width)
        figure, axes = theme.subplots()
        axes.plot([0, 1], [0, width])
        return figure

    for _ in range(2):
        exhibit.figure_exhibit(partial(draw, 2), "Widths")
    assert len(drawn) == 4  # for wide and for narrow screens


def notebook_with(*cells):
    """Return an executed notebook whose cells showed these."""
    made = []
    for source, *shown in cells:
        outputs = [
            nbformat.v4.new_output("display_data", data=one._repr_mimebundle_()) for one in shown
        ]
        cell = nbformat.v4.new_code_cell(source, outputs=outputs)
        cell.metadata["tags"] = ["hide-input"]
        made.append(cell)
    return nbformat.v4.new_notebook(cells=made)


def published(tmp_path, links=(), **notebooks):
    """Return the pages of notebooks, the index of their exhibits, and the folder of their files."""
    paths = []
    for name, notebook in notebooks.items():
        paths.append(tmp_path / f"{name}.ipynb")
        nbformat.write(notebook, paths[-1])
    pages = tmp_path / "pages"
    pages.mkdir()
    number_exhibits.write_pages(paths, pages, tmp_path / "beside", dict(links))
    read = {path.stem: nbformat.read(pages / path.name, as_version=4) for path in paths}
    index = json.loads((tmp_path / "beside" / "exhibits" / "index.json").read_text())
    return read, index, tmp_path / "beside" / "exhibits"


def html_of(cell):
    return "".join(output["data"].get("text/html", "") for output in cell.outputs)


def test_exhibits_are_numbered_by_page_and_kind(tmp_path, runs, drawn):
    table = tables.show_table(runs[["architecture", "energy_j"]], "Energies", "estimated")
    one = notebook_with(("a", drawn), ("b", table), ("c", drawn))
    read, index, _ = published(tmp_path, rq1_architecture=one, metering=notebook_with(("d", table)))
    numbers = [about["number"] for about in index["exhibits"]]
    assert numbers == ["RQ1.1", "RQ1.1", "RQ1.2", "M.1"]
    anchors = [about["page"].split("#")[1] for about in index["exhibits"]]
    assert anchors == ["figure-rq1-1", "table-rq1-1", "figure-rq1-2", "table-m-1"]
    shown = html_of(read["rq1_architecture"].cells[2])
    assert '<figure class="gcv-exhibit gcv-figure-exhibit" id="figure-rq1-2">' in shown
    assert "<b>Figure RQ1.2.</b>" in shown


def test_an_exhibit_has_the_commit_of_its_page_and_an_unchanged_page_stays_as_it_is(
    tmp_path, drawn
):
    made = notebook_with(("a", drawn))
    made.metadata["greencv"] = {"key": "k", "commit": "0123abc"}
    read, index, _ = published(tmp_path, metering=made, claims=notebook_with(("b", drawn)))
    assert [about["commit"] for about in index["exhibits"]] == ["0123abc", "unknown"]
    assert "greencv" not in read["metering"].metadata


def test_a_figure_to_download_is_the_shown_one_on_white(drawn):
    svg = drawn.files["svg"].decode()
    # The first area is the figure's own; none but it is white.
    assert svg.index("fill: #ffffff") < svg.index("fill: none")
    assert 'style="fill: #ffffff"' not in drawn.body
    places = re.findall(r'<text [^>]*(x="[\d.]+" y="[\d.]+")', svg)
    assert places
    assert all(place in drawn.body for place in places)


def test_a_pages_exhibit_has_its_caption_its_files_its_code_and_its_runs(tmp_path, runs, drawn):
    read, index, folder = published(
        tmp_path, rq1_architecture=notebook_with(("show(1 < 2)", drawn))
    )
    cell, about = read["rq1_architecture"].cells[0], index["exhibits"][0]
    shown = html_of(cell)
    assert f"n = {len(runs)} runs" in about["caption"]
    assert "Energy per image (mJ, estimated)" in about["caption"]
    assert about["code_sha256"] == hashlib.sha256(b"show(1 < 2)").hexdigest()
    assert index["run_ids"][about["run_ids"]] == list(runs["run_id"])
    for file, digest in about["files"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
        assert f'href="../../exhibits/{file}" download="{file}"' in shown
    assert {file.rsplit(".")[-1] for file in about["files"]} == {"svg", "png"}
    assert f">{len(runs)} runs</a>" in shown
    assert "&lt;" in shown.split("<summary>")[1]  # of the code
    assert "remove-input" in cell.metadata["tags"]
    assert "hide-input" not in cell.metadata["tags"]
    assert set(cell.outputs[0]["data"]) <= {"text/html", "text/plain"}


def test_an_exhibit_without_runs_of_its_own_rests_on_the_pages(tmp_path, runs):
    table = tables.show_table(pd.DataFrame({"a": [1]}), "One")
    notebook = notebook_with(("a", markdown.provenance_note(runs)), ("b", table))
    read, index, _ = published(tmp_path, rq2_environment=notebook)
    about = index["exhibits"][0]
    assert index["run_ids"][about["run_ids"]] == list(runs["run_id"])
    assert about["caption"] == f"One; n = {len(runs)} runs"
    assert f">{len(runs)} runs</a>" in html_of(read["rq2_environment"].cells[1])


def test_links_to_notebooks_become_links_to_pages_and_the_last_leads_to_the_notebook(tmp_path):
    cell = nbformat.v4.new_code_cell("a")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": '<a href="rq1_a.ipynb">x</a>'})
    ]
    links = {"index": {"Binder": "https://mybinder.org/v2/gh/a/b/c?x=1&y=2"}}
    read, _, _ = published(tmp_path, links, index=nbformat.v4.new_notebook(cells=[cell]))
    assert html_of(read["index"].cells[0]) == '<a href="rq1_a.html">x</a>'
    ending = read["index"].cells[-1].source
    assert 'href="../../notebooks/index.ipynb"' in ending
    assert '<a href="https://mybinder.org/v2/gh/a/b/c?x=1&amp;y=2">Binder</a>' in ending


def test_a_notebook_shows_an_exhibit_as_it_is(drawn):
    shown = drawn._repr_mimebundle_()
    assert drawn.caption in shown["text/html"]
    assert len(repr(drawn)) < 500
    assert base64.b64decode(shown[exhibit.MIME]["files"]["png"]).startswith(b"\x89PNG")


def test_a_figure_is_the_same_text_each_time(runs):
    first, second = (figures.trade_off(runs, pareto_front(runs)) for _ in range(2))
    assert first.body == second.body
    assert first.files["svg"] == second.files["svg"]


def test_a_figure_to_take_along_is_whole_and_on_white(drawn):
    root = ElementTree.fromstring(drawn.files["svg"])
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "Energy per image (mJ, estimated)" in words
    image = Image.open(io.BytesIO(drawn.files["png"])).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.width >= 1400  # sharp in print
    assert len(image.getcolors(maxcolors=10**6)) > 50


def test_a_page_has_a_figure_for_wide_and_one_for_narrow_screens(drawn):
    boxes = re.findall(r'class="gcv-(wide|narrow)" viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn.body)
    wide, narrow = ((float(w), float(h)) for _, w, h in boxes)
    assert [which for which, _, _ in boxes] == ["wide", "narrow"]
    assert wide[0] > wide[1]
    assert narrow[0] < 300 < narrow[1]
    ids = re.findall(r' id="([^"]+)"', drawn.body)
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in ids} == set(re.findall(r'(?:href="|url\()(#[^")]+)', drawn.body))


def test_every_colour_of_a_figure_has_one_for_dark_pages(drawn):
    declared = set(re.findall(r"(--c[0-9a-f]{6}):", drawn.body.split("<div")[0]))
    used = set(re.findall(r"var\((--c[0-9a-f]{6}),", drawn.body))
    assert used == declared
    outside = re.sub(r"var\([^)]*\)", "", drawn.body.split("</style>")[1])
    assert not re.search(r"#[0-9a-f]{6}\b", outside)


def lightness(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return (max(parts) + min(parts)) / 2


def test_colours_on_dark_pages_keep_their_order_and_can_be_seen():
    theme.apply_theme()
    figure, axes = theme.subplots()
    runs = pd.DataFrame({"architecture": list("abcdef"), "gflops_per_image": range(6)})
    for i, colour in enumerate(theme.architecture_palette(runs).values()):
        axes.scatter([i], [i], color=colour)
    svg = inline_svg(to_svg(figure), prefix="a", label="b", style="c")
    mapped = dict(re.findall(r"--c([0-9a-f]{6}):(#[0-9a-f]{6})", dark_mode_css(svg)))
    assert lightness(mapped[theme.INK[1:]]) > 0.7  # words
    assert lightness(mapped[theme.FAINT[1:]]) < 0.25  # the grid
    colours = [c for c in mapped if len({c[:2], c[2:4], c[4:]}) > 1]
    assert len(colours) == 6
    assert all(lightness(mapped[c]) > 0.45 for c in colours)
    ordered = sorted(colours, key=lambda c: lightness(f"#{c}"))
    darkened = [lightness(mapped[c]) for c in ordered]
    assert darkened == sorted(darkened)


def test_a_table_to_take_along_holds_numbers_and_no_formulas():
    frame = pd.DataFrame(
        {"architecture": ["=cmd()", "b\nc"], "energy_j": [1.23456789, float("nan")]}
    )
    shown = tables.show_table(frame, "Energies", "estimated")
    rows = list(csv.reader(io.StringIO(shown.files["csv"].decode())))
    assert rows == [
        ["Architecture", "Energy (J, estimated)"], ["'=cmd()", "1.23457"], ["b; c", ""]
    ]  # fmt: skip


def test_a_table_with_several_numbers_in_a_cell_has_them_apart_in_its_file(runs):
    shown = tables.conditions_table(runs)
    # A wide table can be scrolled with the keyboard.
    assert re.search(r'class="gcv-table" tabindex="0" role="region" aria-label="[^"]+"', shown.body)
    frame = pd.read_csv(io.BytesIO(shown.files["csv"]))
    assert {"energy_j_per_image", "energy_j_per_image_q1", "energy_j_per_image_q3"} <= {*frame}
    assert frame["n"].sum() == len(runs)
    expected = runs.groupby(["architecture", "environment"])["energy_j_per_image"].median()
    found = frame.set_index(["architecture", "environment"])["energy_j_per_image"]
    for condition, value in expected.items():
        assert found[condition] == pytest.approx(value, rel=1e-5)


def test_a_figure_does_not_depend_on_a_users_matplotlibrc():
    svgs = []
    for settings in ({}, {"text.usetex": True, "font.size": 30, "lines.linewidth": 9}):
        with mpl.rc_context(settings):
            theme.apply_theme()
            figure, axes = theme.subplots()
            axes.plot([-1, 2], label="a line")
            theme.legend(axes)
            svgs.append(to_svg(figure))
    assert svgs[0] == svgs[1]


def test_a_figure_has_the_layout_that_matplotlib_gives_it():
    drawn = []
    for _ in range(2):
        theme.apply_theme()
        figure, axes = theme.subplots(1, 2)
        axes[0].plot([0, 12345], label="a line with a long name")
        axes[1].set_ylabel("a label\nof two lines")
        theme.legend_above(figure, axes[0].get_lines(), 1)
        drawn.append((figure, axes))
    (ours, our_axes), (theirs, their_axes) = drawn
    to_svg(ours)
    theirs.savefig(io.StringIO(), format="svg")
    for a, b in zip(our_axes, their_axes, strict=True):
        assert a.get_position().bounds == pytest.approx(b.get_position().bounds, rel=1e-9)
    assert ours.get_layout_engine() is None
    assert ours.dpi == theirs.dpi
