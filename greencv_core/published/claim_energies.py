"""A claim about energy, asked gross and net of the idle power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from greencv_core.published.claim_answers import ENERGY, Answer, Choice

_IDLE = {
    "idle_power_w": "Net of the idle power",
    "low_power_w": "Net of the low-power state",
}


def ask_gross_and_net(
    ask: Callable[[pd.DataFrame], Answer], runs: pd.DataFrame, worst: Choice
) -> Answer:
    """Ask gross, and net of each idle power that is known; in part where the answers differ.

    What the hardware would take without a training is no merit of the training, and which idle
    power that is can be argued, so that all answers count alike. The figure is the one that
    supports the claim least.
    """
    gross = ask(runs)
    answers = {"Gross": gross}
    if gross.standing != "cannot be tested":
        of = len(runs.dropna(subset=[ENERGY]))
        for name, net in net_energies(runs).items():
            answer = ask(net)
            if answer.standing != "cannot be tested":
                some = f" ({len(net)} of {of} runs)" if len(net) < of else ""
                answers[f"{name}{some}"] = answer
    if len(answers) == 1:
        return gross
    standings = {answer.standing for answer in answers.values()}
    here = "\n".join(f"{name}: {answer.here}" for name, answer in answers.items())
    weakest = min if worst is min else max
    figures = [answer for answer in answers.values() if answer.figure is not None]
    least = weakest(figures, key=lambda answer: answer.figure or 0.0) if figures else gross
    each = " ".join(f"{n}: {a.verdict[:1].lower()}{a.verdict[1:]}" for n, a in answers.items())
    if len(standings) == 1:
        alike = len({answer.verdict for answer in answers.values()}) == 1
        verdict = f"{gross.verdict} Gross and net." if alike else each
        return replace(least, standing=gross.standing, verdict=verdict, here=here, n=gross.n)
    if standings & {"holds", "holds in part"}:
        verdict = f"Holds in part. {each}"
        return replace(least, standing="holds in part", verdict=verdict, here=here, n=gross.n)
    verdict = f"Not shown. {each}"
    return replace(least, standing="not shown", verdict=verdict, here=here, n=gross.n)


def net_energies(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the runs with each net energy per image that they allow, by its name.

    Without those that take no more than idling: they have no net energy to compare.
    """
    found = {}
    for name, net_j in known_net(runs).items():
        share = net_j.astype(float) / runs["energy_j"]
        net = runs.assign(**{ENERGY: runs[ENERGY] * share})[share > 0]
        if len(net):
            found[name] = net
    return found


def known_net(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """Return each net energy of whole runs (J) that is known of some of them, by its name."""
    if "net_energy_j" in runs and runs["net_energy_j"].notna().any():
        return {"Net of the idle power": runs["net_energy_j"]}
    if not {"energy_j", "duration_s"} <= set(runs):
        return {}
    return {
        name: runs["energy_j"] - runs[column] * runs["duration_s"]
        for column, name in _IDLE.items()
        if column in runs and runs[column].notna().any()
    }
