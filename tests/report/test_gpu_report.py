"""The report of a GPU's runs: measured where measured, legible with many conditions and holes.

The runs are made up (:mod:`tests.support.made_up_gpu`).
"""

import ast
import html
import itertools
import json
import re
import warnings

import matplotlib as mpl
import pandas as pd
import pytest

from greencv_core.analysis import (
    architecture_by_environment,
    break_evens,
    compare,
    compare_each,
    energy_definitions,
    energy_regression,
    filter_by,
    pareto_front,
    repetitions_needed,
    specification_curve,
)
from greencv_core.analysis.describe import study_cost_sentence
from greencv_core.analysis.regression.breakeven import BreakEven
from greencv_core.analysis.result import Unavailable
from greencv_core.records.components import restrict_to_components
from greencv_core.records.select import sort_records
from greencv_core.records.tables import epochs_table, phases_table, power_trace_table, runs_table
from greencv_core.report import figures
from greencv_core.report.exhibits import tables
from greencv_core.report.exhibits.labels import axis_label
from greencv_core.report.exhibits.markdown import provenance_note
from greencv_core.report.exhibits.theme import apply_theme, environment_palette, narrow_layout
from greencv_core.report.figures import regression
from greencv_core.report.figures import runs as runs_figures
from greencv_core.report.pages import provenance, research_questions
from tests.conftest import NOBODY, ROOT
from tests.support.made_up_gpu import (
    CPU,
    GPU,
    begun,
    made_up_gpu_bundle,
    made_up_gpu_records,
    made_up_gpu_runs,
    made_up_gpu_study,
    with_a_hole,
)
from tests.support.made_up_records import made_up_records

ENERGY = "energy_j_per_image"


@pytest.fixture(scope="module", autouse=True)
def theme():
    with mpl.rc_context():
        apply_theme()
        yield


@pytest.fixture(scope="module")
def records():
    return made_up_gpu_records(repetitions=3, epochs=2)


@pytest.fixture(scope="module")
def gpu_alone(records):
    """Return the runs of a study whose outcome is the GPU's energy."""
    return made_up_gpu_runs(records)


@pytest.fixture(scope="module")
def with_host(records):
    """Return the runs of a study whose outcome is the sum: GPU measured, CPU and RAM estimated."""
    return made_up_gpu_runs(records, components=None)


def test_made_up_runs_say_so_wherever_they_name_a_device(records):
    assert "made up" in GPU
    assert "made up" in CPU
    for record in records:
        assert record.device_name == record.accelerator == GPU
        assert record.machine["cpu_model"] == CPU
        assert "made-up" in record.study


def test_made_up_runs_follow_the_roofline(gpu_alone):
    energies = gpu_alone.pivot_table(index="architecture", columns="environment", values=ENERGY)
    assert (energies["bf16"] < energies["fp32"]).all()
    assert (energies["bf16-compiled"] < energies["bf16"]).all()
    assert energies.loc["vit_b_16", "fp32"] > 10 * energies.loc["squeezenet1_1", "fp32"]
    assert gpu_alone["power_w"].between(70, 700 * 1.05).all()


def test_an_axis_names_the_component_that_counts_and_what_its_meter_was(gpu_alone, with_host):
    assert axis_label(gpu_alone, ENERGY) == "GPU energy per image (J, measured)"
    assert axis_label(gpu_alone, "power_w") == "Mean GPU power (W, measured)"
    assert axis_label(with_host, ENERGY) == "Energy per image (J, estimated)"
    assert axis_label(gpu_alone, "f1_macro") == "Macro F1"


@pytest.mark.parametrize("which", ["gpu_alone", "with_host"])
def test_a_components_energy_has_that_components_provenance(which, request):
    runs = request.getfixturevalue(which)
    assert axis_label(runs, "gpu_energy_j") == "GPU energy (J, measured)"
    assert axis_label(runs, "cpu_energy_j") == "CPU energy (J, estimated)"


def test_a_cpus_report_names_no_component():
    runs = runs_table(made_up_records(n=2))
    assert axis_label(runs, ENERGY) == "Energy per image (J, estimated)"


def exhibits_of(runs):
    """Return figures and tables of the pages on energy."""
    crossed, front = architecture_by_environment(runs), pareto_front(runs)
    even = next(e for e in break_evens(runs).values() if isinstance(e, BreakEven))
    word = str(runs["provenance"].iloc[0])
    return [
        figures.by_architecture(runs, ENERGY),
        figures.by_environment(runs, "power_w"),
        figures.trade_off(runs, front),
        figures.energy_against_complexity(runs),
        figures.regression_diagnostics(energy_regression(runs), word, runs),
        figures.interaction(runs),
        figures.simple_effects(crossed, runs),
        figures.break_even(even, runs),
        tables.conditions_table(runs),
        tables.pairs_table(
            compare_each(runs, ENERGY, "environment", "architecture"), "architecture", word
        ),
        research_questions.interaction_table(crossed, word),
        research_questions.trade_off_table(front, word),
    ]


@pytest.mark.parametrize(
    ("which", "word", "never"),
    [("gpu_alone", "measured", "estimated"), ("with_host", "estimated", "measured")],
)
def test_each_exhibit_of_energy_says_measured_or_estimated_and_never_the_other(
    which, word, never, request
):
    runs = request.getfixturevalue(which)
    runs = runs[runs["environment"].isin(["fp32", "bf16", "bf16-batch-64"])]
    for shown in exhibits_of(runs):
        told = html.unescape(shown.to_html())
        assert word in shown.caption + told, shown.caption
        assert never not in told, shown.caption


def test_the_box_of_a_page_gives_the_shares_of_what_is_measured_and_estimated(gpu_alone, with_host):
    alone, summed = str(provenance_note(gpu_alone)), str(provenance_note(with_host))
    assert "Energy here is measured" in alone
    assert "admonition note" in alone
    assert "Energy here is in part estimated" in summed
    assert "admonition warning" in summed
    shares = re.search(r"(\d+) % are measured and (\d+) % are estimated", summed)
    assert sum(map(int, shares.groups())) == 100
    assert int(shares[1]) == round(
        100 * with_host["gpu_energy_j"].sum() / with_host["energy_j"].sum()
    )


def test_the_cost_of_a_study_says_what_part_is_estimated(gpu_alone, with_host):
    assert "kWh, measured)" in study_cost_sentence(gpu_alone)
    assert "kWh, in part estimated)" in study_cost_sentence(with_host)
    assert "kWh, estimated)" in study_cost_sentence(runs_table(made_up_records(n=2)))


def test_a_trace_tells_the_provenance_of_each_component(records):
    run = records[0]
    shown = figures.power_trace(power_trace_table(run), phases_table(run), runs_table([run]))
    assert "measured and estimated" in shown.caption
    for line in ("GPU (measured)", "CPU (estimated)", "RAM (estimated)"):
        assert line in shown.body


def test_a_table_whose_rows_state_their_provenance_has_none_in_its_headings(records):
    frame = provenance.uncertainty_table(records[0])
    assert list(frame["provenance"]) == ["measured", "estimated", "estimated", "estimated"]
    shown = tables.show_table(frame, "Energy by component", "estimated")
    assert ">Energy (J)<" in shown.body
    assert "(J, estimated)" not in shown.body
    assert shown.files["csv"].decode().startswith("Component,Energy (J),")


def test_analyses_that_count_estimates_besides_say_so(gpu_alone, with_host):
    chosen = ["squeezenet1_1", "resnet50"]
    captions = []
    for runs in (gpu_alone, with_host):
        some = runs[runs["architecture"].isin(chosen)]
        captions.append(
            figures.specification_curve(specification_curve(energy_definitions(some)), some).caption
        )
    assert "(%, measured; all components: estimated)" in captions[0]
    assert "(%, estimated)" in captions[1]


def test_meters_that_do_not_count_are_listed_as_such(records):
    alone = provenance.meters_table([restrict_to_components(record, ["gpu"]) for record in records])
    told = {row.component: (row.provenance, row.counted) for row in alone.itertuples()}
    assert told == {
        "GPU": ("measured", True), "CPU": ("estimated", False), "RAM": ("estimated", False),
    }  # fmt: skip
    assert "counted" not in provenance.meters_table(records)


def test_what_the_gpu_told_stands_in_the_studys_order(gpu_alone, records):
    in_order = list(gpu_alone["environment"].unique())
    told = provenance.gpu_states_table(sort_records(records, made_up_gpu_study()))
    assert list(told["environment"]) == in_order


def drawn(figure):
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("column", [ENERGY, "duration_s_per_image", "device_utilization_pct"])
def test_names_of_environments_do_not_run_into_each_other(gpu_alone, column):
    order = list(gpu_alone["environment"].unique())
    figure = drawn(
        runs_figures._draw_every_run(gpu_alone, column, "environment", order, "architecture")
    )
    labels = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(labels) == 6
    boxes = [label.get_window_extent() for label in labels]
    level = all(label.get_rotation() == 0 for label in labels)
    assert not (level and any(a.x1 > b.x0 for a, b in itertools.pairwise(boxes)))


def test_few_names_stand_level():
    runs = runs_table(made_up_records(n=2, environments=2))
    figure = runs_figures._draw_every_run(
        runs, ENERGY, "environment", ["env0", "env1"], "architecture"
    )
    assert [label.get_rotation() for label in figure.axes[0].get_xticklabels()] == [0, 0]


@pytest.mark.parametrize("slim", [False, True])
def test_names_in_break_even_figures_do_not_cover_each_other(gpu_alone, slim):
    for name, result in break_evens(gpu_alone).items():
        assert isinstance(result, BreakEven), name
        if slim:
            with narrow_layout():
                figure = drawn(regression._draw_break_even(result))
        else:
            figure = drawn(regression._draw_break_even(result))
        names = [text for text in figure.axes[0].texts if text.get_text()]
        assert len(names) == 9
        # Of the text itself, without the line that leads to its point.
        boxes = [mpl.text.Text.get_window_extent(text) for text in names]
        for (a, first), (b, second) in itertools.combinations(zip(names, boxes, strict=True), 2):
            assert not first.shrunk(0.98, 0.8).overlaps(second.shrunk(0.98, 0.8)), (
                name, a.get_text(), b.get_text(),
            )  # fmt: skip


def test_an_environment_has_one_colour_in_all_figures(gpu_alone):
    palette = environment_palette(list(gpu_alone["environment"].unique()))
    figure = regression._draw_simple_effects(architecture_by_environment(gpu_alone))
    legend = figure.axes[0].get_legend()
    shown = {
        text.get_text(): mpl.colors.to_rgb(handle.get_color()[0])
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert shown == {name: palette[name] for name in shown}
    assert len(shown) == 5


def test_architectures_that_are_many_differ_by_marker_too(gpu_alone):
    few = filter_by(gpu_alone, "environment", "fp32")
    order = ["fp32"]
    many = runs_figures._draw_every_run(few, ENERGY, "environment", order, "architecture")
    markers = [handle.get_marker() for handle in many.axes[0].get_legend().legend_handles]
    assert len(set(markers[:-1])) == 8
    few = few[few["architecture"].isin(["resnet18", "resnet50"])]
    two = runs_figures._draw_every_run(few, ENERGY, "environment", order, "architecture")
    assert {h.get_marker() for h in two.axes[0].get_legend().legend_handles[:-1]} == {"o"}


def test_short_times_are_told_in_microseconds_in_figure_and_table(gpu_alone):
    assert axis_label(gpu_alone, "duration_s_per_image") == "Time per image (\N{MICRO SIGN}s)"
    order = list(gpu_alone["environment"].unique())
    figure = runs_figures._draw_every_run(
        gpu_alone, "duration_s_per_image", "environment", order, "architecture"
    )
    low, high = figure.axes[0].get_ylim()
    assert low < 1e6 * gpu_alone["duration_s_per_image"].min()
    assert high > 1e6 * gpu_alone["duration_s_per_image"].max()
    shown = tables.conditions_table(
        filter_by(gpu_alone, "environment", "bf16"), by=["architecture"]
    )
    table = first_table(shown.body)
    seconds = filter_by(gpu_alone, "environment", "bf16").groupby("architecture")[
        "duration_s_per_image"
    ]
    told = table.set_index("Architecture")["Time per image (\N{MICRO SIGN}s)"]
    for name, median_s in seconds.median().items():
        assert float(told[name]) == pytest.approx(1e6 * median_s, rel=0.01)
    assert b"duration_s_per_image" in shown.files["csv"]


def test_times_of_a_slower_machine_stay_in_seconds():
    runs = runs_table(made_up_records(n=2))
    assert axis_label(runs, "duration_s_per_image") == "Time per image (s)"


def test_of_many_epochs_some_have_a_number(gpu_alone, records):
    long = made_up_gpu_records(2, architectures=["resnet18"], environments=["bf16"], epochs=40)
    ticks = (
        runs_figures._draw_learning_curves(epochs_table(long), runs_table(long))
        .axes[0]
        .get_xticks()
    )
    assert len(ticks) < 12
    short = runs_figures._draw_learning_curves(epochs_table(records), gpu_alone).axes[0]
    assert list(short.get_xticks()) == [1, 2]


def first_table(body):
    """Return the first table of an HTML text, its cells as they are written."""
    first = re.search(r"<table.*?</table>", body, re.S)[0]
    rows = [
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)]
        for row in re.findall(r"<tr>(.*?)</tr>", first, re.S)
    ]
    return pd.DataFrame(rows[1:], columns=rows[0])


def rows_of(body):
    """Return the rows of a table's HTML: those that stand open, and all of them."""
    opened = re.sub(r"<details>.*?</details>", "", body, flags=re.S)
    return opened.count("<tr>") - opened.count("<thead>"), body.count("<tr>") - body.count(
        "<thead>"
    )


def test_many_conditions_stand_as_a_matrix_of_energies_and_all_else_opens(gpu_alone):
    shown = tables.conditions_table(gpu_alone)
    opened, every = rows_of(shown.body)
    assert (opened, every) == (9, 9 + 54)
    matrix = first_table(shown.body).set_index("Architecture")
    assert list(matrix.columns) == list(gpu_alone["environment"].unique())
    medians = gpu_alone.groupby(["architecture", "environment"])[ENERGY].median()
    for (architecture, environment), median in medians.items():
        assert float(matrix.loc[architecture, environment]) == pytest.approx(median, rel=0.01)
    assert len(shown.files["csv"].decode().splitlines()) == 1 + 54


def test_a_condition_without_a_run_is_a_dash_in_the_matrix(records):
    shown = tables.conditions_table(made_up_gpu_runs(with_a_hole(records)))
    matrix = first_table(shown.body).set_index("Architecture")
    assert list(matrix["fp32-batch-64"]).count("\N{EN DASH}") == 4


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
    assert rows_of(one.body) == (tables.FIRST_ROWS, 36)


def test_many_effects_open_by_environment(gpu_alone):
    shown = research_questions.effects_table(architecture_by_environment(gpu_alone))
    assert rows_of(shown.body) == (0, 45)
    assert "bf16-compiled against fp32: 9 architectures" in shown.body


def test_of_many_conditions_those_on_the_front_stand_open(gpu_alone):
    front = pareto_front(gpu_alone)
    shown = research_questions.trade_off_table(front, "measured")
    opened = re.sub(r"<details>.*?</details>", "", shown.body, flags=re.S)
    assert opened.count(">yes<") == len(front.front) == shown.body.count(">yes<")
    assert rows_of(shown.body)[1] == 54


def test_of_many_conditions_those_that_vary_most_stand_open(gpu_alone):
    power = repetitions_needed(gpu_alone, ENERGY)
    shown = research_questions.power_table(power)
    assert rows_of(shown.body) == (tables.FIRST_ROWS, 54)
    worst = power.conditions.sort_values("variation", ascending=False).iloc[0]
    first = first_table(shown.body).iloc[0]
    assert (first["Architecture"], first["Environment"]) == (
        worst["architecture"], worst["environment"],
    )  # fmt: skip


def test_a_list_of_runs_stays_whole(gpu_alone):
    shown = tables.show_table(provenance.runs_listing(gpu_alone), "Every run")
    assert rows_of(shown.body) == (len(gpu_alone), len(gpu_alone))


HOLES = {"begun": begun, "with_a_hole": with_a_hole}


@pytest.fixture(scope="module", params=HOLES)
def holed(request, tmp_path_factory):
    """Return a bundle of a campaign that was cut short."""
    made = made_up_gpu_records(
        3,
        architectures=["squeezenet1_1", "mobilenet_v3_large", "resnet18", "resnet50", "vgg16"],
        environments=["fp32", "bf16", "fp32-batch-64"],
        epochs=2,
    )
    kept = HOLES[request.param](made)
    assert 0 < len(kept) < len(made)
    path = tmp_path_factory.mktemp("holed") / f"{request.param}.parquet"
    return made_up_gpu_bundle(path, kept)


@pytest.mark.parametrize("name", ["index", "rq1_architecture", "rq2_environment", "decision"])
def test_a_campaign_with_holes_goes_through_every_cell_of_a_page(holed, name, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    given = {"study": str(holed), "store": str(holed), "train": False}
    known = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        run_cell("".join(cell["source"]), known)
        if "parameters" in cell["metadata"].get("tags", []):
            known.update(given)
    assert not isinstance(known.get("front"), Unavailable)


def run_cell(source, known):
    """Run a cell and show its last expression, as Jupyter does; a warning is an error."""
    *body, last = ast.parse(source).body
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(ast.Module([*body], []), "cell", "exec"), known)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), "cell", "exec"), known)
            return
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), known)
    if hasattr(shown, "_repr_mimebundle_"):
        assert shown._repr_mimebundle_()
