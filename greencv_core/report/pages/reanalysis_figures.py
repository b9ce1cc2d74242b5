"""The page on which published figures come out of the published data."""

from __future__ import annotations

import re

import pandas as pd
from IPython.display import Markdown

from greencv_core.published.seaa2023.claims import claims_summary
from greencv_core.report.exhibits.exhibit import Exhibit, skip_unavailable, table_exhibit
from greencv_core.report.exhibits.labels import heading
from greencv_core.report.exhibits.markdown import paragraph
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.utils.text import count

_FIGURES = {
    "energy_j_per_image": "energy per image (J)",
    "energy_j_per_image_all_runs": "energy per image (J), all runs",
    "energy_per_image": "energy per image (first formula, thousands of J s)",
    "utilization_pct": "GPU utilisation (%)",
    "duration_ms_per_image": "time per image (ms)",
    "f1": "F1",
    "temperature_c": "temperature (\N{DEGREE SIGN}C)",
    "power_w": "mean power (W)",
    "duration_h": "time (h)",
    "n_all_runs": "n, all runs",
    "rq1_energy": "RQ1 energy",
    "rq1_gpu_utilization": "RQ1 GPU utilisation",
    "rq1_f1": "RQ1 F1",
    "rq2_energy": "RQ2 energy",
    "rq2_gpu_utilization": "RQ2 GPU utilisation",
    "kruskal_h": "Kruskal-Wallis H",
    "kruskal_p": "Kruskal-Wallis p",
    "eta_squared": "eta squared",
    "levene_w": "Levene W",
    "levene_p": "Levene p",
    "welch_f": "Welch F",
    "welch_df2": "Welch df 2",
    "welch_p": "Welch p",
    "shapiro_w": "Shapiro-Wilk W",
    "shapiro_p": "Shapiro-Wilk p",
    "dunn_p": "Dunn p (Holm)",
    "dunn_not_significant": "pairs without a significant difference (Dunn)",
    "cliffs_delta": "Cliff's delta",
    "cliffs_magnitude": "size of Cliff's delta",
    "games_howell_t": "Games-Howell t",
    "games_howell_p": "Games-Howell p",
    "games_howell_df": "Games-Howell df",
    "games_howell_p_of_the_others": "Games-Howell p of all other pairs",
    "games_howell_largest_p": "Games-Howell p, largest",
    "f1_share": "F1, relative",
    "energy_mj": "energy (MJ)",
    "energy_mj_whole_watts": "energy (MJ) of whole watts",
    "max_by_trapezoid": "max, its epochs and the integral of power",
    "max_with_the_last_epochs": "max, its formula and the last version's epochs",
    "gco2e_per_kwh": "gCO2e per kWh",
    "energy_kwh": "energy (kWh)",
}


@skip_unavailable
def answer(claims: pd.DataFrame) -> Markdown:
    """Say how many published figures come out, the answer first."""
    printed = claims[claims["source"] == "printed"]
    agree, back = int(claims["agrees"].sum()), int((claims["besides"] != "").sum())
    said = "Yes, all of them." if agree == len(claims) else "Mostly."
    text = (
        f"{said} {agree:,} of {len(claims):,} figures come out to the digits given, among them "
        f"{int(printed['agrees'].sum())} of {len(printed)} that the paper or its package prints. "
        "A number counts as reproduced if ours rounds to the printed digits."
    )
    if unknown := int(claims["recomputed"].isna().sum()):
        text += f" {count(unknown, 'figure')} cannot be computed from the available files."
    if back:
        text += f" {count(back, 'figure')} need a run put back that was removed elsewhere."
    return paragraph(
        text, "So the arithmetic from the logs to the paper is right; what the logs contain is "
        "another question.",
    )  # fmt: skip


@skip_unavailable
def agreement_table(claims: pd.DataFrame) -> Exhibit:
    """Return how many published figures come out, by part."""
    return show_table(
        claims_summary(claims), "Figures that come out to the printed digits, by part of the paper"
    )


@skip_unavailable
def disagreements_table(claims: pd.DataFrame) -> Exhibit | Markdown:
    """Return the published figures that do not come out, or that need a run put back."""
    odd = claims[~claims["agrees"] | (claims["besides"] != "")]
    if odd.empty:
        return paragraph("Every figure comes out with the same runs.")
    return show_table(_beside(odd), "Figures that differ, or that need a run put back")


@skip_unavailable
def all_claims_table(claims: pd.DataFrame) -> Exhibit:
    """Return all figures, each part under a line that opens it."""
    parts = {
        f"{part.capitalize()}: {count(len(some), 'figure')}": _beside(some)
        for part, some in claims.groupby("part", sort=False)
    }
    return table_exhibit(
        f"All {len(claims)} figures, published and recomputed", collapsible_tables(parts),
        to_csv_frame(claims),
    )  # fmt: skip


def _beside(claims: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "figure": [_named(claim) for claim in claims["claim"]],
            "published": [re.sub(r"^(-?)\.", r"\g<1>0.", text) for text in claims["published"]],
            "source": claims["source"].map(heading),
            "recomputed": [
                _like(value, text)
                for value, text in zip(claims["recomputed"], claims["published"], strict=True)
            ],
            "difference": [
                "" if d != d else f"{d:.0e}".replace("-", "\N{MINUS SIGN}")
                for d in claims["difference"]
            ],
            "agrees": claims["agrees"],
            "put_back": [
                ", run ".join(b.rsplit("/", 1)).replace("/", ", ") for b in claims["besides"]
            ],
        }
    ).reset_index(drop=True)


def _named(claim: str) -> str:
    parts = [_FIGURES.get(part, part) for part in claim.split("/")]
    return ", ".join(parts).replace("utilization", "utilisation")


def _like(value: object, text: str) -> str:
    """Return a value with two digits more than its published form has."""
    if not isinstance(value, float):
        return "not known" if value is None else str(value)
    if "e" in text.lower() or text.startswith("<"):
        return f"{value:.4g}"
    return f"{value:.{len(text.partition('.')[2]) + 2}f}"
