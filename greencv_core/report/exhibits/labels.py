"""What axes and column headings say: the quantity, its unit and, for energy, its provenance."""

from __future__ import annotations

import re
from functools import lru_cache

import pandas as pd

from greencv_core.analysis.selection import weakest_provenance
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.utils.energy import COMPONENTS
from greencv_core.utils.text import as_opening, prefix

_HEADINGS = {
    "f1_loss": "Loss of macro F1",
    "n": "n",
    "p": "p",
    "ci_low": "95% low",
    "ci_high": "95% high",
    "dunn_p_holm": "p (Dunn, Holm)",
    "p_holm": "p (Holm)",
    "aligned_f": "F (aligned ranks)",
    "aligned_p": "p (aligned ranks)",
    "added_p": "p of the term added",
    "lack_of_fit_f": "F of what is left",
    "lack_of_fit_p": "p of what is left",
    "front_probability": "On the front in resamples",
    "games_howell_p": "p (Games-Howell)",
    "t_p_holm": "p (t test, Holm)",
    "cliffs_delta": "Cliff's delta",
    "hodges_lehmann_shift": "Shift (Hodges-Lehmann)",
    "shapiro_w": "Shapiro-Wilk W",
    "shapiro_p": "Shapiro-Wilk p",
    "sum_sq": "Sum of squares",
    "sd": "SD",
    "sd_between": "SD of logarithms between sessions",
    "sd_within": "SD of logarithms within sessions",
    "icc": "Intraclass correlation",
    "df": "df",
    "a": "First",
    "b": "Second",
    "cpu": "CPU",
    "cpus": "CPUs",
    "memory_gib": "Memory (GiB)",
    "uncertainty_j": "Standard uncertainty (J)",
    "relative_uncertainty": "Relative",
    "interval_low_j": "95% low (J)",
    "interval_high_j": "95% high (J)",
    "resolution_s": "Refreshed every (s)",
    "second_to_first": "Second / first, median",
    "lowest_ratio": "Lowest",
    "highest_ratio": "Highest",
    "explained_share": "Explained by the components, median",
    "lowest_share": "Lowest",
    "highest_share": "Highest",
    "agreement": "Runs in which they agree",
    "temperature_c": "Highest temperature (\N{DEGREE SIGN}C)",
    "utilization_pct": "Utilisation (%)",
    "sm_clock_mhz": "SM clock (MHz)",
    "memory_clock_mhz": "Memory clock (MHz)",
    "memory_used_gib": "Memory used (GiB)",
    "slowed_by": "Clocks held back by",
    "start_s": "Start (s)",
    "end_s": "End (s)",
    "on_front": "On the front",
    "epoch_s": "Epoch (s)",
    "published_begin": "Second stage begins after, published count",
    "corrected_begin": "Second stage begins after, corrected count",
    "published_off": "Published count less the log's, median",
    "published_matching": "Published count is the log's",
    "corrected_off": "Corrected count less the log's, median",
    "corrected_matching": "Corrected count is the log's",
    "loss_w": "Loss (W)",
    "loss": "Loss, median",
    "largest_difference": "Ours less the published energy, relative, at most",
    "lost_ends": "Without their end",
    "missing_s": "Missing (s), median",
    "most_missing_s": "Missing (s), at most",
    "missing_energy": "Energy missing, median",
    "most_missing_energy": "Energy missing, at most",
    "low_power_w": "First line (W)",
    "before_power_w": "Before work (W)",
    "after_power_w": "After work (W)",
    "low_power_share": "Share of energy, first line",
    "before_power_share": "Share, before work",
    "after_power_share": "Share, after work",
    "sign": "What sets the log apart",
    "memory_used_mib": "Memory, least (MiB)",
    "shared_memory_mib": "Memory, shared (MiB)",
    "shared_share": "Shared, of its time",
    "against_median": "Energy against the condition's median",
    "printed": "In print",
    "in_figure": "In a figure",
    "from_data": "From the data",
    "corrected_less_log": "Corrected count less the log's",
    "f1_q1": "F1, lower quartile",
    "f1_q3": "F1, upper quartile",
    "energy_variation": "Coefficient of variation of energy per image",
    "removed_by_hand": "Runs removed by hand",
    "removed_by_rule": "Runs removed by the rule",
    "with_a_run_put_back": "of these, with a run put back",
    "put_back": "Run put back",
    "abstract": "Largest saving in the abstract",
    "public_runs": "Public runs",
    "pairs_differing": "Significant pairs (Dunn)",
}

_NAMES = {
    r"alexnet": "AlexNet",
    r"convnext_(tiny|small|base|large)": "ConvNeXt {0}",
    r"densenet(\d+)": "DenseNet-{0}",
    r"efficientnet_(b\d)": "EfficientNet-{0}",
    r"efficientnet_v2_([sml])": "EfficientNetV2-{0}",
    r"googlenet": "GoogLeNet",
    r"inception_resnet_v2": "Inception-ResNet V2",
    r"inception_v3": "Inception V3",
    r"maxvit_t": "MaxViT-T",
    r"mnasnet(\d)_(\d+)": "MnasNet {0}.{1}",
    r"mobilenet_v2": "MobileNetV2",
    r"mobilenet_v3_(small|large)": "MobileNetV3 {0}",
    r"nasnet_?(mobile|large)": "NASNet {0}",
    r"quicknet": "QuickNet",
    r"quicknet_(small|large)": "QuickNet {0}",
    r"regnet_([xy])_(\d+)mf": "RegNet{0}-{1}MF",
    r"regnet_([xy])_(\d+)gf": "RegNet{0}-{1}GF",
    r"regnet_([xy])_(\d)_(\d)gf": "RegNet{0}-{1}.{2}GF",
    r"resnet(\d+)": "ResNet-{0}",
    r"resnext(\d+)_(\d+)x(\d+)d": "ResNeXt-{0} {1}x{2}d",
    r"shufflenet_v2": "ShuffleNet V2",
    r"shufflenet_v2_x(\d)_(\d)": "ShuffleNet V2 {0}.{1}x",
    r"squeezenet1_(\d)": "SqueezeNet 1.{0}",
    r"swin_([tsb])": "Swin-{0}",
    r"swin_v2_([tsb])": "Swin V2-{0}",
    r"vgg(\d+)": "VGG{0}",
    r"vgg(\d+)_bn": "VGG{0} BN",
    r"vit_([blh])_(\d+)": "ViT-{0}/{1}",
    r"wide_resnet(\d+)_(\d)": "Wide ResNet-{0}-{1}",
    r"xception": "Xception",
    r"cpu-1-thread": "one thread",
    r"cpu-all-threads": "all threads",
    r"cuda-(fp32|bf16|fp16)": "GPU {0:upper}",
    r"mps-(fp32|bf16|fp16)": "Apple GPU {0:upper}",
    r"(fp32|tf32|bf16|fp16)": "{0:upper}",
    r"(fp32|tf32|bf16|fp16)-batch-(\d+)": "{0:upper} batch {1}",
    r"(fp32|tf32|bf16|fp16)-compiled": "{0:upper} compiled",
}
"""Names of architectures and environments for people, by the pattern of the id in studies."""
_LIBRARIES = {"paper": " (Keras)", "timm": " (timm)", "torchvision": ""}
_ID = re.compile(r"(?<![\w:/.\-])[a-z][\w:\-]*\w(?![/=]|\.\w)")
_AT = re.compile(r"(?<=\S) @ (?!\d[\d.]*\s?[GM]Hz)")
_OF_THE_ORIGINAL = ("Cloud", "Local ML", "Local N")  # environments of the original study
_IN_ENVIRONMENT = re.compile(
    _AT.pattern + rf"({'|'.join(_OF_THE_ORIGINAL)}|[a-z][\w\-]*\w)(?![\w/=]|\.\w)"
)


class _Part(str):
    """A part of an id, written with a capital first letter or, if asked, all in capitals."""

    def __format__(self, spec: str) -> str:
        return self.upper() if spec == "upper" else as_opening(self)


@lru_cache(maxsize=4096)
def people_name(machine_id: str) -> str:
    """Return the name for people of an architecture, an environment or a condition.

    ``shufflenet_v2_x1_0`` is ShuffleNet V2 1.0x, ``shufflenet_v2_x1_0 @ cpu-all-threads`` is
    ShuffleNet V2 1.0x, all threads. An id of another form is returned as it is. Records, files,
    studies and command lines keep the ids.
    """
    ids = _AT.split(machine_id)
    if len(ids) > 1:
        return ", ".join(map(people_name, ids))
    library, colon, plain = machine_id.rpartition(":")
    if colon and library not in _LIBRARIES:
        return machine_id
    for pattern, name in _NAMES.items():
        if found := re.fullmatch(pattern, plain):
            return name.format(*map(_Part, found.groups())) + _LIBRARIES.get(library, "")
    return machine_id


def with_names(text: str) -> str:
    """Return a sentence with the names for people in place of the ids of conditions.

    In a sentence, an environment that has a name is in brackets: ResNet-18 (all threads).
    """

    def name(found: re.Match[str]) -> str:
        named, before = people_name(found[0]), text[: found.start()]
        opens = named != found[0] and (not before or before.endswith(". "))
        return as_opening(named) if opens else named

    def in_brackets(found: re.Match[str]) -> str:
        named = people_name(found[1])
        known = named != found[1] or named in _OF_THE_ORIGINAL
        return f" ({named})" if known else found[0]

    if _IN_ENVIRONMENT.search(text) and not re.search(r"\s", _IN_ENVIRONMENT.sub("", text)):
        return people_name(text)  # a label, not a sentence
    return _AT.sub(", ", _ID.sub(name, _IN_ENVIRONMENT.sub(in_brackets, text)))


def heading(column: str, provenance: str | None = None, of: str = "", sign: str = "") -> str:
    """Return a column's heading; energy carries its provenance: Energy (J, estimated).

    With ``of``, it is the energy of one component: GPU energy (J, measured). With the prefix of a
    unit as ``sign``, that of values in this unit: Energy (mJ, estimated).
    """
    if known := RUNS_COLUMNS.get(column):
        text = known.heading(of)
        if sign:
            text = text.replace("GFLOPs", "MFLOPs").replace(
                f"({known.unit})", f"({sign}{known.unit})"
            )
        return text.replace(")", f", {provenance})") if provenance and known.provenance else text
    if " " in column:  # a heading already
        return column
    return _HEADINGS.get(column, column.replace("_", " ").capitalize())


def axis_label(runs: pd.DataFrame, column: str) -> str:
    """Return the label of an axis that shows ``column`` of these runs.

    The energy of one component has that component's provenance, not the sum's.
    """
    known = RUNS_COLUMNS.get(column)
    provenance = weakest_provenance(runs, known.provenance) if known and known.provenance else None
    return heading(column, provenance, single_component(runs), display_unit(runs, column)[1])


def single_component(runs: pd.DataFrame) -> str:
    """Return the component whose energy these runs count, where it is one alone: GPU."""
    counted = set(runs["components"].dropna()) if "components" in runs else set()
    return counted.pop().upper() if len(counted) == 1 and counted <= set(COMPONENTS) else ""


def lower_first(text: str) -> str:
    """Return a label in lower case, for use within a sentence."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def display_unit(frame: pd.DataFrame, column: str) -> tuple[float, str]:
    """Return the factor and the prefix of the unit in which a column of these runs is shown.

    It is the unit in the column's name unless the smallest value would begin with 0.0.
    """
    known = RUNS_COLUMNS.get(column)
    if column not in frame or known is None or not (known.unit or column == "gflops_per_image"):
        return 1.0, ""
    if known.unit not in ("J", "s", "gCO2e", ""):
        return 1.0, ""
    values = pd.to_numeric(frame[column], errors="coerce")
    return prefix(float(values[values > 0].min()))


def in_display_unit(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return a column's values in the unit of :func:`display_unit`."""
    return frame[column] * display_unit(frame, column)[0]


def order_by_complexity(runs: pd.DataFrame) -> list[str]:
    """Return the architectures from the fewest GFLOPs to the most."""
    gflops = runs.groupby("architecture", observed=True)["gflops_per_image"].median()
    return list(gflops.sort_values().index)
