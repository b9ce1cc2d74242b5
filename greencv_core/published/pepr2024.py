"""The measurements of PePR (Selvan et al., 2024) as our runs table.

131 networks of the timm library, each trained once for ten epochs on eight medical data sets, some
of which are parts of others. Only two of them have energies that can be trusted: see :data:`CARD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from greencv_core.published import load_manifest
from greencv_core.published.card import Card, Defect
from greencv_core.published.tables import complete_table, read_content
from greencv_core.utils.downloads import Release
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.errors import BadInputError

NAME = "pepr2024"
COMMIT = "ce087aa"
RESULTS = "data/all_results.csv"
NEEDED = (RESULTS,)
EPOCHS = 10
MOST_POWER_W = 700.0
"""Above this, energy and time do not belong together: a GPU of 350 W, two CPUs and a PUE."""
IMPLAUSIBLE, REPEATED, UNRELIABLE = "implausible power", "repeated energy", "unreliable data set"
IMAGES_PER_EPOCH = {"derma": 7_007 + 62 * 32, "lidc": 9_057 + 94 * 32}
"""Images of training and test in an epoch: DermaMNIST's training images and 60% of LIDC's 15,096,
and the whole batches of test images, of which every score is a whole number."""
_NUMBERS = ("num_param", "energy", "train_time", "test_09")

RELEASE = Release(
    name=NAME,
    base_url=f"https://raw.githubusercontent.com/saintslab/PePR/{COMMIT}",
    hashes=load_manifest(NAME),
    url_path=lambda path: path,
    other_layouts=(lambda path: path.replace("data/", "pepr/"),),
)

CARD = Card(
    key=NAME,
    title="PePR: Performance per resource unit as a metric to promote small-scale deep learning in "
    "medical image analysis",
    authors="Raghavendra Selvan, Bob Pepin, Christian Igel, Gabrielle Samuel and Erik B Dam",
    year=2024,
    url="https://arxiv.org/abs/2403.12562",
    repository="https://github.com/saintslab/PePR",
    commit=COMMIT,
    licence="MIT",
    citation="selvan2024",
    laboratory="SAINTS Lab, University of Copenhagen",
    trained=(
        "131 networks of the timm library in PyTorch (batch size 32), once each for ten epochs on "
        "eight medical data sets, some of which are parts of others: 1,048 runs. Two data sets "
        "count: derma (seven classes of skin lesions) and lidc (lung nodules or not), 262 runs."
    ),
    measured=(
        "Energy of one GPU of 24 GB and the CPU over all ten epochs, tests and idle power "
        "included, by carbontracker."
    ),
    columns=MappingProxyType(
        {
            "energy_j": "energy (kWh)",
            "duration_s": "10 x train_time, which is the time of the last epoch",
            "images_processed": "derma: 10 x (7,007 training and 1,984 test images); lidc: 10 x "
            "(9,057 and 3,008)",
            "correctness": "test_09, the accuracy after the last epoch",
            "parameters": "num_param, of the network with 1,000 classes",
        }
    ),
    defects=(
        Defect(
            key=IMPLAUSIBLE,
            found="In five data sets, 306 energies are copies with a much shorter time: a mean "
            "power of 861 W to 15.6 kW. It is 520 to 600 W in derma, derma_pt and lidc.",
            rule="Runs whose energy over ten times train_time is above 700 W are left out.",
            effect="left out",
        ),
        Defect(
            key=REPEATED,
            found="28 energies occur bit for bit in both derma and derma_pt, and 6 in derma_pt and "
            "lidc with the same times and scores.",
            rule="Of the remaining runs of a network with equal energies, those of the data set "
            "with most such energies are left out.",
            effect="left out",
        ),
        Defect(
            key=UNRELIABLE,
            found="The other energies of these six data sets may be wrong, too.",
            rule="A data set with a run that a rule above leaves out is left out as a whole.",
            effect="left out",
        ),
    ),
    limits=(
        "Each condition has one run, so nothing is known of the spread between runs.",
        "The energy presumably includes carbontracker's assumed overhead of a data centre (about "
        "1.6 times). The files do not allow to remove it; ratios of architectures do not change.",
        "The numbers of training images follow from the usual split of both data sets, and the "
        "duration from the last epoch. The files state neither.",
    ),
)


def published_runs(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the runs table, one row a training; see :data:`CARD` for the rows left out.

    Raises
    ------
    BadInputError
        The file cannot be read.
    """
    problems: list[str] = []
    table = read_content(NAME, RESULTS, lambda: _read(files[RESULTS]), problems)
    if table is None:
        raise BadInputError("\n".join(problems))
    dataset = table["dataset"]
    runs = pd.DataFrame(
        {
            "run": dataset + "/" + table["model"],
            "architecture": table["model"],
            "environment": "GPU of 24 GB",
            "dataset": dataset,
            "framework": "PyTorch",
            "hardware": "1x GPU of 24 GB and the CPU",
            "device": "cuda",
            "batch_size": 32,
            "repetition": 0,
            "epochs": EPOCHS,
            "images_processed": EPOCHS * dataset.map(IMAGES_PER_EPOCH).astype("Int64"),
            "duration_s": EPOCHS * table["train_time"],
            "energy_j": J_PER_KWH * table["energy"],
            "components": "gpu+cpu",
            "parameters": table["num_param"],
            "correctness": table["test_09"],
            "correctness_name": "accuracy",
            "accuracy": table["test_09"],
        }
    )
    return complete_table(runs.assign(left_out=_reasons(runs)), NAME)


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    absent = {"model", "dataset", *_NUMBERS} - set(table.columns)
    if absent:
        raise ValueError(f"it has no column {', '.join(sorted(absent))}")
    return table.astype(dict.fromkeys(_NUMBERS, float))


def _reasons(runs: pd.DataFrame) -> pd.Series:
    """Return why each run is left out; empty for those that count."""
    reasons = pd.Series("", index=runs.index)
    reasons[runs["energy_j"] / runs["duration_s"] > MOST_POWER_W] = IMPLAUSIBLE
    plausible = runs[reasons == ""]
    repeated = plausible[plausible.duplicated(["architecture", "energy_j"], keep=False)]
    most = repeated["dataset"].map(repeated["dataset"].value_counts())
    largest = most.groupby([repeated["architecture"], repeated["energy_j"]]).transform("max")
    reasons[most.index[most == largest]] = REPEATED
    unreliable = runs["dataset"].isin(runs.loc[reasons != "", "dataset"])
    return reasons.mask(unreliable & (reasons == ""), UNRELIABLE)
