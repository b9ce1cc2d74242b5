"""Whether the system killed a process for want of memory."""

from __future__ import annotations

import re
from pathlib import Path


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processes the kernel has killed for want of memory; 0 where it is not told.

    Of this process's control group where that counts (a container's, a batch job's), else of the
    whole machine. What counts is by how much it grew.
    """
    try:
        groups = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    of_the_group: list[int | None] = []
    for line in groups:
        _, controllers, name = line.split(":", 2)
        # Within a container the group's own name may be that of the host: its root is the group.
        for own in (name.lstrip("/"), ""):
            if not controllers:
                of_the_group.append(_count(cgroups / own / "memory.events"))
            elif controllers == "memory":
                of_the_group.append(_count(cgroups / "memory" / own / "memory.oom_control"))
    told = [count for count in of_the_group if count is not None]
    return sum(told) if told else _count(proc / "vmstat") or 0


def _count(file: Path) -> int | None:
    try:
        found = re.search(r"^oom_kill (\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
