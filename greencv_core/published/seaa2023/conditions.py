"""Conditions in the order of the page's tables, and in words."""

from __future__ import annotations

import pandas as pd

from greencv_core.utils.text import listed

CONDITION = ["environment", "architecture"]


def conditions(runs: pd.DataFrame) -> str:
    """Return the conditions of runs: ``vgg16 in Cloud and resnet50 in Cloud``."""
    pairs = runs[CONDITION].drop_duplicates().itertuples(index=False, name=None)
    return listed([f"{architecture} in {environment}" for environment, architecture in pairs])
