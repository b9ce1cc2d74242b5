"""Data-quality findings in the published measurements: tables and sentences."""

from greencv_core.published.seaa2023.evidence.epochs import (
    begins_evidence,
    counted_epochs,
    epochs_evidence,
    epochs_sentence,
    odd_counts,
    odd_counts_sentence,
)
from greencv_core.published.seaa2023.evidence.idle import (
    idle_evidence,
    idle_sentence,
)
from greencv_core.published.seaa2023.evidence.logs import (
    lost_ends_evidence,
    lost_ends_sentence,
    shared_evidence,
    shared_sentence,
    truncation_evidence,
    truncation_sentence,
)
from greencv_core.published.seaa2023.evidence.repetitions import (
    removals_evidence,
    removals_sentence,
    repetitions_evidence,
    repetitions_sentence,
)

__all__ = [
    "begins_evidence",
    "counted_epochs",
    "epochs_evidence",
    "epochs_sentence",
    "idle_evidence",
    "idle_sentence",
    "lost_ends_evidence",
    "lost_ends_sentence",
    "odd_counts",
    "odd_counts_sentence",
    "removals_evidence",
    "removals_sentence",
    "repetitions_evidence",
    "repetitions_sentence",
    "shared_evidence",
    "shared_sentence",
    "truncation_evidence",
    "truncation_sentence",
]
