"""Protocols of an energy source and its recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from greencv_core.metering.energy_curves import EnergyCurve
from greencv_core.metering.gaps import Gap
from greencv_core.utils.energy import Component, Provenance
from greencv_core.utils.errors import GreencvError


class MeterError(GreencvError):
    """A meter is missing, not readable or lost; the message names it and the reason."""


class RefusedReadError(MeterError):
    """One reading was refused or is impossible; the meter may answer the next one."""


class Recording(Protocol):
    """Readings of one source from its first poll on.

    Each window has its own recordings, so windows may overlap. After a poll that raises
    :class:`RefusedReadError` the recording is polled again soon; after any other exception never.
    Earlier readings stay valid.
    """

    @property
    def next_poll_s(self) -> float:
        """Latest time of the next poll, on the monotonic clock."""

    @property
    def leeway_s(self) -> float:
        """Seconds by which a poll may come earlier, to share a wake-up of the thread."""

    @property
    def polled_s(self) -> float:
        """Time until which the energy is known."""

    @property
    def resolution_s(self) -> float | None:
        """Refresh period of the meter in seconds; None if unknown or if there is none."""

    @property
    def gaps(self) -> Sequence[Gap]:
        """Times without a reading, bridged by assumption."""

    def poll(self) -> None:
        """Read the source now."""

    def is_settled(self, time_s: float) -> bool:
        """Return whether later polls cannot change the energy until a time."""

    def curve(self) -> EnergyCurve:
        """Return the energy over time; requires at least one poll."""

    def thin(self, edges_s: Sequence[float]) -> None:
        """Forget every other old reading that is not near an edge, if there are very many."""


class EnergySource(Protocol):
    """A meter of one component."""

    @property
    def component(self) -> Component:
        """Component whose energy is metered."""

    @property
    def provenance(self) -> Provenance:
        """Provenance of the readings."""

    @property
    def description(self) -> str:
        """Name of the meter for people."""

    @property
    def relative_uncertainty(self) -> float:
        """Relative standard uncertainty common to all readings (of a model or a sensor)."""

    @property
    def may_hang(self) -> bool:
        """Whether a reading may never return; such a source is read by the meter's thread only."""

    def record(self, poll_period_s: float) -> Recording:
        """Return a new recording, which starts with its first poll.

        If the meter's refreshes need not be followed, it is polled every ``poll_period_s``.
        """
