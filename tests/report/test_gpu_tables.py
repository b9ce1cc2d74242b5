"""Tables of a GPU's runs: many conditions fold."""

import html
import re

import pandas as pd
import pytest

from greencv_core.analysis import (
    architecture_by_environment,
    compare,
    compare_each,
    filter_by,
    pareto_front,
    repetitions_needed,
)
from greencv_core.report.exhibits import tables
from greencv_core.report.exhibits.labels import axis_label, people_name
from greencv_core.report.figures import runs as runs_figures
from greencv_core.report.pages import provenance, research_questions
from tests.support.made_up_gpu import made_up_gpu_runs, with_a_hole

ENERGY = "energy_j_per_image"
pytestmark = pytest.mark.usefixtures("theme")


def test_short_times_are_in_microseconds_in_figure_and_table(gpu_alone):
    assert axis_label(gpu_alone, "duration_s_per_image") == "Time per image (\N{MICRO SIGN}s)"
    order = list(gpu_alone["environment"].unique())
    figure = runs_figures._draw_every_run(
        gpu_alone, "duration_s_per_image", "environment", order, "architecture"
    )
    low, high = figure.axes[0].get_ylim()
    assert low < 1e6 * gpu_alone["duration_s_per_image"].min()
    assert high > 1e6 * gpu_alone["duration_s_per_image"].max()
    within = filter_by(gpu_alone, "environment", "bf16")
    shown = tables.conditions_table(within, by=["architecture"])
    times = first_table(shown.body).set_index("Architecture")["Time per image (\N{MICRO SIGN}s)"]
    medians_s = within.groupby("architecture")["duration_s_per_image"].median()
    for name, median_s in medians_s.items():
        assert float(times[people_name(name)]) == pytest.approx(1e6 * median_s, rel=0.01)
    assert b"duration_s_per_image" in shown.files["csv"]


def first_table(body):
    """Return the first table of an HTML text, its cells as they are written."""
    first = re.search(r"<table.*?</table>", body, re.S)[0]
    rows = [
        [
            html.unescape(re.sub(r"\n<small.*?</small>", "", cell))
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", first, re.S)
    ]
    return pd.DataFrame(rows[1:], columns=rows[0])


def rows_of(body):
    """Return the number of rows of a table's HTML: those that are open, and all of them."""
    opened = re.sub(r"<details>.*?</details>", "", body, flags=re.S)
    return tuple(part.count("<tr>") - part.count("<thead>") for part in (opened, body))


def test_many_conditions_are_a_matrix_of_energies_and_all_else_opens(gpu_alone):
    shown = tables.conditions_table(gpu_alone)
    opened, every = rows_of(shown.body)
    assert (opened, every) == (9, 9 + 54)
    matrix = first_table(shown.body).set_index("Architecture")
    assert list(matrix.columns) == list(map(people_name, gpu_alone["environment"].unique()))
    medians = gpu_alone.groupby(["architecture", "environment"])[ENERGY].median()
    for (architecture, environment), median in medians.items():
        assert float(
            matrix.loc[people_name(architecture), people_name(environment)]
        ) == pytest.approx(1e3 * median, rel=0.01)
    assert len(shown.files["csv"].decode().splitlines()) == 1 + 54


def test_a_condition_without_a_run_is_a_dash_in_the_matrix(gpu_records):
    shown = tables.conditions_table(made_up_gpu_runs(with_a_hole(gpu_records)))
    matrix = first_table(shown.body).set_index("Architecture")
    assert list(matrix[people_name("fp32-batch-64")]).count("\N{EN DASH}") == 4


def test_many_pairs_open_by_architecture_and_none_is_lost(gpu_alone):
    comparisons = compare_each(gpu_alone, ENERGY, "environment", "architecture")
    shown = tables.pairs_table(comparisons, "architecture", "measured")
    assert rows_of(shown.body) == (0, 9 * 15)
    assert shown.body.count("<summary>") == 9
    assert len(shown.files["csv"].decode().splitlines()) == 1 + 9 * 15
    within = filter_by(gpu_alone, "environment", "bf16")
    one = tables.pairs_table(
        {"bf16": compare(within, ENERGY, "architecture")}, "environment", "measured"
    )
    assert rows_of(one.body) == (36, 36)
    assert 'data-rows="36 pairs"' in one.body


def test_many_effects_open_by_environment(gpu_alone):
    shown = research_questions.effects_table(architecture_by_environment(gpu_alone))
    assert rows_of(shown.body) == (0, 135)
    assert "bf16-compiled against fp32: 9 architectures" in shown.body


def test_of_many_conditions_those_on_the_front_are_open(gpu_alone):
    front = pareto_front(gpu_alone)
    shown = research_questions.trade_off_table(front, "measured")
    opened = re.sub(r"<details>.*?</details>", "", shown.body, flags=re.S)
    assert opened.count(">yes<") == len(front.front) == shown.body.count(">yes<")
    assert rows_of(shown.body)[1] == 54


def test_of_many_conditions_those_that_vary_most_come_first(gpu_alone):
    power = repetitions_needed(gpu_alone, ENERGY)
    shown = research_questions.power_table(power)
    assert rows_of(shown.body) == (54, 54)
    assert 'data-rows="54 conditions"' in shown.body
    worst = power.conditions.sort_values("variation", ascending=False).iloc[0]
    first = first_table(shown.body).iloc[0]
    columns = ["architecture", "environment"]
    assert list(first[[name.capitalize() for name in columns]]) == list(
        map(people_name, worst[columns])
    )


def test_a_list_of_runs_stays_whole(gpu_alone):
    shown = tables.show_table(provenance.runs_listing(gpu_alone), "Every run")
    assert rows_of(shown.body) == (len(gpu_alone), len(gpu_alone))
