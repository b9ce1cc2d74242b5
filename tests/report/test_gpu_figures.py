"""Figures of a GPU's runs: many conditions stay legible."""

import contextlib
import itertools

import matplotlib as mpl
import pytest

from greencv_core.analysis import architecture_by_environment, break_evens, filter_by
from greencv_core.analysis.regression.breakeven import BreakEven
from greencv_core.records.tables import epochs_table, runs_table
from greencv_core.report.exhibits.labels import people_name
from greencv_core.report.exhibits.theme import environment_palette, narrow_layout
from greencv_core.report.figures import regression
from greencv_core.report.figures import runs as runs_figures
from tests.support.made_up_gpu import made_up_gpu_records
from tests.support.made_up_records import made_up_records

ENERGY = "energy_j_per_image"
pytestmark = pytest.mark.usefixtures("theme")


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


def test_few_names_are_level():
    runs = runs_table(made_up_records(n=2, environments=2))
    figure = runs_figures._draw_every_run(
        runs, ENERGY, "environment", ["env0", "env1"], "architecture"
    )
    assert [label.get_rotation() for label in figure.axes[0].get_xticklabels()] == [0, 0]


@pytest.mark.parametrize("slim", [False, True])
def test_names_in_break_even_figures_do_not_cover_each_other(gpu_alone, slim):
    for name, result in break_evens(gpu_alone).items():
        assert isinstance(result, BreakEven), name
        with narrow_layout() if slim else contextlib.nullcontext():
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
    named = {people_name(name): colour for name, colour in palette.items()}
    assert len(named) == len(palette) == 6
    assert shown == {name: named[name] for name in shown}
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


def test_of_many_epochs_some_have_a_number(gpu_alone, gpu_records):
    long = made_up_gpu_records(2, architectures=["resnet18"], environments=["bf16"], epochs=40)
    figure = runs_figures._draw_learning_curves(epochs_table(long), runs_table(long))
    assert len(figure.axes[0].get_xticks()) < 12
    figure = runs_figures._draw_learning_curves(epochs_table(gpu_records), gpu_alone)
    assert list(figure.axes[0].get_xticks()) == [1, 2]
