"""Study files that are small changes of the smoke study."""

import yaml

from tests.conftest import ROOT

ONE_THREAD = {"name": "cpu-1-thread", "device": "cpu", "threads": 1}


def smoke_study(folder, **changes):
    """Write the smoke study with changes; ``a__b`` stands for field b of a. Return its path."""
    content = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    for field, value in changes.items():
        *parents, last = field.split("__")
        place = content
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
