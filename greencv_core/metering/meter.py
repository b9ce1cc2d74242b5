"""All meters of this machine, in windows around pieces of work.

    with EnergyMeter() as window:
        with window.phase("training"):
            ...
    window.reading.total.energy_j, window.phases[0].reading.total

A window covers all and only the work between its two edges. GPUs work asynchronously, so their
queued work is waited for at each edge.

Closing a window is immediate; its reading may wait for the next refresh of the meters, up to
100 ms later.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from greencv_core.metering.discovery import discover
from greencv_core.metering.reading import Reading
from greencv_core.metering.window import Window
from greencv_core.utils.energy import Component


class EnergyMeter:
    """All meters of this machine, or of the named GPUs, as a context manager.

    Of several processes of a parallel job on this machine, only local rank 0 meters it. The
    readings of the others are incomplete: they have the GPUs that were named, else nothing.

    Parameters
    ----------
    gpu
        UUID or UUIDs of the GPUs to meter; the visible ones if omitted, none if ``()``.
    synchronize
        Function that waits for the device's queued work, called at every edge. By default
        PyTorch's, if PyTorch is loaded and has work on a GPU.
    carbon_intensity_gco2e_per_kwh
        Carbon intensity, to convert energy to emissions.
    idle_power_w
        Idle power by component: the energy from :func:`measure_idle_power` over its duration.
    poll_period_s
        Seconds between the points of the power trace, and between polls of meters whose refreshes
        need not be followed.
    compare
        Also read a second meter of each component, if there is one; see
        :attr:`Window.comparisons`. A GPU's meters are then read at every refresh, and its power
        trace has a point for each.

    Raises
    ------
    MeterError
        A named GPU cannot be metered.
    ValueError
        The poll period is not greater than 0.
    """

    def __init__(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        synchronize: Callable[[], None] | None = None,
        carbon_intensity_gco2e_per_kwh: float | None = None,
        idle_power_w: Mapping[Component, float] | None = None,
        poll_period_s: float = 0.5,
        compare: bool = False,
    ) -> None:
        if poll_period_s <= 0:
            raise ValueError(f"poll_period_s = {poll_period_s}: must be greater than 0")
        self.discovery = discover((gpu,) if isinstance(gpu, str) else gpu, compare=compare)
        self._new_window = partial(
            Window,
            self.discovery,
            synchronize or _synchronize_torch,
            lambda: (
                synchronize is not None
                or _initialised_cuda() is not None
                or _used_mps() is not None
            ),
            carbon_intensity_gco2e_per_kwh,
            idle_power_w,
            poll_period_s,
        )
        self._open: list[tuple[object, Window]] = []

    def __enter__(self) -> Window:
        """Open a window; windows of the same meter may nest, and threads have their own."""
        entry = _current_owner(), self._new_window()
        try:
            self._open.append(entry)
            entry[1].open()
        except BaseException:  # such as an interrupt: without the block nobody closes the window
            self._open.remove(entry)
            entry[1].abandon()
            raise
        return entry[1]

    def __exit__(self, *exception: object) -> None:
        """Close the window that this thread or task opened last, even after an exception."""
        entry = None
        try:
            entered_s = time.monotonic()
            entry = self._latest()
            entry[1].close(entered_s)
        except BaseException:
            entry = entry or self._latest()
            entry[1].abandon()
            raise
        finally:
            if entry is not None:
                self._open.remove(entry)

    def _latest(self) -> tuple[object, Window]:
        """Return what this thread or task opened last, else what was opened last."""
        current = _current_owner()
        own = [entry for entry in self._open if entry[0] == current]
        return own[-1] if own else self._open[-1]


def measure_idle_power(duration_s: float, gpus: Sequence[str] | None = None) -> Reading:
    """Meter ``duration_s`` seconds in which this process does nothing.

    Call it before this process opens a device context: a context raises a GPU's idle power, and
    that rise is part of a training's cost.
    """
    with EnergyMeter(gpus) as window:
        time.sleep(duration_s)
    return window.reading


def _current_owner() -> object:
    """Return the running task of asyncio, else the id of this thread."""
    asyncio = sys.modules.get("asyncio")
    try:
        task = asyncio.current_task() if asyncio is not None else None
    except RuntimeError:  # no event loop runs here
        task = None
    return task or threading.get_ident()


def _initialised_cuda() -> Any:
    """Return ``torch.cuda`` if this process works on a GPU, else None; never loads PyTorch."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _used_mps() -> Any:
    """Return ``torch.mps`` if this process has memory on an Apple GPU; never loads PyTorch."""
    torch = sys.modules.get("torch")
    backends = getattr(torch, "backends", None)  # missing while PyTorch is being imported
    if torch is None or backends is None or not backends.mps.is_available():
        return None
    return torch.mps if torch.mps.current_allocated_memory() > 0 else None


def _synchronize_torch() -> None:
    cuda = _initialised_cuda()
    for index in range(cuda.device_count() if cuda is not None else 0):
        # Synchronising an unused card would open a context there.
        if index == cuda.current_device() or cuda.memory_allocated(index):
            cuda.synchronize(index)
    if (mps := _used_mps()) is not None:
        mps.synchronize()
