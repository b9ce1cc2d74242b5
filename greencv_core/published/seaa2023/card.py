"""Card of the measurements of del Rey et al. (SEAA 2023)."""

from __future__ import annotations

from types import MappingProxyType

from greencv_core.published.card import Card, Defect
from greencv_core.published.seaa2023.runs import COMMIT, DOI, NAME

CARD = Card(
    key=NAME,
    title="Do DL models and training environments have an impact on energy consumption?",
    authors="Santiago del Rey, Silverio Martínez-Fernández, Luís Cruz and Xavier Franch",
    year=2023,
    url=f"https://doi.org/{DOI}",
    repository="https://github.com/GAISSA-UPC/seaa2023_ect",
    commit=COMMIT,
    licence="CC BY 4.0",
    citation="delrey2023",
    laboratory="GAISSA, Universitat Politècnica de Catalunya",
    trained=(
        "Five Keras architectures on 34,010 images of a private data set with two classes "
        "(128 x 128 pixels, batch size 32), fine-tuned for at most 150 epochs with early stopping; "
        "three environments with one GPU each, 12 conditions of 30 to 37 runs, 369 runs in all."
    ),
    measured=(
        "Energy of the GPU board over the whole training, idle power included: power from "
        "nvidia-smi once a second, integrated by the trapezoidal rule."
    ),
    columns=MappingProxyType(
        {
            "energy_j": "energy (MJ), recomputed from the raw logs",
            "images_processed": "total seen images, with the corrected number of epochs",
            "duration_s": "training duration (h)",
            "correctness": "f1-score, of the positive class",
            "gflops_per_image": "GFLOPs (2 x multiply-adds)",
            "device_utilization_pct": "gpu usage (%)",
        }
    ),
    defects=(
        Defect(
            key="whole watts",
            found="The package's parser drops the decimals of each power sample: the mean loss is "
            "0.49 W.",
            rule="The energy is recomputed from the raw log; without a log, the mean loss of the "
            "others is added.",
            effect="corrected",
        ),
        Defect(
            key="epochs",
            found="The package counts the first stage's 10 epochs twice.",
            rule="Epochs are one more than in the package's first version, and at most 150.",
            effect="corrected",
        ),
        Defect(
            key="lost ends",
            found="Some logs lost the end of the training.",
            rule="Where the processor's log covers the lost time, the mean power of the log's last "
            "minute is assumed for it; if the length is unknown, the run has no energy.",
            effect="corrected",
        ),
        Defect(
            key="removed by hand",
            found="The package's notebook removes 18 runs by position, without a stated rule.",
            rule="These runs stay in the table and are left out of the claims, as in the original "
            "analysis.",
            effect="left out",
        ),
    ),
)
