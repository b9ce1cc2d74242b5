"""What every source of energy readings offers to a window."""

from __future__ import annotations

from typing import Protocol

from greencv_core.energy import Component, Provenance
from greencv_core.errors import GreencvError


class MeterError(GreencvError):
    """A meter that is not there, may not be read, or was lost; the message says which and why."""


class EnergySource(Protocol):
    """A count of joules that only grows; windows subtract two of its values.

    Every method may raise :class:`MeterError`; a source that did is not asked again.
    """

    @property
    def component(self) -> Component:
        """What it meters."""

    @property
    def provenance(self) -> Provenance:
        """What its joules are worth."""

    @property
    def description(self) -> str:
        """The meter, in words."""

    @property
    def poll_period_s(self) -> float:
        """How often :meth:`energy_j` must be called at least, so that nothing is lost."""

    def start(self) -> None:
        """Begin to count."""

    def energy_j(self) -> float:
        """Return the joules since :meth:`start`."""

    def stop(self) -> None:
        """Release what :meth:`start` took."""
