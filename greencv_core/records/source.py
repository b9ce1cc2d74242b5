"""Load a study from a study file or from a bundle."""

from __future__ import annotations

from pathlib import Path

from greencv_core.records.backends import bundle
from greencv_core.study import loading
from greencv_core.study.schema import Study
from greencv_core.utils.text import one_line


def find_study(source: str | Path) -> Path:
    """Return the file that ``source`` names: a study file, its name in ``studies/``, or a bundle.

    Whether a bundle exists is checked when it is read.
    """
    path = Path(source)
    return path if bundle.is_bundle(path) else loading.find_study(source)


def load_study(source: str | Path) -> Study:
    """Read and check a study file, one by its name in ``studies/``, or the study in a bundle.

    :class:`BadInputError` has one line a problem, with file, field, value and what is allowed.
    """
    path = Path(source)
    if bundle.is_bundle(path):
        return loading.parse_study(bundle.read_metadata(path).study, one_line(path))
    return loading.load_study_file(source)
