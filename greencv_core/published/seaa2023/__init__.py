"""The measurements of del Rey et al. (SEAA 2023), and their re-analysis."""

from greencv_core.published.seaa2023.card import CARD
from greencv_core.published.seaa2023.runs import NEEDED, RELEASE, published_runs
from greencv_core.published.seaa2023.trajectories import published_trajectories

__all__ = ["CARD", "NEEDED", "RELEASE", "published_runs", "published_trajectories"]
