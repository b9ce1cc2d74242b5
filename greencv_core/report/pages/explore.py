"""The page Explore: all runs, own and published, as data for a chart in the browser."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd

from greencv_core.published import DATA_SETS, METER_COMPARISONS, load_adapter
from greencv_core.published.evidence_bundle import read_evidence, shipped_evidence
from greencv_core.published.table_format import EVIDENCE_COLUMNS
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.labels import people_name
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.sources import author_and_year
from greencv_core.report.exhibits.tables import show_table
from greencv_core.utils.energy import Provenance
from greencv_core.utils.text import count, listed

MIME = "application/vnd.greencv.explore+json"
"""MIME type of the ids of the drawn runs, in order, for the book; Jupyter shows the HTML."""
MOST_RUNS = 2500
"""Runs drawn of each source; of a larger one, those with the smallest checksums of their ids."""
AXES = (
    "gflops_per_image", "energy_j_per_image", "correctness", "energy_j", "duration_s", "power_w",
    "duration_s_per_image", "images_per_s", "parameters", "epochs", "batch_size",
)  # fmt: skip
"""Columns of numbers that an axis can show."""
TEXTS = {
    "source": "Source",
    "provenance": "Energy is",
    "family": "Architecture family",
    "architecture": "Architecture",
    "environment": "Environment",
    "dataset": "Data set",
    "framework": "Framework",
    "hardware": "Hardware",
    "correctness_name": "Correctness is",
    "left_out": "Remark",
}
"""Columns of texts, with their labels."""
_LABELS = {
    "correctness": "Correctness (0 to 1)",
    "energy_j_per_image": "Energy per image (J)",
    "duration_s_per_image": "Time per image (s)",
    "batch_size": "Batch size",
}
_PREFIX = re.compile(r"^\w+:")
_FAMILY = re.compile(r"[A-Za-z]+")


def published_tables() -> dict[str, pd.DataFrame]:
    """Return the runs tables in the project's bundle of published data, by their sources."""
    names = (*DATA_SETS, *METER_COMPARISONS)
    return {name: read_evidence(shipped_evidence(), name)[0] for name in names}


def gather_runs(own: pd.DataFrame, published: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return own and published runs as one table with the columns of the chart.

    Own runs without energy are left out; ``left_out`` is why a run is disturbed or not counted.
    """
    measured = own[own["energy_j"].notna() & (own["status"] == "finished")]
    tables = [
        measured.assign(
            source=[f"this report: {study}" for study in measured["study"]],
            framework="PyTorch",
            hardware=measured["device_name"],
            correctness=measured["f1_macro"].where(measured["dataset"] != "synthetic"),
            correctness_name="macro F1",
            left_out=measured["disturbed"].map({True: "disturbed", False: ""}),
        ),
        *(
            table.assign(source=_author(name), left_out=table["left_out"].fillna(""))
            for name, table in published.items()
        ),
    ]
    columns = ["run_id", *TEXTS, *AXES]
    runs = pd.concat([table.reindex(columns=columns) for table in tables], ignore_index=True)
    return runs.assign(family=runs["architecture"].map(architecture_family))


def architecture_family(architecture: str) -> str:
    """Return the letters that an architecture's name begins with: ``resnet`` of ``resnet50``."""
    found = _FAMILY.match(_PREFIX.sub("", architecture))
    return found[0].lower() if found else architecture


def draw_sample(runs: pd.DataFrame, most: int = MOST_RUNS) -> pd.DataFrame:
    """Return at most ``most`` runs of each source, chosen by a checksum of their ids."""
    checksums = runs["run_id"].map(lambda run_id: zlib.crc32(run_id.encode()))
    ranks = checksums.groupby(runs["source"]).rank(method="first")
    return runs[ranks <= most]


@dataclass(frozen=True, repr=False)
class Panel:
    """The chart's place in a page."""

    data: str
    """HTML."""
    run_ids: tuple[str, ...]
    """Ids of the drawn runs, in the order of the data."""

    def __repr__(self) -> str:
        return f"Chart of {count(len(self.run_ids), 'run')}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.data, MIME: list(self.run_ids)}


def explore_panel(runs: pd.DataFrame) -> Panel:
    """Return the chart's place in the page, with its data; a script of the book draws it."""
    drawn = draw_sample(runs)
    content = {
        "ids": list(drawn["run_id"]),
        "texts": {name: _levels(drawn[name]) for name in TEXTS},
        "numbers": {name: [_rounded(value) for value in drawn[name]] for name in AXES},
        "labels": TEXTS
        | {name: _LABELS.get(name) or RUNS_COLUMNS[name].heading() for name in AXES},
        "names": {name: _people_names(drawn[name]) for name in ("architecture", "environment")},
        "sampled": sampling_sentence(runs, drawn),
        "limits": {
            name: {"minimum": field.minimum, "maximum": field.maximum, "positive": field.positive}
            for name, field in EVIDENCE_COLUMNS.items()
            if field.kind != "string"
        },
        "provenances": list(get_args(Provenance)),
        "mostRuns": MOST_RUNS,
    }
    data = json.dumps(content, separators=(",", ":"), allow_nan=False)
    # In a script element, only these characters could end it or open a comment.
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    files = '<a href="../../runs.csv" download>runs.csv</a>'
    return Panel(
        f'<div id="gcv-explore" class="gcv-explore {NO_FORMULAS}">'
        "<p>The chart is part of the built report and needs JavaScript. "
        f"The same runs are in {files} and "
        '<a href="../../published.parquet" download>published.parquet</a>.</p>'
        f'<script type="application/json">{data}</script></div>',
        tuple(drawn["run_id"]),
    )


def sampling_sentence(runs: pd.DataFrame, drawn: pd.DataFrame) -> str:
    """State which sources are drawn in part; nothing if all runs are drawn."""
    counts, all_counts = drawn["source"].value_counts(), runs["source"].value_counts()
    parts = [
        f"{counts[source]:,} of the {n:,} runs of {source}"
        for source, n in all_counts.items()
        if counts[source] < n
    ]
    return f"Drawn: {listed(parts)}, chosen by a checksum of their ids." if parts else ""


def sources_table(runs: pd.DataFrame) -> Exhibit:
    """Return one row for each source: runs, architectures, environments, provenance."""
    grouped = runs.groupby("source", sort=False)
    frame = pd.DataFrame(
        {
            "Runs": grouped.size(),
            "Disturbed or left out": grouped["left_out"].agg(lambda reasons: (reasons != "").sum()),
            "Architectures": grouped["architecture"].nunique(),
            "Environments": grouped["environment"].nunique(),
            "Data sets": grouped["dataset"].agg(_names),
            "Energy is": grouped["provenance"].agg(_names),
        }
    )
    caption = "All runs of this page by source; published: read from a publication's files"
    return show_table(frame.rename_axis("Source").reset_index(), caption)


def _author(name: str) -> str:
    return author_and_year(load_adapter(name).CARD)


def _names(values: pd.Series) -> str:
    return ", ".join(sorted(values.dropna().unique()))


def _people_names(ids: pd.Series) -> dict[str, str]:
    """Return the names for people of the ids that have one."""
    names = {one: people_name(one) for one in sorted(ids.dropna().unique())}
    return {one: name for one, name in names.items() if name != one}


def _levels(values: pd.Series) -> dict[str, Sequence[Any]]:
    codes, levels = pd.factorize(values.fillna(""))
    return {"codes": codes.tolist(), "levels": levels.tolist()}


def _rounded(value: Any) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")
