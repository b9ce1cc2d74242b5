"""The decision panel: the cheapest condition for the loss of F1 that a reader accepts.

The page holds every answer; ``book/_static/decision.js`` looks up the one for an accepted loss.
Without scripts the panel shows the answer for its initial loss, and :func:`decisions_table` all.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from IPython.display import HTML

from greencv_core.analysis import Decision, Saving, Unavailable
from greencv_core.analysis.choice.decision import ENERGY, Step
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.published.seaa2023.reanalysis import Reanalysis
from greencv_core.published.seaa2023.runs import IMAGES_PER_EPOCH
from greencv_core.report.exhibits.exhibit import Exhibit, table_exhibit
from greencv_core.report.exhibits.labels import heading, with_names
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.tables import table_html, to_csv_frame, with_interval
from greencv_core.utils.text import F1_DECIMALS, number, percent, prefix, quantity

Answer = Decision | Unavailable

_ABSENT = "\N{EN DASH}"
_TIME = "duration_s_per_image"


def decision_panel(decisions: Mapping[str, Answer], accepted_loss: float = DEFAULT_MARGIN) -> HTML:
    """Return the panel in which a reader sets an accepted loss and sees what to train with.

    The decisions are keyed by a name of their runs; a reader switches between them.
    """
    if not decisions:
        raise ValueError("a panel needs at least one decision")
    start = round(100 * accepted_loss, 2)
    names = list(decisions)
    first = next((place for place, name in enumerate(names) if decisions[name]), 0)
    sources = [_source(name, answer) for name, answer in decisions.items()]
    most = max(10.0, start)
    shown, answer = sources[first], decisions[names[first]]
    step: dict[str, Any] = {"headline": "", "details": "", "rows": []}
    if isinstance(answer, Decision):
        step = shown["steps"][answer.steps.index(answer.step(accepted_loss))]
    before, after = shown["asked"]
    return HTML(
        f'<div class="gcv-decision {NO_FORMULAS}">'
        f'<script type="application/json">{_for_a_script({"sources": sources})}</script>'
        f"{_controls(names, first, start, most)}"
        # Outside the live region: screen readers announce changed answers, not every loss.
        f"<p data-asked>{html.escape(f'{before}{start:g}{after}')}</p>"
        '<div class="gcv-decision-answer" aria-live="polite" aria-atomic="true">'
        f"<p data-headline>{html.escape(step['headline'])}</p>"
        f"<p data-details>{html.escape(step['details'])}</p>"
        f"<p data-about>{html.escape(shown['about'])}</p></div>"
        f"{_table(shown['heads'], step['rows'])}</div>"
    )


def decisions_table(decisions: Mapping[str, Answer]) -> Exhibit:
    """Return every answer: the choice for each accepted loss, for all runs."""
    parts, data = [], []
    for name, answer in decisions.items():
        if isinstance(answer, Unavailable):
            parts.append(_paragraph(name, answer.sentence()))
            continue
        reference = answer.candidates[answer.reference]
        against = (
            f"Savings are against {reference.name}, which has the highest mean "
            f"{quantity(answer.correctness)}, {reference.correctness:.{F1_DECIMALS}f}."
        )
        parts.append(_paragraph(name, f"{answer.summary()} {against}"))
        parts.append(table_html(_answers(answer)))
        data.append(_answers_data(name, answer))
    frame = pd.concat(data, ignore_index=True) if data else pd.DataFrame({"runs": []})
    caption = (
        "What to train with, by the loss of F1 that you accept; geometric mean of energy, 95% "
        "intervals"
    )
    exhibit = table_exhibit(caption, "".join(parts), to_csv_frame(frame))
    return replace(exhibit, notes=("n = runs of the configuration",))


def corrected_runs(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return ``reanalysis.corrected()``, its time per image also corrected for the epochs."""
    runs = reanalysis.corrected()
    images = IMAGES_PER_EPOCH * runs["epochs_true"]
    return runs.assign(duration_s_per_image=(runs["duration_s"] + runs["missing_s"]) / images)


def _source(name: str, answer: Answer) -> dict[str, Any]:
    source: dict[str, Any] = {
        "name": name,
        "asked": [f"{name}: at an accepted loss of up to ", " points of F1"],
        "about": with_names(
            answer.sentence() if isinstance(answer, Unavailable) else answer.summary()
        ),
        "heads": [],
        "steps": [],
    }
    if isinstance(answer, Unavailable):
        return source
    plain = answer.to_json()
    for step, plain_step in zip(answer.steps, plain["steps"], strict=True):
        for text in ("headline", "details"):
            plain_step[text] = with_names(plain_step[text])
        plain_step["rows"] = [
            list(map(with_names, cells.values())) for cells in _choice_and_runners_up(answer, step)
        ]
    return {
        **source,
        **plain,
        "about": source["about"],
        "heads": list(_cells(answer, answer.reference, None)),
    }


def _controls(names: Sequence[str], first: int, start: float, most: float) -> str:
    sources = "".join(
        f'<label><input type="radio" name="gcv-decision-source" value="{place}"'
        f"{' checked' if place == first else ''}> <span>{html.escape(name)}</span></label>"
        for place, name in enumerate(names)
    )
    limits = f'min="0" max="{most:g}" step="0.1" value="{start:g}"'
    # Hidden until the script runs.
    return (
        '<div class="gcv-decision-controls" hidden>'
        f"<fieldset><legend>Which runs</legend>{sources}</fieldset>"
        "<fieldset><legend>Loss of F1 that I accept</legend>"
        f'<label><span>In points of F1</span> <input type="number" {limits}></label>'
        f'<label><span>The same, by slider</span> <input type="range" {limits}></label>'
        "</fieldset></div>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return (
        f'<div class="gcv-decision-table"{"" if rows else " hidden"}>'
        "<p>The recommended configuration and the next ones that qualify, by energy. Energy is a "
        "geometric mean; time and power are medians. The interval for the recommended "
        "configuration is corrected for selection; the other rows' are not.</p>"
        '<div class="gcv-table" tabindex="0" role="region" aria-label="Choice and runners-up">'
        f"{table_html(pd.DataFrame(rows, columns=heads))}</div></div>"
    )


def _choice_and_runners_up(decision: Decision, step: Step) -> list[dict[str, str]]:
    if step.choice is None:
        return []
    others = [
        _cells(decision, place, decision.candidates[place].saving) for place in step.runners_up
    ]
    return [_cells(decision, step.choice, step.saving), *others]


def _cells(decision: Decision, place: int, saving: Saving | None) -> dict[str, str]:
    candidate = decision.candidates[place]
    of_each = "" if _alike(decision) else f"\n{candidate.provenance}"
    return {
        "Configuration": candidate.name,
        _heading(decision, ENERGY): _scaled(decision, ENERGY, candidate.energy_j_per_image)
        + of_each,
        "Saving (95%)": "reference" if place == decision.reference else _saving(saving),
        f"Mean {quantity(decision.correctness)}": f"{candidate.correctness:.{F1_DECIMALS}f}",
        "Loses at most (points)": f"{100 * candidate.loss_high:.2f}",
        _heading(decision, _TIME): _scaled(decision, _TIME, candidate.duration_s_per_image),
        _heading(decision, "power_w"): _number(candidate.power_w) + of_each,
        "n": f"{candidate.n}",
    }


def _heading(decision: Decision, column: str) -> str:
    provenance = decision.provenance if _alike(decision) else None
    return heading(column, provenance, sign=_unit(decision, column)[1])


def _unit(decision: Decision, column: str) -> tuple[float, str]:
    """Return factor and prefix of the unit of a column of the candidates."""
    if column not in (ENERGY, _TIME):
        return 1.0, ""
    return prefix(min(getattr(candidate, column) for candidate in decision.candidates))


def _scaled(decision: Decision, column: str, value: float) -> str:
    return _number(_unit(decision, column)[0] * value)


def _alike(decision: Decision) -> bool:
    """Return whether all energies have one provenance, which the heading then states."""
    return len({candidate.provenance for candidate in decision.candidates}) == 1


def _answers(decision: Decision) -> pd.DataFrame:
    rows = []
    for step, following in zip(decision.answers, (*decision.answers[1:], None), strict=True):
        loss = {"Accepted loss (points)": _range(step, following)}
        none = {"Configuration": "none can be recommended"}
        rows.append(loss | next(iter(_choice_and_runners_up(decision, step)), none))
    # Time and power are in the panel: the table is to fit on a page.
    hidden = {_heading(decision, column) for column in (_TIME, "power_w")}
    cells = _cells(decision, decision.reference, None)
    shown = [*loss, *(column for column in cells if column not in hidden)]
    return pd.DataFrame(rows, columns=shown).fillna("")


def _answers_data(name: str, decision: Decision) -> pd.DataFrame:
    rows = []
    for step in decision.answers:
        chosen = None if step.choice is None else decision.candidates[step.choice]
        saved = step.saving
        rows.append(
            {
                "runs": name,
                "accepted_loss_from": step.from_loss,
                "choice": chosen and chosen.name,
                "energy_j_per_image": chosen and chosen.energy_j_per_image,
                "provenance": chosen and chosen.provenance,
                "saving": saved and saved.saving,
                "ci_low": saved and saved.ci_low,
                "ci_high": saved and saved.ci_high,
                "saved_against": decision.candidates[decision.reference].name,
                f"mean_{decision.correctness}": chosen and chosen.correctness,
                "loss_high": chosen and chosen.loss_high,
                "n": chosen and chosen.n,
            }
        )
    return pd.DataFrame(rows)


def _range(step: Step, following: Step | None) -> str:
    start = f"{100 * step.from_loss:.2f}"
    if following is None:
        return f"{start} or more"
    end = f"below {100 * following.from_loss:.2f}"
    return end if step.from_loss == 0 else f"{start} to {end}"


def _saving(result: Saving | None) -> str:
    if result is None:
        return _ABSENT
    cell = with_interval(percent, result.saving, result.ci_low, result.ci_high)
    return cell.partition("\n")[0] if result.ci_low == result.ci_high else cell


def _number(value: float) -> str:
    return number(value) if math.isfinite(value) else _ABSENT


def _paragraph(title: str, text: str) -> str:
    text = html.escape(with_names(text))
    return f'<p class="{NO_FORMULAS}"><strong>{html.escape(title)}</strong>: {text}</p>'


def _for_a_script(data: Mapping[str, Any]) -> str:
    """Return JSON that nothing in it can end or comment out, within a script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
