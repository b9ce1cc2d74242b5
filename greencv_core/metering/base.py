"""What every source of energy readings offers to a window."""

from __future__ import annotations

from typing import Protocol

from greencv_core.metering.energy_curves import EnergyCurve
from greencv_core.utils.energy import Component, Provenance
from greencv_core.utils.errors import GreencvError


class MeterError(GreencvError):
    """A meter that is not there, may not be read, or was lost; the message says which and why."""


class Recording(Protocol):
    """What a source told from a first look on; one for each window, so that windows may overlap.

    A look that raises :class:`MeterError` is the recording's last; what it told until then stays.
    """

    @property
    def next_look_s(self) -> float:
        """When to look again at the latest, on the monotonic clock."""

    @property
    def leeway_s(self) -> float:
        """How much sooner a look may come, with one at something else: each waking costs."""

    @property
    def looked_s(self) -> float:
        """When it was last looked at: until then its curve is known."""

    @property
    def resolution_s(self) -> float | None:
        """The refresh period of what is read; None where none was seen, or there is none."""

    def look(self) -> None:
        """Read the source now."""

    def settled(self, time_s: float) -> bool:
        """Return whether no later look would change the energy until a time."""

    def curve(self) -> EnergyCurve:
        """Return the energy over time, as far as it is known; there was a look."""


class EnergySource(Protocol):
    """A meter of one component."""

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
    def relative_uncertainty(self) -> float:
        """Standard uncertainty that all its joules share: of its model, or stated of its sensor."""

    def record(self, poll_period_s: float) -> Recording:
        """Return a new recording; it begins with its first look.

        Parameters
        ----------
        poll_period_s
            Between looks, at most, where no refresh has to be followed.
        """
