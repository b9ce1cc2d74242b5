"""A meter at the wall: the plug's energy, to compare with the components' meters.

The plug's energy is never added to anything. It shows which part of it the components explain; the
rest is the loss of the power supply, and parts of the computer without a meter. What it answers is
described in :mod:`greencv_core.metering.wall_formats`.
"""

from __future__ import annotations

import base64
import math
import os
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from array import array

import numpy as np

from greencv_core.metering.base import MeterError
from greencv_core.metering.energy_curves import Floats, PowerCurve
from greencv_core.metering.reading import ComponentReading
from greencv_core.metering.wall_formats import WallSample, parse_answer
from greencv_core.utils.secrets import safe_line, without_secrets

VARIABLE = "GREENCV_WALL_METER"
"""Environment variable with the address of a wall meter, or a command that prints its reading."""
PERIOD_S = 1.0
TIMEOUT_S = 3.0
LONGEST_GAP_S = 5.0
"""Longest time between two readings of power; in a longer one it may have been anything."""
MOST_BYTES = 1_000_000


class WallMeter:
    """A meter at the wall as a context manager, read once per second in its own thread.

    It raises nothing while it is open: :meth:`energy_between` reports a failure.

    Parameters
    ----------
    place
        Address (``http://...``) of the meter, or a command that prints its reading.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._kind = ""
        self._rows = array("d")
        """Time, power and counter of each reading, one after the other; NaN if not reported."""
        self._problem = "the wall meter has not answered yet"
        self._tried, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="greencv-wall-meter", daemon=True)

    def __enter__(self) -> WallMeter:
        """Start to read; waits for the first answer, but not longer than the timeout."""
        self._thread.start()
        self._tried.wait(TIMEOUT_S)
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        """Stop after one more reading."""
        self._stop.set()
        if kind is None:
            self._thread.join(2 * TIMEOUT_S)

    def read(self) -> WallSample:
        """Read the meter once.

        Raises
        ------
        MeterError
            It does not answer, or not as a wall meter does.
        """
        if self._place.lower().startswith(("http://", "https://")):
            return parse_answer(_fetch(self._place))
        return parse_answer(_run_command(self._place))

    def energy_between(self, start_s: float, end_s: float) -> ComponentReading:
        """Return the plug's energy between two times on the monotonic clock.

        It comes from the meter's counter or its power, whichever is known better in these times.
        The accuracy of the meter itself is not in the uncertainty.

        Raises
        ------
        MeterError
            The meter failed in these times.
        """
        times, powers_w, energies_j = np.array(self._rows).reshape(-1, 3).T
        if len(times) < 2 or times[0] > start_s or times[-1] < end_s:
            raise MeterError(self._problem)
        told_w, told_j = ~np.isnan(powers_w), ~np.isnan(energies_j)
        readings, reasons = [], []
        for read, told, values in (
            (self._energy_by_counter, told_j, energies_j),
            (self._energy_by_power, told_w, powers_w),
        ):
            try:
                if np.any(told):
                    readings.append(read(times[told], values[told], start_s, end_s))
            except MeterError as error:
                reasons.append(str(error))
        if not readings:
            raise MeterError("; ".join(reasons))
        return min(readings, key=lambda reading: reading.uncertainty_j or 0.0)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping, begin_s = self._stop.is_set(), time.monotonic()
            try:
                self._add(self.read(), (begin_s + time.monotonic()) / 2)
            except Exception as error:  # a witness never ends a run
                known = isinstance(error, MeterError)
                self._problem = str(error) if known else f"the wall meter: {safe_line(error)}"
            self._tried.set()
            self._stop.wait(max(0.0, begin_s + PERIOD_S - time.monotonic()))

    def _add(self, sample: WallSample, time_s: float) -> None:
        self._kind = sample.kind
        values = (sample.power_w, sample.energy_j)
        self._rows.extend((time_s, *(math.nan if value is None else value for value in values)))

    def _energy_by_power(
        self, times: Floats, powers_w: Floats, start_s: float, end_s: float
    ) -> ComponentReading:
        gap_s = _longest_gap_s(times, start_s, end_s)
        if gap_s > LONGEST_GAP_S:
            raise MeterError(f"the wall meter did not answer for {gap_s:.0f} s")
        age_s = np.full(len(times), PERIOD_S / math.sqrt(12))
        energy_j, sampling_j = PowerCurve(times, powers_w, age_s, PERIOD_S).between(start_s, end_s)
        resolution_w = 1.0 if np.all(powers_w == np.round(powers_w)) else 0.1
        rounding_j = resolution_w / math.sqrt(12) * (end_s - start_s)
        return ComponentReading(
            energy_j=energy_j,
            provenance="sampled",
            source=f"wall meter ({self._kind}, power)",
            uncertainty_j=math.hypot(sampling_j, rounding_j),
            resolution_s=PERIOD_S,
        )

    def _energy_by_counter(
        self, times: Floats, energies_j: Floats, start_s: float, end_s: float
    ) -> ComponentReading:
        _longest_gap_s(times, start_s, end_s)
        steps_j = np.diff(energies_j)
        if np.any(steps_j < 0):
            raise MeterError("the wall meter's counter was reset")
        if not np.any(steps_j > 0):
            raise MeterError("the wall meter's counter did not move: its steps are too coarse")
        start_j, end_j = np.interp([start_s, end_s], times, energies_j)
        return ComponentReading(
            energy_j=float(end_j - start_j),
            provenance="measured",
            source=f"wall meter ({self._kind}, counter)",
            # At each edge the true value is anywhere within a step.
            uncertainty_j=float(steps_j.max()) / math.sqrt(6),
        )


def open_wall_meter(address: str | None = None) -> WallMeter | None:
    """Return the wall meter that ``$GREENCV_WALL_METER`` or else ``address`` names, if any."""
    place = os.environ.get(VARIABLE) or address
    return WallMeter(place) if place else None


def _longest_gap_s(times: Floats, start_s: float, end_s: float) -> float:
    """Return the longest time between two readings in a window.

    Raises
    ------
    MeterError
        There is no reading before the window, or none after it.
    """
    if len(times) < 2 or times[0] > start_s or times[-1] < end_s:
        raise MeterError("the wall meter did not answer at the start or the end of the run")
    overlaps = (times[1:] > start_s) & (times[:-1] < end_s)
    return float(np.max(np.diff(times)[overlaps]))


def _fetch(address: str) -> str:
    """Return the answer of an address; a user and password in it are sent as Basic authorisation.

    No proxy is used: a meter is in the same network.
    """
    parts = urllib.parse.urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)))
    if "@" in parts.netloc:
        user = ":".join(urllib.parse.unquote(x or "") for x in (parts.username, parts.password))
        token = base64.b64encode(user.encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return str(answer.read(MOST_BYTES).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        reason = f"answered with HTTP status {error.code}"
    except TimeoutError:
        reason = f"did not answer within {TIMEOUT_S:g} s"
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = f"cannot be reached: {safe_line(getattr(error, 'reason', error))}"
    raise MeterError(f"the wall meter at {without_secrets(f'{parts.scheme}://{host}')} {reason}")


def _run_command(command: str) -> str:
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MeterError(f"the command {words[0]} took longer than {TIMEOUT_S:g} s") from error
    except (OSError, ValueError) as error:
        raise MeterError(f"the wall meter's command cannot be run: {safe_line(error)}") from error
    if done.returncode:
        last = safe_line(without_secrets(done.stderr.decode(errors="replace").strip()[-200:]))
        raise MeterError(f"the command {words[0]} failed with {done.returncode}: {last}")
    return done.stdout.decode(errors="replace")
