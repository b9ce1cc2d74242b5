"""The report of a GPU's runs: provenance in every exhibit, and campaigns with missing runs.

The runs are made up (:mod:`tests.support.made_up_gpu`).
"""

import ast
import html
import json
import re
import warnings

import pytest

from greencv_core.analysis import (
    architecture_by_environment,
    break_evens,
    compare_each,
    energy_definitions,
    energy_regression,
    pareto_front,
    specification_curve,
)
from greencv_core.analysis.describe import study_cost_sentence
from greencv_core.analysis.regression.breakeven import BreakEven
from greencv_core.analysis.result import Unavailable
from greencv_core.records.components import restrict_to_components
from greencv_core.records.select import sort_records
from greencv_core.records.tables import phases_table, power_trace_table, runs_table
from greencv_core.report import figures
from greencv_core.report.exhibits import tables
from greencv_core.report.exhibits.labels import axis_label
from greencv_core.report.exhibits.markdown import provenance_note
from greencv_core.report.pages import provenance, research_questions
from tests.conftest import NOBODY, ROOT
from tests.support.made_up_gpu import (
    CPU,
    GPU,
    begun,
    made_up_gpu_bundle,
    made_up_gpu_records,
    made_up_gpu_study,
    with_a_hole,
)
from tests.support.made_up_records import made_up_records

ENERGY = "energy_j_per_image"
pytestmark = pytest.mark.usefixtures("theme")


def test_made_up_runs_say_so_wherever_they_name_a_device(gpu_records):
    assert "made up" in GPU
    assert "made up" in CPU
    for record in gpu_records:
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
    assert axis_label(gpu_alone, ENERGY) == "GPU energy per image (mJ, measured)"
    assert axis_label(gpu_alone, "power_w") == "Mean GPU power (W, measured)"
    assert axis_label(with_host, ENERGY) == "Energy per image (mJ, estimated)"
    assert axis_label(gpu_alone, "f1_macro") == "Macro F1"
    for runs in (gpu_alone, with_host):
        assert axis_label(runs, "gpu_energy_j") == "GPU energy (J, measured)"
        assert axis_label(runs, "cpu_energy_j") == "CPU energy (J, estimated)"


def test_a_cpus_report_names_no_component():
    runs = runs_table(made_up_records(n=2))
    assert axis_label(runs, ENERGY) == "Energy per image (mJ, estimated)"
    assert axis_label(runs, "duration_s_per_image") == "Time per image (ms)"


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
        text = html.unescape(shown.to_html())
        assert word in shown.caption + text, shown.caption
        assert never not in text, shown.caption


def test_the_box_of_a_page_gives_the_shares_of_what_is_measured_and_estimated(gpu_alone, with_host):
    alone, summed = str(provenance_note(gpu_alone)), str(provenance_note(with_host))
    assert "Energy here is measured" in alone
    assert "Energy here is in part estimated" in summed
    shares = re.search(r"(\d+)% are measured and (\d+)% are estimated", summed)
    assert sum(map(int, shares.groups())) == 100
    assert int(shares[1]) == round(
        100 * with_host["gpu_energy_j"].sum() / with_host["energy_j"].sum()
    )


def test_the_cost_of_a_study_says_what_part_is_estimated(gpu_alone, with_host):
    assert "kWh, measured)" in study_cost_sentence(gpu_alone)
    assert "kWh, in part estimated)" in study_cost_sentence(with_host)
    assert "kWh, estimated)" in study_cost_sentence(runs_table(made_up_records(n=2)))


def test_a_trace_states_the_provenance_of_each_component(gpu_records):
    run = gpu_records[0]
    shown = figures.power_trace(power_trace_table(run), phases_table(run), runs_table([run]))
    assert "measured and estimated" in shown.caption
    for line in ("GPU (measured)", "CPU (estimated)", "RAM (estimated)"):
        assert line in shown.body


def test_a_table_whose_rows_state_their_provenance_has_none_in_its_headings(gpu_records):
    frame = provenance.uncertainty_table(gpu_records[0])
    assert list(frame["provenance"]) == ["measured", "estimated", "estimated", "estimated"]
    shown = tables.show_table(frame, "Energy by component", "estimated")
    assert ">Energy (J)<" in shown.body
    assert "(J, estimated)" not in shown.body
    assert shown.files["csv"].decode().startswith("Component,Energy (J),")


def test_analyses_that_count_estimates_besides_say_so(gpu_alone, with_host):
    for runs, provenances in (
        (gpu_alone, "(%, measured; all components: estimated)"),
        (with_host, "(%, estimated)"),
    ):
        some = runs[runs["architecture"].isin(["squeezenet1_1", "resnet50"])]
        curve = specification_curve(energy_definitions(some))
        assert provenances in figures.specification_curve(curve, some).caption


def test_meters_that_do_not_count_are_listed_as_such(gpu_records):
    alone = provenance.meters_table(
        [restrict_to_components(record, ["gpu"]) for record in gpu_records]
    )
    told = {row.component: (row.provenance, row.counted) for row in alone.itertuples()}
    assert told == {
        "GPU": ("measured", True), "CPU": ("estimated", False), "RAM": ("estimated", False),
    }  # fmt: skip
    assert "counted" not in provenance.meters_table(gpu_records)


def test_states_of_the_gpu_are_in_the_studys_order(gpu_alone, gpu_records):
    states = provenance.gpu_states_table(sort_records(gpu_records, made_up_gpu_study()))
    assert list(states["environment"]) == list(gpu_alone["environment"].unique())


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index", "rq1_architecture", "rq2_environment", "decision"])
def test_a_campaign_with_holes_goes_through_every_cell_of_a_page(holed, name, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    known = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        run_cell("".join(cell["source"]), known)
        if "parameters" in cell["metadata"].get("tags", []):
            known |= {"study": str(holed), "store": str(holed), "train": False}
    assert not isinstance(known.get("front"), Unavailable)


def run_cell(source, known):
    """Run a cell and show its last expression, as Jupyter does; a warning is an error."""
    *body, last = ast.parse(source).body
    if isinstance(last, ast.Expr):
        last = ast.Assign([ast.Name("_shown", ast.Store())], last.value)
    module = ast.fix_missing_locations(ast.Module([*body, last], []))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(module, "cell", "exec"), known)
    shown = known.pop("_shown", None)
    if hasattr(shown, "_repr_mimebundle_"):
        assert shown._repr_mimebundle_()
