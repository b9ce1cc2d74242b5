"""The page Explore: its data, and the page in a browser with a reader's own files."""

import json

import pandas as pd
import pytest

from greencv_core.report.pages import explore
from tests.report.reader import Reader
from tests.support.browser import served, tab, violations
from tests.support.pages import write_explore
from tests.support.tables import made_up_runs

HOSTILE = '</script><img src=x onerror="alert(1)"><!--'
HEAD = "source,architecture,environment,energy_j,provenance,images_processed,gflops_per_image\n"
OWN = HEAD + (
    "our-lab,resnet18,RTX 3070,81200,sampled,600000,1.12\n"
    "our-lab,resnet50,RTX 3070,190300,sampled,600000,2.61\n"
)


def gathered(runs=None):
    runs = made_up_runs() if runs is None else runs
    return explore.gather_runs(runs.reindex(columns=[*runs, "dataset"]), explore.published_tables())


def content_of(runs):
    (script,) = Reader(explore.explore_panel(runs).data).scripts
    return json.loads(script)


def test_every_own_and_published_run_with_energy_is_there():
    own = made_up_runs()
    own.loc[0, "status"] = "failed"
    own.loc[1, "energy_j"] = None
    own.loc[2, "disturbed"] = True
    runs = gathered(own)
    bundled = sum(len(table) for table in explore.published_tables().values())
    assert len(runs) == len(own) - 2 + bundled
    assert runs["run_id"].is_unique
    assert runs.set_index("run_id").loc["002", "left_out"] == "disturbed"
    # Estimates keep their name.
    assert set(runs["provenance"]) == {"estimated", "published"}
    content = content_of(runs)
    energies = content["numbers"]["energy_j"]
    assert dict(zip(content["ids"], energies, strict=True))["012"] == pytest.approx(
        own.set_index("run_id").loc["012", "energy_j"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("resnet50", "resnet"), ("timm:ResNet18", "resnet"), ("shufflenet_v2_x1_0", "shufflenet"),
     ("cell_001a6fcc", "cell"), ("1x1", "1x1")],
)  # fmt: skip
def test_a_family_is_the_letters_that_a_name_begins_with(architecture, family):
    assert explore.architecture_family(architecture) == family


def test_names_of_runs_are_text():
    own = made_up_runs(n=1).replace({"net1": HOSTILE, "env0": HOSTILE})
    shown = Reader(explore.explore_panel(gathered(own)).data)
    assert shown.tags == {"div", "p", "a", "script"}
    assert HOSTILE in json.loads(shown.scripts[0])["texts"]["architecture"]["levels"]


def test_of_100_000_runs_a_stated_sample_is_drawn():
    own = pd.concat([made_up_runs()] * 2000, ignore_index=True)
    own["run_id"] = [f"{i:016x}" for i in range(len(own))]
    runs = gathered(own)
    content = content_of(runs)
    assert len(content["ids"]) < 5000
    sampled = "Drawn: 2,500 of the 100,000 runs of this report: made-up, chosen by a checksum"
    assert content["sampled"].startswith(sampled)
    assert len(explore.explore_panel(runs).data) < 1_000_000
    assert content_of(gathered())["sampled"] == ""


COLOURED = """(canvas) => {
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const scale = canvas.width / canvas.getBoundingClientRect().width, found = [];
  for (let i = 0; i < image.data.length; i += 4) {
    const [r, g, b, a] = image.data.slice(i, i + 4), place = i / 4;
    if (a > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 60)
      found.push([(place % image.width) / scale, Math.floor(place / image.width) / scale]);
  }
  return found;
}"""
"""Places in a chart that have a colour."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Serve the page with 50 own runs, of which one page of the report links six."""
    folder = tmp_path_factory.mktemp("explore")
    own = made_up_runs()
    ids = list(own["run_id"])
    panel = explore.explore_panel(gathered(own))
    write_explore(folder, panel, {"abc": [*ids[3:8], ids[20]], "def": [*ids[:4], "not drawn"]}, ids)
    with served(folder) as address:
        yield address


@pytest.fixture
def page(browser, site):
    with tab(browser, site) as visited:
        opened(visited)
        yield visited.page
    assert visited.problems == []
    assert visited.foreign == []


def opened(visited, fragment=""):
    visited.open("about:blank")
    visited.open(f"book/notebooks/explore.html{fragment}")
    visited.page.locator("canvas").wait_for()


def drop(page, name, text):
    """Drop a file on the page, as with a mouse."""
    data = page.evaluate_handle(
        """([name, text]) => {
             const data = new DataTransfer();
             data.items.add(new File([text], name));
             return data;
           }""",
        [name, text],
    )
    page.dispatch_event(".gcv-drop", "drop", {"dataTransfer": data})
    page.wait_for_function("document.querySelector('.gcv-explore-message').textContent !== ''")
    return page.locator(".gcv-explore-message").inner_text()


def drawn(page):
    """Return how many runs the chart says that it draws."""
    return int(page.locator(".gcv-explore-status").inner_text().split()[0].replace(",", ""))


def test_runs_dropped_into_the_page_are_drawn_and_sent_nowhere(page):
    before = drawn(page)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    assert drop(page, "own.csv", OWN) == "2 runs in own.csv drawn. Nothing was sent."
    assert drawn(page) == before + 2
    page.locator("select[name=source]").select_option("own.csv: our-lab")
    assert drawn(page) == 2
    rows = page.locator(".gcv-explore table tbody tr")
    assert rows.count() == 2
    # 81200 J / 600000 images
    cells = rows.first.inner_text().split("\t")
    assert [*cells[1:3], *cells[4:6]] == ["resnet18", "RTX 3070", "1.12", "0.135"]
    # A published run has this id, too, and the report its name for people.
    assert rows.nth(1).inner_text().split("\t")[1] == "ResNet-50"
    assert "sampled" in rows.first.inner_text()
    page.get_by_text("Remove my runs").click()
    page.locator("select[name=source]").select_option("")
    assert drawn(page) == before
    assert requests == []


def test_a_runs_csv_of_greencv_is_read(page, tmp_path):
    runs = made_up_runs(n=2)
    runs.loc[0, ["status", "energy_j"]] = ["failed", None]
    runs.to_csv(tmp_path / "runs.csv", index=False)
    page.set_input_files("input[type=file]", tmp_path / "runs.csv")
    message = page.locator(".gcv-explore-message")
    page.wait_for_function("document.querySelector('.gcv-explore-message').textContent !== ''")
    assert message.inner_text() == (
        "19 runs in runs.csv drawn; 1 run without energy skipped. Nothing was sent."
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "own.csv has no row below its header."),
        ("a,b\n1,2\n", "row 1: lacks the column architecture, environment, energy_j, provenance."),
        (OWN.replace("190300", "-1"), "own.csv, row 3: energy_j must be above zero: -1."),
        (OWN.replace("190300", "many"), "own.csv, row 3: energy_j is not a number: many."),
        (OWN.replace("190300", ""), "own.csv, row 3: energy_j is empty."),
        (OWN.replace("sampled", "guessed"), "row 2: provenance must be measured, sampled, "),
        (OWN.replace("resnet18", '"resnet18'), "has a quotation mark that is not closed."),
        ("PAR1\0\0", "own.csv is a Parquet file, which this page does not read. Write it as CSV: "),
        ("\x7fELF\0\0\0", "own.csv is not text. Save the table as CSV in UTF-8."),
        (HEAD, "own.csv has no row below its header."),
    ],
)
def test_a_file_that_is_no_table_of_runs_gets_one_line(page, text, line):
    before = drawn(page)
    message = drop(page, "own.csv", text)
    assert line in message
    assert message.startswith("own.csv")
    assert "\n" not in message
    assert drawn(page) == before


def test_separators_quotation_marks_and_hostile_names_are_read_as_text(page):
    name = HOSTILE.replace('"', '""')
    text = OWN.replace("resnet18", f'"{name}"').replace(",", ";").replace("\n", "\r\n")
    assert drop(page, "own.csv", "\ufeff" + text).startswith("2 runs in own.csv drawn")
    assert page.locator(".gcv-explore :is(img, script)").count() == 0
    page.locator("select[name=source]").select_option("own.csv: our-lab")
    assert HOSTILE in page.locator(".gcv-explore table").inner_text()


def test_a_large_file_is_drawn_in_part_and_fast(page):
    rows = (f"lab,net,env,{i + 1},measured,10,{i + 1}\n" for i in range(100_000))
    message = drop(page, "own.csv", HEAD + "".join(rows))
    assert message == "2,500 of the 100,000 runs in own.csv drawn (one in 40). Nothing was sent."


def test_the_chart_is_used_with_the_keyboard_alone(page, site):
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className.includes('gcv-explore-chart')"):
            break
    details = page.locator(".gcv-explore-run")
    seen = []
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowUp"):
        page.keyboard.press(key)
        seen.append(details.locator("strong").inner_text())
    assert seen[1] == seen[3]
    assert len(set(seen)) >= 4
    page.keyboard.press("Escape")
    assert details.inner_text() == ""
    page.keyboard.press("Home")
    run_id = details.locator("strong").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}runs/{run_id}.html")


def test_a_point_is_shown_when_it_is_pointed_at_and_kept_when_pressed(page):
    page.locator("select[name=source]").select_option("this report: made-up")
    page.keyboard.press("Tab")
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    tip = page.locator(".gcv-explore-tip")
    for x, y in canvas.evaluate(COLOURED):
        page.mouse.move(box["x"] + x, box["y"] + y)
        if tip.is_visible():
            assert "Energy is estimated." in tip.inner_text()
            page.mouse.click(box["x"] + x, box["y"] + y)
            assert page.get_by_text("Open this run").is_visible()
            return
    pytest.fail("no point was found")


def test_a_link_shows_the_runs_behind_a_number(browser, site):
    with tab(browser, site) as visited:
        page = visited.page
        opened(visited, "#runs=abc")
        assert drawn(page) == 6
        assert page.locator(".gcv-explore table tbody tr").count() == 6
        assert "Only the 6 runs behind" in page.locator(".gcv-explore-subset").inner_text()
        links = page.locator(".gcv-explore table tbody a")
        assert links.first.get_attribute("href").startswith("../../runs/")
        opened(visited, "#runs=def")
        assert "Only 4 of the 5 runs behind" in page.locator(".gcv-explore-subset").inner_text()
        page.get_by_text("Show all runs").click()
        assert drawn(page) > 1000
        opened(visited, "#runs=nosuch")
        assert "does not know the runs" in page.locator(".gcv-explore-subset").inner_text()
        assert drawn(page) > 1000


def test_a_link_shows_a_published_run_whatever_it_lacks(browser, site):
    tables = explore.published_tables()
    lacking = tables["pepr2024"].iloc[0]  # no energy per image
    with tab(browser, site) as visited:
        opened(visited, f"#run={lacking['run_id']}")
        shown = visited.page.locator(".gcv-explore-run").inner_text()
        assert lacking["run_id"] in shown
        assert f'greencv runs show "{lacking["run_id"]}"' in shown
        assert visited.problems == []


def test_nothing_serious_is_found_by_axe(page):
    drop(page, "own.csv", OWN)
    page.locator(".gcv-explore-chart").focus()
    page.keyboard.press("Home")
    assert violations(page) == []
