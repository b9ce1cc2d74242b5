"""The choice of what to train with: its bounds, its steps, and the panel that tells it."""

import html.parser
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError, Unavailable, attempt, decide, saving
from greencv_core.analysis.choice.decision import GRID, RUNNERS_UP
from greencv_core.analysis.comparison.best import loss_bounds
from greencv_core.published.seaa2023.reanalysis import CORRECTNESS, load_reanalysis
from greencv_core.report.pages.decision import corrected_runs, decision_panel, decisions_table
from tests.conftest import ROOT
from tests.support.tables import made_up_runs

STATIC = ROOT / "book" / "_static"
HOSTILE = ("</script><script>alert(1)</script>", "$x$", "<!--", '"><img src=x onerror=alert(1)>',
           "<b>&amp;", r"\(y\)", "$&")  # fmt: skip


def runs_of(conditions, provenance="measured"):
    """Return a runs table: name to energies and F1s, or to those and a provenance."""
    rows = []
    for name, (energies, scores, *told) in conditions.items():
        for energy, score in zip(energies, scores, strict=True):
            rows.append(
                {
                    "run_id": str(len(rows)),
                    "architecture": name,
                    "environment": "gpu",
                    "energy_j_per_image": energy,
                    "duration_s_per_image": energy / 100,
                    "power_w": 100.0,
                    "f1_macro": score,
                    "provenance": told[0] if told else provenance,
                }
            )
    return pd.DataFrame(rows)


def two_hundred_losses(decision):
    """Return losses near and at every bound, and on a grid."""
    bounds = [candidate.loss_high for candidate in decision.candidates]
    near = [bound + shift for bound in bounds for shift in (-1e-4, 0, 1e-4)]
    return [loss for loss in (*near, *np.linspace(0, 0.2, 201)) if loss >= 0]


# The bounds of the loss


def test_a_bound_is_that_of_a_sum_done_by_hand():
    a, b = np.array([0.90, 0.92]), np.array([0.80, 0.84])
    # Means differ by 0.09; their variances are 0.0002/2 and 0.0008/2.
    degrees = 0.0005**2 / (0.0001**2 + 0.0004**2)
    by_hand = 0.09 + stats.t.ppf(0.95, degrees) * math.sqrt(0.0005)
    assert loss_bounds([a, b])[1] == pytest.approx(by_hand, rel=1e-12)


def test_bounds_are_the_largest_of_one_sided_welch_intervals():
    rng = np.random.default_rng(5)
    groups = [rng.normal(0.9 - 0.01 * k, 0.005 * (1 + k), 3 + k) for k in range(5)]
    confidence = 1 - 2 * 0.05 / 4  # two-sided, for an upper bound at Bonferroni's level
    for i, bound in enumerate(loss_bounds(groups)):
        highest = max(
            stats.ttest_ind(other, groups[i], equal_var=False).confidence_interval(confidence).high
            for j, other in enumerate(groups)
            if j != i
        )
        assert bound == pytest.approx(max(0.0, highest), rel=1e-9)


def test_groups_without_spread_are_bounded_by_their_difference():
    same, lower = np.array([0.9, 0.9, 0.9]), np.array([0.8, 0.8])
    assert loss_bounds([same, lower]) == pytest.approx([0.0, 0.1])
    assert loss_bounds([same, same]) == pytest.approx([0.0, 0.0])
    with_spread = loss_bounds([same, np.array([0.80, 0.84])])[1]
    assert with_spread == pytest.approx(0.08 + stats.t.ppf(0.95, 1) * 0.02)


def covered(means, deviations, n, studies=2000):
    """Return in which share of studies no group loses more than its bound."""
    rng = np.random.default_rng(11)
    loss = np.max(means) - np.array(means)
    held = 0
    for _ in range(studies):
        groups = [rng.normal(m, d, k) for m, d, k in zip(means, deviations, n, strict=True)]
        held += bool((loss_bounds(groups) >= loss).all())
    return held / studies


@pytest.mark.parametrize(
    ("means", "deviations", "n"),
    [
        ([0.90, 0.90, 0.90, 0.90], [0.01, 0.01, 0.01, 0.01], [3, 3, 3, 3]),
        ([0.90, 0.89, 0.89, 0.85], [0.02, 0.005, 0.01, 0.04], [3, 3, 3, 3]),
        ([0.90, 0.80, 0.80, 0.80], [0.01, 0.01, 0.02, 0.03], [5, 5, 5, 5]),
        ([0.90, 0.80, 0.80, 0.80], [0.001, 0.03, 0.02, 0.01], [4, 8, 5, 3]),
        ([0.90, *[0.899] * 9], [0.01] * 10, [5] * 10),
    ],
)
def test_bounds_hold_for_all_conditions_at_once(means, deviations, n):
    tolerance = 3 * math.sqrt(0.95 * 0.05 / 2000)
    assert covered(means, deviations, n) > 0.95 - tolerance


def test_bounds_are_no_wider_than_they_must_be():
    tolerance = 3 * math.sqrt(0.95 * 0.05 / 2000)
    assert covered([0.9, 0.8], [0.01, 0.01], [8, 8]) == pytest.approx(0.95, abs=tolerance)


# The choice


@pytest.mark.parametrize(("n", "seed"), [(2, 0), (3, 1), (5, 2), (12, 3)])
def test_the_choice_is_the_least_energy_among_those_that_qualify(n, seed):
    decision = decide(made_up_runs(n=n, seed=seed))
    for loss in two_hundred_losses(decision):
        allowed = math.floor(round(GRID * loss, 6))
        fit = [c for c in decision.candidates if round(GRID * c.loss_high) <= allowed]
        chosen = decision.choice(loss)
        assert chosen == (min(fit, key=lambda c: c.energy_j_per_image) if fit else None)
        step = decision.step(loss)
        assert step.admissible == len(fit)
        assert [decision.candidates[k] for k in step.runners_up] == fit[1 : 1 + RUNNERS_UP]


def test_a_loss_equal_to_the_bound_is_enough_and_a_hundredth_of_a_point_less_is_not():
    decision = decide(made_up_runs(n=3))
    step = next(step for step in decision.answers if step.choice is not None and step.saving)
    chosen = decision.candidates[step.choice]
    assert step.from_loss == chosen.loss_high
    assert decision.choice(step.from_loss) == chosen
    assert decision.choice(100 * step.from_loss / 100) == chosen
    assert decision.choice(step.from_loss - 1e-4) != chosen


def test_bounds_are_rounded_up_to_a_hundredth_of_a_point():
    runs = made_up_runs(n=4, seed=8)
    exact = loss_bounds(
        [
            runs[(runs["architecture"] + " @ " + runs["environment"]) == c.name][
                "f1_macro"
            ].to_numpy()
            for c in decide(runs).candidates
        ]
    )
    for candidate, bound in zip(decide(runs).candidates, exact, strict=True):
        assert 0 <= candidate.loss_high - bound < 1 / GRID
        assert (GRID * candidate.loss_high) == pytest.approx(round(GRID * candidate.loss_high))


def test_the_reference_has_the_highest_mean_and_savings_are_against_it():
    runs = made_up_runs(n=5)
    decision = decide(runs)
    reference = decision.candidates[decision.reference]
    means = runs.groupby(["architecture", "environment"])["f1_macro"].mean()
    assert reference.levels == means.idxmax()
    assert reference.saving is None
    for candidate in decision.candidates:
        if candidate is not reference:
            levels = [
                dict(zip(("architecture", "environment"), c.levels, strict=True))
                for c in (reference, candidate)
            ]
            assert candidate.saving == saving(runs, *levels)


def test_a_picked_saving_reaches_further_down_and_says_so():
    energies = {f"net{k}": ([1.0, 1.2, 0.9, 1.1 + k / 100], [0.9] * 4) for k in range(6)}
    decision = decide(runs_of({"best": ([2.0, 2.2, 1.9, 2.1], [0.9001] * 4), **energies}))
    step = decision.step(0.01)
    alone = decision.candidates[step.choice].saving
    assert step.saving.saving == alone.saving
    assert step.saving.ci_low < alone.ci_low
    assert step.saving.picked_from == 6
    assert "the largest of 6 pairs, which the interval allows for" in decision.details(step)


def test_a_choice_has_one_interval_whatever_else_is_admitted_while_it_holds():
    decision = decide(made_up_runs(n=3))
    told, picked_from = {}, {}
    for step in decision.steps:
        if step.saving:
            told.setdefault(step.choice, set()).add((step.saving.ci_low, step.saving.picked_from))
            picked_from[step.choice] = step.admissible - 1  # less the reference; the last one stays
    assert all(len(intervals) == 1 for intervals in told.values())
    assert {choice: next(iter(found))[1] for choice, found in told.items()} == picked_from
    assert len(told) < sum(step.saving is not None for step in decision.steps)


def test_the_interval_of_the_picked_saving_holds_the_truth():
    studies, held = 120, 0
    rng = np.random.default_rng(17)
    for _ in range(studies):
        decision = decide(
            runs_of(
                {
                    "best": (rng.lognormal(math.log(2), 0.05, 5), [0.91] * 5),
                    **{
                        f"net{k}": (rng.lognormal(0, 0.05, 5), rng.normal(0.90, 0.001, 5))
                        for k in range(5)
                    },
                }
            )
        )
        picked = decision.step(0.05).saving
        held += picked.ci_low <= 0.5 <= picked.ci_high
    assert held / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)


def test_equal_conditions_choose_the_cheapest_at_no_loss():
    decision = decide(runs_of({"a": ([2.0, 2.0], [0.9, 0.9]), "b": ([1.0, 1.0], [0.9, 0.9])}))
    assert decision.choice(0.0).name == "b @ gpu"
    assert decision.candidates[decision.reference].name == "b @ gpu"
    told = decision.details(decision.step(0.0))
    assert "shown to lose nothing" in told
    assert "the least energy of the 2 shown to lose so little" in told
    assert "In 2 conditions all runs have the same macro F1" in decision.summary()
    assert "no spread" not in decide(made_up_runs(n=3)).summary()


def test_conditions_alike_in_everything_name_no_saving():
    energies = [1.0, 1.1, 0.9, 1.0]
    decision = decide(
        runs_of({"a": (energies, [0.9, 0.91, 0.9, 0.9]), "b": (energies, [0.91, 0.9, 0.92, 0.91])})
    )
    assert decision.candidates[decision.reference].name == "b @ gpu"
    assert "as much energy as b @ gpu" in decision.details(decision.step(0.1))


def test_where_nothing_qualifies_the_reference_is_named_and_the_least_bound():
    decision = decide(made_up_runs(n=3))
    step = decision.step(0.0)
    assert step.choice is None
    assert step.saving is None
    assert step.runners_up == ()
    assert decision.choice(0.0) is None
    assert decision.headline(step) == "These runs show of no condition that it loses so little."
    least = min(c.loss_high for c in decision.candidates)
    assert f"a loss of at most {100 * least:.2f} points" in decision.details(step)
    reference = decision.candidates[decision.reference].name
    assert f"Failing that, {reference} has the highest mean macro F1" in decision.details(step)


def test_a_choice_that_takes_more_than_the_reference_says_more():
    decision = decide(
        runs_of(
            {
                "wild": ([1.0, 1.1, 0.9, 1.0] * 2, [0.82, 1.0] * 4),
                "calm": ([2.0, 2.1, 1.9, 2.0] * 2, [0.904, 0.905] * 4),
                "wild too": ([3.0, 3.1, 2.9, 3.0] * 2, [0.819, 0.999] * 4),
            }
        )
    )
    assert decision.candidates[decision.reference].name == "wild @ gpu"
    loss = next(c.loss_high for c in decision.candidates if c.name == "calm @ gpu")
    step = decision.step(loss)
    assert decision.headline(step) == "Train calm @ gpu."
    assert "100.0 % more energy than wild @ gpu" in decision.details(step)


def test_energies_of_another_provenance_are_told_apart():
    conditions = {
        "best": ([2.0, 2.1, 1.9], [0.950, 0.951, 0.952], "measured"),
        "less": ([1.0, 1.1, 0.9], [0.940, 0.941, 0.942], "estimated"),
    }
    decision = decide(runs_of(conditions))
    told = decision.details(decision.step(0.1))
    assert "1.00 J per image (estimated)" in told
    assert "The energy of the other is measured" in told
    assert decision.provenance == "estimated"
    shown = decision_panel({"runs": decision}, 0.1).data
    assert "1.00\nestimated" in shown
    assert "2.00\nmeasured" in shown
    assert "(J, measured)" not in shown


def test_a_single_run_takes_no_part_and_is_named():
    runs = runs_of({"a": ([2.0, 2.1], [0.9, 0.91]), "b": ([1.0, 1.1], [0.9, 0.9]),
                    "c": ([0.1], [0.99]), "d": ([0.1, 0.1], [0.99, math.nan])})  # fmt: skip
    decision = decide(runs)
    assert decision.left_out == ("c @ gpu", "d @ gpu")
    assert {c.name for c in decision.candidates} == {"a @ gpu", "b @ gpu"}
    assert "left out: c @ gpu and d @ gpu (fewer than 2 runs" in decision.summary()


def test_runs_without_an_answer_say_what_is_missing():
    one = runs_of({"a": ([1.0, 1.1], [0.9, 0.91])})
    with pytest.raises(NotEnoughDataError, match="at least 2 conditions with at least 2 runs"):
        decide(one)
    made_up = runs_of({"a": ([1, 2], [math.nan] * 2), "b": ([1, 2], [math.nan] * 2)})
    with pytest.raises(NotEnoughDataError, match="no run has both an energy and a macro F1"):
        decide(made_up)
    nothing = runs_of({"a": ([1.0, 2.0], [0.0, 0.0]), "b": ([1.0, 2.0], [0.0, 0.0])})
    with pytest.raises(NotEnoughDataError, match="no condition has a macro F1 above 0"):
        decide(nothing)
    assert not attempt(decide, made_up_runs().iloc[:0])


def test_a_decision_is_json_and_back():
    runs = made_up_runs(n=3)
    runs.loc[runs["architecture"] == "net0", "power_w"] = math.nan
    told = decide(runs).to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [step["from_hundredths"] for step in told["steps"]] == [
        round(GRID * step["from_loss"]) for step in told["steps"]
    ]
    assert {c["power_w"] for c in told["candidates"]} == {None, 10.0}
    places = range(len(told["candidates"]))
    assert all(step["choice"] in places for step in told["steps"] if step["choice"] is not None)


# The panel


class Reader(html.parser.HTMLParser):
    """Takes HTML apart: elements with attributes, texts outside of scripts, scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.scripts, self._inside = [], [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_comment(self, data):
        self.elements.append(("comment", {}))

    def handle_data(self, data):
        (self.scripts if self._inside == "script" else self.words).append(data)

    @property
    def text(self):
        return " ".join(self.words)


def decided(**names):
    return decide(made_up_runs(n=3).replace(names))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_words_in_panel_and_table(name):
    decisions = {name: decided(net4=name), "other": Unavailable(name)}
    panel, table = (
        Reader(decision_panel(decisions).data), Reader(decisions_table(decisions).to_html())
    )  # fmt: skip
    tags = {"div", "p", "script", "fieldset", "legend", "label", "input", "span", "table", "thead",
            "tbody", "tr", "th", "td", "figure", "figcaption", "strong"}  # fmt: skip
    for shown in (panel, table):
        assert {tag for tag, _ in shown.elements} <= tags
        assert not any(a.startswith("on") for _, told in shown.elements for a in told)
        assert name in shown.text
    assert [told for tag, told in panel.elements if tag == "script"] == [
        {"type": "application/json"}
    ]
    assert "tex2jax_ignore mathjax_ignore" in panel.elements[0][1]["class"]
    (script,) = panel.scripts
    assert json.loads(script)["sources"][0]["name"] == name
    assert not set("<>&") & set(script)


def test_without_its_script_the_panel_answers_at_the_margin_and_hides_its_controls():
    decision = decide(made_up_runs(n=3))
    shown = Reader(decision_panel({"ours": decision}, 0.05).data)
    (controls,) = [a for t, a in shown.elements if a.get("class") == "gcv-decision-controls"]
    assert "hidden" in controls
    step = decision.step(0.05)
    assert decision.headline(step) in shown.text
    assert decision.details(step) in shown.text
    assert "at an accepted loss of up to 5 points of F1" in shown.text


def test_the_table_holds_every_choice_without_a_script():
    decision = decide(made_up_runs(n=3))
    exhibit = decisions_table({"ours": decision, "theirs": Unavailable("they are not here")})
    shown = Reader(exhibit.to_html())
    assert "No answer from these runs: they are not here." in shown.text
    rows = re.findall(r"<tr>\s*<td>(.*?)</tr>", exhibit.body.replace("\n", " "))
    assert len(rows) == len(decision.answers)
    for row, step in zip(rows, decision.answers, strict=True):
        assert f"{100 * step.from_loss:.2f}" in row or step.from_loss == 0
        name = "none is shown" if step.choice is None else decision.candidates[step.choice].name
        assert name in row
        if step.saving:
            assert f"{100 * step.saving.saving:.1f}" in row
    taken = pd.read_csv(pd.io.common.BytesIO(exhibit.files["csv"]))
    assert list(taken["accepted_loss_from"]) == [step.from_loss for step in decision.answers]


def test_a_panel_of_unanswered_runs_says_why_and_offers_those_that_answer():
    shown = Reader(decision_panel({"a": Unavailable("nothing here"), "b": decided()}).data)
    radios = [a for _, a in shown.elements if a.get("type") == "radio"]
    assert ["checked" in told for told in radios] == [False, True]
    none = Reader(decision_panel({"a": Unavailable("nothing here")}).data)
    assert "No answer from these runs: nothing here." in none.text
    with pytest.raises(ValueError, match="at least one decision"):
        decision_panel({})


def test_a_margin_beyond_the_slider_extends_it():
    shown = Reader(decision_panel({"a": decided()}, 0.125).data)
    limits = {told["max"] for _, told in shown.elements if "max" in told}
    assert limits == {"12.5"}


# The panel in a browser


@pytest.fixture
def decisions():
    hostile = decided(net4=HOSTILE[0], net3=HOSTILE[3])
    return {"Ours": decide(made_up_runs(n=5)), HOSTILE[0]: hostile, "Theirs": Unavailable("gone")}


@pytest.fixture
def page(browser, decisions, tmp_path):
    """The panel in a page of its own, with what goes wrong in ``page.problems``."""
    style, script = (
        (STATIC / f"decision.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js")
    )
    file = tmp_path / "page.html"
    file.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title><style>{style}</style>"
        f"<body>{decision_panel(decisions).data}<script>{script}</script></body></html>",
        encoding="utf-8",
    )
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.problems = []
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("dialog", lambda dialog: (opened.problems.append("dialog"), dialog.dismiss()))
    opened.on("request", lambda request: opened.problems.append(request.url)
              if not request.url.startswith("file:") else None)  # fmt: skip
    opened.url_of_file = file.as_uri()
    opened.goto(opened.url_of_file)
    yield opened
    assert opened.problems == []
    opened.close()


def told_by(page):
    return page.inner_text("[data-headline]"), page.inner_text("[data-details]")


def test_the_panel_tells_what_the_analysis_chooses(page, decisions):
    for place, decision in enumerate(list(decisions.values())[:2]):
        page.check(f"input[type=radio][value='{place}']")
        for points in (0, 0.8, 0.9, *range(1, 11), 3.7, 4.4, 6.63, 9.95):
            page.fill("input[type=number]", f"{points:g}")
            step = decision.step(points / 100)
            assert told_by(page) == (decision.headline(step), decision.details(step)), points
            assert page.locator("tbody tr").count() == (
                0 if step.choice is None else 1 + len(step.runners_up)
            )
            assert float(page.input_value("input[type=range]")) == pytest.approx(points, abs=0.051)


def test_at_the_bound_of_a_choice_the_panel_has_it(page, decisions):
    for step in decisions["Ours"].steps:
        if step.from_loss <= 0.1:
            page.fill("input[type=number]", f"{100 * step.from_loss:.2f}")
            assert told_by(page)[1] == decisions["Ours"].details(step)


def test_the_slider_is_moved_by_keyboard_and_moves_the_number(page):
    page.focus("input[type=range]")
    page.keyboard.press("ArrowRight")
    assert page.input_value("input[type=number]") == "2.1"
    assert "of up to 2.1 points of F1" in page.inner_text("[data-asked]")
    page.keyboard.press("End")
    assert page.input_value("input[type=number]") == "10"


def test_what_is_no_loss_changes_nothing_and_what_is_too_much_is_the_most(page):
    before = told_by(page)
    page.fill("input[type=number]", "")
    assert told_by(page) == before
    page.fill("input[type=number]", "300")
    page.keyboard.press("Tab")
    assert page.input_value("input[type=number]") == "10"
    page.fill("input[type=number]", "-5")
    page.keyboard.press("Tab")
    assert page.input_value("input[type=number]") == "0"


def test_runs_without_an_answer_show_why_and_no_table(page):
    page.get_by_label("Theirs").check()
    assert page.inner_text("[data-about]") == "No answer from these runs: gone."
    assert not page.locator(".gcv-decision-table").is_visible()
    assert told_by(page) == ("", "")


def test_an_answer_can_be_linked(page, decisions):
    page.get_by_label(HOSTILE[0]).check()
    page.fill("input[type=number]", "7.3")
    page.keyboard.press("Tab")
    kept, told = page.evaluate("location.href"), told_by(page)
    page.goto("about:blank")
    page.goto(kept)
    assert page.input_value("input[type=number]") == "7.3"
    assert page.get_by_label(HOSTILE[0]).is_checked()
    assert told_by(page) == told
    page.goto("about:blank")
    page.goto(f"{page.url_of_file}#loss=x&runs=nobody")
    assert page.input_value("input[type=number]") == "2"


def test_only_a_changed_answer_is_announced(page):
    live = page.locator("[aria-live=polite]")
    assert live.count() == 1
    live.evaluate(
        "node => { window.changes = 0; const count = (all) => { window.changes += all.length };"
        "const parts = { childList: true, subtree: true, characterData: true };"
        "new MutationObserver(count).observe(node, parts) }"
    )
    page.fill("input[type=number]", "2.1")
    page.fill("input[type=number]", "2.2")
    assert page.evaluate("window.changes") == 0
    page.fill("input[type=number]", "9.9")
    assert page.evaluate("window.changes") > 0


def test_print_shows_the_answer_without_the_controls(page):
    assert page.locator(".gcv-decision-controls").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".gcv-decision-controls").is_visible()
    assert page.locator("[data-headline]").is_visible()


def test_a_phone_shows_the_panel_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 400, "height": 800})
    page.add_style_tag(content=(STATIC / "greencv.css").read_text(encoding="utf-8"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


# The published runs


def test_time_and_power_of_the_corrected_runs_make_their_energy():
    reanalysis = attempt(load_reanalysis)
    if isinstance(reanalysis, Unavailable):
        pytest.skip(reanalysis.reason)
    runs = corrected_runs(reanalysis)
    product = runs["power_w"] * runs["duration_s_per_image"]
    # Published power is cut to whole watts, of some 28 W at least.
    assert (product / runs["energy_j_per_image"]).between(0.95, 1.02).all()
    decision = decide(runs, CORRECTNESS)
    assert decision.provenance == "published"
    assert decision.candidates[decision.reference].name == "vgg16 @ Cloud"
