"""Background polling of all sources of a window, until their readings are settled."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Iterable, Sequence

from greencv_core.metering import nvml
from greencv_core.metering.base import EnergySource, MeterError, Recording
from greencv_core.metering.energy_curves import EnergyCurve

FIRST_SLEEP_S = 0.001  # delay of the thread, so that the window's own thread starts undisturbed
SHORTEST_SLEEP_S = 0.0002
LONGEST_SLEEP_S = 1.0
STATE_PERIOD_S = 1.0
"""Time between readings of utilisation and the like, which cards average over as long."""
STATE_LEEWAY_S = 0.2  # seconds by which such a reading may come earlier, to share a wake-up
SETTLING_POLL_S = 0.02
LONGEST_WAIT_S = 5.0
"""Longest wait for a window to settle; every working source settles long before."""
LONGEST_READ_S = 2.0
"""Timeout of one reading; the driver of a card that fell off its bus may never answer."""


class Poller:
    """A background thread that polls each source when it is due.

    A source that fails is not polled again; its failure is recorded, and no exception gets out.
    """

    def __init__(self, sources: Sequence[EnergySource], poll_period_s: float) -> None:
        self.sources = tuple(sources)
        self.recordings: tuple[Recording, ...] = tuple(s.record(poll_period_s) for s in sources)
        self.failures: dict[int, str] = {}
        """Reason of failure by index of the source."""
        self.gpu_states: list[nvml.GpuState] = []
        self._polled = [False] * len(sources)
        self._locks = [threading.Lock() for _ in sources]
        self._stop_after_s = math.inf
        self._next_state_s = 0.0
        self._finished = threading.Event()
        self._edges: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="greencv-meter", daemon=True)

    def start(self) -> None:
        """Poll every source and start the thread."""
        self.poll_all()
        self._next_state_s = time.monotonic() + STATE_PERIOD_S / 2
        self._thread.start()
        self.poll_all()  # once more, as close to the start of the work as possible

    def poll_all(self, *, at_end: bool = False) -> None:
        """Poll every source now, in reverse order at an end.

        Sources that report the moment of the poll (RAPL) come last at a start and early at an end;
        sources that report their last refresh may be polled later.
        """
        indices = range(len(self.sources))
        for index in reversed(indices) if at_end else indices:
            self._poll(index, LONGEST_READ_S)
        self._edges.put(None)

    @property
    def finished(self) -> bool:
        """Whether no more polls will follow."""
        return self._finished.is_set()

    def known_until_s(self, index: int) -> float:
        """Return the time until which a source's energy is known; minus infinity if never."""
        return self.recordings[index].polled_s if self._polled[index] else -math.inf

    def unsettled(self, time_s: float, indices: Iterable[int]) -> tuple[str, ...]:
        """Return a problem for each source that has not failed and is not settled at a time."""
        return tuple(
            f"{self.sources[index].description}: not read until the end"
            for index in indices
            if index not in self.failures and not self.recordings[index].is_settled(time_s)
        )

    def curves(self) -> dict[int, EnergyCurve]:
        """Return the energy over time by index of the source, as far as it is known."""
        found = {}
        for index, recording in enumerate(self.recordings):
            locked = self._locks[index].acquire(timeout=LONGEST_READ_S)
            if not locked:
                self._time_out(index)
            try:
                if self._polled[index]:
                    found[index] = recording.curve()
            except Exception as error:
                self._fail(index, error)
            finally:
                if locked:
                    self._locks[index].release()
        return found

    def stop_after(self, time_s: float) -> None:
        """Let the thread end once every source is settled at a time; poll once more after this."""
        self._stop_after_s = time_s

    def wait_until_settled(self, time_s: float) -> None:
        """Wait until every source that has not failed is settled at a time."""
        if time_s >= self._stop_after_s:
            self._finished.wait(LONGEST_WAIT_S)
            return
        deadline_s = time.monotonic() + LONGEST_WAIT_S
        while not self._is_settled(time_s) and time.monotonic() < deadline_s:
            time.sleep(SETTLING_POLL_S)

    def _run(self) -> None:
        time.sleep(FIRST_SLEEP_S)
        try:
            while not self._may_stop():
                self._poll_due()
            if not self.gpu_states:  # a short window: the state at its end
                self._read_gpu_states()
        except Exception as error:
            # Without the thread, no source is known any further.
            for index in range(len(self.sources)):
                self.failures.setdefault(index, f"metering: {type(error).__name__}: {error}")
        finally:
            self._finished.set()

    def _poll_due(self) -> None:
        now_s = time.monotonic()
        if self._next_due_s() <= now_s:
            # Waking the thread disturbs the training more than the polls, so polls share wake-ups.
            for index, recording in enumerate(self.recordings):
                due_s = recording.next_poll_s - recording.leeway_s
                if index not in self.failures and due_s <= now_s:
                    self._poll(index)
            if self._next_state_s - STATE_LEEWAY_S <= now_s <= self._stop_after_s:
                self._read_gpu_states()
                self._next_state_s = now_s + STATE_PERIOD_S
        # A poll at an edge may bring the next one forward.
        sleep_s = min(max(self._next_due_s() - time.monotonic(), SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
        with contextlib.suppress(queue.Empty):
            self._edges.get(timeout=sleep_s)

    def _next_due_s(self) -> float:
        state_s = self._next_state_s if self._stop_after_s == math.inf else math.inf
        polls_s = (r.next_poll_s for i, r in enumerate(self.recordings) if i not in self.failures)
        return min([state_s, *polls_s])

    def _read_gpu_states(self) -> None:
        cards = {
            source.uuid: source
            for index, source in enumerate(self.sources)
            if isinstance(source, nvml.NvmlSource) and index not in self.failures
        }
        self.gpu_states += [card.state() for card in cards.values()]

    def _may_stop(self) -> bool:
        if self._stop_after_s == math.inf:
            return False
        waited_s = time.monotonic() - self._stop_after_s
        return waited_s > LONGEST_WAIT_S or self._is_settled(self._stop_after_s)

    def _is_settled(self, time_s: float) -> bool:
        return not self.unsettled(time_s, range(len(self.sources)))

    def _poll(self, index: int, timeout_s: float = -1) -> None:
        # Keep this short: it interrupts the training, with cold caches.
        lock = self._locks[index]
        if not lock.acquire(timeout=timeout_s):
            self._time_out(index)
            return
        try:
            if index not in self.failures:
                self.recordings[index].poll()
                self._polled[index] = True
        except Exception as error:
            self._fail(index, error)
        finally:
            lock.release()

    def _time_out(self, index: int) -> None:
        self.failures.setdefault(index, f"{self.sources[index].description}: does not answer")

    def _fail(self, index: int, error: Exception) -> None:
        # A failing meter must neither end the training nor count as zero.
        name = self.sources[index].description
        other = f"{name}: {type(error).__name__}: {error}"
        self.failures.setdefault(index, str(error) if isinstance(error, MeterError) else other)
