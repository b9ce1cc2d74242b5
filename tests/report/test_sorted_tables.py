"""Tables of more than ten rows, in a browser: sorted, filtered, and whole without a script."""

import pandas as pd
import pytest

from greencv_core.report.exhibits.tables import SORTED_ROWS, show_table
from tests.support.browser import served, tab, violations
from tests.support.pages import write_page

N = 30
FRAME = pd.DataFrame(
    {
        "run_id": [f"run{i}" for i in range(N)],
        "energy_j": [None if i == 4 else 10.0 ** (i % 7) * (1 + i / 50) for i in range(N)],
        "saving": [(i - 15) / 100 for i in range(N)],
        "environment": ["one <b>" if i % 3 else "two" for i in range(N)],
    }
)
SHORT = FRAME.head(SORTED_ROWS)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    body = "".join(
        show_table(part, f"Table {i}").to_html() for i, part in enumerate((FRAME, SHORT))
    )
    write_page(folder, "tables", body, ("tables.css", "tables.js"))
    with served(folder) as address:
        yield address


@pytest.fixture
def page(browser, site):
    with tab(browser, site) as visited:
        visited.open("book/notebooks/tables.html")
        yield visited.page
    assert visited.problems == []


def column(page, number):
    cells = page.locator(f"table.gcv-sortable tbody tr td:nth-child({number})")
    return [text for text in cells.all_inner_texts() if text]


def visible(page):
    rows = page.locator("table.gcv-sortable tbody tr")
    return sum(row.is_visible() for row in rows.all())


def test_a_long_table_shows_its_first_rows_and_all_on_request(page):
    assert page.locator("table").count() == 2
    assert page.locator("table.gcv-sortable").count() == 1
    assert visible(page) == 12
    page.get_by_text("Show all 30 rows").click()
    assert visible(page) == N


def test_numbers_are_sorted_by_value_and_absent_ones_stay_last(page):
    head = page.locator("th", has_text="Energy").first
    expected = FRAME["energy_j"].rank(method="first").sort_values()
    order = [f"run{i}" for i in expected.index[: N - 1]]
    for direction, runs in (("ascending", order), ("descending", order[::-1])):
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == direction
        if direction == "ascending":
            page.get_by_text("Show all 30 rows").click()
        assert column(page, 1) == [*runs, "run4"]


def test_shares_below_zero_are_sorted_by_value(page):
    page.locator("th button", has_text="Saving").first.click()
    page.get_by_text("Show all 30 rows").click()
    assert column(page, 1) == [f"run{i}" for i in range(N)]


def test_a_filter_searches_all_rows(page):
    field = page.get_by_label("Filter rows")
    field.fill("TWO run2")
    matching = [i for i in range(N) if i % 3 == 0 and f"run{i}".startswith("run2")]
    assert visible(page) == len(matching)
    assert (
        page.locator(".gcv-table-tools [role=status]").inner_text() == f"{len(matching)} of 30 rows"
    )
    field.fill("nothing has this")
    assert visible(page) == 0
    field.fill("")
    assert visible(page) == 12


def test_without_javascript_the_table_is_whole(browser, site):
    with tab(browser, site, java_script_enabled=False) as visited:
        visited.page.goto(f"{site}book/notebooks/tables.html")
        assert visible(visited.page) == N
        assert visited.page.locator("th button").count() == 0


def test_nothing_serious_is_found_by_axe(page):
    page.get_by_label("Filter rows").fill("two")
    assert violations(page) == []
